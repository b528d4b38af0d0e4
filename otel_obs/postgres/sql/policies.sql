-- name: organization_policies
SELECT id, content, max_spans_per_second, max_bytes_per_second, max_bytes_per_day, max_stored_bytes
FROM organizations
WHERE content IS NOT NULL OR max_spans_per_second IS NOT NULL OR max_bytes_per_second IS NOT NULL
    OR max_bytes_per_day IS NOT NULL OR max_stored_bytes IS NOT NULL;

-- name: workspace_policies
SELECT organization_id, id, content FROM workspaces WHERE content IS NOT NULL;

-- name: add_usage
-- In the order of the key, so that gateways do not wait for each other in a circle; a deleted organization has none.
INSERT INTO tenant_usage AS u (organization_id, day, workspace_id, records, bytes, dropped)
SELECT t.* FROM unnest(%(organization_ids)s::text[], %(days)s::date[], %(workspace_ids)s::text[], %(records)s::bigint[],
    %(bytes)s::bigint[], %(dropped)s::bigint[]) AS t (organization_id, day, workspace_id, records, bytes, dropped)
JOIN organizations AS o ON o.id = t.organization_id
ORDER BY t.organization_id, t.day, t.workspace_id
ON CONFLICT (organization_id, day, workspace_id) DO UPDATE
SET records = u.records + EXCLUDED.records, bytes = u.bytes + EXCLUDED.bytes, dropped = u.dropped + EXCLUDED.dropped;

-- name: usage
-- What an organization sent today, and what its plan still keeps of all that it sent.
SELECT o.id,
    coalesce(sum(u.bytes) FILTER (WHERE u.day = %(today)s), 0)::bigint,
    coalesce(sum(u.dropped) FILTER (WHERE u.day = %(today)s), 0)::bigint,
    coalesce(sum(u.bytes), 0)::bigint
FROM organizations AS o
LEFT JOIN tenant_usage AS u ON u.organization_id = o.id
    AND (o.legal_hold OR plan_days(o.plan, o.retention_days) IS NULL
        OR u.day >= %(today)s::date - plan_days(o.plan, o.retention_days))
WHERE o.id = ANY (%(organization_ids)s)
GROUP BY o.id;

-- name: limits
SELECT max_spans_per_second, max_bytes_per_second, max_bytes_per_day, max_stored_bytes
FROM organizations
WHERE id = %(organization_id)s;
