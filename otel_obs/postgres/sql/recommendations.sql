-- name: examined
-- All calls of the window: how many have no cost, and how many a guessed one.
SELECT count(*) AS calls, count(*) FILTER (WHERE m.cost_usd IS NULL) AS unpriced_calls,
    count(*) FILTER (WHERE m.cost_source = 'estimated' OR m.usage_source IN ('estimated', 'split')) AS estimated_calls,
    sum(m.cost_usd) AS cost_cents
FROM model_cost_logs AS m
WHERE m.organization_id = %(organization_id)s AND m."timestamp" >= %(since)s AND m."timestamp" < %(until)s
    AND (%(workspace_id)s::text IS NULL OR m.workspace_id = %(workspace_id)s)
    AND (%(user_id)s::text IS NULL OR m.user_id = %(user_id)s)
    AND (%(agent_id)s::text IS NULL OR m.agent_id = %(agent_id)s)
    AND (%(flow_id)s::text IS NULL OR m.flow_id = %(flow_id)s)
    AND (%(model)s::text IS NULL OR m.model_name = %(model)s);

-- name: short_answers
-- Prompts (by name, else by agent) whose answers are short, by model.
SELECT m.provider, m.model_name, m.agent_id, m.prompt_name, NULL::text AS flow_id, NULL::text AS reason,
    mode() WITHIN GROUP (ORDER BY m.price_id) FILTER (WHERE x.exact) AS price_id,
    count(*) FILTER (WHERE x.exact) AS calls, sum(m.cost_usd) FILTER (WHERE x.exact) AS cost_cents,
    count(*) FILTER (WHERE m.cost_usd IS NULL) AS unpriced_calls,
    count(*) FILTER (WHERE m.cost_usd IS NOT NULL AND NOT x.exact) AS estimated_calls,
    sum(m.input_tokens) FILTER (WHERE x.exact)::bigint AS input_tokens,
    sum(m.cache_read_tokens) FILTER (WHERE x.exact)::bigint AS cache_read_tokens,
    sum(m.cache_write_tokens) FILTER (WHERE x.exact)::bigint AS cache_write_tokens,
    sum(m.cache_write_1h_tokens) FILTER (WHERE x.exact)::bigint AS cache_write_1h_tokens,
    sum(m.output_tokens) FILTER (WHERE x.exact)::bigint AS output_tokens,
    sum(m.reasoning_tokens) FILTER (WHERE x.exact)::bigint AS reasoning_tokens,
    percentile_disc(0.95) WITHIN GROUP (ORDER BY m.output_tokens)::double precision AS amount,
    (array_agg(m.trace_id || '/' || m.event_id ORDER BY m.cost_usd DESC, m."timestamp") FILTER (WHERE x.exact))[1:5]
        AS evidence
FROM model_cost_logs AS m
CROSS JOIN LATERAL (SELECT m.cost_source IN ('computed', 'reported') AND m.usage_source = 'reported' AS exact) AS x
WHERE m.organization_id = %(organization_id)s AND m."timestamp" >= %(since)s AND m."timestamp" < %(until)s
    AND m.operation IN ('chat', 'text_completion', 'generate_content') AND m.status <> 'error' AND NOT m.is_batch
    AND (m.prompt_name IS NOT NULL OR m.agent_id IS NOT NULL)
    AND (%(workspace_id)s::text IS NULL OR m.workspace_id = %(workspace_id)s)
    AND (%(user_id)s::text IS NULL OR m.user_id = %(user_id)s)
    AND (%(agent_id)s::text IS NULL OR m.agent_id = %(agent_id)s)
    AND (%(flow_id)s::text IS NULL OR m.flow_id = %(flow_id)s)
    AND (%(model)s::text IS NULL OR m.model_name = %(model)s)
GROUP BY m.provider, m.model_name, m.agent_id, m.prompt_name
HAVING count(*) FILTER (WHERE x.exact) >= %(min_calls)s
    AND percentile_disc(0.95) WITHIN GROUP (ORDER BY m.output_tokens) <= %(short_tokens)s
