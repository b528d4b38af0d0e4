-- name: read_only
SET TRANSACTION READ ONLY;

-- name: become_reader
-- All of it ends with the transaction.
SELECT set_config('otel_obs.organization_id', %(organization_id)s, true),
    set_config('otel_obs.workspace_id', %(workspace_id)s, true),
    set_config('statement_timeout', %(statement_timeout)s, true),
    set_config('role', 'otel_obs_reader', true);

-- name: reader_could_bypass
-- What would let otel_obs_reader look past the policies; NULL if nothing does.
SELECT concat_ws(', ',
    CASE WHEN r.rolsuper THEN 'it is a superuser' END,
    CASE WHEN r.rolbypassrls THEN 'it has BYPASSRLS' END,
    CASE WHEN r.rolcreaterole THEN 'it may create roles' END,
    (SELECT 'it owns ' || string_agg(c.relname, ', ' ORDER BY c.relname)
     FROM pg_class AS c
     WHERE c.relnamespace = to_regnamespace('otel_obs') AND c.relowner = r.oid),
    (SELECT 'it can become ' || string_agg(other.rolname, ', ' ORDER BY other.rolname)
     FROM pg_roles AS other
     WHERE other.oid <> r.oid AND pg_has_role(r.oid, other.oid, 'MEMBER')
       AND (other.rolsuper OR other.rolbypassrls OR other.oid IN (
            SELECT c.relowner FROM pg_class AS c WHERE c.relnamespace = to_regnamespace('otel_obs'))))
)
FROM pg_roles AS r
WHERE r.rolname = 'otel_obs_reader';
