-- name: newest_trace
-- The trace of the newest root of an organization.
SELECT trace_id
FROM event_logs
WHERE organization_id = %(organization_id)s AND parent_span_id IS NULL AND trace_id <> ''
ORDER BY "timestamp" DESC
LIMIT 1;

-- name: nodes_of_trace
-- Spans of a trace in the order of their start, each with the call that is counted on it.
SELECT e.span_id, e.parent_span_id, e.event_type, coalesce(e.node_name, e.name) AS name, e.status, e.latency_ms,
    e.agent_id, e.cost_state, m.model_name, m.input_tokens, m.cache_read_tokens, m.cache_write_tokens,
    m.output_tokens, m.reasoning_tokens, m.cost_usd AS cost_cents
FROM event_logs AS e
LEFT JOIN model_cost_logs AS m USING (organization_id, "timestamp", trace_id, event_id)
WHERE e.organization_id = %(organization_id)s AND e.trace_id = %(trace_id)s AND e.event_type <> 'log'
ORDER BY e."timestamp", e.latency_ms DESC NULLS LAST, e.event_id;

-- name: checks_of_trace
SELECT guardrail_name, similarity_score, action_taken
FROM prompt_similarity_logs
WHERE organization_id = %(organization_id)s AND trace_id = %(trace_id)s
ORDER BY "timestamp";

-- name: traces_with
-- Traces in which a conversation, a user, an error or an agent occurs, as far as they are few.
SELECT e.trace_id
FROM event_logs AS e
WHERE e.organization_id = %(organization_id)s AND e."timestamp" >= %(since)s
    AND e."timestamp" < %(until)s::timestamptz + interval '7 days'
    AND (%(conversation_id)s::text IS NULL OR e.conversation_id = %(conversation_id)s)
    AND (%(user_id)s::text IS NULL OR e.user_id = %(user_id)s)
    AND (%(error_type)s::text IS NULL OR (e.status = 'error' AND e.error_type = %(error_type)s))
    AND (%(agent_id)s::text IS NULL OR e.agent_id = %(agent_id)s)
LIMIT %(limit)s;

