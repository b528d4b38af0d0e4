-- name: organization_seen
SELECT id, plan, retention_days, legal_hold, created_at, content, max_spans_per_second, max_bytes_per_second,
    max_bytes_per_day, max_stored_bytes
FROM organizations
WHERE id = %(organization_id)s;

-- name: workspaces_seen
SELECT id, created_at, content FROM workspaces
WHERE organization_id = %(organization_id)s AND (%(after)s::text IS NULL OR id > %(after)s)
ORDER BY id
LIMIT %(limit)s + 1;

-- name: users_seen
SELECT id, created_at FROM users
WHERE organization_id = %(organization_id)s AND (%(after)s::text IS NULL OR id > %(after)s)
ORDER BY id
LIMIT %(limit)s + 1;
