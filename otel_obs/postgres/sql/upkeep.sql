-- name: organization_ids
-- Those that there are, the one with the newest first.
SELECT id FROM organizations ORDER BY created_at DESC, id LIMIT 200;

-- name: workspace_ids
SELECT id FROM workspaces
WHERE organization_id = %(organization_id)s AND (%(workspace_id)s::text IS NULL OR id = %(workspace_id)s)
ORDER BY id
LIMIT 200;

-- name: quarantined
-- What was refused, the newest first.
SELECT id, received_at, workspace_id, signal, reason, detail, octet_length(payload) AS bytes, replayed_at
FROM quarantine
WHERE organization_id = %(organization_id)s AND received_at >= %(since)s AND received_at < %(until)s
    AND (%(workspace_id)s::text IS NULL OR workspace_id = %(workspace_id)s)
    AND (%(after_time)s::timestamptz IS NULL OR (received_at, id) < (%(after_time)s, %(after_id)s::bigint))
ORDER BY received_at DESC, id DESC
LIMIT %(limit)s + 1;

-- name: quarantine_reasons
SELECT reason, count(*) AS count, count(*) FILTER (WHERE replayed_at IS NOT NULL) AS replayed,
    max(received_at) AS last_at
FROM quarantine
WHERE organization_id = %(organization_id)s AND received_at >= %(since)s AND received_at < %(until)s
    AND (%(workspace_id)s::text IS NULL OR workspace_id = %(workspace_id)s)
GROUP BY reason
ORDER BY count(*) DESC, reason;

-- name: retention_runs
-- What was deleted of an organization by age, the newest first; runs that deleted nothing are summed up elsewhere.
SELECT run_id, ran_at, table_name, action, cutoff, rows, bytes, duration_ms
FROM retention_runs
WHERE organization_id = %(organization_id)s
ORDER BY ran_at DESC, rows DESC, id DESC
LIMIT %(limit)s;

-- name: jobs
SELECT job, last_run_at, last_success_at, last_error FROM maintenance_jobs ORDER BY job;
