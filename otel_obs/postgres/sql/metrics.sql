-- name: executions
-- Executions by period: workflows, and agents that are part of no other execution.
SELECT date_trunc(%(step)s, e."timestamp", 'UTC') AS starts, grouping(date_trunc(%(step)s, e."timestamp", 'UTC')) AS is_total,
    count(*) AS executions,
    count(*) FILTER (WHERE e.status = 'error') AS failed,
    percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY e.latency_ms) AS latency_ms
FROM event_logs AS e
WHERE e.organization_id = %(organization_id)s AND e."timestamp" >= %(since)s AND e."timestamp" < %(until)s
    AND e.event_type IN ('workflow', 'agent') AND (e.event_type = 'workflow' OR e.inherited & 128 = 0)
    AND (%(workspace_id)s::text IS NULL OR e.workspace_id = %(workspace_id)s)
    AND (%(user_id)s::text IS NULL OR e.user_id = %(user_id)s)
    AND (%(environment)s::text IS NULL OR e.environment = %(environment)s)
    AND (%(agent_id)s::text IS NULL OR e.agent_id = %(agent_id)s)
    AND (%(flow_id)s::text IS NULL OR e.flow_id = %(flow_id)s)
    AND (%(conversation_id)s::text IS NULL OR e.conversation_id = %(conversation_id)s)
GROUP BY GROUPING SETS ((date_trunc(%(step)s, e."timestamp", 'UTC')), ())
ORDER BY is_total, starts;

-- name: calls
-- Calls to models by period, with what they cost.
SELECT date_trunc(%(step)s, m."timestamp", 'UTC') AS starts, grouping(date_trunc(%(step)s, m."timestamp", 'UTC')) AS is_total,
    count(*) AS calls,
    count(*) FILTER (WHERE m.status = 'error') AS failed_calls,
    sum(m.input_tokens)::bigint AS input_tokens,
    sum(m.cache_read_tokens)::bigint AS cache_read_tokens,
    sum(m.output_tokens)::bigint AS output_tokens,
    sum(m.cost_usd) AS cost_cents,
    count(*) FILTER (WHERE m.cost_usd IS NULL) AS unpriced_calls,
    count(*) FILTER (WHERE m.cost_source = 'estimated' OR m.usage_source = 'estimated') AS estimated_calls
FROM model_cost_logs AS m
WHERE m.organization_id = %(organization_id)s AND m."timestamp" >= %(since)s AND m."timestamp" < %(until)s
    AND (%(workspace_id)s::text IS NULL OR m.workspace_id = %(workspace_id)s)
    AND (%(user_id)s::text IS NULL OR m.user_id = %(user_id)s)
    AND (%(agent_id)s::text IS NULL OR m.agent_id = %(agent_id)s)
    AND (%(flow_id)s::text IS NULL OR m.flow_id = %(flow_id)s)
    AND (%(conversation_id)s::text IS NULL OR m.conversation_id = %(conversation_id)s)
    AND (%(environment)s::text IS NULL OR EXISTS (
        SELECT FROM event_logs AS e
        WHERE e.organization_id = m.organization_id AND e.trace_id = m.trace_id AND e.event_id = m.event_id
            AND e."timestamp" = m."timestamp" AND e.environment = %(environment)s
    ))
GROUP BY GROUPING SETS ((date_trunc(%(step)s, m."timestamp", 'UTC')), ())
ORDER BY is_total, starts;