ORDER BY cost_cents DESC NULLS LAST
LIMIT %(limit)s;

-- name: repeats
-- Prompts that were sent before, word for word, to the same model, and answered: each time but the first.
WITH asked AS (
    SELECT m.*, row_number() OVER (
        PARTITION BY m.workspace_id, m.model_name, m.prompt_hash ORDER BY m."timestamp", m.event_id) AS number
    FROM model_cost_logs AS m
    WHERE m.organization_id = %(organization_id)s AND m."timestamp" >= %(since)s AND m."timestamp" < %(until)s
        AND m.prompt_hash IS NOT NULL AND m.status <> 'error' AND m.finish_reason IS DISTINCT FROM 'abandoned'
        AND (%(workspace_id)s::text IS NULL OR m.workspace_id = %(workspace_id)s)
        AND (%(user_id)s::text IS NULL OR m.user_id = %(user_id)s)
        AND (%(agent_id)s::text IS NULL OR m.agent_id = %(agent_id)s)
        AND (%(flow_id)s::text IS NULL OR m.flow_id = %(flow_id)s)
        AND (%(model)s::text IS NULL OR m.model_name = %(model)s)
)
SELECT m.provider, m.model_name, m.agent_id, NULL::text AS prompt_name, NULL::text AS flow_id,
    m.operation AS reason, NULL::text AS price_id, count(*) FILTER (WHERE x.exact) AS calls,
    sum(m.cost_usd) FILTER (WHERE x.exact) AS cost_cents,
    count(*) FILTER (WHERE m.cost_usd IS NULL) AS unpriced_calls,
    count(*) FILTER (WHERE m.cost_usd IS NOT NULL AND NOT x.exact) AS estimated_calls,
    NULL::bigint AS input_tokens, NULL::bigint AS cache_read_tokens, NULL::bigint AS cache_write_tokens,
    NULL::bigint AS cache_write_1h_tokens, NULL::bigint AS output_tokens, NULL::bigint AS reasoning_tokens,
    count(DISTINCT m.prompt_hash)::double precision AS amount,
    (array_agg(m.trace_id || '/' || m.event_id ORDER BY m.cost_usd DESC, m."timestamp") FILTER (WHERE x.exact))[1:5]
        AS evidence
FROM asked AS m
CROSS JOIN LATERAL (SELECT m.cost_source IN ('computed', 'reported') AND m.usage_source = 'reported' AS exact) AS x
WHERE m.number > 1
GROUP BY m.provider, m.model_name, m.agent_id, m.operation
HAVING count(*) FILTER (WHERE x.exact) > 0
ORDER BY cost_cents DESC NULLS LAST
LIMIT %(limit)s;

