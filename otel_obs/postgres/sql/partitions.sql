-- name: bounds
-- The weeks that there are, from the catalog: partitions of event_logs named event_logs_YYYYMMDD.
SELECT min(week), max(week) + interval '7 days'
FROM (
    SELECT to_timestamp(substr(c.relname, length('event_logs_') + 1) || ' +00', 'YYYYMMDD TZH') AS week
    FROM pg_inherits AS i
    JOIN pg_class AS c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'event_logs'::regclass AND c.relname ~ '^event_logs_[0-9]{8}$'
) AS weeks;

-- name: listed
SELECT c.relname,
    CASE WHEN c.relname ~ '_[0-9]{8}$' THEN to_timestamp(right(c.relname, 8) || ' +00', 'YYYYMMDD TZH') END AS week
FROM pg_inherits AS i
JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE i.inhparent = %(table)s::text::regclass
ORDER BY week NULLS LAST, c.relname;

-- name: lock
-- One at a time, and never for long: whoever waits for a reader of the parent would block all writers.
SELECT set_config('lock_timeout', '2s', true), pg_advisory_xact_lock(7243001, 1);
