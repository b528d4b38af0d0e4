-- name: latest_events
-- Events of traces to which something was added lately: those wait to be settled, and few do. What belongs to no trace is
-- found by its time.
SELECT e.received_at, e."timestamp", e.trace_id, e.span_id, e.event_id, e.parent_span_id, e.event_type,
    coalesce(e.node_name, e.name) AS name, e.status, e.error_type, e.latency_ms, e.workspace_id, e.user_id, e.agent_id,
    e.flow_id, e.run_id, e.conversation_id, e.environment, e.cost_state, m.model_name, m.input_tokens, m.output_tokens,
    m.cost_usd AS cost_cents
FROM unsettled_traces AS u
JOIN event_logs AS e ON e.organization_id = u.organization_id AND e.trace_id = u.trace_id
LEFT JOIN model_cost_logs AS m ON m.organization_id = e.organization_id AND m.trace_id = e.trace_id
    AND m.event_id = e.event_id AND m."timestamp" = e."timestamp"
WHERE u.organization_id = %(organization_id)s AND u.last_at >= now() - %(window)s::interval
    AND e.received_at >= now() - %(window)s::interval - interval '1 minute'
    AND (e.trace_id <> '' OR e."timestamp" >= now() - interval '10 minutes')
ORDER BY e.received_at DESC, e.trace_id, e.event_id
LIMIT %(limit)s;

-- name: events_since
-- What came after a moment, for whoever was cut off.
SELECT e.received_at, e."timestamp", e.trace_id, e.span_id, e.event_id, e.parent_span_id, e.event_type,
    coalesce(e.node_name, e.name) AS name, e.status, e.error_type, e.latency_ms, e.workspace_id, e.user_id, e.agent_id,
    e.flow_id, e.run_id, e.conversation_id, e.environment, e.cost_state, m.model_name, m.input_tokens, m.output_tokens,
    m.cost_usd AS cost_cents
FROM event_logs AS e
LEFT JOIN model_cost_logs AS m ON m.organization_id = e.organization_id AND m.trace_id = e.trace_id
    AND m.event_id = e.event_id AND m."timestamp" = e."timestamp"
WHERE e.organization_id = %(organization_id)s AND e."timestamp" >= %(since)s::timestamptz - interval '1 hour'
    AND (e.received_at, e.trace_id, e.event_id) > (%(since)s::timestamptz, %(trace_id)s::text, %(event_id)s::text)
ORDER BY e.received_at, e.trace_id, e.event_id
LIMIT %(limit)s;
