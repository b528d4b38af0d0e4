-- name: claim_traces
-- Quiet, or waiting for long; whoever claims a trace holds it until its rows are final.
-- The number of its events comes back where it is final with so many.
SELECT organization_id, trace_id, CASE
    WHEN resource_hash IS NULL OR EXISTS (
        SELECT FROM resources AS r
        WHERE r.organization_id = u.organization_id AND r.hash = u.resource_hash
            AND (cardinality(r.call_scopes) = 1 OR r.root_calls IS FALSE)
    ) THEN events
END
FROM unsettled_traces AS u
WHERE %(all_now)s OR last_at <= now() - %(quiet)s::interval OR first_at <= now() - %(patience)s::interval
ORDER BY last_at
LIMIT %(limit)s
FOR UPDATE OF u SKIP LOCKED;

-- name: release_final
-- Takes those of the claimed traces from the list that have as many events as made them final; the others come back, with
-- when their events are. After the traces were claimed, and not together with that: nobody adds to a trace that is claimed,
-- and what was added before is seen by then. One look at each partition finds all of them, and the statements that follow
-- need to look at few.
WITH claimed AS (
    SELECT * FROM unnest(%(organization_ids)s::text[], %(trace_ids)s::text[], %(events)s::int[])
        AS trace (organization_id, trace_id, events)
), stored AS (
    SELECT asked.organization_id, found.trace_id, found.events, found.first_at, found.last_at
    FROM (
        SELECT organization_id, array_agg(trace_id) AS trace_ids
        FROM claimed
        WHERE trace_id <> ''
        GROUP BY organization_id
    ) AS asked
    CROSS JOIN LATERAL (
        SELECT e.trace_id, count(*) AS events, min(e."timestamp") AS first_at, max(e."timestamp") AS last_at
        FROM event_logs AS e
        WHERE e.organization_id = asked.organization_id AND e.trace_id = ANY(asked.trace_ids)
        GROUP BY e.trace_id
    ) AS found
), compared AS (
    SELECT c.organization_id, c.trace_id, c.events = s.events AS is_final, s.first_at, s.last_at
    FROM claimed AS c LEFT JOIN stored AS s USING (organization_id, trace_id)
), released AS (
    DELETE FROM unsettled_traces AS u USING compared AS c
    WHERE c.is_final AND u.organization_id = c.organization_id AND u.trace_id = c.trace_id
)
SELECT organization_id, trace_id, first_at, last_at FROM compared WHERE is_final IS NOT TRUE;

-- name: release
DELETE FROM unsettled_traces
WHERE organization_id = %(organization_id)s AND trace_id = ANY(%(trace_ids)s::text[]);

-- name: touch
-- Traces that are to be settled again: no row is locked, so nobody waits.
INSERT INTO touched_traces (organization_id, trace_id)
SELECT organization_id, trace_id
FROM unnest(%(organization_ids)s::text[], %(trace_ids)s::text[]) AS touched (organization_id, trace_id);

-- name: mark_touched
-- In a transaction of its own. One that is just being settled is waited for, and then marked anew.
WITH found AS (
    SELECT ctid FROM touched_traces LIMIT 10000 FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM touched_traces AS t USING found WHERE t.ctid = found.ctid RETURNING t.organization_id, t.trace_id
)
INSERT INTO unsettled_traces AS u (organization_id, trace_id, first_at, last_at)
SELECT DISTINCT organization_id, trace_id, now() - interval '1 minute', now() - interval '1 minute'
FROM gone
ORDER BY organization_id, trace_id
ON CONFLICT (organization_id, trace_id) DO UPDATE SET last_at = u.last_at, events = NULL;

-- name: lock_strangers
-- Settlers that look for reports without ids in each other's traces take turns.
SELECT pg_advisory_xact_lock(hashtext('otel_obs.strangers'), hashtext(%(organization_id)s));

-- name: events_of_traces
-- Of the context what settling needs: reading all of it would cost more than everything else.
SELECT e.organization_id, e.workspace_id, e.user_id, e.trace_id, e.span_id, e.event_id, e."timestamp", e.received_at,
    e.event_type, e.name, e.status, e.error_type, e.latency_ms, e.parent_span_id, e.service_name, e.service_version,
    e.environment, e.agent_id, e.flow_id, e.run_id, e.conversation_id, e.cost_state, e.counted_trace_id,
    e.counted_span_id, e.node_name, e.inherited, e.resource_hash,
    jsonb_strip_nulls(jsonb_build_object(
        'scope', e.context -> 'scope', 'flags', e.context -> 'flags', 'estimate', e.context -> 'estimate'
    )) AS context
