-- Plans for as many rows as there are. "No workspace is set, or it is this one" is to the planner a condition that one
-- row in a hundred meets, and so it sorted on disk what it could have hashed; of a CASE it expects half of them. Most
-- readers see all of their organization.

SET LOCAL search_path TO otel_obs;

DO $$
DECLARE
    organization CONSTANT text := $s$(SELECT nullif(current_setting('otel_obs.organization_id', true), ''))$s$;
    workspace CONSTANT text := $s$(SELECT nullif(current_setting('otel_obs.workspace_id', true), ''))$s$;
    table_name text;
BEGIN
    FOREACH table_name IN ARRAY ARRAY[
        'event_logs', 'model_cost_logs', 'agent_trace_history', 'prompt_similarity_logs', 'span_contents', 'quarantine',
        'usage_rollups'
    ] LOOP
        EXECUTE format('ALTER POLICY reader ON %I USING '
                       '(organization_id = %s AND CASE WHEN %s IS NULL THEN true ELSE workspace_id = %s END)',
                       table_name, organization, workspace, workspace);
    END LOOP;
END
$$;
