-- Runs of agents of one environment, without a look at the event of each run; errors of one workspace, without a look at
-- those of the others.

SET LOCAL search_path TO otel_obs;

ALTER TABLE agent_trace_history ADD COLUMN environment text;

COMMENT ON COLUMN agent_trace_history.environment IS 'event_logs.environment of the run; empty where nobody said any, NULL where it was written before this column was: its event tells then.';

-- Those that were written before, and no others.
CREATE INDEX agent_trace_history_undescribed_idx ON agent_trace_history (organization_id, "timestamp")
    WHERE environment IS NULL;

-- One event in fifty is an error: it costs next to nothing to keep.
CREATE INDEX event_logs_workspace_error_idx ON event_logs (organization_id, workspace_id, "timestamp")
    WHERE status = 'error';
