-- Deleting an organization, a workspace or a user deletes what it left, in the same transaction,
-- and remembers the id, so that a late span does not bring it back.
--
-- Triggers stand in a file of their own: they can only be installed on plain PostgreSQL (Citus
-- refuses them on distributed tables).
--
-- Deleting an organization cascades to its workspaces and users; their triggers then find the
-- organization gone and leave the work to its trigger.

SET LOCAL search_path TO otel_obs;

CREATE FUNCTION delete_organizations() RETURNS trigger
LANGUAGE plpgsql SET search_path = otel_obs AS $$
DECLARE
    table_name text;
BEGIN
    FOREACH table_name IN ARRAY ARRAY[
        'event_logs', 'model_cost_logs', 'agent_trace_history', 'prompt_similarity_logs', 'span_contents',
        'call_registry', 'call_reports', 'unsettled_traces', 'quarantine', 'feature_flags', 'resources'
    ] LOOP
        EXECUTE format('DELETE FROM %I WHERE organization_id IN (SELECT id FROM gone)', table_name);
    END LOOP;
    INSERT INTO deleted_tenants (organization_id) SELECT id FROM gone
    ON CONFLICT (organization_id, workspace_id, user_id) DO NOTHING;
    RETURN NULL;
END
$$;

-- The registry and the reports know no workspace and no user, only the event that made them.
CREATE FUNCTION delete_workspaces() RETURNS trigger
LANGUAGE plpgsql SET search_path = otel_obs AS $$
DECLARE
    lost record;
BEGIN
    FOR lost IN
        SELECT gone.organization_id, gone.id FROM gone JOIN organizations AS o ON o.id = gone.organization_id
    LOOP
        WITH events AS (
            DELETE FROM event_logs AS t
            WHERE t.organization_id = lost.organization_id AND t.workspace_id = lost.id
            RETURNING t.trace_id, t.event_id
        )
        DELETE FROM call_reports AS t USING events AS e
        WHERE t.organization_id = lost.organization_id AND t.trace_id = e.trace_id AND t.event_id = e.event_id;
        WITH calls AS (
            DELETE FROM model_cost_logs AS t
            WHERE t.organization_id = lost.organization_id AND t.workspace_id = lost.id
            RETURNING t.response_id, t.trace_id, t.event_id
        )
        DELETE FROM call_registry AS t USING calls AS c
        WHERE t.organization_id = lost.organization_id AND t.response_id = c.response_id
          AND t.trace_id = c.trace_id AND t.event_id = c.event_id;
        DELETE FROM agent_trace_history AS t
        WHERE t.organization_id = lost.organization_id AND t.workspace_id = lost.id;
        DELETE FROM prompt_similarity_logs AS t
        WHERE t.organization_id = lost.organization_id AND t.workspace_id = lost.id;
        DELETE FROM span_contents AS t
        WHERE t.organization_id = lost.organization_id AND t.workspace_id = lost.id;
        DELETE FROM quarantine AS t
        WHERE t.organization_id = lost.organization_id AND t.workspace_id = lost.id;
        DELETE FROM feature_flags AS t
        WHERE t.organization_id = lost.organization_id AND t.workspace_id = lost.id;
        INSERT INTO deleted_tenants (organization_id, workspace_id) VALUES (lost.organization_id, lost.id)
        ON CONFLICT (organization_id, workspace_id, user_id) DO NOTHING;
    END LOOP;
    RETURN NULL;
END
$$;

CREATE FUNCTION delete_users() RETURNS trigger
LANGUAGE plpgsql SET search_path = otel_obs AS $$
DECLARE
    lost record;
BEGIN
    FOR lost IN
        SELECT gone.organization_id, gone.id FROM gone JOIN organizations AS o ON o.id = gone.organization_id
    LOOP
        WITH events AS (
            DELETE FROM event_logs AS t
            WHERE t.organization_id = lost.organization_id AND t.user_id = lost.id
            RETURNING t.trace_id, t.event_id
        )
        DELETE FROM call_reports AS t USING events AS e
        WHERE t.organization_id = lost.organization_id AND t.trace_id = e.trace_id AND t.event_id = e.event_id;
        WITH calls AS (
            DELETE FROM model_cost_logs AS t
            WHERE t.organization_id = lost.organization_id AND t.user_id = lost.id
            RETURNING t.response_id, t.trace_id, t.event_id
        )
        DELETE FROM call_registry AS t USING calls AS c
        WHERE t.organization_id = lost.organization_id AND t.response_id = c.response_id
          AND t.trace_id = c.trace_id AND t.event_id = c.event_id;
        DELETE FROM agent_trace_history AS t
        WHERE t.organization_id = lost.organization_id AND t.user_id = lost.id;
        DELETE FROM prompt_similarity_logs AS t
        WHERE t.organization_id = lost.organization_id AND t.user_id = lost.id;
        DELETE FROM span_contents AS t
        WHERE t.organization_id = lost.organization_id AND t.user_id = lost.id;
        DELETE FROM feature_flags AS t
        WHERE t.organization_id = lost.organization_id AND t.user_id = lost.id;
        INSERT INTO deleted_tenants (organization_id, user_id) VALUES (lost.organization_id, lost.id)
        ON CONFLICT (organization_id, workspace_id, user_id) DO NOTHING;
    END LOOP;
    RETURN NULL;
END
$$;

CREATE FUNCTION restore_organizations() RETURNS trigger
LANGUAGE plpgsql SET search_path = otel_obs AS $$
BEGIN
    DELETE FROM deleted_tenants AS d USING restored AS r
    WHERE d.organization_id = r.id AND d.workspace_id = '' AND d.user_id = '';
    RETURN NULL;
END
$$;

CREATE FUNCTION restore_workspaces() RETURNS trigger
LANGUAGE plpgsql SET search_path = otel_obs AS $$
BEGIN
    DELETE FROM deleted_tenants AS d USING restored AS r
    WHERE d.organization_id = r.organization_id AND d.workspace_id = r.id AND d.user_id = '';
    RETURN NULL;
END
$$;

CREATE TRIGGER organizations_deleted AFTER DELETE ON organizations
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION delete_organizations();
CREATE TRIGGER workspaces_deleted AFTER DELETE ON workspaces
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION delete_workspaces();
CREATE TRIGGER users_deleted AFTER DELETE ON users
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION delete_users();
CREATE TRIGGER organizations_restored AFTER INSERT ON organizations
    REFERENCING NEW TABLE AS restored FOR EACH STATEMENT EXECUTE FUNCTION restore_organizations();
CREATE TRIGGER workspaces_restored AFTER INSERT ON workspaces
    REFERENCING NEW TABLE AS restored FOR EACH STATEMENT EXECUTE FUNCTION restore_workspaces();

COMMENT ON FUNCTION delete_organizations() IS 'Delete all rows of the organizations in gone, and remember their ids.';
COMMENT ON FUNCTION delete_workspaces() IS 'Delete all rows of the workspaces in gone, and remember their ids.';
COMMENT ON FUNCTION delete_users() IS 'Delete all rows of the users in gone, and remember their ids.';
COMMENT ON FUNCTION restore_organizations() IS 'An organization that is set again is no longer deleted.';
COMMENT ON FUNCTION restore_workspaces() IS 'A workspace that is set again is no longer deleted.';
