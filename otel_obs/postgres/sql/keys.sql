-- name: is_deleted
SELECT EXISTS (
    SELECT FROM deleted_tenants
    WHERE organization_id = %(organization_id)s AND workspace_id IN ('', %(workspace_id)s) AND user_id = ''
);

-- name: register_organization
INSERT INTO organizations (id) VALUES (%(organization_id)s) ON CONFLICT (id) DO NOTHING;

-- name: register_workspace
INSERT INTO workspaces (organization_id, id) VALUES (%(organization_id)s, %(workspace_id)s)
ON CONFLICT (organization_id, id) DO NOTHING;

-- name: create_key
INSERT INTO api_keys (id, hash, organization_id, workspace_id, is_bound, scopes, name, created_at, created_by,
    expires_at, is_operator)
VALUES (%(id)s, %(hash)s, %(organization_id)s, %(workspace_id)s, %(workspace_id)s::text IS NOT NULL, %(scopes)s,
    %(name)s, %(created_at)s, %(created_by)s, %(expires_at)s, %(is_operator)s);

-- name: find_keys
-- What decides about requests; ids that are not there have no row.
SELECT id, hash, organization_id, workspace_id, is_bound, scopes, expires_at, revoked_at, is_operator
FROM api_keys
WHERE id = ANY(%(ids)s::text[]);

-- name: list_keys
SELECT id, organization_id, workspace_id, is_bound, scopes, name, created_at, created_by, expires_at, revoked_at,
    last_used_at, is_operator
FROM api_keys
WHERE (%(id)s::text IS NULL OR id = %(id)s)
  AND (%(organization_id)s::text IS NULL OR organization_id = %(organization_id)s)
  AND (%(after_created_at)s::timestamptz IS NULL OR (created_at, id) > (%(after_created_at)s, %(after_id)s))
ORDER BY created_at, id
LIMIT %(limit)s;

-- name: revoke_key
UPDATE api_keys SET revoked_at = %(now)s WHERE id = %(id)s AND revoked_at IS NULL;

-- name: touch_keys
-- Several gateways do this: whoever finds a row locked leaves it to the one that is writing it.
WITH used AS (
    SELECT * FROM unnest(%(ids)s::text[], %(used_at)s::timestamptz[]) AS u (id, used_at)
), due AS (
    SELECT k.id, u.used_at
    FROM api_keys AS k JOIN used AS u USING (id)
    WHERE k.last_used_at IS NULL OR k.last_used_at <= u.used_at - interval '1 minute'
    FOR NO KEY UPDATE OF k SKIP LOCKED
)
UPDATE api_keys AS k SET last_used_at = due.used_at FROM due WHERE k.id = due.id;
