-- Which report of a call is counted, and which traces wait to be settled.

SET LOCAL search_path TO otel_obs;

CREATE TABLE call_registry (
    organization_id text NOT NULL,
    response_id     text NOT NULL,
    "timestamp"     timestamptz NOT NULL,
    trace_id        text NOT NULL,
    event_id        text NOT NULL,
    PRIMARY KEY (organization_id, response_id)
);

CREATE TABLE call_reports (
    organization_id text NOT NULL,
    trace_id        text NOT NULL,
    event_id        text NOT NULL,
    "timestamp"     timestamptz NOT NULL,
    response_id     text,
    group_key       text,
    counted         boolean NOT NULL,
    is_log          boolean NOT NULL,
    report          jsonb NOT NULL,
    PRIMARY KEY (organization_id, trace_id, event_id)
);
CREATE INDEX call_reports_response_idx ON call_reports (organization_id, response_id) WHERE response_id IS NOT NULL;
CREATE INDEX call_reports_group_idx ON call_reports (organization_id, group_key) WHERE group_key IS NOT NULL;

CREATE TABLE unsettled_traces (
    organization_id text NOT NULL,
    trace_id        text NOT NULL,
    first_at        timestamptz NOT NULL,
    last_at         timestamptz NOT NULL,
    PRIMARY KEY (organization_id, trace_id)
);
CREATE INDEX unsettled_traces_last_idx ON unsettled_traces (last_at);

COMMENT ON TABLE call_registry IS 'The first counted report of each response id; its key is what makes two writers see each other.';
COMMENT ON COLUMN call_registry.organization_id IS 'Organization of the call.';
COMMENT ON COLUMN call_registry.response_id IS 'The provider''s id of its answer.';
COMMENT ON COLUMN call_registry."timestamp" IS 'When the counted call began: with trace and event the key of its model_cost_logs row.';
COMMENT ON COLUMN call_registry.trace_id IS 'Trace of the counted report.';
COMMENT ON COLUMN call_registry.event_id IS 'Event of the counted report.';

COMMENT ON TABLE call_reports IS 'Every report of a call that was reported more than once.';
COMMENT ON COLUMN call_reports.organization_id IS 'Organization of the call.';
COMMENT ON COLUMN call_reports.trace_id IS 'Trace of the report.';
COMMENT ON COLUMN call_reports.event_id IS 'Event that made the report.';
COMMENT ON COLUMN call_reports."timestamp" IS 'When the call began, as this report says.';
COMMENT ON COLUMN call_reports.response_id IS 'The response id that the report itself names.';
COMMENT ON COLUMN call_reports.group_key IS 'The call that settling found it to speak of, where it names none itself.';
COMMENT ON COLUMN call_reports.counted IS 'It is the one that has a row in model_cost_logs.';
COMMENT ON COLUMN call_reports.is_log IS 'A log record made it; a span that reports the same call is preferred.';
COMMENT ON COLUMN call_reports.report IS 'The whole report, as the row that it would be.';

COMMENT ON TABLE unsettled_traces IS 'Traces to which spans were added since they were last settled.';
COMMENT ON COLUMN unsettled_traces.organization_id IS 'Organization of the trace.';
COMMENT ON COLUMN unsettled_traces.trace_id IS 'The trace.';
COMMENT ON COLUMN unsettled_traces.first_at IS 'When its first unsettled span was received.';
COMMENT ON COLUMN unsettled_traces.last_at IS 'When its last span was received.';
