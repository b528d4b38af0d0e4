-- The second wall, where it had gaps: tables of settling, and flags of other workspaces.

SET LOCAL search_path TO otel_obs;

-- The reader has no grant on them; with one it would still see nothing.
ALTER TABLE deleted_tenants ENABLE ROW LEVEL SECURITY;
ALTER TABLE call_registry ENABLE ROW LEVEL SECURITY;
ALTER TABLE call_reports ENABLE ROW LEVEL SECURITY;
ALTER TABLE unsettled_traces ENABLE ROW LEVEL SECURITY;

DO $$
DECLARE
    organization CONSTANT text := $s$(SELECT nullif(current_setting('otel_obs.organization_id', true), ''))$s$;
    workspace CONSTANT text := $s$(SELECT nullif(current_setting('otel_obs.workspace_id', true), ''))$s$;
BEGIN
    EXECUTE format('ALTER POLICY reader ON feature_flags USING (%s IS NOT NULL AND (organization_id IS NULL OR '
                   '(organization_id = %s AND (%s IS NULL OR workspace_id IS NULL OR workspace_id = %s))))',
                   organization, organization, workspace, workspace);
END
$$;

COMMENT ON COLUMN quarantine.payload IS 'The one span or record, cut at 64 KiB: as sent (protobuf or JSON), or as read (JSON) if only its rows were refused. Empty where content is dropped.';
