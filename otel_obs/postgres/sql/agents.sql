-- name: has_undescribed
-- Whether runs of the period were written before they told their environment: those have to be asked for one by one,
-- and a plan that may have to do so is a bad one for all.
SELECT EXISTS (
    SELECT FROM agent_trace_history
    WHERE organization_id = %(organization_id)s AND "timestamp" >= %(since)s AND "timestamp" < %(until)s
        AND environment IS NULL
);

-- name: agents
-- Agents with what they cost: own calls only, so that agents sum to the total. By their ids, or those with most first.
-- Latencies are sorted agent by agent: percentiles beside the sums would have all runs sorted, on disk, and so would a
-- name that is the newest.
WITH found AS NOT MATERIALIZED (
    SELECT a.*
    FROM agent_trace_history AS a
    WHERE a.organization_id = %(organization_id)s AND a."timestamp" >= %(since)s AND a."timestamp" < %(until)s
        AND a.agent_id IS NOT NULL
        AND (%(workspace_id)s::text IS NULL OR a.workspace_id = %(workspace_id)s)
        AND (%(user_id)s::text IS NULL OR a.user_id = %(user_id)s)
        AND (%(flow_id)s::text IS NULL OR a.flow_id = %(flow_id)s)
        AND (%(agent_id)s::text IS NULL OR a.agent_id = %(agent_id)s)
        AND (%(environment)s::text IS NULL OR a.environment = %(environment)s
            OR (%(has_undescribed)s AND a.environment IS NULL AND (
                SELECT e.environment FROM event_logs AS e
                WHERE e.organization_id = a.organization_id AND e.trace_id = a.trace_id AND e.event_id = a.event_id
                    AND e."timestamp" = a."timestamp" AND e."timestamp" >= %(since)s AND e."timestamp" < %(until)s
            ) = %(environment)s))
        AND (%(after_agent)s::text IS NULL OR a.agent_id > %(after_agent)s)
), sums AS (
    SELECT agent_id, count(*) AS runs, count(*) FILTER (WHERE status = 'error') AS failed,
        array_agg(latency_ms) AS latencies, sum(input_tokens)::bigint AS input_tokens,
        sum(output_tokens)::bigint AS output_tokens, sum(cost_cents) AS cost_cents, max("timestamp") AS last_run_at
    FROM found
    GROUP BY agent_id
)
SELECT s.agent_id, (
        SELECT f.agent_name FROM found AS f
        WHERE f.agent_id = s.agent_id AND f.agent_name IS NOT NULL
        ORDER BY f."timestamp" DESC
        LIMIT 1
    ) AS agent_name, s.runs, s.failed, (
        SELECT percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY latency_ms)
        FROM unnest(s.latencies) AS latency_ms
    ) AS latency_ms, s.input_tokens, s.output_tokens, s.cost_cents, s.last_run_at
