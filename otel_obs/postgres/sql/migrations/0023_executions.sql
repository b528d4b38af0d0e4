-- Executions: what a platform counts as one run of something. Settling says which runs of agents are part of another.

SET LOCAL search_path TO otel_obs;

COMMENT ON COLUMN event_logs.inherited IS 'Bits of the columns whose value came from another span of the trace or a default: 1 workspace_id, 2 user_id, 4 agent_id, 8 flow_id, 16 run_id, 32 conversation_id, 64 workspace_id is a default; and 128: an agent''s run that is part of another execution.';
