-- name: lock_runs
-- Who is asked the same at the same time takes part in one run.
SELECT pg_advisory_xact_lock(hashtext('otel_obs.reprice_runs'));

-- name: unfinished_run
SELECT id FROM reprice_runs
WHERE finished_at IS NULL AND asked = %(asked)s AND prices = %(prices)s
ORDER BY id DESC
LIMIT 1;

-- name: lock_run
-- Two runners of one run take turns.
SELECT position, rows_examined, rows_changed, changes, finished_at FROM reprice_runs WHERE id = %(id)s FOR UPDATE;

-- name: begin_run
INSERT INTO reprice_runs (asked, prices) VALUES (%(asked)s, %(prices)s) RETURNING id;

-- name: calls_after
-- In the order of the primary key; calls that arrive meanwhile are priced already. The star is the columns that the row
-- type of this release has.
SELECT t.* FROM model_cost_logs AS t
WHERE (%(since)s::timestamptz IS NULL OR "timestamp" >= %(since)s)
    AND (%(until)s::timestamptz IS NULL OR "timestamp" < %(until)s)
    AND (%(model)s::text IS NULL OR model_name ~* %(model)s OR request_model ~* %(model)s)
    AND (%(organization_id)s::text IS NULL OR organization_id = %(organization_id)s)
    AND (NOT %(unpriced)s OR cost_source = 'unpriced' AND cost_reason <> 'no_usage')
    AND (%(after_time)s::timestamptz IS NULL
        OR (organization_id, trace_id, event_id, "timestamp")
            > (%(after_organization)s, %(after_trace)s, %(after_event)s, %(after_time)s::timestamptz))
ORDER BY organization_id, trace_id, event_id, "timestamp"
LIMIT %(limit)s;

-- name: set_costs
UPDATE model_cost_logs AS m
SET rate_per_1k = n.rate_per_1k, cost_usd = n.cost_usd, cost_source = n.cost_source, cost_reason = n.cost_reason,
    price_id = n.price_id
FROM jsonb_populate_recordset(NULL::model_cost_logs, %(rows)s) AS n
WHERE m.organization_id = n.organization_id AND m."timestamp" = n."timestamp" AND m.trace_id = n.trace_id
    AND m.event_id = n.event_id
    -- A call that was enriched meanwhile was priced again with that.
    AND (m.input_tokens, m.output_tokens, m.cache_read_tokens, m.cache_write_tokens, m.cache_write_1h_tokens,
            m.reasoning_tokens, m.billed_units, m.model_name, m.provider, m.service_tier)
        IS NOT DISTINCT FROM (n.input_tokens, n.output_tokens, n.cache_read_tokens, n.cache_write_tokens,
            n.cache_write_1h_tokens, n.reasoning_tokens, n.billed_units, n.model_name, n.provider, n.service_tier);

-- name: keep_position
UPDATE reprice_runs
SET position = %(position)s, rows_examined = %(rows_examined)s, rows_changed = %(rows_changed)s, changes = %(changes)s,
    finished_at = CASE WHEN %(finished)s THEN now() END
WHERE id = %(id)s;
