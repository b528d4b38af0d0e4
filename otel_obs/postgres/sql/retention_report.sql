-- name: kept
SELECT plan, plan_days(plan, retention_days), legal_hold FROM organizations WHERE id = %(organization_id)s;

-- name: changes
SELECT since, plan, days FROM plan_changes WHERE organization_id = %(organization_id)s ORDER BY since DESC, id DESC;

-- name: runs
SELECT run_id, ran_at, table_name, cutoff, rows, bytes, duration_ms FROM retention_runs
WHERE organization_id = %(organization_id)s AND (%(before)s::timestamptz IS NULL OR ran_at < %(before)s)
ORDER BY ran_at DESC, run_id, table_name
LIMIT %(limit)s;
