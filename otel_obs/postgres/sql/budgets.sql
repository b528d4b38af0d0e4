-- name: budgets
-- Budgets by organization and id, those behind a pair of them.
SELECT organization_id, id, workspace_id, user_id, agent_id, model_name, period, amount_cents, thresholds, flag_name,
    flag_enabled, version, updated_at
FROM budgets
WHERE (%(organization_id)s::text IS NULL OR organization_id = %(organization_id)s)
    AND (%(id)s::text IS NULL OR id = %(id)s)
    AND (%(workspace_id)s::text IS NULL OR workspace_id = %(workspace_id)s)
    AND (%(user_id)s::text IS NULL OR user_id = %(user_id)s)
    AND (%(agent_id)s::text IS NULL OR agent_id = %(agent_id)s)
    AND (%(model)s::text IS NULL OR model_name = %(model)s)
    AND (%(after)s::text[] IS NULL OR (organization_id, id) > ((%(after)s::text[])[1], (%(after)s::text[])[2]))
ORDER BY organization_id, id
LIMIT %(limit)s;

-- name: spending
-- What was spent since a midnight by each of some budgets' subjects: days from roll-ups where those tell all (they know
-- no users), the others from rows, in one snapshot. All budgets name what "by" says, so that an index finds it.
SELECT b.number, coalesce(rolled.cost_cents, 0) + coalesce(fresh.cost_cents, 0) AS spent_cents,
    coalesce(rolled.calls, 0) + coalesce(fresh.calls, 0) AS calls,
    coalesce(rolled.unpriced_calls, 0) + coalesce(fresh.unpriced_calls, 0) AS unpriced_calls,
    coalesce(rolled.estimated_calls, 0) + coalesce(fresh.estimated_calls, 0) AS estimated_calls
FROM unnest(%(organization_ids)s::text[], %(workspace_ids)s::text[], %(user_ids)s::text[], %(agent_ids)s::text[],
        %(model_names)s::text[], %(starts)s::timestamptz[], %(ends)s::timestamptz[])
    WITH ORDINALITY AS b (organization_id, workspace_id, user_id, agent_id, model_name, starts, ends, number)
LEFT JOIN organizations AS o ON o.id = b.organization_id
CROSS JOIN LATERAL (
    SELECT sum(r.cost_cents) AS cost_cents, sum(r.calls)::bigint AS calls,
        sum(r.unpriced_calls)::bigint AS unpriced_calls, sum(r.estimated_calls)::bigint AS estimated_calls
    FROM usage_rollups AS r
    WHERE r.organization_id = b.organization_id AND %(by)s::text <> 'user' AND r.hour IS NULL
        AND r.day >= (b.starts AT TIME ZONE 'UTC')::date AND r.day < (b.ends AT TIME ZONE 'UTC')::date
        AND r.day <= o.rolled_through
        AND (%(by)s::text <> 'workspace' OR r.workspace_id = b.workspace_id)
        AND (%(by)s::text <> 'agent' OR r.agent_id = b.agent_id)
        AND (%(by)s::text <> 'model' OR r.model_name = b.model_name)
        AND (b.workspace_id IS NULL OR r.workspace_id = b.workspace_id)
        AND (b.agent_id IS NULL OR r.agent_id = b.agent_id)
        AND (b.model_name IS NULL OR r.model_name = b.model_name)
        AND NOT EXISTS (SELECT FROM touched_days AS t WHERE t.organization_id = r.organization_id AND t.day = r.day)
) AS rolled
CROSS JOIN LATERAL (
    SELECT sum(m.cost_usd) AS cost_cents, count(*) AS calls,
        count(*) FILTER (WHERE m.cost_usd IS NULL) AS unpriced_calls,
        count(*) FILTER (WHERE m.cost_source = 'estimated' OR m.usage_source = 'estimated') AS estimated_calls
    FROM generate_series(b.starts, b.ends - interval '1 day', interval '1 day') AS day (starts)
    CROSS JOIN LATERAL (
        SELECT c.cost_usd, c.cost_source, c.usage_source FROM model_cost_logs AS c
        WHERE c.organization_id = b.organization_id
            AND c."timestamp" >= day.starts AND c."timestamp" < day.starts + interval '1 day'
            AND c."timestamp" >= %(first)s::timestamptz AND c."timestamp" < %(last)s::timestamptz -- known when it is planned
            AND (%(by)s::text <> 'user' OR c.user_id = b.user_id)
            AND (%(by)s::text <> 'workspace' OR c.workspace_id = b.workspace_id)
            AND (%(by)s::text <> 'agent' OR c.agent_id = b.agent_id)
            AND (%(by)s::text <> 'model' OR c.model_name = b.model_name)
            AND (b.workspace_id IS NULL OR c.workspace_id = b.workspace_id)
            AND (b.agent_id IS NULL OR c.agent_id = b.agent_id)
            AND (b.model_name IS NULL OR c.model_name = b.model_name)
        OFFSET 0 -- asked for each day: as a join, all weeks may be read for the calls of one day
    ) AS m
    WHERE %(by)s::text = 'user' OR o.rolled_through IS NULL OR (day.starts AT TIME ZONE 'UTC')::date > o.rolled_through
        OR EXISTS (SELECT FROM touched_days AS t WHERE t.organization_id = b.organization_id
            AND t.day = (day.starts AT TIME ZONE 'UTC')::date)
) AS fresh
ORDER BY b.number;

-- name: alerts
-- Alerts, the newest first.
SELECT a.at, a.id, a.budget_id, a.workspace_id, a.period_starts, a.percent, a.state, a.amount_cents, a.spent_cents,
    a.unpriced_calls, a.estimated_calls, a.action_error, a.delivered_at, a.attempts, a.next_attempt_at, a.last_error
FROM budget_alerts AS a
WHERE a.organization_id = %(organization_id)s AND a.at >= %(since)s AND a.at < %(until)s
    AND (%(workspace_id)s::text IS NULL OR a.workspace_id = %(workspace_id)s)
    AND (%(budget_id)s::text IS NULL OR a.budget_id = %(budget_id)s)
    AND (%(after_time)s::timestamptz IS NULL OR (a.at, a.id) < (%(after_time)s::timestamptz, %(after_id)s::text))
ORDER BY a.at DESC, a.id DESC
LIMIT %(limit)s + 1;