-- name: search_traces
-- Traces, the newest first. The event that stands for each is found by an index; the rest of a trace is read only for
-- those that are shown, unless a filter speaks of what happened inside: within a week, so that few partitions are asked.
WITH page AS (
    SELECT t.*
    FROM event_logs AS t
    WHERE t.organization_id = %(organization_id)s AND t."timestamp" >= %(since)s AND t."timestamp" < %(until)s
        AND t.inherited & 256 <> 0
        AND (%(trace_ids)s::text[] IS NULL OR t.trace_id = ANY(%(trace_ids)s::text[]))
        AND (%(workspace_id)s::text IS NULL OR t.workspace_id = %(workspace_id)s)
        AND (%(environment)s::text IS NULL OR t.environment = %(environment)s)
        AND (%(flow_id)s::text IS NULL OR t.flow_id = %(flow_id)s)
        AND (%(run_id)s::text IS NULL OR t.run_id = %(run_id)s)
        AND (%(min_latency_ms)s::double precision IS NULL OR t.latency_ms >= %(min_latency_ms)s)
        AND (%(user_id)s::text IS NULL OR t.user_id = %(user_id)s OR EXISTS (
            SELECT FROM event_logs AS e
            WHERE e.organization_id = t.organization_id AND e.trace_id = t.trace_id AND e.user_id = %(user_id)s
                AND e."timestamp" >= t."timestamp" - interval '1 day' AND e."timestamp" < t."timestamp" + interval '7 days'))
        AND (%(agent_id)s::text IS NULL OR t.agent_id = %(agent_id)s OR EXISTS (
            SELECT FROM event_logs AS e
            WHERE e.organization_id = t.organization_id AND e.trace_id = t.trace_id AND e.agent_id = %(agent_id)s
                AND e."timestamp" >= t."timestamp" - interval '1 day' AND e."timestamp" < t."timestamp" + interval '7 days'))
        AND (%(conversation_id)s::text IS NULL OR t.conversation_id = %(conversation_id)s OR EXISTS (
            SELECT FROM event_logs AS e
            WHERE e.organization_id = t.organization_id AND e.trace_id = t.trace_id
                AND e.conversation_id = %(conversation_id)s
                AND e."timestamp" >= t."timestamp" - interval '1 day' AND e."timestamp" < t."timestamp" + interval '7 days'))
        AND (%(error_type)s::text IS NULL OR EXISTS (
            SELECT FROM event_logs AS e
            WHERE e.organization_id = t.organization_id AND e.trace_id = t.trace_id
                AND e.status = 'error' AND e.error_type = %(error_type)s
                AND e."timestamp" >= t."timestamp" - interval '1 day' AND e."timestamp" < t."timestamp" + interval '7 days'))
        AND (%(model)s::text IS NULL OR EXISTS (
            SELECT FROM model_cost_logs AS m
            WHERE m.organization_id = t.organization_id AND m.trace_id = t.trace_id
                AND %(model)s IN (m.model_name, m.request_model)
                AND m."timestamp" >= t."timestamp" - interval '1 day' AND m."timestamp" < t."timestamp" + interval '7 days'))
        AND (%(provider)s::text IS NULL OR EXISTS (
            SELECT FROM model_cost_logs AS m
            WHERE m.organization_id = t.organization_id AND m.trace_id = t.trace_id AND m.provider = %(provider)s
                AND m."timestamp" >= t."timestamp" - interval '1 day' AND m."timestamp" < t."timestamp" + interval '7 days'))
        AND (%(pattern)s::text IS NULL OR t.name ILIKE %(pattern)s OR EXISTS (
            SELECT FROM event_logs AS e
            WHERE e.organization_id = t.organization_id AND e.trace_id = t.trace_id
                AND e."timestamp" >= t."timestamp" - interval '1 day' AND e."timestamp" < t."timestamp" + interval '7 days'
                AND (e.name ILIKE %(pattern)s OR e.node_name ILIKE %(pattern)s)
        ) OR EXISTS (
            SELECT FROM span_contents AS s
            WHERE s.organization_id = t.organization_id AND s.trace_id = t.trace_id AND s.body ILIKE %(pattern)s
                AND s."timestamp" >= t."timestamp" - interval '1 day' AND s."timestamp" < t."timestamp" + interval '7 days'))
        AND (%(status)s::text IS NULL OR %(status)s = CASE WHEN t.status = 'error' OR EXISTS (
            SELECT FROM event_logs AS e
            WHERE e.organization_id = t.organization_id AND e.trace_id = t.trace_id AND e.status = 'error'
                AND e."timestamp" >= t."timestamp" - interval '1 day' AND e."timestamp" < t."timestamp" + interval '7 days'
        ) THEN 'error' ELSE t.status END)
        AND (%(min_cost_cents)s::double precision IS NULL OR (
            SELECT sum(m.cost_usd) FROM model_cost_logs AS m
            WHERE m.organization_id = t.organization_id AND m.trace_id = t.trace_id
                AND m."timestamp" >= t."timestamp" - interval '1 day' AND m."timestamp" < t."timestamp" + interval '7 days'
        ) >= %(min_cost_cents)s::numeric)
        AND (%(after_time)s::timestamptz IS NULL
            OR (t."timestamp", t.trace_id) < (%(after_time)s::timestamptz, %(after_trace)s::text))
    ORDER BY t."timestamp" DESC, t.trace_id DESC
    LIMIT %(limit)s + 1
)
SELECT t."timestamp" AS started_at, t.trace_id, t.event_id, coalesce(t.node_name, t.name) AS name, t.event_type,
    t.latency_ms, t.parent_span_id IS NOT NULL AS is_incomplete,
    CASE WHEN s.errors > 0 THEN 'error' ELSE t.status END AS status,
    t.workspace_id, coalesce(t.user_id, s.user_id) AS user_id, coalesce(t.agent_id, s.agent_id) AS agent_id,
    t.flow_id, t.run_id, coalesce(t.conversation_id, s.conversation_id) AS conversation_id, t.service_name, t.environment,
    s.spans, s.errors, c.calls, c.input_tokens, c.output_tokens, c.cost_cents, c.unpriced_calls, c.models
FROM page AS t
CROSS JOIN LATERAL (
    SELECT count(*) AS spans, count(*) FILTER (WHERE e.status = 'error') AS errors, min(e.user_id) AS user_id,
        min(e.agent_id) AS agent_id, min(e.conversation_id) AS conversation_id
    FROM event_logs AS e
    WHERE e.organization_id = t.organization_id AND e.trace_id = t.trace_id
) AS s
CROSS JOIN LATERAL (
    SELECT count(*) AS calls, sum(m.input_tokens)::bigint AS input_tokens, sum(m.output_tokens)::bigint AS output_tokens,
        sum(m.cost_usd) AS cost_cents, count(*) FILTER (WHERE m.cost_usd IS NULL) AS unpriced_calls,
        array_agg(DISTINCT m.model_name ORDER BY m.model_name) FILTER (WHERE m.model_name IS NOT NULL) AS models
    FROM model_cost_logs AS m
    WHERE m.organization_id = t.organization_id AND m.trace_id = t.trace_id
) AS c
ORDER BY t."timestamp" DESC, t.trace_id DESC;

