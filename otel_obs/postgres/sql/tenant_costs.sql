-- name: costs_from_rollups
-- Calls, tokens and cost of whole days from roll-ups, and of all other time from rows; by any keys that both know.
WITH found AS (
    SELECT r.day, r.workspace_id, r.provider, r.model_name, r.agent_id, r.flow_id, r.calls, r.calls_with_usage,
        r.input_tokens, r.cache_read_tokens, r.cache_write_tokens, r.output_tokens, r.reasoning_tokens, r.cost_cents,
        r.unpriced_calls, r.estimated_calls
    FROM usage_rollups AS r
    WHERE r.organization_id = %(organization_id)s AND r.hour IS NULL AND r.day = ANY(%(rolled_days)s::date[])
        AND (%(workspace_id)s::text IS NULL OR r.workspace_id = %(workspace_id)s)
        AND (%(agent_id)s::text IS NULL OR r.agent_id = %(agent_id)s)
        AND (%(flow_id)s::text IS NULL OR r.flow_id = %(flow_id)s)
        AND (%(model)s::text IS NULL OR r.model_name = %(model)s)
        AND (%(provider)s::text IS NULL OR r.provider = %(provider)s)
    UNION ALL
    SELECT (m."timestamp" AT TIME ZONE 'UTC')::date, m.workspace_id, m.provider, m.model_name, m.agent_id, m.flow_id, 1,
        (m.input_tokens IS NOT NULL OR m.output_tokens IS NOT NULL)::int, m.input_tokens, m.cache_read_tokens,
        m.cache_write_tokens, m.output_tokens, m.reasoning_tokens, m.cost_usd, (m.cost_usd IS NULL)::int,
        (m.cost_source = 'estimated' OR m.usage_source IS NOT DISTINCT FROM 'estimated')::int
    FROM unnest(%(starts)s::timestamptz[], %(ends)s::timestamptz[]) AS stretch (starts, ends)
    CROSS JOIN LATERAL (
        SELECT * FROM model_cost_logs AS c
        WHERE c.organization_id = %(organization_id)s
            AND c."timestamp" >= stretch.starts AND c."timestamp" < stretch.ends
            AND (%(workspace_id)s::text IS NULL OR c.workspace_id = %(workspace_id)s)
            AND (%(agent_id)s::text IS NULL OR c.agent_id = %(agent_id)s)
            AND (%(flow_id)s::text IS NULL OR c.flow_id = %(flow_id)s)
            AND (%(model)s::text IS NULL OR c.model_name = %(model)s)
            AND (%(provider)s::text IS NULL OR c.provider = %(provider)s)
        OFFSET 0 -- asked for each stretch: as a join, all weeks were read for the calls of some hours
    ) AS m
), grouped AS (
    -- By what is asked for first: keys are put together once a group and not once a row, which costs ten times as much.
    SELECT CASE WHEN 'day' = ANY(%(by)s::text[]) THEN day END AS day,
        CASE WHEN 'workspace' = ANY(%(by)s::text[]) THEN workspace_id END AS workspace_id,
        CASE WHEN 'provider' = ANY(%(by)s::text[]) THEN provider END AS provider,
        CASE WHEN 'model' = ANY(%(by)s::text[]) THEN model_name END AS model_name,
        CASE WHEN 'agent' = ANY(%(by)s::text[]) THEN agent_id END AS agent_id,
        CASE WHEN 'flow' = ANY(%(by)s::text[]) THEN flow_id END AS flow_id,
        sum(calls) AS calls, sum(calls_with_usage) AS calls_with_usage, sum(input_tokens) AS input_tokens,
        sum(cache_read_tokens) AS cache_read_tokens, sum(cache_write_tokens) AS cache_write_tokens,
        sum(output_tokens) AS output_tokens, sum(reasoning_tokens) AS reasoning_tokens, sum(cost_cents) AS cost_cents,
        sum(unpriced_calls) AS unpriced_calls, sum(estimated_calls) AS estimated_calls
    FROM found
    GROUP BY 1, 2, 3, 4, 5, 6
)
SELECT keys, sum(f.calls)::bigint AS calls, sum(f.calls_with_usage)::bigint AS calls_with_usage,
    sum(f.input_tokens)::bigint AS input_tokens, sum(f.cache_read_tokens)::bigint AS cache_read_tokens,
    sum(f.cache_write_tokens)::bigint AS cache_write_tokens, sum(f.output_tokens)::bigint AS output_tokens,
    sum(f.reasoning_tokens)::bigint AS reasoning_tokens, sum(f.cost_cents) AS cost_cents,
    sum(f.unpriced_calls)::bigint AS unpriced_calls, sum(f.estimated_calls)::bigint AS estimated_calls
