-- Costs of one environment, from roll-ups and without a look at the event of each call.

SET LOCAL search_path TO otel_obs;

ALTER TABLE model_cost_logs ADD COLUMN environment text;

COMMENT ON COLUMN model_cost_logs.environment IS 'event_logs.environment of the call; empty where nobody said any, NULL where it was written before this column was: its event tells then.';

CREATE OR REPLACE VIEW model_costs WITH (security_invoker = true) AS
SELECT organization_id, workspace_id, user_id, trace_id, span_id, event_id, "timestamp", received_at, agent_id, flow_id,
    run_id, conversation_id, provider, model_name, request_model, operation, response_id, input_tokens, cache_read_tokens,
    cache_write_tokens, cache_write_1h_tokens, output_tokens, reasoning_tokens, billed_units, service_tier, is_batch,
    is_stream, attempts, endpoint, rate_per_1k, cost_usd, cost_source, cost_reason, reported_cost_cents, price_id,
    usage_source, status, latency_ms, time_to_first_token_ms, finish_reason, prompt_name, prompt_version, prompt_hash,
    prefix_hashes, cost_usd AS cost_cents, cost_usd / 100 AS cost_dollars, environment
FROM model_cost_logs;

-- What is rolled up already does not tell it, and is rolled up again by the job; until then it answers all other questions.
ALTER TABLE usage_rollups ADD COLUMN environment text;
ALTER TABLE usage_rollups DROP CONSTRAINT usage_rollups_key;
ALTER TABLE usage_rollups ADD CONSTRAINT usage_rollups_key UNIQUE NULLS NOT DISTINCT
    (organization_id, day, hour, workspace_id, provider, model_name, agent_id, flow_id, environment);
CREATE INDEX usage_rollups_undescribed_idx ON usage_rollups (organization_id, day) WHERE environment IS NULL;

COMMENT ON TABLE usage_rollups IS 'Calls of each day by workspace, provider, model, agent, workflow and environment; of the last three days also by hour.';
COMMENT ON COLUMN usage_rollups.environment IS 'model_cost_logs.environment, of calls that do not tell it that of their events; empty where nobody said any, NULL: rolled up before this column was.';
