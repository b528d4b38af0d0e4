-- Executions and traces: settling says which runs of agents are part of another execution, and which event stands for
-- its trace, so that both can be listed without reading whole traces.

SET LOCAL search_path TO otel_obs;

CREATE INDEX event_logs_top_idx ON event_logs (organization_id, "timestamp") WHERE inherited & 256 <> 0;

-- All of an organization by time: lists, and the days that roll-ups do not tell yet.
CREATE INDEX event_logs_time_idx ON event_logs (organization_id, "timestamp");
CREATE INDEX model_cost_logs_time_idx ON model_cost_logs (organization_id, "timestamp");

COMMENT ON COLUMN event_logs.inherited IS 'Bits of the columns whose value came from another span of the trace or a default: 1 workspace_id, 2 user_id, 4 agent_id, 8 flow_id, 16 run_id, 32 conversation_id, 64 workspace_id is a default; 128: an agent''s run that is part of another execution; 256: the event that stands for its trace.';
