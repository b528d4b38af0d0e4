-- name: executions
-- Executions by period: workflows, and agents that are part of no other execution.
SELECT date_trunc(%(step)s, e."timestamp", 'UTC') AS starts, count(*) AS executions,
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
ORDER BY starts;

-- name: executions_in_all
-- The same of all, in one row: by period they would be sorted first, and by no period as well.
SELECT NULL::timestamptz AS starts, count(*) AS executions, count(*) FILTER (WHERE e.status = 'error') AS failed,
    percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY e.latency_ms) AS latency_ms
FROM event_logs AS e
WHERE e.organization_id = %(organization_id)s AND e."timestamp" >= %(since)s AND e."timestamp" < %(until)s
    AND e.event_type IN ('workflow', 'agent') AND (e.event_type = 'workflow' OR e.inherited & 128 = 0)
    AND (%(workspace_id)s::text IS NULL OR e.workspace_id = %(workspace_id)s)
    AND (%(user_id)s::text IS NULL OR e.user_id = %(user_id)s)
    AND (%(environment)s::text IS NULL OR e.environment = %(environment)s)
    AND (%(agent_id)s::text IS NULL OR e.agent_id = %(agent_id)s)
    AND (%(flow_id)s::text IS NULL OR e.flow_id = %(flow_id)s)
    AND (%(conversation_id)s::text IS NULL OR e.conversation_id = %(conversation_id)s);