-- name: growth
-- Conversations whose input grows with each call: tokens beyond twice those of the first call that no cache served.
WITH asked AS (
    SELECT m.*, first_value(m.input_tokens) OVER talk AS first_tokens, row_number() OVER talk AS number
    FROM model_cost_logs AS m
    WHERE m.organization_id = %(organization_id)s AND m."timestamp" >= %(since)s AND m."timestamp" < %(until)s
        AND m.conversation_id IS NOT NULL AND m.input_tokens IS NOT NULL AND m.status <> 'error'
        AND m.operation IN ('chat', 'generate_content')
        AND m.cost_source = 'computed' AND m.usage_source = 'reported'
        AND (%(workspace_id)s::text IS NULL OR m.workspace_id = %(workspace_id)s)
        AND (%(user_id)s::text IS NULL OR m.user_id = %(user_id)s)
        AND (%(agent_id)s::text IS NULL OR m.agent_id = %(agent_id)s)
        AND (%(flow_id)s::text IS NULL OR m.flow_id = %(flow_id)s)
        AND (%(model)s::text IS NULL OR m.model_name = %(model)s)
    WINDOW talk AS (PARTITION BY m.workspace_id, m.conversation_id, m.model_name, m.agent_id
        ORDER BY m."timestamp", m.event_id ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
), talks AS (
    SELECT provider, model_name, agent_id, conversation_id, min(price_id) AS price_id, count(*) AS calls,
        sum(cost_usd) AS cost_cents,
        sum(greatest(0, input_tokens - coalesce(cache_read_tokens, 0) - 2 * first_tokens)) AS beyond,
        (array_agg(trace_id || '/' || event_id ORDER BY input_tokens DESC))[1] AS largest
    FROM asked
    GROUP BY workspace_id, provider, model_name, agent_id, conversation_id
    HAVING count(*) >= 5 AND corr(number, input_tokens) >= 0.8 AND max(input_tokens) >= 4 * min(first_tokens)
)
SELECT provider, model_name, agent_id, NULL::text AS prompt_name, NULL::text AS flow_id, NULL::text AS reason, price_id,
    sum(calls)::bigint AS calls, sum(cost_cents) AS cost_cents, 0::bigint AS unpriced_calls,
    0::bigint AS estimated_calls, sum(beyond)::bigint AS input_tokens, NULL::bigint AS cache_read_tokens,
    NULL::bigint AS cache_write_tokens, NULL::bigint AS cache_write_1h_tokens, NULL::bigint AS output_tokens,
    NULL::bigint AS reasoning_tokens, count(*)::double precision AS amount,
    (array_agg(largest ORDER BY beyond DESC))[1:5] AS evidence
FROM talks
GROUP BY provider, model_name, agent_id, price_id
ORDER BY cost_cents DESC NULLS LAST
LIMIT %(limit)s;

-- name: failed
-- Money for answers that nobody got: failed calls that were billed, and streams that were broken off.
SELECT m.provider, m.model_name, m.agent_id, NULL::text AS prompt_name, NULL::text AS flow_id,
    CASE WHEN m.status = 'error' THEN 'failed' ELSE 'abandoned' END AS reason, NULL::text AS price_id,
    count(*) FILTER (WHERE x.exact) AS calls, sum(m.cost_usd) FILTER (WHERE x.exact) AS cost_cents,
    count(*) FILTER (WHERE m.cost_usd IS NULL) AS unpriced_calls,
    count(*) FILTER (WHERE m.cost_usd IS NOT NULL AND NOT x.exact) AS estimated_calls,
    NULL::bigint AS input_tokens, NULL::bigint AS cache_read_tokens, NULL::bigint AS cache_write_tokens,
    NULL::bigint AS cache_write_1h_tokens, NULL::bigint AS output_tokens, NULL::bigint AS reasoning_tokens,
    NULL::double precision AS amount,
    (array_agg(m.trace_id || '/' || m.event_id ORDER BY m.cost_usd DESC, m."timestamp") FILTER (WHERE x.exact))[1:5]
        AS evidence
FROM model_cost_logs AS m
CROSS JOIN LATERAL (SELECT m.cost_source IN ('computed', 'reported') AND m.usage_source = 'reported' AS exact) AS x
WHERE m.organization_id = %(organization_id)s AND m."timestamp" >= %(since)s AND m."timestamp" < %(until)s
    AND (m.status = 'error' OR m.finish_reason = 'abandoned')
    AND (%(workspace_id)s::text IS NULL OR m.workspace_id = %(workspace_id)s)
    AND (%(user_id)s::text IS NULL OR m.user_id = %(user_id)s)
    AND (%(agent_id)s::text IS NULL OR m.agent_id = %(agent_id)s)
    AND (%(flow_id)s::text IS NULL OR m.flow_id = %(flow_id)s)
    AND (%(model)s::text IS NULL OR m.model_name = %(model)s)
GROUP BY m.provider, m.model_name, m.agent_id, 6
HAVING count(*) FILTER (WHERE x.exact) > 0
ORDER BY cost_cents DESC NULLS LAST
LIMIT %(limit)s;

-- name: retried
-- Calls that were tried more than once: what the provider billed for the earlier attempts nobody reports.
SELECT m.provider, m.model_name, m.agent_id, NULL::text AS prompt_name, NULL::text AS flow_id, NULL::text AS reason,
    NULL::text AS price_id, count(*) FILTER (WHERE m.attempts > 1) AS calls,
    sum(m.cost_usd) FILTER (WHERE m.attempts > 1) AS cost_cents,
    count(*) FILTER (WHERE m.attempts > 1 AND m.cost_usd IS NULL) AS unpriced_calls,
    count(*) FILTER (WHERE m.attempts > 1 AND (m.cost_source = 'estimated' OR m.usage_source IN ('estimated', 'split')))
        AS estimated_calls,
    NULL::bigint AS input_tokens, NULL::bigint AS cache_read_tokens, NULL::bigint AS cache_write_tokens,
    NULL::bigint AS cache_write_1h_tokens, NULL::bigint AS output_tokens, NULL::bigint AS reasoning_tokens,
    sum(m.attempts - 1) FILTER (WHERE m.attempts > 1)::double precision AS amount,
    (array_agg(m.trace_id || '/' || m.event_id ORDER BY m.attempts DESC, m."timestamp")
        FILTER (WHERE m.attempts > 1))[1:5] AS evidence
FROM model_cost_logs AS m
WHERE m.organization_id = %(organization_id)s AND m."timestamp" >= %(since)s AND m."timestamp" < %(until)s
    AND (%(workspace_id)s::text IS NULL OR m.workspace_id = %(workspace_id)s)
    AND (%(user_id)s::text IS NULL OR m.user_id = %(user_id)s)
    AND (%(agent_id)s::text IS NULL OR m.agent_id = %(agent_id)s)
    AND (%(flow_id)s::text IS NULL OR m.flow_id = %(flow_id)s)
    AND (%(model)s::text IS NULL OR m.model_name = %(model)s)
GROUP BY m.provider, m.model_name, m.agent_id
HAVING count(*) FILTER (WHERE m.attempts > 1) >= 5
    AND count(*) FILTER (WHERE m.attempts > 1) * 20 >= count(*)
ORDER BY calls DESC
LIMIT %(limit)s;

-- name: batchable
-- Workflows that nobody waits for: no user, no conversation, no stream in any of their calls.
SELECT m.provider, m.model_name, NULL::text AS agent_id, NULL::text AS prompt_name, m.flow_id, NULL::text AS reason,
    mode() WITHIN GROUP (ORDER BY m.price_id) FILTER (WHERE x.exact) AS price_id,
    count(*) FILTER (WHERE x.exact) AS calls, sum(m.cost_usd) FILTER (WHERE x.exact) AS cost_cents,
    count(*) FILTER (WHERE m.cost_usd IS NULL) AS unpriced_calls,
    count(*) FILTER (WHERE m.cost_usd IS NOT NULL AND NOT x.exact) AS estimated_calls,
    sum(m.input_tokens) FILTER (WHERE x.exact)::bigint AS input_tokens,
    sum(m.cache_read_tokens) FILTER (WHERE x.exact)::bigint AS cache_read_tokens,
    sum(m.cache_write_tokens) FILTER (WHERE x.exact)::bigint AS cache_write_tokens,
    sum(m.cache_write_1h_tokens) FILTER (WHERE x.exact)::bigint AS cache_write_1h_tokens,
    sum(m.output_tokens) FILTER (WHERE x.exact)::bigint AS output_tokens,
    sum(m.reasoning_tokens) FILTER (WHERE x.exact)::bigint AS reasoning_tokens, NULL::double precision AS amount,
    (array_agg(m.trace_id || '/' || m.event_id ORDER BY m.cost_usd DESC, m."timestamp") FILTER (WHERE x.exact))[1:5]
        AS evidence
FROM model_cost_logs AS m
CROSS JOIN LATERAL (
    SELECT m.cost_source = 'computed' AND m.usage_source = 'reported' AND NOT m.is_batch AS exact
) AS x
WHERE m.organization_id = %(organization_id)s AND m."timestamp" >= %(since)s AND m."timestamp" < %(until)s
    AND m.flow_id IS NOT NULL
    AND (%(workspace_id)s::text IS NULL OR m.workspace_id = %(workspace_id)s)
    AND (%(user_id)s::text IS NULL OR m.user_id = %(user_id)s)
    AND (%(agent_id)s::text IS NULL OR m.agent_id = %(agent_id)s)
    AND (%(flow_id)s::text IS NULL OR m.flow_id = %(flow_id)s)
    AND (%(model)s::text IS NULL OR m.model_name = %(model)s)
GROUP BY m.provider, m.model_name, m.flow_id
HAVING count(*) FILTER (WHERE x.exact) >= %(min_calls)s
    AND count(*) FILTER (WHERE m.user_id IS NOT NULL OR m.conversation_id IS NOT NULL OR m.is_stream) = 0
ORDER BY cost_cents DESC NULLS LAST
LIMIT %(limit)s;

-- name: reasoning
-- Where most of what is paid for is thought and not said.
SELECT m.provider, m.model_name, m.agent_id, NULL::text AS prompt_name, NULL::text AS flow_id, NULL::text AS reason,
    mode() WITHIN GROUP (ORDER BY m.price_id) AS price_id, count(*) AS calls, sum(m.cost_usd) AS cost_cents,
    0::bigint AS unpriced_calls, 0::bigint AS estimated_calls, NULL::bigint AS input_tokens,
    NULL::bigint AS cache_read_tokens, NULL::bigint AS cache_write_tokens, NULL::bigint AS cache_write_1h_tokens,
    sum(m.output_tokens)::bigint AS output_tokens, sum(m.reasoning_tokens)::bigint AS reasoning_tokens,
    (sum(m.reasoning_tokens) / nullif(sum(m.output_tokens), 0))::double precision AS amount,
    (array_agg(m.trace_id || '/' || m.event_id ORDER BY m.reasoning_tokens DESC, m."timestamp"))[1:5] AS evidence
FROM model_cost_logs AS m
WHERE m.organization_id = %(organization_id)s AND m."timestamp" >= %(since)s AND m."timestamp" < %(until)s
    AND m.reasoning_tokens > 0 AND m.cost_source = 'computed' AND m.usage_source = 'reported' AND m.status <> 'error'
    AND (%(workspace_id)s::text IS NULL OR m.workspace_id = %(workspace_id)s)
    AND (%(user_id)s::text IS NULL OR m.user_id = %(user_id)s)
    AND (%(agent_id)s::text IS NULL OR m.agent_id = %(agent_id)s)
    AND (%(flow_id)s::text IS NULL OR m.flow_id = %(flow_id)s)
    AND (%(model)s::text IS NULL OR m.model_name = %(model)s)
GROUP BY m.provider, m.model_name, m.agent_id
HAVING count(*) >= %(min_calls)s AND sum(m.reasoning_tokens) >= 0.6 * sum(m.output_tokens)
ORDER BY cost_cents DESC NULLS LAST
LIMIT %(limit)s;

-- name: cache_writes
-- What was written to providers' caches, and what was read from them, by price.
SELECT m.provider, m.model_name, m.agent_id, NULL::text AS prompt_name, NULL::text AS flow_id, NULL::text AS reason,
    m.price_id, count(*) AS calls, sum(m.cost_usd) AS cost_cents, 0::bigint AS unpriced_calls,
    0::bigint AS estimated_calls, sum(m.input_tokens)::bigint AS input_tokens,
    sum(m.cache_read_tokens)::bigint AS cache_read_tokens, sum(m.cache_write_tokens)::bigint AS cache_write_tokens,
    sum(m.cache_write_1h_tokens)::bigint AS cache_write_1h_tokens, NULL::bigint AS output_tokens,
    NULL::bigint AS reasoning_tokens, NULL::double precision AS amount,
    (array_agg(m.trace_id || '/' || m.event_id ORDER BY m.cache_write_tokens DESC NULLS LAST, m."timestamp"))[1:5]
        AS evidence
FROM model_cost_logs AS m
WHERE m.organization_id = %(organization_id)s AND m."timestamp" >= %(since)s AND m."timestamp" < %(until)s
    AND (m.cache_write_tokens > 0 OR m.cache_read_tokens > 0)
    AND m.cost_source = 'computed' AND m.usage_source = 'reported'
    AND (%(workspace_id)s::text IS NULL OR m.workspace_id = %(workspace_id)s)
    AND (%(user_id)s::text IS NULL OR m.user_id = %(user_id)s)
    AND (%(agent_id)s::text IS NULL OR m.agent_id = %(agent_id)s)
    AND (%(flow_id)s::text IS NULL OR m.flow_id = %(flow_id)s)
    AND (%(model)s::text IS NULL OR m.model_name = %(model)s)
GROUP BY m.provider, m.model_name, m.agent_id, m.price_id
HAVING sum(m.cache_write_tokens) > 0
ORDER BY cost_cents DESC NULLS LAST
LIMIT %(limit)s;

-- name: unpriced
-- Calls that nobody knows the cost of.
SELECT m.provider, m.model_name, NULL::text AS agent_id, NULL::text AS prompt_name, NULL::text AS flow_id,
    m.cost_reason AS reason, NULL::text AS price_id, count(*) AS calls, NULL::numeric AS cost_cents,
    count(*) AS unpriced_calls, 0::bigint AS estimated_calls, sum(m.input_tokens)::bigint AS input_tokens,
    NULL::bigint AS cache_read_tokens, NULL::bigint AS cache_write_tokens, NULL::bigint AS cache_write_1h_tokens,
    sum(m.output_tokens)::bigint AS output_tokens, NULL::bigint AS reasoning_tokens, NULL::double precision AS amount,
    (array_agg(m.trace_id || '/' || m.event_id ORDER BY m."timestamp" DESC))[1:5] AS evidence
FROM model_cost_logs AS m
WHERE m.organization_id = %(organization_id)s AND m."timestamp" >= %(since)s AND m."timestamp" < %(until)s
    AND m.cost_usd IS NULL
    AND (%(workspace_id)s::text IS NULL OR m.workspace_id = %(workspace_id)s)
    AND (%(user_id)s::text IS NULL OR m.user_id = %(user_id)s)
    AND (%(agent_id)s::text IS NULL OR m.agent_id = %(agent_id)s)
    AND (%(flow_id)s::text IS NULL OR m.flow_id = %(flow_id)s)
    AND (%(model)s::text IS NULL OR m.model_name = %(model)s)
GROUP BY m.provider, m.model_name, m.cost_reason
ORDER BY calls DESC
LIMIT %(limit)s;

-- name: arrivals
-- Calls that could have read a beginning from a cache and did not, the newest ones.
SELECT m."timestamp", coalesce(m.time_to_first_token_ms, m.latency_ms, 0) AS busy_ms, m.provider, m.model_name,
    m.agent_id, m.workspace_id, m.input_tokens, m.cost_usd AS cost_cents, m.price_id, m.prefix_hashes, m.trace_id,
    m.event_id
FROM model_cost_logs AS m
WHERE m.organization_id = %(organization_id)s AND m."timestamp" >= %(since)s AND m."timestamp" < %(until)s
    AND m.prefix_hashes IS NOT NULL AND m.input_tokens > 0 AND NOT m.is_batch AND m.status <> 'error'
    AND coalesce(m.cache_read_tokens, 0) = 0 AND coalesce(m.cache_write_tokens, 0) = 0
    AND m.cost_source = 'computed' AND m.usage_source = 'reported' AND m.price_id IS NOT NULL
    AND (%(workspace_id)s::text IS NULL OR m.workspace_id = %(workspace_id)s)
    AND (%(user_id)s::text IS NULL OR m.user_id = %(user_id)s)
    AND (%(agent_id)s::text IS NULL OR m.agent_id = %(agent_id)s)
    AND (%(flow_id)s::text IS NULL OR m.flow_id = %(flow_id)s)
    AND (%(model)s::text IS NULL OR m.model_name = %(model)s)
ORDER BY m."timestamp" DESC
LIMIT %(arrivals)s;

-- name: prices_of
SELECT id, organization_id, provider, model_name, valid_from, valid_to, source, unit_prices, conditions
FROM model_prices
WHERE id = ANY(%(ids)s::text[]);
