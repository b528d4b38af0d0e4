-- name: retention_runs
SELECT r.ran_at, r.id, r.run_id, r.table_name, r.action, r.cutoff, r.rows, r.bytes, r.duration_ms
FROM retention_runs AS r
WHERE r.organization_id = %(organization_id)s AND r.ran_at >= %(since)s AND r.ran_at < %(until)s
    AND (%(after_time)s::timestamptz IS NULL OR (r.ran_at, r.id) < (%(after_time)s::timestamptz, %(after_id)s::bigint))
ORDER BY r.ran_at DESC, r.id DESC
LIMIT %(limit)s + 1;

-- name: quarantine
SELECT q.received_at, q.id, q.workspace_id, q.signal, q.reason, q.detail,
    coalesce(octet_length(q.payload), octet_length(q.payload_encrypted), 0) AS bytes, q.sha256, q.replayed_at
FROM quarantine AS q
WHERE q.organization_id = %(organization_id)s AND q.received_at >= %(since)s AND q.received_at < %(until)s
    AND (%(workspace_id)s::text IS NULL OR q.workspace_id = %(workspace_id)s)
    AND (%(after_time)s::timestamptz IS NULL
        OR (q.received_at, q.id) < (%(after_time)s::timestamptz, %(after_id)s::bigint))
ORDER BY q.received_at DESC, q.id DESC
LIMIT %(limit)s + 1;