FROM sums AS s
ORDER BY CASE %(most)s::text
        WHEN 'cost' THEN coalesce(s.cost_cents, 0)
        WHEN 'runs' THEN s.runs
        WHEN 'failed' THEN s.failed
        WHEN 'last' THEN extract(epoch FROM s.last_run_at)
    END DESC, s.agent_id
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
    AND (%(environment)s::text IS NULL OR a.environment = %(environment)s
        OR (%(has_undescribed)s AND a.environment IS NULL AND (
            SELECT e.environment FROM event_logs AS e
            WHERE e.organization_id = a.organization_id AND e.trace_id = a.trace_id AND e.event_id = a.event_id
                AND e."timestamp" = a."timestamp" AND e."timestamp" >= %(since)s AND e."timestamp" < %(until)s
        ) = %(environment)s))
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
-- Conversations, the one that went on last first. Those of the page are found one after the other, each by its newest
-- event: so only the events between them are read, and not all of the period in order to sort them. What a conversation
-- came to is told of all of the period, also where it is looked for in a part of it.
WITH RECURSIVE said AS NOT MATERIALIZED (
    SELECT e.conversation_id, e."timestamp", e.trace_id, e.status, e.user_id, e.agent_id
    FROM event_logs AS e
    WHERE e.organization_id = %(organization_id)s AND e."timestamp" >= %(period_since)s AND e."timestamp" < %(period_until)s
        AND e.conversation_id IS NOT NULL
        AND (%(workspace_id)s::text IS NULL OR e.workspace_id = %(workspace_id)s)
        AND (%(user_id)s::text IS NULL OR e.user_id = %(user_id)s)
        AND (%(environment)s::text IS NULL OR e.environment = %(environment)s)
        AND (%(agent_id)s::text IS NULL OR e.agent_id = %(agent_id)s)
        AND (%(conversation_id)s::text IS NULL OR e.conversation_id = %(conversation_id)s)
), listed AS (
    SELECT 0 AS number, NULL::text AS conversation_id, coalesce(%(after_time)s::timestamptz, %(until)s) AS last_at,
        ARRAY[]::text[] AS seen
    UNION ALL
    SELECT l.number + 1, n.conversation_id, n."timestamp", l.seen || n.conversation_id
    FROM listed AS l
    CROSS JOIN LATERAL (
        SELECT s.conversation_id, s."timestamp"
        FROM said AS s
        WHERE s."timestamp" >= %(since)s AND s."timestamp" <= l.last_at AND s.conversation_id <> ALL (l.seen)
            -- The pages before showed those that went on later.
            AND (%(after_time)s::timestamptz IS NULL OR (
                (s."timestamp", s.conversation_id) < (%(after_time)s::timestamptz, %(after_conversation)s::text)
                AND NOT EXISTS (
                    SELECT FROM said AS later
                    WHERE later.conversation_id = s.conversation_id AND later."timestamp" >= %(after_time)s
                        AND (later."timestamp", later.conversation_id)
                            >= (%(after_time)s::timestamptz, %(after_conversation)s::text))))
        ORDER BY s."timestamp" DESC, s.conversation_id DESC
        LIMIT 1
    ) AS n
    WHERE l.number <= %(limit)s
), page AS (
    SELECT s.conversation_id, min(s."timestamp") AS started_at, max(s."timestamp") AS last_at,
        count(DISTINCT s.trace_id) AS traces, count(*) FILTER (WHERE s.status = 'error') AS errors,
        min(s.user_id) AS user_id, count(DISTINCT s.user_id) AS users,
        array_agg(DISTINCT s.agent_id) FILTER (WHERE s.agent_id IS NOT NULL) AS agents,
        array_agg(DISTINCT s.trace_id) AS trace_ids
    FROM said AS s
    WHERE s.conversation_id = ANY (ARRAY(SELECT conversation_id FROM listed WHERE number > 0))
    GROUP BY s.conversation_id
)
SELECT p.conversation_id, p.started_at, p.last_at, p.traces, p.errors, p.user_id, p.users, p.agents, c.calls,
    c.input_tokens, c.output_tokens, c.cost_cents, c.unpriced_calls
FROM page AS p
CROSS JOIN LATERAL (
    SELECT count(*) AS calls, sum(m.input_tokens)::bigint AS input_tokens,
        sum(m.output_tokens)::bigint AS output_tokens, sum(m.cost_usd) AS cost_cents,
        count(*) FILTER (WHERE m.cost_usd IS NULL) AS unpriced_calls
    FROM model_cost_logs AS m
    WHERE m.organization_id = %(organization_id)s AND m."timestamp" >= %(period_since)s AND m."timestamp" < %(period_until)s
        AND m.trace_id = ANY (p.trace_ids) AND m.conversation_id = p.conversation_id
        AND (%(workspace_id)s::text IS NULL OR m.workspace_id = %(workspace_id)s)
) AS c
ORDER BY p.last_at DESC, p.conversation_id DESC;
