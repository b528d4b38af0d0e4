-- otel_obs: what AI workflows did and what they cost.  Start reading here.
--
-- A program sends OpenTelemetry spans and log records.  Each becomes a row of event_logs, written
-- by COPY within one transaction per batch, and, depending on what it means, a row more:
--
--   model_cost_logs         one request that a model provider served: tokens, price, cost
--   agent_trace_history     one run of an agent, with the steps below it
--   prompt_similarity_logs  one verdict of a guardrail
--   span_contents           what was said (prompts, answers, tool arguments): only here
--
-- These five are the hot tables: partitioned by week (Monday 00:00 UTC) of "timestamp", which is
-- when the span began, so that sending it again always finds the same partition.  Weeks follow each
-- other without a gap; what is older or newer than they are lies in <table>_early and <table>_late
-- (there is no DEFAULT partition: it would stand in the way of each new week).  Hot tables have no
-- foreign keys: each costs 3 to 5 us a row.
--
-- Their key begins with organization and trace, because a trace is settled (and shown) as a whole:
-- unsettled_traces names those to which spans were added lately.  Once they have been quiet, agent,
-- user and workflow are handed down the trace and reports of one call are made one row.
-- call_registry holds, for each response id, the report that is counted; call_reports holds every
-- report of a call that was reported more than once.
--
-- Beside them: organizations > workspaces, users, workflows are the tenants (the same id in two
-- organizations is two things), deleted_tenants those that must not come back by themselves;
-- resources what sent the spans; model_prices what a token costs and when (append-only);
-- feature_flags; quarantine what was refused, and why; schema_migrations what has been applied.
--
-- The owner of the schema writes.  Tenants are answered as otel_obs_reader, which sees rows of the
-- organization (and workspace) named by the settings otel_obs.organization_id and
-- otel_obs.workspace_id of its transaction, through the parents only: see 0004_reader.sql.
--
-- Money is numeric, in US cents, never rounded.  NULL means that nobody said; 0 that someone said 0.

SET LOCAL search_path TO otel_obs;

CREATE TABLE event_logs (
    organization_id  text NOT NULL,
    workspace_id     text NOT NULL,
    user_id          text,
    trace_id         text NOT NULL,
    span_id          text NOT NULL,
    event_id         text NOT NULL,
    "timestamp"      timestamptz NOT NULL,
    received_at      timestamptz NOT NULL,
    event_type       text NOT NULL,
    name             text NOT NULL,
    status           text NOT NULL,
    error_type       text,
    latency_ms       double precision,
    parent_span_id   text,
    service_name     text,
    service_version  text,
    environment      text,
    agent_id         text,
    flow_id          text,
    run_id           text,
    conversation_id  text,
    cost_state       text,
    counted_trace_id text,
    counted_span_id  text,
    node_name        text,
    inherited        smallint NOT NULL DEFAULT 0,
    resource_hash    text,
    context          jsonb NOT NULL,
    PRIMARY KEY (organization_id, trace_id, event_id, "timestamp")
) PARTITION BY RANGE ("timestamp");

CREATE TABLE model_cost_logs (
    organization_id        text NOT NULL,
    workspace_id           text NOT NULL,
    user_id                text,
    trace_id               text NOT NULL,
    span_id                text NOT NULL,
    event_id               text NOT NULL,
    "timestamp"            timestamptz NOT NULL,
    received_at            timestamptz NOT NULL,
    agent_id               text,
    flow_id                text,
    run_id                 text,
    conversation_id        text,
    provider               text,
    model_name             text,
    request_model          text,
    operation              text NOT NULL,
    response_id            text,
    input_tokens           bigint,
    cache_read_tokens      bigint,
    cache_write_tokens     bigint,
    cache_write_1h_tokens  bigint,
    output_tokens          bigint,
    reasoning_tokens       bigint,
    billed_units           jsonb,
    service_tier           text,
    is_batch               boolean NOT NULL,
    is_stream              boolean,
    attempts               integer,
    endpoint               text,
    -- 'Infinity' sorts above all numbers and below 'NaN', which sums would spread.
    rate_per_1k            numeric CHECK (rate_per_1k >= 0 AND rate_per_1k < 'Infinity'),
    cost_usd               numeric CHECK (cost_usd >= 0 AND cost_usd < 'Infinity'),
    cost_source            text NOT NULL,
    cost_reason            text,
    reported_cost_cents    numeric CHECK (reported_cost_cents >= 0 AND reported_cost_cents < 'Infinity'),
    price_id               text,
    usage_source           text,
    status                 text NOT NULL,
    latency_ms             double precision,
    time_to_first_token_ms double precision,
    finish_reason          text,
    prompt_name            text,
    prompt_version         text,
    prompt_hash            text,
    prefix_hashes          text[],
    PRIMARY KEY (organization_id, trace_id, event_id, "timestamp")
) PARTITION BY RANGE ("timestamp");

