-- The second wall between tenants: a role that sees rows of one organization only.
--
-- Row-level security is enabled, not forced: FORCE would make COPY fail for the owner.  Partitions
-- have it enabled too, without a policy, so by name the reader could read none even with a grant.
-- After a transaction with SET LOCAL the setting is '' and not NULL, hence nullif.  The settings stand
-- in sub-selects, so that they are looked up once a query and not once a row.

SET LOCAL search_path TO otel_obs;

-- Roles are of the whole cluster: a migration of another database may be creating it right now.
DO $$
BEGIN
    IF to_regrole('otel_obs_reader') IS NULL THEN
        CREATE ROLE otel_obs_reader NOLOGIN NOBYPASSRLS;
    END IF;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN NULL;
    WHEN insufficient_privilege THEN
        RAISE EXCEPTION 'role otel_obs_reader does not exist and % may not create it', current_user
            USING ERRCODE = 'insufficient_privilege',
                  HINT = format('As an administrator: CREATE ROLE otel_obs_reader NOLOGIN; GRANT otel_obs_reader TO %I;',
                                current_user);
END
$$;

-- Whoever owns the schema answers tenants, and so must be able to SET ROLE.
DO $$
BEGIN
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        EXECUTE format('GRANT otel_obs_reader TO %I', current_user);
    END IF;
EXCEPTION
    WHEN unique_violation THEN NULL;
    WHEN insufficient_privilege THEN
        IF NOT pg_has_role(current_user, 'otel_obs_reader', 'MEMBER') THEN
            RAISE EXCEPTION '% may not become otel_obs_reader', current_user
                USING ERRCODE = 'insufficient_privilege',
                      HINT = format('As an administrator: GRANT otel_obs_reader TO %I;', current_user);
        END IF;
END
$$;

GRANT USAGE ON SCHEMA otel_obs TO otel_obs_reader;

DO $$
DECLARE
    organization CONSTANT text := $s$(SELECT nullif(current_setting('otel_obs.organization_id', true), ''))$s$;
    workspace CONSTANT text := $s$(SELECT nullif(current_setting('otel_obs.workspace_id', true), ''))$s$;
    table_name text;
BEGIN
    FOREACH table_name IN ARRAY ARRAY[
        'event_logs', 'model_cost_logs', 'agent_trace_history', 'prompt_similarity_logs', 'span_contents', 'quarantine',
        'workflows'
    ] LOOP
        EXECUTE format('CREATE POLICY reader ON %I FOR SELECT TO otel_obs_reader '
                       'USING (organization_id = %s AND (%s IS NULL OR workspace_id = %s))',
                       table_name, organization, workspace, workspace);
    END LOOP;
    FOREACH table_name IN ARRAY ARRAY['users', 'resources'] LOOP
        EXECUTE format('CREATE POLICY reader ON %I FOR SELECT TO otel_obs_reader USING (organization_id = %s)',
                       table_name, organization);
    END LOOP;
    FOREACH table_name IN ARRAY ARRAY['feature_flags', 'model_prices'] LOOP
        EXECUTE format('CREATE POLICY reader ON %I FOR SELECT TO otel_obs_reader '
                       'USING (%s IS NOT NULL AND (organization_id IS NULL OR organization_id = %s))',
                       table_name, organization, organization);
    END LOOP;
    EXECUTE format('CREATE POLICY reader ON organizations FOR SELECT TO otel_obs_reader USING (id = %s)', organization);
    EXECUTE format('CREATE POLICY reader ON workspaces FOR SELECT TO otel_obs_reader '
                   'USING (organization_id = %s AND (%s IS NULL OR id = %s))', organization, workspace, workspace);
END
$$;

ALTER TABLE event_logs ENABLE ROW LEVEL SECURITY;
ALTER TABLE model_cost_logs ENABLE ROW LEVEL SECURITY;
ALTER TABLE agent_trace_history ENABLE ROW LEVEL SECURITY;
ALTER TABLE prompt_similarity_logs ENABLE ROW LEVEL SECURITY;
ALTER TABLE span_contents ENABLE ROW LEVEL SECURITY;
ALTER TABLE quarantine ENABLE ROW LEVEL SECURITY;
ALTER TABLE organizations ENABLE ROW LEVEL SECURITY;
ALTER TABLE workspaces ENABLE ROW LEVEL SECURITY;
ALTER TABLE users ENABLE ROW LEVEL SECURITY;
ALTER TABLE workflows ENABLE ROW LEVEL SECURITY;
ALTER TABLE resources ENABLE ROW LEVEL SECURITY;
ALTER TABLE feature_flags ENABLE ROW LEVEL SECURITY;
ALTER TABLE model_prices ENABLE ROW LEVEL SECURITY;

-- The caller's rights, not the owner's: without security_invoker a view looks past the policies.
CREATE VIEW model_costs WITH (security_invoker = true) AS
SELECT *, cost_usd AS cost_cents, cost_usd / 100 AS cost_dollars
FROM model_cost_logs;

COMMENT ON VIEW model_costs IS 'model_cost_logs with the cost under names that say their unit.';
COMMENT ON COLUMN model_costs.cost_usd IS 'Cost in US cents, as in model_cost_logs; read cost_cents instead.';
COMMENT ON COLUMN model_costs.cost_cents IS 'Cost in US cents.';
COMMENT ON COLUMN model_costs.cost_dollars IS 'Cost in US dollars.';

GRANT SELECT ON
    event_logs, model_cost_logs, agent_trace_history, prompt_similarity_logs, span_contents, model_costs,
    quarantine, organizations, workspaces, users, workflows, resources, feature_flags, model_prices
TO otel_obs_reader;