-- name: step_of_traces
-- When the trace began that comes so many before that time, whatever it is like.
SELECT t."timestamp"
FROM event_logs AS t
WHERE t.organization_id = %(organization_id)s AND t."timestamp" >= %(since)s AND t."timestamp" < %(until)s
    AND t.inherited & 256 <> 0
ORDER BY t."timestamp" DESC
OFFSET %(size)s LIMIT 1;

-- name: incomplete_traces
-- Of the newest traces, how many there are, and how many of them without what they began with, by what they say of
-- sampling.
SELECT count(*) AS traces, count(newest.parent_span_id) AS incomplete, newest.trace_state
FROM (
    SELECT t.parent_span_id, t.context ->> 'trace_state' AS trace_state
    FROM event_logs AS t
    WHERE t.organization_id = %(organization_id)s AND t."timestamp" >= %(since)s AND t."timestamp" < %(until)s
        AND t.inherited & 256 <> 0
        AND (%(workspace_id)s::text IS NULL OR t.workspace_id = %(workspace_id)s)
        AND (%(environment)s::text IS NULL OR t.environment = %(environment)s)
    ORDER BY t."timestamp" DESC
    LIMIT 1000
) AS newest
GROUP BY newest.trace_state;

-- name: extent_of_trace
-- When its first event and its last one began: whoever asks for more names these, and is planned for their weeks alone.
SELECT min(e."timestamp"), max(e."timestamp")
FROM (
    SELECT "timestamp" FROM event_logs
    WHERE organization_id = %(organization_id)s AND trace_id = %(trace_id)s
    OFFSET 0 -- else each end is planned for by itself, in each week
) AS e;

-- name: trace_nodes
-- Everything of one trace, each event with the call that is counted on it, in the order of the start.
SELECT e."timestamp" AS started_at, e.span_id, e.event_id, e.parent_span_id, e.event_type,
    coalesce(e.node_name, e.name) AS name, e.name AS span_name, e.status, e.error_type, e.latency_ms, e.service_name,
    e.environment, e.workspace_id, e.user_id, e.agent_id, e.flow_id, e.run_id, e.conversation_id, e.cost_state,
    e.counted_trace_id, e.counted_span_id, m.provider, m.model_name, m.input_tokens, m.cache_read_tokens,
    m.cache_write_tokens, m.output_tokens, m.reasoning_tokens, m.cost_usd AS cost_cents, m.cost_source, m.cost_reason,
    m.usage_source, m.finish_reason, m.time_to_first_token_ms, m.attempts,
    EXISTS (
        SELECT FROM span_contents AS c
        WHERE c.organization_id = e.organization_id AND c.trace_id = e.trace_id AND c.event_id = e.event_id
            AND c."timestamp" BETWEEN %(first)s AND %(last)s
    ) AS has_content
FROM event_logs AS e
LEFT JOIN model_cost_logs AS m ON m.organization_id = e.organization_id AND m."timestamp" = e."timestamp"
    AND m.trace_id = e.trace_id AND m.event_id = e.event_id AND m."timestamp" BETWEEN %(first)s AND %(last)s
WHERE e.organization_id = %(organization_id)s AND e.trace_id = %(trace_id)s AND e."timestamp" BETWEEN %(first)s AND %(last)s
ORDER BY e."timestamp", e.latency_ms DESC NULLS LAST, e.event_id;

-- name: event_of_trace
-- One event with all that is known of it but its content.
SELECT e.context, r.attributes AS resource
FROM event_logs AS e
LEFT JOIN resources AS r ON r.organization_id = e.organization_id AND r.hash = e.resource_hash
WHERE e.organization_id = %(organization_id)s AND e.trace_id = %(trace_id)s AND e.event_id = %(event_id)s;

-- name: contents_of_event
SELECT part, body, bytes, truncated, "timestamp", body_encrypted
FROM span_contents
WHERE organization_id = %(organization_id)s AND trace_id = %(trace_id)s AND event_id = %(event_id)s
ORDER BY array_position(ARRAY['system', 'tools', 'input', 'tool_arguments', 'output', 'tool_result', 'reference'], part);

-- name: checks_of_event
SELECT guardrail_name, similarity_score, flagged_reference, action_taken, "timestamp", flagged_reference_encrypted
FROM prompt_similarity_logs
WHERE organization_id = %(organization_id)s AND trace_id = %(trace_id)s AND event_id = %(event_id)s;
