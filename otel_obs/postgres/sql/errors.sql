-- name: error_groups
-- Errors by type and node, the most frequent first; the newest of each names its trace.
WITH found AS (
    SELECT coalesce(e.error_type, '') AS error_type, e.event_type, coalesce(e.node_name, e.name) AS node,
        count(*) AS count, min(e."timestamp") AS first_seen, max(e."timestamp") AS last_seen,
        count(DISTINCT e.trace_id) AS traces,
        count(DISTINCT e.user_id) AS users,
        (array_agg(e.trace_id ORDER BY e."timestamp" DESC, e.event_id))[1] AS last_trace_id,
        (array_agg(e.span_id ORDER BY e."timestamp" DESC, e.event_id))[1] AS last_span_id,
        (array_agg(e.context -> 'attributes' ->> 'otel.status_description' ORDER BY e."timestamp" DESC, e.event_id))[1]
            AS last_message
    FROM event_logs AS e
    WHERE e.organization_id = %(organization_id)s AND e."timestamp" >= %(since)s AND e."timestamp" < %(until)s
        AND e.status = 'error'
        AND (%(workspace_id)s::text IS NULL OR e.workspace_id = %(workspace_id)s)
        AND (%(user_id)s::text IS NULL OR e.user_id = %(user_id)s)
        AND (%(environment)s::text IS NULL OR e.environment = %(environment)s)
        AND (%(agent_id)s::text IS NULL OR e.agent_id = %(agent_id)s)
        AND (%(flow_id)s::text IS NULL OR e.flow_id = %(flow_id)s)
        AND (%(event_type)s::text IS NULL OR e.event_type = %(event_type)s)
        AND (%(error_type)s::text IS NULL OR e.error_type = %(error_type)s)
    GROUP BY 1, 2, 3
)
SELECT nullif(error_type, '') AS error_type, event_type, node, count, traces, users, first_seen, last_seen,
    last_trace_id, last_span_id, last_message
FROM found
WHERE %(after_count)s::bigint IS NULL
    OR (-count, error_type, event_type, node)
        > (-%(after_count)s::bigint, coalesce(%(after_error_type)s::text, ''), %(after_event_type)s::text, %(after_node)s::text)
ORDER BY count DESC, error_type, event_type, node
LIMIT %(limit)s + 1;
