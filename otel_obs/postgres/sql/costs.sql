-- name: costs
-- Calls, tokens and cost by any keys; without keys one row for all.
SELECT keys, count(*) AS calls,
    count(*) FILTER (WHERE m.input_tokens IS NOT NULL OR m.output_tokens IS NOT NULL) AS calls_with_usage,
    sum(m.input_tokens)::bigint AS input_tokens,
    sum(m.cache_read_tokens)::bigint AS cache_read_tokens,
    sum(m.cache_write_tokens)::bigint AS cache_write_tokens,
    sum(m.output_tokens)::bigint AS output_tokens,
    sum(m.reasoning_tokens)::bigint AS reasoning_tokens,
    sum(m.cost_usd) AS cost_cents,
    count(*) FILTER (WHERE m.cost_usd IS NULL) AS unpriced_calls,
    count(*) FILTER (WHERE m.cost_source = 'estimated' OR m.usage_source = 'estimated') AS estimated_calls
FROM model_cost_logs AS m
CROSS JOIN LATERAL (
    SELECT coalesce(array_agg(
        CASE key
            WHEN 'day' THEN to_char(m."timestamp" AT TIME ZONE 'UTC', 'YYYY-MM-DD')
            WHEN 'model' THEN m.model_name
            WHEN 'provider' THEN m.provider
            WHEN 'operation' THEN m.operation
            WHEN 'agent' THEN m.agent_id
            WHEN 'flow' THEN m.flow_id
            WHEN 'run' THEN m.run_id
            WHEN 'conversation' THEN m.conversation_id
            WHEN 'user' THEN m.user_id
            WHEN 'workspace' THEN m.workspace_id
            WHEN 'organization' THEN m.organization_id
        END ORDER BY position
    ), '{}') AS keys
    FROM unnest(%(by)s::text[]) WITH ORDINALITY AS asked (key, position)
) AS k
WHERE (%(since)s::timestamptz IS NULL OR m."timestamp" >= %(since)s)
    AND (%(until)s::timestamptz IS NULL OR m."timestamp" < %(until)s)
    AND (%(organization_id)s::text IS NULL OR m.organization_id = %(organization_id)s)
GROUP BY keys
ORDER BY cost_cents DESC NULLS LAST, keys;