FROM grouped AS f
CROSS JOIN LATERAL (
    SELECT coalesce(array_agg(
        CASE key
            WHEN 'day' THEN to_char(f.day, 'YYYY-MM-DD')
            WHEN 'model' THEN f.model_name
            WHEN 'provider' THEN f.provider
            WHEN 'agent' THEN f.agent_id
            WHEN 'flow' THEN f.flow_id
            WHEN 'workspace' THEN f.workspace_id
        END ORDER BY position
    ), '{}') AS keys
    FROM unnest(%(by)s::text[]) WITH ORDINALITY AS asked (key, position)
) AS k
GROUP BY GROUPING SETS ((keys), ())
ORDER BY grouping(keys) DESC, cost_cents DESC NULLS LAST, keys
LIMIT %(limit)s;

-- name: costs_from_rows
-- The same by any keys at all, from rows; flag_variant is that of the last evaluation of a flag before the call.
SELECT keys, count(*) AS calls,
    count(*) FILTER (WHERE m.input_tokens IS NOT NULL OR m.output_tokens IS NOT NULL) AS calls_with_usage,
    sum(m.input_tokens)::bigint AS input_tokens, sum(m.cache_read_tokens)::bigint AS cache_read_tokens,
    sum(m.cache_write_tokens)::bigint AS cache_write_tokens, sum(m.output_tokens)::bigint AS output_tokens,
    sum(m.reasoning_tokens)::bigint AS reasoning_tokens, sum(m.cost_usd) AS cost_cents,
    count(*) FILTER (WHERE m.cost_usd IS NULL) AS unpriced_calls,
    count(*) FILTER (WHERE m.cost_source = 'estimated' OR m.usage_source = 'estimated') AS estimated_calls
FROM model_cost_logs AS m
CROSS JOIN LATERAL (
    SELECT coalesce(array_agg(
        CASE key
            WHEN 'day' THEN to_char(m."timestamp" AT TIME ZONE 'UTC', 'YYYY-MM-DD')
            WHEN 'hour' THEN to_char(m."timestamp" AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:00:00"Z"')
            WHEN 'model' THEN m.model_name
            WHEN 'provider' THEN m.provider
            WHEN 'operation' THEN m.operation
            WHEN 'agent' THEN m.agent_id
            WHEN 'flow' THEN m.flow_id
            WHEN 'run' THEN m.run_id
            WHEN 'conversation' THEN m.conversation_id
            WHEN 'user' THEN m.user_id
            WHEN 'workspace' THEN m.workspace_id
            WHEN 'flag_variant' THEN (
                SELECT coalesce(
                    e.context -> 'attributes' ->> 'feature_flag.result.variant',
                    e.context -> 'attributes' ->> 'feature_flag.variant',
                    e.context -> 'attributes' ->> 'feature_flag.result.value',
                    e.context -> 'attributes' ->> 'feature_flag.value')
                FROM event_logs AS e
                WHERE e.organization_id = m.organization_id AND e.trace_id = m.trace_id
                    AND e.trace_id <> '' AND e.event_type = 'feature_flag' AND e.name = %(flag)s AND e."timestamp" <= m."timestamp"
                ORDER BY e."timestamp" DESC, e.event_id DESC
                LIMIT 1)
        END ORDER BY position
    ), '{}') AS keys
    FROM unnest(%(by)s::text[]) WITH ORDINALITY AS asked (key, position)
) AS k
WHERE m.organization_id = %(organization_id)s AND m."timestamp" >= %(since)s AND m."timestamp" < %(until)s
    AND (%(workspace_id)s::text IS NULL OR m.workspace_id = %(workspace_id)s)
    AND (%(user_id)s::text IS NULL OR m.user_id = %(user_id)s)
    AND (%(agent_id)s::text IS NULL OR m.agent_id = %(agent_id)s)
    AND (%(flow_id)s::text IS NULL OR m.flow_id = %(flow_id)s)
    AND (%(run_id)s::text IS NULL OR m.run_id = %(run_id)s)
    AND (%(conversation_id)s::text IS NULL OR m.conversation_id = %(conversation_id)s)
    AND (%(model)s::text IS NULL OR m.model_name = %(model)s)
    AND (%(provider)s::text IS NULL OR m.provider = %(provider)s)
    AND (%(environment)s::text IS NULL OR EXISTS (
        SELECT FROM event_logs AS e
        WHERE e.organization_id = m.organization_id AND e.trace_id = m.trace_id AND e.event_id = m.event_id
            AND e."timestamp" = m."timestamp" AND e.environment = %(environment)s))
GROUP BY GROUPING SETS ((keys), ())
ORDER BY grouping(keys) DESC, cost_cents DESC NULLS LAST, keys
LIMIT %(limit)s;