FROM event_logs AS e
WHERE e.organization_id = %(organization_id)s AND e.trace_id = ANY(%(trace_ids)s::text[])
    AND e."timestamp" BETWEEN %(since)s::timestamptz AND %(until)s::timestamptz;

-- name: calls_of_traces
-- Here and below the star is the columns that the row type of this release has: see queries.naming.
SELECT t.* FROM model_cost_logs AS t
WHERE t.organization_id = %(organization_id)s AND t.trace_id = ANY(%(trace_ids)s::text[])
    AND t."timestamp" BETWEEN %(since)s::timestamptz AND %(until)s::timestamptz;

-- name: agent_runs_of_events
SELECT t.* FROM agent_trace_history AS t
JOIN unnest(%(timestamps)s::timestamptz[], %(trace_ids)s::text[], %(event_ids)s::text[])
    AS asked ("timestamp", trace_id, event_id) USING ("timestamp", trace_id, event_id)
WHERE t.organization_id = %(organization_id)s
    AND t."timestamp" BETWEEN %(since)s::timestamptz AND %(until)s::timestamptz;

-- name: checks_of_events
SELECT t.* FROM prompt_similarity_logs AS t
JOIN unnest(%(timestamps)s::timestamptz[], %(trace_ids)s::text[], %(event_ids)s::text[])
    AS asked ("timestamp", trace_id, event_id) USING ("timestamp", trace_id, event_id)
WHERE t.organization_id = %(organization_id)s
    AND t."timestamp" BETWEEN %(since)s::timestamptz AND %(until)s::timestamptz;

-- name: contents_of_events
SELECT t.* FROM span_contents AS t
JOIN unnest(%(timestamps)s::timestamptz[], %(trace_ids)s::text[], %(event_ids)s::text[])
    AS asked ("timestamp", trace_id, event_id) USING ("timestamp", trace_id, event_id)
WHERE t.organization_id = %(organization_id)s
    AND t."timestamp" BETWEEN %(since)s::timestamptz AND %(until)s::timestamptz;

-- name: senders_without_twins
-- Those of whose calls nobody else in the same process tells in another trace.
SELECT hash FROM resources
WHERE organization_id = %(organization_id)s AND hash = ANY(%(hashes)s::text[])
    AND (cardinality(call_scopes) = 1 OR root_calls IS FALSE);

-- name: calls_near
-- Calls of other traces that may be those that name no response id: same model, same totals (once cached and
-- reasoning tokens are counted in, or left out, in both) or nearly, about the same time; or one of the two says none.
-- The other way round only those that name none are looked at: these are few, and an index holds just them.
SELECT t.* FROM model_cost_logs AS t
WHERE t.organization_id = %(organization_id)s AND (NOT %(nameless)s::boolean OR t.response_id IS NULL)
    AND (%(nameless)s::boolean OR t.model_name = ANY(%(models)s::text[]) OR t.request_model = ANY(%(models)s::text[]))
    AND t."timestamp" BETWEEN %(since)s AND %(until)s AND NOT t.trace_id = ANY(%(trace_ids)s::text[])
    AND EXISTS (
        SELECT FROM unnest(
            %(inputs)s::bigint[], %(outputs)s::bigint[], %(read)s::bigint[], %(written)s::bigint[],
            %(reasoning)s::bigint[], %(starts)s::timestamptz[], %(ends)s::timestamptz[]
        ) AS n (input_tokens, output_tokens, read, written, reasoning, started, ended)
        WHERE (t.input_tokens, t.output_tokens) IS NOT DISTINCT FROM (n.input_tokens, n.output_tokens)
            OR (abs(t.input_tokens - n.input_tokens) IN (
                    0, greatest(t.cache_read_tokens, n.read), greatest(t.cache_write_tokens, n.written),
                    greatest(t.cache_read_tokens, n.read) + greatest(t.cache_write_tokens, n.written))
                AND (abs(t.output_tokens - n.output_tokens) <= %(nearly)s
                    OR abs(t.output_tokens - n.output_tokens) = greatest(coalesce(t.reasoning_tokens, 0), n.reasoning)))
            OR (coalesce(t.input_tokens, t.output_tokens) IS NULL) <> (coalesce(n.input_tokens, n.output_tokens) IS NULL)
                AND tstzrange(t."timestamp", t."timestamp" + coalesce(t.latency_ms, 0) * interval '1 millisecond', '[]')
                    && tstzrange(n.started, n.ended, '[]')
    );

