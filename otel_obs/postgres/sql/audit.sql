-- name: speak
-- Whoever changes tables that tell of it themselves is named by these, for this transaction.
SELECT set_config('otel_obs.audit_actor', %(actor)s, true), set_config('otel_obs.audit_why', %(why)s, true);

-- name: append
SELECT audit_append(%(actor)s, %(organization_id)s, %(action)s, %(subject)s, %(before)s, %(after)s, %(why)s);

-- name: entries
-- Those of one chain, or of all, in the order of the chains.
SELECT id, at, actor, organization_id, action, subject, before, after, why, previous_hash, format, chain, position,
    before::text, after::text, hash
FROM audit_log
WHERE %(chain)s::text IS NULL OR chain = %(chain)s
ORDER BY chain, position NULLS FIRST, id;

-- name: newest_entries
-- The end of one chain, the newest first.
SELECT id, at, actor, organization_id, action, subject, before, after, why, previous_hash, format, chain, position,
    before::text, after::text, hash
FROM audit_log
WHERE chain = %(chain)s
ORDER BY position DESC NULLS FIRST, id DESC
LIMIT %(limit)s;

-- name: listed
-- What concerns an organization, the newest first; with everyones also what concerns no single one.
SELECT l.id, l.at, l.actor, l.organization_id, l.action, l.subject, l.before, l.after, l.why, l.format, l.chain,
    l.position, l.previous_hash, l.hash
FROM audit_log AS l
WHERE (%(everything)s OR l.organization_id = %(organization_id)s
        OR (%(everyones)s AND l.organization_id IS NULL))
    AND l.at >= %(since)s AND l.at < %(until)s
    AND (%(action)s::text IS NULL OR l.action = %(action)s OR starts_with(l.action, %(action)s || '.'))
    AND (%(actor)s::text IS NULL OR l.actor = %(actor)s)
    AND (%(after_id)s::bigint IS NULL OR l.id < %(after_id)s::bigint)
ORDER BY l.id DESC
LIMIT %(limit)s + 1;

-- name: actions
-- What was done at all, for whoever chooses among it.
SELECT DISTINCT l.action
FROM audit_log AS l
WHERE (l.organization_id = %(organization_id)s OR (%(everyones)s AND l.organization_id IS NULL))
    AND l.at >= %(since)s AND l.at < %(until)s
ORDER BY l.action
LIMIT 200;
