-- name: touch_days
INSERT INTO touched_days (organization_id, day)
SELECT organization_id, day FROM unnest(%(organization_ids)s::text[], %(days)s::date[]) AS new (organization_id, day);

-- name: days_of_rows
-- Days of an organization that usage_rollups does not tell the truth about (yet).
SELECT o.rolled_through, ARRAY(
    SELECT DISTINCT t.day FROM touched_days AS t
    WHERE t.organization_id = o.id AND t.day <= o.rolled_through
    ORDER BY t.day
)
FROM organizations AS o
WHERE o.id = %(organization_id)s;

-- name: undescribed_days
-- Days whose roll-ups do not tell environments: programs that did not know them have made these.
SELECT DISTINCT day FROM usage_rollups
WHERE organization_id = %(organization_id)s AND day >= %(first)s::date AND day < %(last)s::date AND environment IS NULL;

-- name: next_undescribed
-- The next of them, behind a pair of organization and day, of which no row is gone by age.
SELECT u.organization_id, u.day
FROM usage_rollups AS u
LEFT JOIN expired_rows AS e ON e.organization_id = u.organization_id
WHERE u.environment IS NULL AND (u.organization_id, u.day) > (%(organization_id)s::text, %(day)s::date)
    AND (e.before IS NULL OR e.before <= u.day::timestamp AT TIME ZONE 'UTC')
ORDER BY u.organization_id, u.day
LIMIT 1;

-- name: close_days
-- Note the days that are over since the last run, for whoever has calls in them, and that they are noted.
WITH behind AS (
    SELECT id, rolled_through FROM organizations WHERE rolled_through < %(last)s::date FOR NO KEY UPDATE
), noted AS (
    INSERT INTO touched_days (organization_id, day)
    SELECT DISTINCT b.id, (m."timestamp" AT TIME ZONE 'UTC')::date
    FROM model_cost_logs AS m
    JOIN behind AS b ON b.id = m.organization_id
    WHERE m."timestamp" >= %(since)s AND m."timestamp" < %(until)s
        AND (m."timestamp" AT TIME ZONE 'UTC')::date > b.rolled_through
)
UPDATE organizations AS o SET rolled_through = %(last)s FROM behind AS b WHERE o.id = b.id;

-- name: first_behind
SELECT min(rolled_through) FROM organizations WHERE rolled_through < %(last)s::date;

-- name: count_touched
SELECT count(*) FROM (SELECT DISTINCT organization_id, day FROM touched_days) AS touched;

-- name: next_touched
SELECT organization_id, day FROM touched_days ORDER BY organization_id, day LIMIT 1;

-- name: lock_organization
-- Deleting the organization waits until its roll-up is committed, and so takes it along.
SELECT o.rolled_through, e.before
FROM organizations AS o
LEFT JOIN expired_rows AS e ON e.organization_id = o.id
WHERE o.id = %(organization_id)s
FOR KEY SHARE OF o;

-- name: lock_rollups
-- One at a time computes roll-ups of an organization.
SELECT pg_advisory_xact_lock(hashtext('otel_obs.rollups'), hashtext(%(organization_id)s));

-- name: untouch
-- What is committed with one of these rows is seen by the statements that follow.
DELETE FROM touched_days WHERE organization_id = %(organization_id)s AND day = %(day)s;

-- name: is_rolled
SELECT EXISTS (SELECT FROM usage_rollups WHERE organization_id = %(organization_id)s AND day = %(day)s);

-- name: forget_day
DELETE FROM usage_rollups WHERE organization_id = %(organization_id)s AND day = %(day)s;

-- name: roll_day
-- The day as a whole and each of its hours from one look at its rows.
INSERT INTO usage_rollups (organization_id, workspace_id, day, hour, provider, model_name, agent_id, flow_id, environment,
    calls, calls_with_usage, failed_calls, unpriced_calls, estimated_calls, input_tokens, cache_read_tokens,
    cache_write_tokens, output_tokens, reasoning_tokens, cost_cents)
SELECT m.organization_id, m.workspace_id, %(day)s::date, CASE WHEN grouping(h.hour) = 0 THEN h.hour END, m.provider,
    m.model_name, m.agent_id, m.flow_id, n.environment, count(*),
    count(*) FILTER (WHERE m.input_tokens IS NOT NULL OR m.output_tokens IS NOT NULL),
    count(*) FILTER (WHERE m.status = 'error'),
    count(*) FILTER (WHERE m.cost_usd IS NULL),
    count(*) FILTER (WHERE m.cost_source = 'estimated' OR m.usage_source = 'estimated'),
    sum(m.input_tokens), sum(m.cache_read_tokens), sum(m.cache_write_tokens), sum(m.output_tokens),
    sum(m.reasoning_tokens), sum(m.cost_usd)
FROM model_cost_logs AS m
CROSS JOIN LATERAL (SELECT extract(hour FROM m."timestamp" AT TIME ZONE 'UTC')::smallint AS hour) AS h
CROSS JOIN LATERAL (
    -- Calls that were written before they told it are asked for one by one.
    SELECT coalesce(m.environment, (
        SELECT e.environment FROM event_logs AS e
        WHERE e.organization_id = m.organization_id AND e.trace_id = m.trace_id AND e.event_id = m.event_id
            AND e."timestamp" = m."timestamp" AND e."timestamp" >= %(start)s AND e."timestamp" < %(end)s
    ), '') AS environment
) AS n
WHERE m.organization_id = %(organization_id)s AND m."timestamp" >= %(start)s AND m."timestamp" < %(end)s
GROUP BY GROUPING SETS (
    (m.organization_id, m.workspace_id, m.provider, m.model_name, m.agent_id, m.flow_id, n.environment),
    (m.organization_id, m.workspace_id, m.provider, m.model_name, m.agent_id, m.flow_id, n.environment, h.hour)
)
HAVING grouping(h.hour) = 1 OR %(hours)s;

-- name: forget_hours
DELETE FROM usage_rollups WHERE hour IS NOT NULL AND day < %(before)s;
