-- name: costs_by_flag_variant
-- The same, with the variant of a flag among the keys: that of its last evaluation in the call's trace, not after
-- the call began. Each call has one such evaluation or none, so the groups sum to the total.
WITH asked_calls AS (
    SELECT *
    FROM model_cost_logs AS m
    WHERE (%(since)s::timestamptz IS NULL OR m."timestamp" >= %(since)s)
        AND (%(until)s::timestamptz IS NULL OR m."timestamp" < %(until)s)
        AND (%(organization_id)s::text IS NULL OR m.organization_id = %(organization_id)s)
), evaluations AS (
    SELECT e.organization_id, e.trace_id, e."timestamp", e.event_id,
        coalesce(
            e.context #>> '{attributes,feature_flag.result.variant}', e.context #>> '{attributes,feature_flag.variant}',
            e.context #>> '{attributes,feature_flag.result.value}', e.context #>> '{attributes,feature_flag.value}'
        ) AS variant
    FROM event_logs AS e
    WHERE e.event_type = 'feature_flag' AND e.name = %(flag)s AND e.trace_id <> ''
        AND (%(organization_id)s::text IS NULL OR e.organization_id = %(organization_id)s)
        -- A trace that is longer than a day is not looked at as a whole.
        AND (%(since)s::timestamptz IS NULL OR e."timestamp" >= %(since)s::timestamptz - interval '1 day')
        AND (%(until)s::timestamptz IS NULL OR e."timestamp" < %(until)s)
), moments AS (
    -- Evaluations and calls of a trace in one order; evaluations of the same moment come first.
    SELECT organization_id, trace_id, "timestamp", event_id, 0 AS rank, variant, true AS is_evaluation FROM evaluations
    UNION ALL
    SELECT organization_id, trace_id, "timestamp", event_id, 1, NULL, false FROM asked_calls
), spans_of_evaluations AS (
    SELECT *, count(*) FILTER (WHERE is_evaluation) OVER (
        PARTITION BY organization_id, trace_id ORDER BY "timestamp", rank, event_id
    ) AS number
    FROM moments
), variants AS (
    SELECT organization_id, trace_id, "timestamp", event_id, is_evaluation,
        CASE WHEN number > 0 THEN
            first_value(variant) OVER (PARTITION BY organization_id, trace_id, number ORDER BY "timestamp", rank, event_id)
        END AS flag_variant
    FROM spans_of_evaluations
)
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
FROM asked_calls AS m
JOIN variants AS v ON v.organization_id = m.organization_id AND v.trace_id = m.trace_id
    AND v."timestamp" = m."timestamp" AND v.event_id = m.event_id AND NOT v.is_evaluation
CROSS JOIN LATERAL (
    SELECT array_agg(
        CASE key
            WHEN 'flag_variant' THEN CASE WHEN m.trace_id <> '' THEN v.flag_variant END
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
    ) AS keys
    FROM unnest(%(by)s::text[]) WITH ORDINALITY AS asked (key, position)
) AS k
GROUP BY keys
ORDER BY cost_cents DESC NULLS LAST, keys;
