-- name: admit_batch
-- All that is asked before rows are stored, where every tenant is known and none was deleted; else nothing is done.
SELECT operator_prices, is_admitted
FROM admit_batch(
    %(organization_ids)s::text[], %(workspace_organization_ids)s::text[], %(workspace_ids)s::text[],
    %(user_organization_ids)s::text[], %(user_ids)s::text[],
    %(trace_organization_ids)s::text[], %(trace_ids)s::text[], %(trace_events)s::integer[],
    %(trace_resource_hashes)s::text[],
    %(day_organization_ids)s::text[], %(days)s::date[]
);

-- name: mark_batch
-- What admit_batch does at the end, where tenants had to be looked at one by one.
SELECT mark_batch(
    %(user_organization_ids)s::text[], %(user_ids)s::text[],
    %(trace_organization_ids)s::text[], %(trace_ids)s::text[], %(trace_events)s::integer[],
    %(trace_resource_hashes)s::text[],
    %(day_organization_ids)s::text[], %(days)s::date[]
);

-- name: store_batch
-- The same, and the rows.
SELECT store_batch(
    %(organization_ids)s::text[], %(workspace_organization_ids)s::text[], %(workspace_ids)s::text[],
    %(user_organization_ids)s::text[], %(user_ids)s::text[],
    %(trace_organization_ids)s::text[], %(trace_ids)s::text[], %(trace_events)s::integer[],
    %(trace_resource_hashes)s::text[],
    %(day_organization_ids)s::text[], %(days)s::date[],
    %(known_prices)s::bigint, %(events)s, %(calls)s, %(runs)s, %(checks)s, %(contents)s
);

-- name: lock_organizations
-- Hold the organizations of a batch until it is committed, so that deleting one also deletes these rows.
SELECT id FROM organizations WHERE id = ANY(%(organization_ids)s::text[]) FOR KEY SHARE;

-- name: lock_workspaces
-- The same for workspaces.
SELECT w.organization_id, w.id
FROM workspaces AS w
JOIN unnest(%(organization_ids)s::text[], %(ids)s::text[]) AS wanted (organization_id, id) USING (organization_id, id)
FOR KEY SHARE OF w;

-- name: deleted_tenants
-- What was deleted in these organizations: rows for it are refused until somebody brings the id back.
SELECT organization_id, workspace_id, user_id
FROM deleted_tenants
WHERE organization_id = ANY(%(organization_ids)s::text[]);

-- name: register_organizations
-- An id that nobody announced is registered, so that nothing is lost; without a plan it keeps everything.
INSERT INTO organizations (id)
SELECT id FROM unnest(%(organization_ids)s::text[]) AS new (id) ORDER BY id
ON CONFLICT DO NOTHING;

-- name: register_workspaces
INSERT INTO workspaces (organization_id, id)
SELECT organization_id, id
FROM unnest(%(organization_ids)s::text[], %(ids)s::text[]) AS new (organization_id, id)
ORDER BY organization_id, id
ON CONFLICT DO NOTHING;

-- name: store_resources
-- Of the scopes that report calls two are enough: with them calls are compared across traces, whoever comes third.
INSERT INTO resources AS r (organization_id, hash, attributes, call_scopes, root_calls)
SELECT organization_id, hash, attributes, ARRAY(SELECT jsonb_array_elements_text(call_scopes) LIMIT 2), root_calls
FROM unnest(
    %(organization_ids)s::text[], %(hashes)s::text[], %(attributes)s::jsonb[], %(call_scopes)s::jsonb[],
    %(root_calls)s::boolean[]
) AS new (organization_id, hash, attributes, call_scopes, root_calls)
ORDER BY organization_id, hash
ON CONFLICT (organization_id, hash) DO UPDATE
SET call_scopes = ARRAY(SELECT DISTINCT unnest(r.call_scopes || EXCLUDED.call_scopes) LIMIT 2),
    root_calls = r.root_calls OR EXCLUDED.root_calls
WHERE cardinality(r.call_scopes) < 2 AND NOT r.call_scopes @> EXCLUDED.call_scopes
    OR EXCLUDED.root_calls AND r.root_calls IS NOT TRUE;

-- name: not_whole
-- Some of the batch was stored before, or is counted elsewhere. Its marks are this transaction's already.
UPDATE unsettled_traces AS u
SET events = NULL
FROM unnest(%(organization_ids)s::text[], %(trace_ids)s::text[]) AS found (organization_id, trace_id)
WHERE u.organization_id = found.organization_id AND u.trace_id = found.trace_id;

-- name: stage_events
CREATE TEMP TABLE staged_events (LIKE event_logs INCLUDING DEFAULTS) ON COMMIT DROP;

