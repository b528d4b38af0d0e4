-- Traces whose rows changed because of another trace, or of a new price. Whoever changes them only adds
-- a row here and never waits: marking them in unsettled_traces could wait for a writer that waits for us.

SET LOCAL search_path TO otel_obs;

CREATE TABLE touched_traces (
    organization_id text NOT NULL,
    trace_id        text NOT NULL
);
ALTER TABLE touched_traces ENABLE ROW LEVEL SECURITY;

COMMENT ON TABLE touched_traces IS 'Traces to be settled again although nothing was added to them; they move to unsettled_traces.';
COMMENT ON COLUMN touched_traces.organization_id IS 'Organization of the trace.';
COMMENT ON COLUMN touched_traces.trace_id IS 'The trace.';
