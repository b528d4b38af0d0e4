-- name: open_session
INSERT INTO dashboard_sessions (token_hash, key_id, created_at, expires_at)
VALUES (%(token_hash)s, %(key_id)s, %(now)s, %(expires_at)s);

-- name: session
SELECT key_id, coalesce(used_at, created_at) FROM dashboard_sessions
WHERE token_hash = %(token_hash)s AND expires_at > %(now)s;

-- name: use_session
UPDATE dashboard_sessions SET used_at = %(now)s
WHERE token_hash = %(token_hash)s AND coalesce(used_at, created_at) < %(now)s;

-- name: close_session
DELETE FROM dashboard_sessions AS s USING api_keys AS k
WHERE s.token_hash = %(token_hash)s AND k.id = s.key_id
RETURNING s.key_id, k.organization_id;

-- name: forget_sessions
-- Those that ended by themselves; some at a time, by whoever signs in.
DELETE FROM dashboard_sessions WHERE token_hash = ANY(ARRAY(
    SELECT token_hash FROM dashboard_sessions WHERE expires_at <= %(now)s LIMIT 1000
));