-- name: merge_events
-- A span that is stored stays as it is, but that a finished one replaces an unfinished one.
-- Comes back: the events that are new, and those that were replaced.
WITH unfinished AS (
    SELECT organization_id, "timestamp", trace_id, event_id
    FROM event_logs AS e
    JOIN staged_events AS s USING (organization_id, "timestamp", trace_id, event_id)
    WHERE e.latency_ms IS NULL AND s.latency_ms IS NOT NULL
), merged AS (
    INSERT INTO event_logs AS stored
    SELECT * FROM staged_events
    ORDER BY organization_id, "timestamp", trace_id, event_id
    ON CONFLICT (organization_id, "timestamp", trace_id, event_id) DO UPDATE SET
        received_at = EXCLUDED.received_at,
        workspace_id = EXCLUDED.workspace_id,
        user_id = EXCLUDED.user_id,
        event_type = EXCLUDED.event_type,
        name = EXCLUDED.name,
        status = EXCLUDED.status,
        error_type = EXCLUDED.error_type,
        latency_ms = EXCLUDED.latency_ms,
        parent_span_id = EXCLUDED.parent_span_id,
        agent_id = EXCLUDED.agent_id,
        flow_id = EXCLUDED.flow_id,
        run_id = EXCLUDED.run_id,
        conversation_id = EXCLUDED.conversation_id,
        cost_state = EXCLUDED.cost_state,
        counted_trace_id = EXCLUDED.counted_trace_id,
        counted_span_id = EXCLUDED.counted_span_id,
        node_name = EXCLUDED.node_name,
        inherited = EXCLUDED.inherited,
        context = EXCLUDED.context
    WHERE stored.latency_ms IS NULL AND EXCLUDED.latency_ms IS NOT NULL
    RETURNING stored.organization_id, stored.trace_id, stored.event_id, stored."timestamp"
)
SELECT m.organization_id, m.trace_id, m.event_id, m."timestamp", u.event_id IS NOT NULL AS replaced
FROM merged AS m
LEFT JOIN unfinished AS u USING (organization_id, "timestamp", trace_id, event_id);

-- name: note_conflicts
-- Events that are stored otherwise than they came again; that one is not finished yet is no contradiction. Each is
-- noted once with the hashes of both, and none of what they say. Comes back: how many there are.
WITH differing AS (
    SELECT s.organization_id, s.workspace_id, s.received_at, s.trace_id, s.event_id, s.span_id,
        encode(sha256(convert_to(stored.said::text, 'UTF8')), 'hex') AS stored_hash,
        encode(sha256(convert_to(came.said::text, 'UTF8')), 'hex') AS came_hash
    FROM staged_events AS s
    JOIN event_logs AS e USING (organization_id, "timestamp", trace_id, event_id)
    CROSS JOIN LATERAL (SELECT jsonb_build_array(e.name, e.status, e.latency_ms, e.context -> 'attributes')) AS stored (said)
    CROSS JOIN LATERAL (SELECT jsonb_build_array(s.name, s.status, s.latency_ms, s.context -> 'attributes')) AS came (said)
    WHERE (s.latency_ms IS NOT NULL OR e.latency_ms IS NULL) AND stored.said IS DISTINCT FROM came.said
), noted AS (
    INSERT INTO quarantine (organization_id, workspace_id, received_at, signal, reason, detail, sha256)
    SELECT organization_id, workspace_id, received_at,
        CASE WHEN event_id = span_id THEN 'traces' ELSE 'logs' END, 'conflict',
        format('trace %s, event %s: stored %s, came again as %s', trace_id, event_id, stored_hash, came_hash), came_hash
    FROM differing
    ORDER BY organization_id, trace_id, event_id
    ON CONFLICT (organization_id, detail) WHERE reason = 'conflict' DO NOTHING
)
SELECT count(*) FROM differing;

-- name: forget_agent_runs
DELETE FROM agent_trace_history AS t
USING unnest(%(organization_ids)s::text[], %(timestamps)s::timestamptz[], %(trace_ids)s::text[], %(event_ids)s::text[])
    AS gone (organization_id, "timestamp", trace_id, event_id)
WHERE t.organization_id = gone.organization_id AND t."timestamp" = gone."timestamp"
    AND t.trace_id = gone.trace_id AND t.event_id = gone.event_id;

-- name: forget_calls
DELETE FROM model_cost_logs AS t
USING unnest(%(organization_ids)s::text[], %(timestamps)s::timestamptz[], %(trace_ids)s::text[], %(event_ids)s::text[])
    AS gone (organization_id, "timestamp", trace_id, event_id)
WHERE t.organization_id = gone.organization_id AND t."timestamp" = gone."timestamp"
    AND t.trace_id = gone.trace_id AND t.event_id = gone.event_id;

-- name: forget_checks
DELETE FROM prompt_similarity_logs AS t
USING unnest(%(organization_ids)s::text[], %(timestamps)s::timestamptz[], %(trace_ids)s::text[], %(event_ids)s::text[])
    AS gone (organization_id, "timestamp", trace_id, event_id)
WHERE t.organization_id = gone.organization_id AND t."timestamp" = gone."timestamp"
    AND t.trace_id = gone.trace_id AND t.event_id = gone.event_id;