CREATE TABLE agent_trace_history (
    organization_id text NOT NULL,
    workspace_id    text NOT NULL,
    user_id         text,
    trace_id        text NOT NULL,
    span_id         text NOT NULL,
    event_id        text NOT NULL,
    "timestamp"     timestamptz NOT NULL,
    received_at     timestamptz NOT NULL,
    agent_id        text,
    agent_name      text,
    flow_id         text,
    run_id          text,
    conversation_id text,
    status          text NOT NULL,
    latency_ms      double precision,
    input_context   jsonb,
    execution_nodes jsonb NOT NULL,
    output_summary  text,
    input_tokens    bigint,
    output_tokens   bigint,
    cost_cents      numeric CHECK (cost_cents >= 0 AND cost_cents < 'Infinity'),
    PRIMARY KEY (organization_id, trace_id, event_id, "timestamp")
) PARTITION BY RANGE ("timestamp");

CREATE TABLE prompt_similarity_logs (
    organization_id   text NOT NULL,
    workspace_id      text NOT NULL,
    user_id           text,
    trace_id          text NOT NULL,
    span_id           text NOT NULL,
    event_id          text NOT NULL,
    "timestamp"       timestamptz NOT NULL,
    received_at       timestamptz NOT NULL,
    agent_id          text,
    guardrail_name    text,
    similarity_score  double precision,
    flagged_reference text,
    action_taken      text,
    PRIMARY KEY (organization_id, trace_id, event_id, "timestamp")
) PARTITION BY RANGE ("timestamp");

CREATE TABLE span_contents (
    organization_id text NOT NULL,
    workspace_id    text NOT NULL,
    user_id         text,
    trace_id        text NOT NULL,
    span_id         text NOT NULL,
    event_id        text NOT NULL,
    "timestamp"     timestamptz NOT NULL,
    received_at     timestamptz NOT NULL,
    part            text NOT NULL,
    body            text,
    -- Ciphertext does not compress; trying costs time.
    body_encrypted  bytea,
    bytes           bigint NOT NULL,
    sha256          text NOT NULL,
    truncated       boolean NOT NULL,
    PRIMARY KEY (organization_id, trace_id, event_id, part, "timestamp")
) PARTITION BY RANGE ("timestamp");

ALTER TABLE span_contents ALTER COLUMN body_encrypted SET STORAGE EXTERNAL;

-- lz4 costs half of pglz, but not every server was built with it.  Partitions take it over.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_settings WHERE name = 'default_toast_compression' AND 'lz4' = ANY (enumvals)) THEN
        ALTER TABLE event_logs ALTER COLUMN context SET COMPRESSION lz4;
        ALTER TABLE agent_trace_history ALTER COLUMN input_context SET COMPRESSION lz4;
        ALTER TABLE agent_trace_history ALTER COLUMN execution_nodes SET COMPRESSION lz4;
        ALTER TABLE span_contents ALTER COLUMN body SET COMPRESSION lz4;
    END IF;
END
$$;

