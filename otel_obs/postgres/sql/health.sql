-- name: reader_faults
-- What would let otel_obs_reader see rows of an organization that it was not set to; no row: nothing would.
SELECT 'otel_obs_reader does not exist' WHERE to_regrole('otel_obs_reader') IS NULL
UNION ALL
SELECT 'otel_obs_reader ' || fault
FROM pg_roles AS r, LATERAL (VALUES
    (r.rolsuper, 'is a superuser'), (r.rolbypassrls, 'has BYPASSRLS'), (r.rolcanlogin, 'may log in')
) AS f (is_so, fault)
WHERE r.rolname = 'otel_obs_reader' AND f.is_so
UNION ALL
SELECT format('otel_obs_reader is a member of %s, which owns tables', o.rolname)
FROM (SELECT DISTINCT c.relowner FROM pg_class AS c WHERE c.relnamespace = 'otel_obs'::regnamespace) AS owners
JOIN pg_roles AS o ON o.oid = owners.relowner
WHERE to_regrole('otel_obs_reader') IS NOT NULL AND pg_has_role('otel_obs_reader', o.oid, 'MEMBER')
UNION ALL
SELECT format('otel_obs_reader can become %s, which %s', o.rolname,
    CASE WHEN o.rolsuper THEN 'is a superuser' ELSE 'has BYPASSRLS' END)
FROM pg_roles AS o
WHERE (o.rolsuper OR o.rolbypassrls) AND o.rolname <> 'otel_obs_reader' AND to_regrole('otel_obs_reader') IS NOT NULL
    AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = 'otel_obs_reader')
    AND pg_has_role('otel_obs_reader', o.oid, 'MEMBER')
UNION ALL
SELECT format('otel_obs_reader may read the partition %s by its name', c.relname)
FROM pg_class AS c
WHERE c.relnamespace = 'otel_obs'::regnamespace AND c.relispartition AND c.relkind IN ('r', 'p')
    AND to_regrole('otel_obs_reader') IS NOT NULL AND has_table_privilege('otel_obs_reader', c.oid, 'SELECT')
UNION ALL
SELECT format('row-level security of %s is off', c.relname)
FROM pg_class AS c
WHERE c.relnamespace = 'otel_obs'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relrowsecurity
    AND to_regrole('otel_obs_reader') IS NOT NULL AND has_table_privilege('otel_obs_reader', c.oid, 'SELECT')
UNION ALL
SELECT format('the view %s looks past row-level security', c.relname)
FROM pg_class AS c
WHERE c.relnamespace = 'otel_obs'::regnamespace
    AND (c.relkind = 'm' OR (c.relkind = 'v' AND NOT coalesce(c.reloptions && ARRAY['security_invoker=true', 'security_invoker=on'], false)))
    AND to_regrole('otel_obs_reader') IS NOT NULL AND has_table_privilege('otel_obs_reader', c.oid, 'SELECT');

-- name: writer
-- Who writes here, and may they do all that the server does?
SELECT current_user, has_table_privilege('otel_obs.event_logs', 'INSERT'), pg_has_role('otel_obs_reader', 'MEMBER');

-- name: unprotected_partitions
SELECT c.relname FROM pg_class AS c
WHERE c.relnamespace = 'otel_obs'::regnamespace AND c.relispartition AND c.relkind IN ('r', 'p') AND NOT c.relrowsecurity
ORDER BY c.relname;

-- name: edge_rows
-- Rows whose time lies outside the weeks; more than a thousand are not counted.
SELECT (SELECT count(*) FROM (SELECT FROM event_logs_early LIMIT 1001) AS early)
     + (SELECT count(*) FROM (SELECT FROM event_logs_late LIMIT 1001) AS late);

-- name: clock
SELECT clock_timestamp(), current_setting('server_version_num')::integer, current_setting('server_version');

-- name: unsettled
SELECT count(*), min(last_at) FILTER (WHERE last_at < now() - interval '1 minute') FROM unsettled_traces;

-- name: knows_retention
SELECT to_regclass('otel_obs.retention_runs') IS NOT NULL;

-- name: last_retention
SELECT max(ran_at) FROM retention_runs;

-- name: without_plan
SELECT id FROM organizations WHERE plan IS NULL ORDER BY id;
