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
