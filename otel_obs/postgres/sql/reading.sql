-- name: read_only
SET TRANSACTION READ ONLY;

-- name: become_reader
-- All of it ends with the transaction.
SELECT set_config('otel_obs.organization_id', %(organization_id)s, true),
    set_config('otel_obs.workspace_id', %(workspace_id)s, true),
    set_config('statement_timeout', %(statement_timeout)s, true),
    set_config('role', 'otel_obs_reader', true);