-- name: calls_of_events
SELECT t.* FROM model_cost_logs AS t
JOIN unnest(%(timestamps)s::timestamptz[], %(trace_ids)s::text[], %(event_ids)s::text[])
    AS asked ("timestamp", trace_id, event_id) USING ("timestamp", trace_id, event_id)
WHERE t.organization_id = %(organization_id)s
    AND t."timestamp" BETWEEN %(since)s::timestamptz AND %(until)s::timestamptz;

-- name: events_of_keys
SELECT e.organization_id, e.workspace_id, e.user_id, e.trace_id, e.span_id, e.event_id, e."timestamp", e.received_at,
    e.event_type, e.name, e.status, e.error_type, e.latency_ms, e.parent_span_id, e.service_name, e.service_version,
    e.environment, e.agent_id, e.flow_id, e.run_id, e.conversation_id, e.cost_state, e.counted_trace_id,
    e.counted_span_id, e.node_name, e.inherited, e.resource_hash,
    jsonb_strip_nulls(jsonb_build_object(
        'scope', e.context -> 'scope', 'flags', e.context -> 'flags', 'estimate', e.context -> 'estimate'
    )) AS context
FROM event_logs AS e
JOIN unnest(%(timestamps)s::timestamptz[], %(trace_ids)s::text[], %(event_ids)s::text[])
    AS asked ("timestamp", trace_id, event_id) USING ("timestamp", trace_id, event_id)
WHERE e.organization_id = %(organization_id)s
    AND e."timestamp" BETWEEN %(since)s::timestamptz AND %(until)s::timestamptz;

-- name: reports_of_traces
SELECT trace_id, event_id, "timestamp", response_id, group_key, counted, is_log, report
FROM call_reports
WHERE organization_id = %(organization_id)s AND trace_id = ANY(%(trace_ids)s::text[]);

-- name: reports_of_calls
SELECT trace_id, event_id, "timestamp", response_id, group_key, counted, is_log, report
FROM call_reports
WHERE organization_id = %(organization_id)s AND response_id = ANY(%(call_ids)s::text[])
UNION
SELECT trace_id, event_id, "timestamp", response_id, group_key, counted, is_log, report
FROM call_reports
WHERE organization_id = %(organization_id)s AND group_key = ANY(%(call_ids)s::text[]);

-- name: lock_calls
-- One settler at a time decides which report of a call is counted.
SELECT response_id, "timestamp", trace_id, event_id
FROM call_registry
WHERE organization_id = %(organization_id)s AND response_id = ANY(%(call_ids)s::text[])
ORDER BY response_id
FOR UPDATE;

-- name: update_events
UPDATE event_logs AS e
SET workspace_id = n.workspace_id, user_id = n.user_id, agent_id = n.agent_id, flow_id = n.flow_id,
    run_id = n.run_id, conversation_id = n.conversation_id, cost_state = n.cost_state,
    counted_trace_id = n.counted_trace_id, counted_span_id = n.counted_span_id, inherited = n.inherited
FROM jsonb_populate_recordset(NULL::event_logs, %(rows)s) AS n
WHERE e.organization_id = n.organization_id AND e."timestamp" = n."timestamp" AND e.trace_id = n.trace_id
    AND e.event_id = n.event_id
    AND e."timestamp" BETWEEN %(since)s::timestamptz AND %(until)s::timestamptz;

-- name: update_contexts
-- Only the flags: the rest of a context was not read.
UPDATE event_logs AS e
SET context = CASE
    WHEN n.context ? 'flags' THEN jsonb_set(e.context, '{flags}', n.context -> 'flags')
    ELSE e.context - 'flags'
END
FROM jsonb_populate_recordset(NULL::event_logs, %(rows)s) AS n
WHERE e.organization_id = n.organization_id AND e."timestamp" = n."timestamp" AND e.trace_id = n.trace_id
    AND e.event_id = n.event_id
    AND e."timestamp" BETWEEN %(since)s::timestamptz AND %(until)s::timestamptz;

