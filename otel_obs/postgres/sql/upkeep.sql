-- name: organization_ids
-- Those that there are, the one with the newest first.
SELECT id FROM organizations ORDER BY created_at DESC, id LIMIT 200;

-- name: workspace_ids
SELECT id FROM workspaces
WHERE organization_id = %(organization_id)s AND (%(workspace_id)s::text IS NULL OR id = %(workspace_id)s)
ORDER BY id
LIMIT 200;

-- name: quarantine_reasons
SELECT reason, count(*) AS count, count(*) FILTER (WHERE replayed_at IS NOT NULL) AS replayed,
    max(received_at) AS last_at
FROM quarantine
WHERE organization_id = %(organization_id)s AND received_at >= %(since)s AND received_at < %(until)s
    AND (%(workspace_id)s::text IS NULL OR workspace_id = %(workspace_id)s)
GROUP BY reason
ORDER BY count(*) DESC, reason;

-- name: jobs
SELECT job, last_run_at, last_success_at, last_error FROM maintenance_jobs ORDER BY job;