-- The fewest that serve: each costs 0.7 to 1.0 us and 75 to 100 bytes of WAL a row.  By trace serves
-- the primary key.  What is often not set is indexed only where it is.
CREATE INDEX event_logs_workspace_idx ON event_logs (organization_id, workspace_id, "timestamp");
CREATE INDEX event_logs_event_type_idx ON event_logs (organization_id, event_type, "timestamp");
CREATE INDEX event_logs_user_idx ON event_logs (organization_id, user_id, "timestamp") WHERE user_id IS NOT NULL;
CREATE INDEX event_logs_agent_idx ON event_logs (organization_id, agent_id, "timestamp") WHERE agent_id IS NOT NULL;
CREATE INDEX event_logs_flow_idx ON event_logs (organization_id, flow_id, "timestamp") WHERE flow_id IS NOT NULL;
CREATE INDEX event_logs_error_idx ON event_logs (organization_id, "timestamp") WHERE status = 'error';

CREATE INDEX model_cost_logs_workspace_idx ON model_cost_logs (organization_id, workspace_id, "timestamp");
CREATE INDEX model_cost_logs_model_idx ON model_cost_logs (organization_id, model_name, "timestamp");
CREATE INDEX model_cost_logs_user_idx ON model_cost_logs (organization_id, user_id, "timestamp")
    WHERE user_id IS NOT NULL;
CREATE INDEX model_cost_logs_agent_idx ON model_cost_logs (organization_id, agent_id, "timestamp")
    WHERE agent_id IS NOT NULL;
CREATE INDEX model_cost_logs_flow_idx ON model_cost_logs (organization_id, flow_id, "timestamp")
    WHERE flow_id IS NOT NULL;

-- A call without a response id may be one that another trace tells with it: settling looks for those.
CREATE INDEX model_cost_logs_nameless_idx ON model_cost_logs (organization_id, "timestamp") WHERE response_id IS NULL;

CREATE INDEX agent_trace_history_workspace_idx ON agent_trace_history (organization_id, workspace_id, "timestamp");
CREATE INDEX agent_trace_history_agent_idx ON agent_trace_history (organization_id, agent_id, "timestamp");

CREATE INDEX prompt_similarity_logs_workspace_idx
    ON prompt_similarity_logs (organization_id, workspace_id, "timestamp");

CREATE INDEX span_contents_workspace_idx ON span_contents (organization_id, workspace_id, "timestamp");

COMMENT ON TABLE event_logs IS 'One row per span, OTLP log event or log_event().';
COMMENT ON TABLE model_cost_logs IS 'One row per request that a model provider served, whoever reported it. Money in US cents.';
COMMENT ON TABLE agent_trace_history IS 'One row per run of an agent.';
COMMENT ON TABLE prompt_similarity_logs IS 'One row per verdict of a guardrail.';
COMMENT ON TABLE span_contents IS 'What was said, one row per part: prompts, answers, tool arguments and results. Nowhere else.';

-- What every hot table begins with, and columns that mean the same wherever they are.
DO $$
DECLARE
    shared CONSTANT jsonb := '{
        "organization_id": "Who pays: the organization of the credential it came with.",
        "workspace_id": "Workspace inside the organization.",
        "user_id": "End user on whose behalf it happened (user.id); NULL where nobody said.",
        "trace_id": "32 hex digits; empty where there is no trace.",
        "span_id": "16 hex digits; empty where there is no span.",
        "event_id": "What tells rows of one trace apart: the span id, a hash of the log record, or a UUIDv7.",
        "timestamp": "When it began, as sent, cut to microseconds; decides the partition.",
        "received_at": "When this installation first saw it.",
        "agent_id": "Stable id of the agent at work, else its name.",
        "flow_id": "Id of the workflow, else its name.",
        "run_id": "Id of the run of the workflow.",
        "conversation_id": "Conversation or session (gen_ai.conversation.id, session.id).",
        "status": "ok, error or unset; unset counts as success.",
        "latency_ms": "Duration in milliseconds; NULL while unfinished or if it ends before it starts."
    }';
    column_of record;
