-- Months in milliseconds: the figures of executions are read from an index alone, and roll-ups of one workspace, agent
-- or model without those of the others.

SET LOCAL search_path TO otel_obs;

-- Workflows, and agents that are part of no other execution (metrics.sql asks in these very words): one row in a dozen,
-- so it costs next to nothing to keep. Percentiles need every latency; they are not rolled up, because sums cannot be.
CREATE INDEX event_logs_execution_idx ON event_logs (organization_id, workspace_id, "timestamp")
    INCLUDE (status, latency_ms, environment)
    WHERE event_type IN ('workflow', 'agent') AND (event_type = 'workflow' OR inherited & 128 = 0);

-- One conversation of months, which somebody asks support about, and the newest ones.
CREATE INDEX event_logs_conversation_idx ON event_logs (organization_id, conversation_id, "timestamp")
    WHERE conversation_id IS NOT NULL;

CREATE INDEX usage_rollups_workspace_idx ON usage_rollups (organization_id, workspace_id, day) WHERE hour IS NULL;
CREATE INDEX usage_rollups_agent_idx ON usage_rollups (organization_id, agent_id, day) WHERE hour IS NULL;
CREATE INDEX usage_rollups_model_idx ON usage_rollups (organization_id, model_name, day) WHERE hour IS NULL;
