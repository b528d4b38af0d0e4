-- Deletion of tenants, once more: roll-ups go too, and days of deleted calls are computed again.

SET LOCAL search_path TO otel_obs;

-- Whatever says whose it is, those tables that later migrations add among it.  Stay: what remembers the deletion, keys
-- (they lose the ids by themselves) and prices, which are append-only.
CREATE OR REPLACE FUNCTION delete_organizations() RETURNS trigger
LANGUAGE plpgsql SET search_path = otel_obs AS $$
DECLARE
    table_name text;
    lost record;
    hot CONSTANT text[] := ARRAY[
        'event_logs', 'model_cost_logs', 'agent_trace_history', 'prompt_similarity_logs', 'span_contents'
    ];
BEGIN
    IF NOT EXISTS (SELECT FROM gone) THEN
        RETURN NULL;
    END IF;
    FOR table_name IN
        SELECT c.relname
        FROM pg_class AS c
        JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'organization_id' AND NOT a.attisdropped
        WHERE c.relnamespace = 'otel_obs'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
            AND c.relname NOT IN ('audit_log', 'deleted_tenants', 'api_keys', 'model_prices')
        ORDER BY array_position(hot, c.relname::text), c.relname
    LOOP
        -- One by one: joined with them, each table would be read as a whole.
        FOR lost IN SELECT id FROM gone LOOP
            EXECUTE format('DELETE FROM %I WHERE organization_id = $1', table_name) USING lost.id;
        END LOOP;
    END LOOP;
    INSERT INTO deleted_tenants (organization_id) SELECT id FROM gone
    ON CONFLICT (organization_id, workspace_id, user_id) DO NOTHING;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION delete_workspaces() RETURNS trigger
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
            RETURNING t.response_id, t.trace_id, t.event_id, t."timestamp"
        ), touched AS (
            INSERT INTO touched_days (organization_id, day)
            SELECT DISTINCT lost.organization_id, (c."timestamp" AT TIME ZONE 'UTC')::date FROM calls AS c
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
        DELETE FROM usage_rollups AS t
        WHERE t.organization_id = lost.organization_id AND t.workspace_id = lost.id;
        INSERT INTO deleted_tenants (organization_id, workspace_id) VALUES (lost.organization_id, lost.id)
        ON CONFLICT (organization_id, workspace_id, user_id) DO NOTHING;
    END LOOP;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION delete_users() RETURNS trigger
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
            RETURNING t.response_id, t.trace_id, t.event_id, t."timestamp"
        ), touched AS (
            INSERT INTO touched_days (organization_id, day)
            SELECT DISTINCT lost.organization_id, (c."timestamp" AT TIME ZONE 'UTC')::date FROM calls AS c
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