-- name: forget_contents
DELETE FROM span_contents AS t
USING unnest(%(organization_ids)s::text[], %(timestamps)s::timestamptz[], %(trace_ids)s::text[], %(event_ids)s::text[])
    AS gone (organization_id, "timestamp", trace_id, event_id)
WHERE t.organization_id = gone.organization_id AND t."timestamp" = gone."timestamp"
    AND t.trace_id = gone.trace_id AND t.event_id = gone.event_id;

-- name: forget_reports
DELETE FROM call_reports AS t
USING unnest(%(organization_ids)s::text[], %(trace_ids)s::text[], %(event_ids)s::text[])
    AS gone (organization_id, trace_id, event_id)
WHERE t.organization_id = gone.organization_id AND t.trace_id = gone.trace_id AND t.event_id = gone.event_id;

-- name: claim_response_ids
-- The first report of a response id is counted; whoever comes second waits here for the first one's commit.
INSERT INTO call_registry (organization_id, response_id, "timestamp", trace_id, event_id)
SELECT * FROM unnest(
    %(organization_ids)s::text[], %(response_ids)s::text[], %(timestamps)s::timestamptz[], %(trace_ids)s::text[],
    %(event_ids)s::text[]
) AS new (organization_id, response_id, "timestamp", trace_id, event_id)
ORDER BY organization_id, response_id
ON CONFLICT (organization_id, response_id) DO NOTHING
RETURNING organization_id, response_id;

-- name: registered
SELECT organization_id, response_id, "timestamp", trace_id, event_id
FROM call_registry
JOIN unnest(%(organization_ids)s::text[], %(response_ids)s::text[]) AS asked (organization_id, response_id)
    USING (organization_id, response_id);

-- name: keep_reports
INSERT INTO call_reports
    (organization_id, trace_id, event_id, "timestamp", response_id, group_key, counted, is_log, report)
SELECT * FROM unnest(
    %(organization_ids)s::text[], %(trace_ids)s::text[], %(event_ids)s::text[], %(timestamps)s::timestamptz[],
    %(response_ids)s::text[], %(group_keys)s::text[], %(counted)s::boolean[], %(is_log)s::boolean[],
    %(reports)s::jsonb[]
) AS new (organization_id, trace_id, event_id, "timestamp", response_id, group_key, counted, is_log, report)
ORDER BY organization_id, trace_id, event_id
ON CONFLICT (organization_id, trace_id, event_id) DO UPDATE SET
    group_key = EXCLUDED.group_key, counted = EXCLUDED.counted, report = EXCLUDED.report;

-- name: set_cost_states
UPDATE event_logs AS e
SET cost_state = n.cost_state, counted_trace_id = n.counted_trace_id, counted_span_id = n.counted_span_id
FROM unnest(
    %(organization_ids)s::text[], %(timestamps)s::timestamptz[], %(trace_ids)s::text[], %(event_ids)s::text[],
    %(cost_states)s::text[], %(counted_trace_ids)s::text[], %(counted_span_ids)s::text[]
) AS n (organization_id, "timestamp", trace_id, event_id, cost_state, counted_trace_id, counted_span_id)
WHERE e.organization_id = n.organization_id AND e."timestamp" = n."timestamp" AND e.trace_id = n.trace_id
    AND e.event_id = n.event_id
    AND (e.cost_state, e.counted_trace_id, e.counted_span_id)
        IS DISTINCT FROM (n.cost_state, n.counted_trace_id, n.counted_span_id);

-- name: store_quarantined
-- Keep what was refused. What comes again from the spool, after a crash between commit and note, is known by its time.
INSERT INTO quarantine (
    organization_id, workspace_id, received_at, signal, reason, detail, payload, sha256, format, payload_encrypted)
SELECT organization_id, workspace_id, received_at, signal, reason, detail, nullif(payload, ''), sha256, format,
    payload_encrypted
FROM unnest(
    %(organization_ids)s::text[], %(workspace_ids)s::text[], %(received_at)s::timestamptz[], %(signals)s::text[],
    %(reasons)s::text[], %(details)s::text[], %(payloads)s::bytea[], %(formats)s::text[], %(encrypted)s::bytea[],
    %(hashes)s::text[]
) AS new (
    organization_id, workspace_id, received_at, signal, reason, detail, payload, format, payload_encrypted, sha256)
WHERE NOT EXISTS (
    SELECT FROM quarantine AS old
    WHERE old.organization_id = new.organization_id AND old.received_at = new.received_at
        AND old.signal = new.signal AND old.reason = new.reason AND old.detail = new.detail
        AND old.sha256 = new.sha256
);

-- name: copy_registry
-- Claims by COPY; a response id that somebody has claimed is an error, and the batch is merged instead.
COPY call_registry (organization_id, response_id, "timestamp", trace_id, event_id) FROM STDIN (FORMAT BINARY);
