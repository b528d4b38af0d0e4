-- name: policies
-- Of each organization the days in force at a moment: the longest of those that its plans promised within the grace
-- period. Locked, it stays so until commit: who changes the plan or the hold waits. Plans older than the first are none.
WITH asked AS (
    SELECT id, plan, retention_days, legal_hold
    FROM organizations
    WHERE %(ids)s::text[] IS NULL OR id = ANY(%(ids)s::text[])
), promised AS (
    SELECT c.organization_id, c.days, lead(c.since) OVER (PARTITION BY c.organization_id ORDER BY c.since, c.id) AS until
    FROM plan_changes AS c JOIN asked AS a ON a.id = c.organization_id
), counting AS (
    SELECT organization_id, days FROM promised
    WHERE until IS NULL OR until > %(now)s::timestamptz - %(grace)s::interval
    UNION ALL
    SELECT id, plan_days(plan, retention_days) FROM asked
)
SELECT a.id, a.plan, a.legal_hold, plan_days(a.plan, a.retention_days),
    CASE WHEN bool_and(c.days IS NOT NULL AND c.days < 300000) THEN max(c.days) END
FROM asked AS a JOIN counting AS c ON c.organization_id = a.id
GROUP BY a.id, a.plan, a.legal_hold, a.retention_days
ORDER BY a.id;

-- name: lock_policies
SELECT FROM organizations WHERE id = ANY(%(ids)s::text[]) ORDER BY id FOR SHARE;

-- name: unaudited_changes
SELECT c.id, c.organization_id, c.since, c.plan, c.days,
    lag(c.plan) OVER (PARTITION BY c.organization_id ORDER BY c.since, c.id),
    lag(c.days) OVER (PARTITION BY c.organization_id ORDER BY c.since, c.id), c.audited
FROM plan_changes AS c
WHERE c.organization_id IN (SELECT organization_id FROM plan_changes WHERE NOT audited)
ORDER BY c.id;

-- name: lock_changes
SELECT id FROM plan_changes WHERE NOT audited ORDER BY id FOR UPDATE SKIP LOCKED;

-- name: audited
UPDATE plan_changes SET audited = true WHERE id = ANY(%(ids)s::bigint[]);

-- name: organizations_of
SELECT partition_name, organization_id FROM organizations_of(%(partitions)s::text[]);

-- name: clock
SELECT clock_timestamp();

-- name: add_to_run
INSERT INTO retention_runs AS r (run_id, ran_at, organization_id, table_name, cutoff, rows, bytes, duration_ms,
    partition_name, action)
VALUES (%(run_id)s, %(ran_at)s, %(organization_id)s, %(table_name)s, %(cutoff)s, %(rows)s, %(bytes)s, %(duration_ms)s,
    %(partition_name)s, %(action)s)
ON CONFLICT (run_id, organization_id, table_name, action, partition_name) DO UPDATE SET
    cutoff = EXCLUDED.cutoff, rows = r.rows + EXCLUDED.rows, bytes = r.bytes + EXCLUDED.bytes,
    duration_ms = r.duration_ms + EXCLUDED.duration_ms;

-- name: forget_runs
-- What was deleted is told for longer than anybody keeps anything; that nothing was, for a month.
DELETE FROM retention_runs
WHERE ran_at < %(now)s::timestamptz - interval '800 days' OR (rows = 0 AND ran_at < %(now)s::timestamptz - interval '31 days');

-- name: expired
INSERT INTO expired_rows AS e (organization_id, before)
SELECT id, cutoff FROM unnest(%(ids)s::text[], %(cutoffs)s::timestamptz[]) AS new (id, cutoff) ORDER BY id
ON CONFLICT (organization_id) DO UPDATE SET before = greatest(e.before, EXCLUDED.before);

-- name: left_space
INSERT INTO partition_deletes AS d (partition_name, rows, bytes) VALUES (%(partition)s, %(rows)s, %(bytes)s)
ON CONFLICT (partition_name) DO UPDATE SET rows = d.rows + EXCLUDED.rows, bytes = d.bytes + EXCLUDED.bytes;

-- name: no_space_left
DELETE FROM partition_deletes WHERE partition_name = %(partition)s;