-- name: update_contents
UPDATE span_contents AS c
SET workspace_id = n.workspace_id, user_id = n.user_id
FROM jsonb_populate_recordset(NULL::event_logs, %(rows)s) AS n
WHERE c.organization_id = n.organization_id AND c."timestamp" = n."timestamp" AND c.trace_id = n.trace_id
    AND c.event_id = n.event_id
    AND (c.workspace_id, c.user_id) IS DISTINCT FROM (n.workspace_id, n.user_id)
    AND c."timestamp" BETWEEN %(since)s::timestamptz AND %(until)s::timestamptz;

-- name: update_agent_runs
UPDATE agent_trace_history AS t
SET workspace_id = n.workspace_id, user_id = n.user_id, agent_id = n.agent_id, agent_name = n.agent_name,
    flow_id = n.flow_id, run_id = n.run_id, conversation_id = n.conversation_id, execution_nodes = n.execution_nodes,
    input_tokens = n.input_tokens, output_tokens = n.output_tokens, cost_cents = n.cost_cents
FROM jsonb_populate_recordset(NULL::agent_trace_history, %(rows)s) AS n
WHERE t.organization_id = n.organization_id AND t."timestamp" = n."timestamp" AND t.trace_id = n.trace_id
    AND t.event_id = n.event_id
    AND t."timestamp" BETWEEN %(since)s::timestamptz AND %(until)s::timestamptz;

-- name: update_checks
UPDATE prompt_similarity_logs AS t
SET workspace_id = n.workspace_id, user_id = n.user_id, agent_id = n.agent_id
FROM jsonb_populate_recordset(NULL::prompt_similarity_logs, %(rows)s) AS n
WHERE t.organization_id = n.organization_id AND t."timestamp" = n."timestamp" AND t.trace_id = n.trace_id
    AND t.event_id = n.event_id
    AND t."timestamp" BETWEEN %(since)s::timestamptz AND %(until)s::timestamptz;

-- name: insert_calls
INSERT INTO model_cost_logs
SELECT * FROM jsonb_populate_recordset(NULL::model_cost_logs, %(rows)s)
ON CONFLICT DO NOTHING;

-- name: move_registry
-- Another report is counted now.
UPDATE call_registry AS r
SET "timestamp" = n."timestamp", trace_id = n.trace_id, event_id = n.event_id
FROM jsonb_populate_recordset(NULL::model_cost_logs, %(rows)s) AS n
WHERE r.organization_id = n.organization_id AND r.response_id = n.response_id;

-- name: insert_agent_runs
INSERT INTO agent_trace_history
SELECT * FROM jsonb_populate_recordset(NULL::agent_trace_history, %(rows)s)
ON CONFLICT DO NOTHING;

-- name: update_calls
UPDATE model_cost_logs AS t
SET workspace_id = n.workspace_id, user_id = n.user_id, agent_id = n.agent_id, flow_id = n.flow_id,
    run_id = n.run_id, conversation_id = n.conversation_id, provider = n.provider, model_name = n.model_name,
    request_model = n.request_model, response_id = n.response_id, input_tokens = n.input_tokens,
    cache_read_tokens = n.cache_read_tokens, cache_write_tokens = n.cache_write_tokens,
    cache_write_1h_tokens = n.cache_write_1h_tokens, output_tokens = n.output_tokens,
    reasoning_tokens = n.reasoning_tokens, billed_units = n.billed_units, service_tier = n.service_tier,
    is_stream = n.is_stream, attempts = n.attempts, endpoint = n.endpoint, rate_per_1k = n.rate_per_1k,
    cost_usd = n.cost_usd, cost_source = n.cost_source, cost_reason = n.cost_reason,
    reported_cost_cents = n.reported_cost_cents, price_id = n.price_id, usage_source = n.usage_source,
    time_to_first_token_ms = n.time_to_first_token_ms, finish_reason = n.finish_reason,
    prompt_name = n.prompt_name, prompt_version = n.prompt_version, prompt_hash = n.prompt_hash,
    prefix_hashes = n.prefix_hashes
FROM jsonb_populate_recordset(NULL::model_cost_logs, %(rows)s) AS n
WHERE t.organization_id = n.organization_id AND t."timestamp" = n."timestamp" AND t.trace_id = n.trace_id
    AND t.event_id = n.event_id
    AND t."timestamp" BETWEEN %(since)s::timestamptz AND %(until)s::timestamptz;