BEGIN
    FOR column_of IN
        SELECT c.relname, a.attname
        FROM pg_class AS c
        JOIN pg_attribute AS a ON a.attrelid = c.oid
        WHERE c.relnamespace = 'otel_obs'::regnamespace AND c.relkind = 'p' AND shared ? a.attname
    LOOP
        EXECUTE format('COMMENT ON COLUMN %I.%I IS %L', column_of.relname, column_of.attname,
                       shared ->> column_of.attname::text);
    END LOOP;
END
$$;

COMMENT ON COLUMN event_logs.event_type IS 'workflow, agent, llm, embedding, tool, retrieval, guardrail, evaluation, feature_flag, span, log, or the caller''s own.';
COMMENT ON COLUMN event_logs.name IS 'Name of the span or event.';
COMMENT ON COLUMN event_logs.error_type IS 'error.type, else the type of the exception.';
COMMENT ON COLUMN event_logs.parent_span_id IS 'Span id of the parent as sent; NULL for a root.';
COMMENT ON COLUMN event_logs.service_name IS 'service.name of the resource.';
COMMENT ON COLUMN event_logs.service_version IS 'service.version of the resource.';
COMMENT ON COLUMN event_logs.environment IS 'deployment.environment.name of the resource.';
COMMENT ON COLUMN event_logs.cost_state IS 'How it bears on cost: counted, rollup, duplicate, failed, no_usage; NULL where it does not.';
COMMENT ON COLUMN event_logs.counted_trace_id IS 'For a duplicate: trace of the report that is counted in its place.';
COMMENT ON COLUMN event_logs.counted_span_id IS 'For a duplicate: span of the report that is counted in its place.';
COMMENT ON COLUMN event_logs.node_name IS 'Name of the agent, workflow or tool that the event shows; NULL where it shows none.';
COMMENT ON COLUMN event_logs.inherited IS 'Bits of the columns whose value came from another span of the trace or a default: 1 workspace_id, 2 user_id, 4 agent_id, 8 flow_id, 16 run_id, 32 conversation_id.';
COMMENT ON COLUMN event_logs.resource_hash IS 'Hash of what sent it: resources.hash.';
COMMENT ON COLUMN event_logs.context IS 'What else was sent: attributes, scope, events, links, flags; at most 64 KiB, without content.';