-- name: spaces
SELECT partition_name, rows, bytes FROM partition_deletes ORDER BY partition_name;

-- name: size
-- Bytes of a partition with its indexes and TOAST, and about how many rows it has (-1: nobody counted).
SELECT pg_total_relation_size(c.oid), c.reltuples::bigint FROM pg_class AS c WHERE c.oid = %(partition)s::text::regclass;

-- name: expire_quarantine
DELETE FROM quarantine WHERE id = ANY(ARRAY(
    SELECT id FROM quarantine
    WHERE organization_id = %(organization_id)s AND received_at < %(cutoff)s LIMIT %(limit)s
)) RETURNING pg_column_size(payload);

-- name: count_quarantine
SELECT count(*), coalesce(sum(pg_column_size(payload)), 0) FROM quarantine
WHERE organization_id = %(organization_id)s AND received_at < %(cutoff)s;

-- name: expire_rollups
-- A day goes when all of it is older.
DELETE FROM usage_rollups AS u WHERE u.ctid = ANY(ARRAY(
    SELECT ctid FROM usage_rollups
    WHERE organization_id = %(organization_id)s AND day < (%(cutoff)s::timestamptz AT TIME ZONE 'UTC')::date
    LIMIT %(limit)s
)) RETURNING pg_column_size(u);

-- name: count_rollups
SELECT count(*), coalesce(sum(pg_column_size(u)), 0) FROM usage_rollups AS u
WHERE organization_id = %(organization_id)s AND day < (%(cutoff)s::timestamptz AT TIME ZONE 'UTC')::date;

-- name: expire_registry
-- Response ids whose calls are gone: an edge partition may keep a call whose own time is older.
DELETE FROM call_registry AS r WHERE r.ctid = ANY(ARRAY(
    SELECT g.ctid FROM call_registry AS g
    JOIN unnest(%(ids)s::text[], %(cutoffs)s::timestamptz[]) AS p (id, cutoff) ON p.id = g.organization_id
    WHERE g."timestamp" < %(latest)s AND g."timestamp" < p.cutoff AND NOT EXISTS (
        SELECT FROM model_cost_logs AS m
        WHERE m.organization_id = g.organization_id AND m."timestamp" = g."timestamp" AND m.trace_id = g.trace_id
            AND m.event_id = g.event_id
    )
    LIMIT %(limit)s
));

-- name: expire_reports
DELETE FROM call_reports AS r WHERE r.ctid = ANY(ARRAY(
    SELECT g.ctid FROM call_reports AS g
    JOIN unnest(%(ids)s::text[], %(cutoffs)s::timestamptz[]) AS p (id, cutoff) ON p.id = g.organization_id
    WHERE g."timestamp" < %(latest)s AND g."timestamp" < p.cutoff AND NOT EXISTS (
        SELECT FROM event_logs AS e
        WHERE e.organization_id = g.organization_id AND e."timestamp" = g."timestamp" AND e.trace_id = g.trace_id
            AND e.event_id = g.event_id
    )
    LIMIT %(limit)s
));

-- name: unswept
-- Until an hour after a deletion a writer may have been about to commit.
SELECT organization_id, workspace_id, user_id FROM deleted_tenants
WHERE swept_at IS NULL OR swept_at < deleted_at + interval '1 hour'
ORDER BY organization_id, workspace_id, user_id;

-- name: swept
UPDATE deleted_tenants SET swept_at = %(now)s
WHERE organization_id = %(organization_id)s AND workspace_id = %(workspace_id)s AND user_id = %(user_id)s;

-- name: quarantine_of_nobody
DELETE FROM quarantine AS q
WHERE NOT EXISTS (SELECT FROM organizations AS o WHERE o.id = q.organization_id)
    AND EXISTS (SELECT FROM deleted_tenants AS d WHERE d.organization_id = q.organization_id AND d.workspace_id = ''
        AND d.user_id = '');

-- name: finish_organization
-- Its rows are gone; the trigger takes what is left beside them.
DELETE FROM organizations WHERE id = %(organization_id)s;

-- name: primary_key
SELECT i.indexrelid::regclass::text FROM pg_index AS i
WHERE i.indrelid = %(partition)s::text::regclass AND i.indisprimary;
