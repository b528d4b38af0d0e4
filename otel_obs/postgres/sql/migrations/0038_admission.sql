-- What a batch asks before its rows are stored, asked at once; and a batch of few rows is stored with the same statement.
-- Each question cost a batch of one span as much as its row.

SET LOCAL search_path TO otel_obs;

CREATE FUNCTION mark_batch(
    user_organization_ids text[], user_ids text[],
    trace_organization_ids text[], trace_ids text[], trace_events integer[], trace_resource_hashes text[],
    day_organization_ids text[], days date[]
) RETURNS void
LANGUAGE plpgsql SET search_path = otel_obs SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    IF cardinality(user_ids) > 0 THEN
        INSERT INTO users (organization_id, id)
        SELECT new.organization_id, new.id
        FROM unnest(user_organization_ids, user_ids) AS new (organization_id, id)
        ORDER BY new.organization_id, new.id
        ON CONFLICT DO NOTHING;
    END IF;
    -- In one order for all writers, and before any row is touched, so that writers and settlers never wait in a circle.
    -- What came in two batches has to be settled, whatever each of them knew.
    INSERT INTO unsettled_traces (organization_id, trace_id, first_at, last_at, events, resource_hash)
    SELECT new.organization_id, new.trace_id, now(), now(), new.events, new.resource_hash
    FROM unnest(trace_organization_ids, trace_ids, trace_events, trace_resource_hashes)
        AS new (organization_id, trace_id, events, resource_hash)
    ORDER BY new.organization_id, new.trace_id
    ON CONFLICT (organization_id, trace_id) DO UPDATE SET last_at = EXCLUDED.last_at, events = NULL;
    IF cardinality(days) > 0 THEN
        INSERT INTO touched_days (organization_id, day)
        SELECT new.organization_id, new.day FROM unnest(day_organization_ids, days) AS new (organization_id, day);
    END IF;
END
$$;

COMMENT ON FUNCTION mark_batch(text[], text[], text[], text[], integer[], text[], text[], date[]) IS 'Register the users of a batch, and note that its traces are to be settled and its days to be rolled up.';

-- What is asked one after the other sees what was committed meanwhile: each statement of a volatile function looks anew.
-- Its plans are kept by the session, behind a transaction pooler as well; there is one way to find rows by their keys.
CREATE FUNCTION admit_batch(
    organization_ids text[],
    workspace_organization_ids text[], workspace_ids text[],
    user_organization_ids text[], user_ids text[],
    trace_organization_ids text[], trace_ids text[], trace_events integer[], trace_resource_hashes text[],
    day_organization_ids text[], days date[],
    OUT operator_prices bigint, OUT is_admitted boolean
)
LANGUAGE plpgsql SET search_path = otel_obs SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    held bigint;
BEGIN
    is_admitted := false;
    SELECT count(*) INTO operator_prices FROM model_prices WHERE source = 'operator';

    -- Held until the batch is committed, so that deleting them also deletes these rows.
    PERFORM FROM organizations WHERE id = ANY (organization_ids) FOR KEY SHARE;
    GET DIAGNOSTICS held = ROW_COUNT;
    IF held < cardinality(organization_ids) THEN
        RETURN;
    END IF;
    PERFORM FROM workspaces AS w
    JOIN unnest(workspace_organization_ids, workspace_ids) AS wanted (organization_id, id)
        ON w.organization_id = wanted.organization_id AND w.id = wanted.id
    FOR KEY SHARE OF w;
    GET DIAGNOSTICS held = ROW_COUNT;
    IF held < cardinality(workspace_ids) THEN
        RETURN;
    END IF;
    IF EXISTS (SELECT FROM deleted_tenants WHERE organization_id = ANY (organization_ids)) THEN
        RETURN;
    END IF;

    PERFORM mark_batch(user_organization_ids, user_ids, trace_organization_ids, trace_ids, trace_events,
        trace_resource_hashes, day_organization_ids, days);
    is_admitted := true;
END
$$;

COMMENT ON FUNCTION admit_batch(text[], text[], text[], text[], text[], text[], text[], integer[], text[], text[], date[]) IS 'Hold the tenants of a batch, register its users, mark its traces and days; or do nothing where a tenant is new or was deleted.';

-- The same as admit_batch and then COPY, for a few rows: a transaction that is one statement. Nothing is done where the
-- batch is not admitted, or operators have set other prices than it knows; what is stored already is an error.
CREATE FUNCTION store_batch(
    organization_ids text[],
    workspace_organization_ids text[], workspace_ids text[],
    user_organization_ids text[], user_ids text[],
    trace_organization_ids text[], trace_ids text[], trace_events integer[], trace_resource_hashes text[],
    day_organization_ids text[], days date[],
    known_prices bigint, events jsonb, calls jsonb, runs jsonb, checks jsonb, contents jsonb
) RETURNS boolean
LANGUAGE plpgsql SET search_path = otel_obs AS $$
BEGIN
    IF known_prices <> (SELECT count(*) FROM model_prices WHERE source = 'operator') THEN
        RETURN false;
    END IF;
    IF NOT (
        SELECT a.is_admitted
        FROM admit_batch(organization_ids, workspace_organization_ids, workspace_ids, user_organization_ids, user_ids,
            trace_organization_ids, trace_ids, trace_events, trace_resource_hashes, day_organization_ids, days) AS a
    ) THEN
        RETURN false;
    END IF;
    INSERT INTO event_logs SELECT * FROM jsonb_populate_recordset(NULL::event_logs, events);
    IF jsonb_array_length(calls) > 0 THEN
        INSERT INTO model_cost_logs SELECT * FROM jsonb_populate_recordset(NULL::model_cost_logs, calls);
    END IF;
    IF jsonb_array_length(runs) > 0 THEN
        INSERT INTO agent_trace_history SELECT * FROM jsonb_populate_recordset(NULL::agent_trace_history, runs);
    END IF;
    IF jsonb_array_length(checks) > 0 THEN
        INSERT INTO prompt_similarity_logs SELECT * FROM jsonb_populate_recordset(NULL::prompt_similarity_logs, checks);
    END IF;
    IF jsonb_array_length(contents) > 0 THEN
        INSERT INTO span_contents SELECT * FROM jsonb_populate_recordset(NULL::span_contents, contents);
    END IF;
    IF jsonb_array_length(calls) > 0 THEN
        INSERT INTO call_registry (organization_id, response_id, "timestamp", trace_id, event_id)
        SELECT c.organization_id, c.response_id, c."timestamp", c.trace_id, c.event_id
        FROM jsonb_populate_recordset(NULL::model_cost_logs, calls) AS c
        WHERE c.response_id IS NOT NULL
        ORDER BY c.organization_id, c.response_id;
    END IF;
    RETURN true;
END
$$;

COMMENT ON FUNCTION store_batch(text[], text[], text[], text[], text[], text[], text[], integer[], text[], text[], date[], bigint, jsonb, jsonb, jsonb, jsonb, jsonb) IS 'Store a batch of few rows, of which none is stored; or do nothing and return false.';
