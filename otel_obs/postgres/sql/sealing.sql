-- name: keys_in_force
-- What these organizations seal with, theirs until the transaction ends: nobody destroys a key that is being used.
SELECT organization_id, id, purpose, wrapped_by, wrapped, messages >= %(most)s OR created_at < now() - %(longest)s AS is_worn
FROM data_keys
WHERE organization_id = ANY(%(organization_ids)s::text[]) AND retired_at IS NULL
FOR KEY SHARE;

-- name: add_keys
-- In one order for all writers; where somebody else was quicker, theirs is in force.
INSERT INTO data_keys (organization_id, id, purpose, wrapped_by, wrapped)
SELECT * FROM unnest(%(organization_ids)s::text[], %(ids)s::text[], %(purposes)s::text[], %(wrapped_by)s::text[],
    %(wrapped)s::bytea[]) AS new (organization_id, id, purpose, wrapped_by, wrapped)
ORDER BY organization_id, purpose
ON CONFLICT DO NOTHING;

-- name: data_key
SELECT wrapped_by, wrapped FROM data_keys WHERE organization_id = %(organization_id)s AND id = %(id)s;

-- name: count_messages
UPDATE data_keys SET messages = messages + %(messages)s WHERE organization_id = %(organization_id)s AND id = %(id)s;

-- name: retire_key
-- From now on it only opens.
UPDATE data_keys SET retired_at = now()
WHERE organization_id = %(organization_id)s AND id = %(id)s AND retired_at IS NULL;

-- name: sealing_organizations
SELECT DISTINCT organization_id FROM data_keys
WHERE %(organization_id)s::text IS NULL OR organization_id = %(organization_id)s
UNION
SELECT id FROM organizations WHERE %(organization_id)s::text IS NULL OR id = %(organization_id)s
ORDER BY organization_id;

-- name: keys_of_organization
SELECT id, purpose, wrapped_by, wrapped, retired_at IS NOT NULL AS is_retired
FROM data_keys WHERE organization_id = %(organization_id)s ORDER BY created_at, id;

-- name: rewrap_key
UPDATE data_keys SET wrapped_by = %(wrapped_by)s, wrapped = %(wrapped)s
WHERE organization_id = %(organization_id)s AND id = %(id)s AND wrapped = %(before)s;

-- name: hold_key
-- Waits for who still seals with it.
SELECT id FROM data_keys
WHERE organization_id = %(organization_id)s AND id = %(id)s AND retired_at IS NOT NULL
FOR UPDATE;

-- name: destroy_key
DELETE FROM data_keys WHERE organization_id = %(organization_id)s AND id = %(id)s;

-- name: shred
DELETE FROM data_keys WHERE organization_id = %(organization_id)s;

-- name: has_keys
SELECT EXISTS (SELECT FROM data_keys WHERE organization_id = %(organization_id)s);

-- name: wrapped_by
-- By which keys data keys are wrapped, and of how many organizations.
SELECT wrapped_by, count(DISTINCT organization_id) FROM data_keys GROUP BY wrapped_by ORDER BY wrapped_by;

-- name: calls_to_blind
-- Calls whose hashes of content anybody could have made.
SELECT "timestamp", trace_id, event_id, prompt_hash, prefix_hashes
FROM model_cost_logs
WHERE organization_id = %(organization_id)s AND (trace_id, event_id) > (%(trace_id)s::text, %(event_id)s::text)
    AND (prompt_hash NOT LIKE 'k%%' OR prefix_hashes[1] NOT LIKE 'k%%')
ORDER BY trace_id, event_id, "timestamp"
LIMIT %(row_limit)s
FOR UPDATE;

-- name: blind_calls
UPDATE model_cost_logs AS t
SET prompt_hash = n.prompt_hash,
    prefix_hashes = ARRAY(SELECT jsonb_array_elements_text(nullif(n.prefix_hashes, 'null'::jsonb)))
FROM unnest(%(timestamps)s::timestamptz[], %(trace_ids)s::text[], %(event_ids)s::text[], %(prompt_hashes)s::text[],
    %(prefix_hashes)s::jsonb[]) AS n ("timestamp", trace_id, event_id, prompt_hash, prefix_hashes)
WHERE t.organization_id = %(organization_id)s AND t."timestamp" = n."timestamp" AND t.trace_id = n.trace_id
    AND t.event_id = n.event_id;

-- name: reports_to_blind
SELECT trace_id, event_id, report
FROM call_reports
WHERE organization_id = %(organization_id)s AND (trace_id, event_id) > (%(trace_id)s::text, %(event_id)s::text)
    AND (report #>> '{row,prompt_hash}' NOT LIKE 'k%%' OR report #>> '{row,prefix_hashes,0}' NOT LIKE 'k%%')
ORDER BY trace_id, event_id
LIMIT %(row_limit)s
FOR UPDATE;

-- name: blind_reports
UPDATE call_reports AS t
SET report = n.report
FROM unnest(%(trace_ids)s::text[], %(event_ids)s::text[], %(reports)s::jsonb[]) AS n (trace_id, event_id, report)
WHERE t.organization_id = %(organization_id)s AND t.trace_id = n.trace_id AND t.event_id = n.event_id;
