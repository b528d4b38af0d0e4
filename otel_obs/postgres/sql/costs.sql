-- name: costs
-- Calls, tokens and cost by any keys, the total first: whole days (hours, where those are asked for) from roll-ups that
-- know all that is asked, and all other time from rows. Without an organization those of all, from rows alone.
WITH evaluations AS (
    -- What a flag was evaluated to holds for the calls of its trace that begin before the next evaluation. Each call has
    -- one such evaluation or none, so that variants sum to the total.
    SELECT e.organization_id, e.trace_id, e."timestamp" AS starts,
        coalesce(lead(e."timestamp") OVER (
            PARTITION BY e.organization_id, e.trace_id ORDER BY e."timestamp", e.event_id
        ), 'infinity') AS ends,
        coalesce(
            e.context #>> '{attributes,feature_flag.result.variant}', e.context #>> '{attributes,feature_flag.variant}',
            e.context #>> '{attributes,feature_flag.result.value}', e.context #>> '{attributes,feature_flag.value}'
        ) AS variant
    FROM event_logs AS e
    WHERE %(flag)s::text IS NOT NULL AND e.event_type = 'feature_flag' AND e.name = %(flag)s AND e.trace_id <> ''
        AND (%(organization_id)s::text IS NULL OR e.organization_id = %(organization_id)s)
        -- A trace that is longer than a day is not looked at as a whole.
        AND e."timestamp" >= coalesce(%(since)s::timestamptz - interval '1 day', '-infinity')
        AND e."timestamp" < coalesce(%(until)s::timestamptz, 'infinity')
), found AS (
    SELECT r.organization_id, r.workspace_id, (r.day + make_interval(hours => coalesce(r.hour, 0))) AT TIME ZONE 'UTC' AS at,
        r.provider, r.model_name, r.agent_id, r.flow_id, NULL AS operation, NULL AS run_id, NULL AS conversation_id,
        NULL AS user_id, nullif(r.environment, '') AS environment, NULL AS flag_variant, r.calls, r.calls_with_usage,
        r.input_tokens, r.cache_read_tokens, r.cache_write_tokens, r.output_tokens, r.reasoning_tokens, r.cost_cents,
        r.unpriced_calls, r.estimated_calls, r.failed_calls
    FROM usage_rollups AS r
    WHERE r.organization_id = %(organization_id)s AND r.day = ANY(%(rolled_days)s::date[])
        AND (r.hour IS NOT NULL) = ('hour' = ANY(%(by)s::text[]))
        AND (%(workspace_id)s::text IS NULL OR r.workspace_id = %(workspace_id)s)
        AND (%(agent_id)s::text IS NULL OR r.agent_id = %(agent_id)s)
        AND (%(flow_id)s::text IS NULL OR r.flow_id = %(flow_id)s)
        AND (%(model)s::text IS NULL OR r.model_name = %(model)s)
        AND (%(provider)s::text IS NULL OR r.provider = %(provider)s)
        AND (%(environment)s::text IS NULL OR r.environment = %(environment)s)
    UNION ALL
    SELECT m.organization_id, m.workspace_id, m."timestamp", m.provider, m.model_name, m.agent_id, m.flow_id, m.operation,
        m.run_id, m.conversation_id, m.user_id, nullif(m.told_environment, ''), v.variant, 1,
        (m.input_tokens IS NOT NULL OR m.output_tokens IS NOT NULL)::int, m.input_tokens, m.cache_read_tokens,
        m.cache_write_tokens, m.output_tokens, m.reasoning_tokens, m.cost_usd, (m.cost_usd IS NULL)::int,
        (m.cost_source = 'estimated' OR m.usage_source IS NOT DISTINCT FROM 'estimated')::int, (m.status = 'error')::int
    FROM unnest(%(starts)s::timestamptz[], %(ends)s::timestamptz[]) AS stretch (starts, ends)
    CROSS JOIN LATERAL (
        SELECT c.*, told.environment AS told_environment
        FROM model_cost_logs AS c
        CROSS JOIN LATERAL (
            -- Its event tells it where the call was written before calls did.
            SELECT CASE WHEN 'environment' = ANY(%(by)s::text[]) OR %(environment)s::text IS NOT NULL THEN
                coalesce(c.environment, (
                    SELECT e.environment FROM event_logs AS e
                    WHERE e.organization_id = c.organization_id AND e.trace_id = c.trace_id AND e.event_id = c.event_id
                        AND e."timestamp" = c."timestamp" AND e."timestamp" >= %(first)s::timestamptz
                        AND e."timestamp" < %(last)s::timestamptz
                )) END AS environment
        ) AS told
        WHERE (%(organization_id)s::text IS NULL OR c.organization_id = %(organization_id)s)
            AND c."timestamp" >= stretch.starts AND c."timestamp" < stretch.ends
            -- All stretches lie in here: known when it is planned, so that other weeks are not even opened.
            AND c."timestamp" >= %(first)s::timestamptz AND c."timestamp" < %(last)s::timestamptz
            AND (%(workspace_id)s::text IS NULL OR c.workspace_id = %(workspace_id)s)
            AND (%(user_id)s::text IS NULL OR c.user_id = %(user_id)s)
            AND (%(agent_id)s::text IS NULL OR c.agent_id = %(agent_id)s)
            AND (%(flow_id)s::text IS NULL OR c.flow_id = %(flow_id)s)
            AND (%(run_id)s::text IS NULL OR c.run_id = %(run_id)s)
            AND (%(conversation_id)s::text IS NULL OR c.conversation_id = %(conversation_id)s)
            AND (%(model)s::text IS NULL OR c.model_name = %(model)s)
            AND (%(provider)s::text IS NULL OR c.provider = %(provider)s)
            AND (%(environment)s::text IS NULL OR told.environment = %(environment)s)
        OFFSET 0 -- asked for each stretch: as a join, all weeks were read for the calls of some hours
    ) AS m
    LEFT JOIN evaluations AS v ON v.organization_id = m.organization_id AND v.trace_id = m.trace_id
        AND m."timestamp" >= v.starts AND m."timestamp" < v.ends
), grouped AS (
    -- By what is asked for first: all else is NULL, and hashed in no time.
    SELECT CASE WHEN 'day' = ANY(%(by)s::text[]) THEN (at AT TIME ZONE 'UTC')::date END AS day,
        CASE WHEN 'hour' = ANY(%(by)s::text[]) THEN date_trunc('hour', at, 'UTC') END AS hour,
        CASE WHEN 'model' = ANY(%(by)s::text[]) THEN model_name END AS model,
        CASE WHEN 'provider' = ANY(%(by)s::text[]) THEN provider END AS provider,
        CASE WHEN 'operation' = ANY(%(by)s::text[]) THEN operation END AS operation,
        CASE WHEN 'agent' = ANY(%(by)s::text[]) THEN agent_id END AS agent,
        CASE WHEN 'flow' = ANY(%(by)s::text[]) THEN flow_id END AS flow,
        CASE WHEN 'run' = ANY(%(by)s::text[]) THEN run_id END AS run,
        CASE WHEN 'conversation' = ANY(%(by)s::text[]) THEN conversation_id END AS conversation,
        CASE WHEN 'user' = ANY(%(by)s::text[]) THEN user_id END AS "user",
        CASE WHEN 'workspace' = ANY(%(by)s::text[]) THEN workspace_id END AS workspace,
        CASE WHEN 'environment' = ANY(%(by)s::text[]) THEN environment END AS environment,
        CASE WHEN 'organization' = ANY(%(by)s::text[]) THEN organization_id END AS organization,
        CASE WHEN 'flag_variant' = ANY(%(by)s::text[]) THEN flag_variant END AS flag_variant,
        sum(calls)::bigint AS calls, sum(calls_with_usage)::bigint AS calls_with_usage,
        sum(input_tokens)::bigint AS input_tokens, sum(cache_read_tokens)::bigint AS cache_read_tokens,
        sum(cache_write_tokens)::bigint AS cache_write_tokens, sum(output_tokens)::bigint AS output_tokens,
        sum(reasoning_tokens)::bigint AS reasoning_tokens, sum(cost_cents) AS cost_cents,
        sum(unpriced_calls)::bigint AS unpriced_calls, sum(estimated_calls)::bigint AS estimated_calls,
        sum(failed_calls)::bigint AS failed_calls
    FROM found
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14
)
-- All keys that there are, in the order of costs.KEYS.
SELECT to_char(day, 'YYYY-MM-DD') AS day, to_char(hour AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:00:00"Z"') AS hour, model,
    provider, operation, agent, flow, run, conversation, "user", workspace, environment, organization, flag_variant, calls,
    calls_with_usage, input_tokens, cache_read_tokens, cache_write_tokens, output_tokens, reasoning_tokens, cost_cents,
    unpriced_calls, estimated_calls, failed_calls
FROM (
    SELECT true AS is_total, NULL::date AS day, NULL::timestamptz AS hour, NULL AS model, NULL AS provider,
        NULL AS operation, NULL AS agent, NULL AS flow, NULL AS run, NULL AS conversation, NULL AS "user", NULL AS workspace,
        NULL AS environment, NULL AS organization, NULL AS flag_variant, sum(calls)::bigint AS calls,
        sum(calls_with_usage)::bigint AS calls_with_usage, sum(input_tokens)::bigint AS input_tokens,
        sum(cache_read_tokens)::bigint AS cache_read_tokens, sum(cache_write_tokens)::bigint AS cache_write_tokens,
        sum(output_tokens)::bigint AS output_tokens, sum(reasoning_tokens)::bigint AS reasoning_tokens,
        sum(cost_cents) AS cost_cents, sum(unpriced_calls)::bigint AS unpriced_calls,
        sum(estimated_calls)::bigint AS estimated_calls, sum(failed_calls)::bigint AS failed_calls
    FROM grouped
    UNION ALL
    SELECT false, * FROM grouped
) AS told
ORDER BY is_total DESC, cost_cents DESC NULLS LAST, day, hour, model, provider, operation, agent, flow, run, conversation,
    "user", workspace, environment, organization, flag_variant
LIMIT %(limit)s;
