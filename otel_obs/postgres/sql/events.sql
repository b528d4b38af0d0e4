-- name: events
-- Events, the newest first.
SELECT e."timestamp", e.trace_id, e.span_id, e.event_id, e.parent_span_id, e.event_type,
    coalesce(e.node_name, e.name) AS name, e.status, e.error_type, e.latency_ms, e.workspace_id, e.user_id,
    e.agent_id, e.flow_id, e.run_id, e.conversation_id, e.service_name, e.environment, e.cost_state
FROM event_logs AS e
WHERE e.organization_id = %(organization_id)s AND e."timestamp" >= %(since)s AND e."timestamp" < %(until)s
    AND (%(workspace_id)s::text IS NULL OR e.workspace_id = %(workspace_id)s)
    AND (%(user_id)s::text IS NULL OR e.user_id = %(user_id)s)
    AND (%(environment)s::text IS NULL OR e.environment = %(environment)s)
    AND (%(agent_id)s::text IS NULL OR e.agent_id = %(agent_id)s)
    AND (%(flow_id)s::text IS NULL OR e.flow_id = %(flow_id)s)
    AND (%(run_id)s::text IS NULL OR e.run_id = %(run_id)s)
    AND (%(conversation_id)s::text IS NULL OR e.conversation_id = %(conversation_id)s)
    AND (%(event_type)s::text IS NULL OR e.event_type = %(event_type)s)
    AND (%(status)s::text IS NULL OR e.status = %(status)s)
    AND (%(error_type)s::text IS NULL OR e.error_type = %(error_type)s)
    AND (%(pattern)s::text IS NULL OR e.name ILIKE %(pattern)s OR e.node_name ILIKE %(pattern)s)
    AND (%(min_latency_ms)s::double precision IS NULL OR e.latency_ms >= %(min_latency_ms)s)
    AND (%(after_time)s::timestamptz IS NULL
        OR (e."timestamp", e.trace_id, e.event_id)
            < (%(after_time)s::timestamptz, %(after_trace)s::text, %(after_event)s::text))
ORDER BY e."timestamp" DESC, e.trace_id DESC, e.event_id DESC
LIMIT %(limit)s + 1;

-- name: scores
-- Verdicts of evaluations, the newest first.
SELECT e."timestamp", e.trace_id, e.span_id, e.event_id,
    coalesce(e.context -> 'attributes' ->> 'gen_ai.evaluation.name', e.node_name, e.name) AS name,
    CASE WHEN jsonb_typeof(e.context -> 'attributes' -> 'gen_ai.evaluation.score.value') = 'number'
        THEN (e.context -> 'attributes' ->> 'gen_ai.evaluation.score.value')::double precision END AS score,
    e.context -> 'attributes' ->> 'gen_ai.evaluation.score.label' AS label,
    e.agent_id, e.flow_id, e.user_id, e.conversation_id
FROM event_logs AS e
WHERE e.organization_id = %(organization_id)s AND e."timestamp" >= %(since)s AND e."timestamp" < %(until)s
    AND e.event_type = 'evaluation'
    AND (%(workspace_id)s::text IS NULL OR e.workspace_id = %(workspace_id)s)
    AND (%(user_id)s::text IS NULL OR e.user_id = %(user_id)s)
    AND (%(environment)s::text IS NULL OR e.environment = %(environment)s)
    AND (%(agent_id)s::text IS NULL OR e.agent_id = %(agent_id)s)
    AND (%(flow_id)s::text IS NULL OR e.flow_id = %(flow_id)s)
    AND (%(after_time)s::timestamptz IS NULL
        OR (e."timestamp", e.trace_id, e.event_id)
            < (%(after_time)s::timestamptz, %(after_trace)s::text, %(after_event)s::text))
ORDER BY e."timestamp" DESC, e.trace_id DESC, e.event_id DESC
LIMIT %(limit)s + 1;

-- name: step_of_events
-- When the event began that comes so many before that time, whatever it is like.
SELECT e."timestamp"
FROM event_logs AS e
WHERE e.organization_id = %(organization_id)s AND e."timestamp" >= %(since)s AND e."timestamp" < %(until)s
ORDER BY e."timestamp" DESC
OFFSET %(size)s LIMIT 1;
