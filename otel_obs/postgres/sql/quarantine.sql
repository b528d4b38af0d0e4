-- name: page
-- Entries by number, after one; without their payloads.
SELECT id, organization_id, workspace_id, received_at, signal, reason, detail, format,
    coalesce(octet_length(payload), octet_length(payload_encrypted), 0), sha256, replayed_at
FROM quarantine
WHERE id > %(after)s
    AND (%(organization_id)s::text IS NULL OR organization_id = %(organization_id)s)
    AND (%(reason)s::text IS NULL OR reason = %(reason)s)
    AND (%(pending)s::boolean IS NOT TRUE OR replayed_at IS NULL)
ORDER BY id
LIMIT %(row_limit)s;

-- name: pending
-- Entries that have not been taken in, with what they hold; large ones, so few at a time.
SELECT id, organization_id, workspace_id, received_at, signal, reason, detail, format, payload, payload_encrypted, sha256
FROM quarantine
WHERE id > %(after)s AND replayed_at IS NULL
    AND (%(organization_id)s::text IS NULL OR organization_id = %(organization_id)s)
    AND (%(reason)s::text IS NULL OR reason = %(reason)s)
    AND (%(ids)s::bigint[] IS NULL OR id = ANY (%(ids)s::bigint[]))
ORDER BY id
LIMIT %(row_limit)s;

-- name: replayed
-- Note that an entry was taken in; what was noted before stays.
UPDATE quarantine SET replayed_at = %(now)s WHERE id = %(id)s AND replayed_at IS NULL;