COMMENT ON COLUMN model_cost_logs.provider IS 'gen_ai.provider.name: openai, anthropic, aws.bedrock ...';
COMMENT ON COLUMN model_cost_logs.model_name IS 'Model that answered, else the one that was asked for.';
COMMENT ON COLUMN model_cost_logs.request_model IS 'Model that was asked for.';
COMMENT ON COLUMN model_cost_logs.operation IS 'chat, text_completion, generate_content, embeddings, rerank, image, speech, transcription, moderation or video.';
COMMENT ON COLUMN model_cost_logs.response_id IS 'The provider''s id of its answer; what makes two reports one call.';
COMMENT ON COLUMN model_cost_logs.input_tokens IS 'All input tokens, cached ones included.';
COMMENT ON COLUMN model_cost_logs.cache_read_tokens IS 'Part of input_tokens read from the provider''s cache.';
COMMENT ON COLUMN model_cost_logs.cache_write_tokens IS 'Part of input_tokens written to the provider''s cache.';
COMMENT ON COLUMN model_cost_logs.cache_write_1h_tokens IS 'Part of cache_write_tokens written for an hour.';
COMMENT ON COLUMN model_cost_logs.output_tokens IS 'All output tokens, reasoning included.';
COMMENT ON COLUMN model_cost_logs.reasoning_tokens IS 'Part of output_tokens that is reasoning.';
COMMENT ON COLUMN model_cost_logs.billed_units IS 'What else is billed, by name: audio, images, searches, characters, requests ...';
COMMENT ON COLUMN model_cost_logs.service_tier IS 'The provider''s tier (priority, flex ...), which may change the price.';
COMMENT ON COLUMN model_cost_logs.is_batch IS 'Served by the provider''s batch API.';
COMMENT ON COLUMN model_cost_logs.is_stream IS 'The answer was streamed; NULL where nobody said.';
COMMENT ON COLUMN model_cost_logs.attempts IS 'Requests it took, retries included.';
COMMENT ON COLUMN model_cost_logs.endpoint IS 'Host and port that was asked.';
COMMENT ON COLUMN model_cost_logs.rate_per_1k IS 'US cents per 1,000 tokens over the whole call.';
COMMENT ON COLUMN model_cost_logs.cost_usd IS 'Cost in US cents (not dollars, despite its name); NULL where it is not known, see cost_reason.';
COMMENT ON COLUMN model_cost_logs.cost_source IS 'computed from a price, reported by the sender, estimated, or unpriced.';
COMMENT ON COLUMN model_cost_logs.cost_reason IS 'Why there is no cost: unknown_model, no_usage, unknown_unit.';
COMMENT ON COLUMN model_cost_logs.reported_cost_cents IS 'What the sender believes it cost, in US cents.';
COMMENT ON COLUMN model_cost_logs.price_id IS 'Price it was computed with: model_prices.id.';
COMMENT ON COLUMN model_cost_logs.usage_source IS 'reported, split (only a total was known) or estimated; NULL without usage.';
COMMENT ON COLUMN model_cost_logs.time_to_first_token_ms IS 'Milliseconds until the first token came.';
COMMENT ON COLUMN model_cost_logs.finish_reason IS 'Why the model stopped; abandoned where the stream was broken off.';
COMMENT ON COLUMN model_cost_logs.prompt_name IS 'Name of the prompt template.';
COMMENT ON COLUMN model_cost_logs.prompt_version IS 'Version of the prompt template.';
COMMENT ON COLUMN model_cost_logs.prompt_hash IS 'Hash of the whole prompt: equal prompts, equal hashes.';
COMMENT ON COLUMN model_cost_logs.prefix_hashes IS 'Hashes of ever longer prefixes of the prompt: what a cache could have served.';

COMMENT ON COLUMN agent_trace_history.agent_name IS 'Name of the agent.';
COMMENT ON COLUMN agent_trace_history.input_context IS 'What the agent was given, shortened.';
COMMENT ON COLUMN agent_trace_history.execution_nodes IS 'Steps below the run in the order of their start: span_id, parent_span_id, type, name, status, latency_ms, tokens, cost_cents.';
COMMENT ON COLUMN agent_trace_history.output_summary IS 'Beginning of what the agent answered: 2,000 characters.';
COMMENT ON COLUMN agent_trace_history.input_tokens IS 'Input tokens of the calls of this run, without nested runs.';
COMMENT ON COLUMN agent_trace_history.output_tokens IS 'Output tokens of the calls of this run, without nested runs.';
COMMENT ON COLUMN agent_trace_history.cost_cents IS 'Cost of the calls of this run in US cents, without nested runs.';

COMMENT ON COLUMN prompt_similarity_logs.guardrail_name IS 'Name of the guardrail.';
COMMENT ON COLUMN prompt_similarity_logs.similarity_score IS 'How similar it found them, as the guardrail says.';
COMMENT ON COLUMN prompt_similarity_logs.flagged_reference IS 'What it was found similar to.';
COMMENT ON COLUMN prompt_similarity_logs.action_taken IS 'What was done about it: allow, block, redact ...';

COMMENT ON COLUMN span_contents.part IS 'input, output, system, tools, tool_arguments, tool_result or reference.';
COMMENT ON COLUMN span_contents.body IS 'Text or JSON text; NULL where it is encrypted.';
COMMENT ON COLUMN span_contents.body_encrypted IS 'The body, encrypted with a key of the organization.';
COMMENT ON COLUMN span_contents.bytes IS 'Length of the whole body in bytes of UTF-8, before it was cut.';
COMMENT ON COLUMN span_contents.sha256 IS 'SHA-256 of the whole body, in hex.';
COMMENT ON COLUMN span_contents.truncated IS 'The body was too long and is cut.';
