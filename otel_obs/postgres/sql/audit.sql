-- name: lock_chain
-- One writer at a time, so that each row follows the one before it.
SELECT pg_advisory_xact_lock(hashtext('otel_obs.audit_log'));

-- name: last_entry
SELECT id, hash FROM audit_log ORDER BY id DESC LIMIT 1;

-- name: append
INSERT INTO audit_log (id, at, actor, organization_id, action, subject, before, after, why, previous_hash, hash)
VALUES (%(id)s, %(at)s, %(actor)s, %(organization_id)s, %(action)s, %(subject)s, %(before)s, %(after)s, %(why)s,
    %(previous_hash)s, %(hash)s);

-- name: entries
SELECT id, at, actor, organization_id, action, subject, before, after, why, previous_hash, hash
FROM audit_log
ORDER BY id;
