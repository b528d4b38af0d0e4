-- name: store_prices
-- Prices that were used to compute money; one that is there already stays.
INSERT INTO model_prices
    (id, organization_id, provider, model_name, valid_from, valid_to, source, unit_prices, conditions)
SELECT id, organization_id, provider, model_name, valid_from, valid_to, source, unit_prices, conditions
FROM unnest(
    %(ids)s::text[], %(organization_ids)s::text[], %(providers)s::text[], %(model_names)s::text[],
    %(valid_from)s::timestamptz[], %(valid_to)s::timestamptz[], %(sources)s::text[], %(unit_prices)s::jsonb[],
    %(conditions)s::jsonb[]
) AS new (id, organization_id, provider, model_name, valid_from, valid_to, source, unit_prices, conditions)
ORDER BY id
ON CONFLICT DO NOTHING;

-- name: operator_prices
-- In the order in which they were set.
SELECT id, organization_id, provider, model_name, valid_from, valid_to, source, unit_prices, conditions
FROM model_prices
WHERE source = 'operator'
ORDER BY created_at, id;

-- name: operator_prices_set
-- They are only ever added to, so their number tells whether there are new ones.
SELECT count(*) FROM model_prices WHERE source = 'operator';

-- name: list_prices
SELECT id, organization_id, provider, model_name, valid_from, valid_to, source, unit_prices, conditions, created_at
FROM model_prices
WHERE (%(model)s::text IS NULL OR model_name = %(model)s)
    AND (%(organization_id)s::text IS NULL OR organization_id = %(organization_id)s)
    AND (%(after)s::text[] IS NULL OR (model_name, provider, valid_from, id)
        > ((%(after)s::text[])[1], (%(after)s::text[])[2], (%(after)s::text[])[3]::timestamptz, (%(after)s::text[])[4]))
ORDER BY model_name, provider, valid_from, id
LIMIT %(limit)s;

-- name: unpriced
-- Calls that nobody knows the cost of, by what is missing.
SELECT provider, model_name, cost_reason AS reason, count(*) AS calls,
    sum(input_tokens)::bigint AS input_tokens, sum(output_tokens)::bigint AS output_tokens,
    min("timestamp") AS first_at, max("timestamp") AS last_at
FROM model_cost_logs
WHERE cost_usd IS NULL
    AND (%(since)s::timestamptz IS NULL OR "timestamp" >= %(since)s)
    AND (%(until)s::timestamptz IS NULL OR "timestamp" < %(until)s)
    AND (%(organization_id)s::text IS NULL OR organization_id = %(organization_id)s)
GROUP BY provider, model_name, cost_reason
ORDER BY calls DESC, provider, model_name, cost_reason;

-- name: shares
-- Of all calls: how many have no cost, and how many an estimated one.
SELECT count(*), count(*) FILTER (WHERE cost_usd IS NULL),
    count(*) FILTER (WHERE cost_source = 'estimated' OR usage_source = 'estimated')
FROM model_cost_logs
WHERE (%(since)s::timestamptz IS NULL OR "timestamp" >= %(since)s)
    AND (%(until)s::timestamptz IS NULL OR "timestamp" < %(until)s)
    AND (%(organization_id)s::text IS NULL OR organization_id = %(organization_id)s);

-- name: disagreements
-- Calls whose emitter reports another cost than ours by more than a share of it.
SELECT organization_id, provider, model_name, count(*) AS calls,
    sum(cost_usd) AS cost_cents, sum(reported_cost_cents) AS reported_cents,
    max(abs(reported_cost_cents - cost_usd) / nullif(reported_cost_cents, 0)) AS largest_share,
    (array_agg(trace_id ORDER BY abs(reported_cost_cents - cost_usd) DESC))[1] AS trace_id,
    (array_agg(span_id ORDER BY abs(reported_cost_cents - cost_usd) DESC))[1] AS span_id
FROM model_cost_logs
WHERE cost_source IN ('computed', 'estimated') AND reported_cost_cents > 0
    AND abs(reported_cost_cents - cost_usd) > reported_cost_cents * %(share)s
    AND (%(since)s::timestamptz IS NULL OR "timestamp" >= %(since)s)
    AND (%(until)s::timestamptz IS NULL OR "timestamp" < %(until)s)
    AND (%(organization_id)s::text IS NULL OR organization_id = %(organization_id)s)
GROUP BY organization_id, provider, model_name
ORDER BY sum(abs(reported_cost_cents - cost_usd)) DESC, organization_id, provider, model_name;

-- name: compared
-- How many calls have both costs, so that no finding means something.
SELECT count(*) FROM model_cost_logs
WHERE cost_source IN ('computed', 'estimated') AND reported_cost_cents > 0
    AND (%(since)s::timestamptz IS NULL OR "timestamp" >= %(since)s)
    AND (%(until)s::timestamptz IS NULL OR "timestamp" < %(until)s)
    AND (%(organization_id)s::text IS NULL OR organization_id = %(organization_id)s);
