-- name: agents
-- Agents by what they cost: own calls only, so that agents sum to the total.
SELECT a.agent_id, (array_agg(a.agent_name ORDER BY a."timestamp" DESC) FILTER (WHERE a.agent_name IS NOT NULL))[1] AS agent_name,
    count(*) AS runs, count(*) FILTER (WHERE a.status = 'error') AS failed,
    percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY a.latency_ms) AS latency_ms,
    sum(a.input_tokens)::bigint AS input_tokens, sum(a.output_tokens)::bigint AS output_tokens,
    sum(a.cost_cents) AS cost_cents, max(a."timestamp") AS last_run_at
FROM agent_trace_history AS a
WHERE a.organization_id = %(organization_id)s AND a."timestamp" >= %(since)s AND a."timestamp" < %(until)s
    AND a.agent_id IS NOT NULL
    AND (%(workspace_id)s::text IS NULL OR a.workspace_id = %(workspace_id)s)
    AND (%(user_id)s::text IS NULL OR a.user_id = %(user_id)s)
    AND (%(flow_id)s::text IS NULL OR a.flow_id = %(flow_id)s)
    AND (%(environment)s::text IS NULL OR EXISTS (
        SELECT FROM event_logs AS e
        WHERE e.organization_id = a.organization_id AND e.trace_id = a.trace_id AND e.event_id = a.event_id
            AND e."timestamp" = a."timestamp" AND e.environment = %(environment)s))
    AND (%(after_agent)s::text IS NULL OR a.agent_id > %(after_agent)s)
GROUP BY a.agent_id
ORDER BY a.agent_id
LIMIT %(limit)s + 1;

-- name: runs_of_agent
SELECT a."timestamp" AS started_at, a.trace_id, a.span_id, a.event_id, a.agent_name, a.status, a.latency_ms,
    a.workspace_id, a.user_id, a.flow_id, a.run_id, a.conversation_id, a.input_tokens, a.output_tokens, a.cost_cents,
    jsonb_array_length(a.execution_nodes) AS nodes
FROM agent_trace_history AS a
WHERE a.organization_id = %(organization_id)s AND a."timestamp" >= %(since)s AND a."timestamp" < %(until)s
    AND a.agent_id = %(agent_id)s
    AND (%(workspace_id)s::text IS NULL OR a.workspace_id = %(workspace_id)s)
    AND (%(user_id)s::text IS NULL OR a.user_id = %(user_id)s)
    AND (%(status)s::text IS NULL OR a.status = %(status)s)
    AND (%(environment)s::text IS NULL OR EXISTS (
        SELECT FROM event_logs AS e
        WHERE e.organization_id = a.organization_id AND e.trace_id = a.trace_id AND e.event_id = a.event_id
            AND e."timestamp" = a."timestamp" AND e.environment = %(environment)s))
    AND (%(after_time)s::timestamptz IS NULL
        OR (a."timestamp", a.trace_id, a.event_id)
            < (%(after_time)s::timestamptz, %(after_trace)s::text, %(after_event)s::text))
ORDER BY a."timestamp" DESC, a.trace_id DESC, a.event_id DESC
LIMIT %(limit)s + 1;

-- name: agent_exists
SELECT EXISTS (
    SELECT FROM agent_trace_history WHERE organization_id = %(organization_id)s AND agent_id = %(agent_id)s
);

-- name: conversations
-- Conversations, the one that went on last first.
WITH said AS (
    SELECT e.conversation_id, min(e."timestamp") AS started_at, max(e."timestamp") AS last_at,
        count(DISTINCT e.trace_id) AS traces, count(*) FILTER (WHERE e.status = 'error') AS errors,
        min(e.user_id) AS user_id, count(DISTINCT e.user_id) AS users,
        array_agg(DISTINCT e.agent_id) FILTER (WHERE e.agent_id IS NOT NULL) AS agents
    FROM event_logs AS e
    WHERE e.organization_id = %(organization_id)s AND e."timestamp" >= %(since)s AND e."timestamp" < %(until)s
        AND e.conversation_id IS NOT NULL
        AND (%(workspace_id)s::text IS NULL OR e.workspace_id = %(workspace_id)s)
        AND (%(user_id)s::text IS NULL OR e.user_id = %(user_id)s)
        AND (%(environment)s::text IS NULL OR e.environment = %(environment)s)
        AND (%(agent_id)s::text IS NULL OR e.agent_id = %(agent_id)s)
        AND (%(conversation_id)s::text IS NULL OR e.conversation_id = %(conversation_id)s)
    GROUP BY e.conversation_id
), page AS (
    SELECT * FROM said
    WHERE %(after_time)s::timestamptz IS NULL
        OR (last_at, conversation_id) < (%(after_time)s::timestamptz, %(after_conversation)s::text)
    ORDER BY last_at DESC, conversation_id DESC
    LIMIT %(limit)s + 1
)
SELECT p.conversation_id, p.started_at, p.last_at, p.traces, p.errors, p.user_id, p.users, p.agents,
    coalesce(c.calls, 0) AS calls, c.input_tokens, c.output_tokens, c.cost_cents,
    coalesce(c.unpriced_calls, 0) AS unpriced_calls
FROM page AS p
LEFT JOIN (
    SELECT m.conversation_id, count(*) AS calls, sum(m.input_tokens)::bigint AS input_tokens,
        sum(m.output_tokens)::bigint AS output_tokens, sum(m.cost_usd) AS cost_cents,
        count(*) FILTER (WHERE m.cost_usd IS NULL) AS unpriced_calls
    FROM model_cost_logs AS m
    WHERE m.organization_id = %(organization_id)s AND m."timestamp" >= %(since)s AND m."timestamp" < %(until)s
        AND m.conversation_id IN (SELECT conversation_id FROM page)
        AND (%(workspace_id)s::text IS NULL OR m.workspace_id = %(workspace_id)s)
    GROUP BY m.conversation_id
) AS c USING (conversation_id)
ORDER BY p.last_at DESC, p.conversation_id DESC;
