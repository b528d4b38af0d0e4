-- Roll-ups: what was spent each day, so that a year is read from thousands of rows and not from millions.
--
-- A roll-up is never added to: whoever writes, settles, prices or deletes calls of days before today notes the day in
-- touched_days, in the same transaction, and the day is computed again from its rows. So late, repeated, re-priced and
-- deleted calls are right. Until then, and for days after organizations.rolled_through, readers take the rows: see
-- otel_obs/postgres/rollups.py.

SET LOCAL search_path TO otel_obs;

CREATE TABLE usage_rollups (
    organization_id    text NOT NULL,
    workspace_id       text NOT NULL,
    day                date NOT NULL,
    hour               smallint CHECK (hour BETWEEN 0 AND 23),
    provider           text,
    model_name         text,
    agent_id           text,
    flow_id            text,
    calls              bigint NOT NULL,
    calls_with_usage   bigint NOT NULL,
    failed_calls       bigint NOT NULL,
    unpriced_calls     bigint NOT NULL,
    estimated_calls    bigint NOT NULL,
    input_tokens       bigint,
    cache_read_tokens  bigint,
    cache_write_tokens bigint,
    output_tokens      bigint,
    reasoning_tokens   bigint,
    cost_cents         numeric CHECK (cost_cents >= 0 AND cost_cents < 'Infinity'),
    CONSTRAINT usage_rollups_key UNIQUE NULLS NOT DISTINCT
        (organization_id, day, hour, workspace_id, provider, model_name, agent_id, flow_id)
);

COMMENT ON TABLE usage_rollups IS 'Calls of each day by workspace, provider, model, agent and workflow; of the last three days also by hour.';
COMMENT ON COLUMN usage_rollups.organization_id IS 'Organization of the calls.';
COMMENT ON COLUMN usage_rollups.workspace_id IS 'Workspace of the calls.';
COMMENT ON COLUMN usage_rollups.day IS 'Day (UTC) on which the calls began.';
COMMENT ON COLUMN usage_rollups.hour IS 'Hour (UTC) in which they began; NULL: the whole day, hours included.';
COMMENT ON COLUMN usage_rollups.provider IS 'model_cost_logs.provider.';
COMMENT ON COLUMN usage_rollups.model_name IS 'model_cost_logs.model_name.';
COMMENT ON COLUMN usage_rollups.agent_id IS 'model_cost_logs.agent_id.';
COMMENT ON COLUMN usage_rollups.flow_id IS 'model_cost_logs.flow_id.';
COMMENT ON COLUMN usage_rollups.calls IS 'Calls.';
COMMENT ON COLUMN usage_rollups.calls_with_usage IS 'Those of which input or output tokens are known.';
COMMENT ON COLUMN usage_rollups.failed_calls IS 'Those with status error.';
COMMENT ON COLUMN usage_rollups.unpriced_calls IS 'Those without a cost.';
COMMENT ON COLUMN usage_rollups.estimated_calls IS 'Those whose tokens or cost are estimated.';
COMMENT ON COLUMN usage_rollups.input_tokens IS 'Sum of input tokens; NULL where no call says any.';
COMMENT ON COLUMN usage_rollups.cache_read_tokens IS 'Sum of the part read from the provider''s cache; NULL where no call says any.';
COMMENT ON COLUMN usage_rollups.cache_write_tokens IS 'Sum of the part written to the provider''s cache; NULL where no call says any.';
COMMENT ON COLUMN usage_rollups.output_tokens IS 'Sum of output tokens; NULL where no call says any.';
COMMENT ON COLUMN usage_rollups.reasoning_tokens IS 'Sum of the part that is reasoning; NULL where no call says any.';
COMMENT ON COLUMN usage_rollups.cost_cents IS 'Sum of cost in US cents, not rounded; NULL where no call has one.';

-- No key: whoever touches a day only adds a row and waits for nobody.
CREATE TABLE touched_days (
    organization_id text NOT NULL,
    day             date NOT NULL
);
CREATE INDEX touched_days_idx ON touched_days (organization_id, day);

COMMENT ON TABLE touched_days IS 'Days whose calls changed since they were rolled up; they are computed again from the rows.';
COMMENT ON COLUMN touched_days.organization_id IS 'Organization whose calls changed.';
COMMENT ON COLUMN touched_days.day IS 'Day (UTC) of the calls.';

-- Rows of the day on which an organization appears, and of later ones, are not noted anywhere until their day is over.
ALTER TABLE organizations ADD COLUMN rolled_through date NOT NULL DEFAULT ((now() AT TIME ZONE 'UTC')::date - 2);
COMMENT ON COLUMN organizations.rolled_through IS 'Last day whose calls are in usage_rollups, unless touched_days names it.';
INSERT INTO touched_days (organization_id, day)
SELECT DISTINCT organization_id, ("timestamp" AT TIME ZONE 'UTC')::date
FROM model_cost_logs
WHERE "timestamp" < now() - interval '1 day';

ALTER TABLE usage_rollups ENABLE ROW LEVEL SECURITY;
ALTER TABLE touched_days ENABLE ROW LEVEL SECURITY;

DO $$
DECLARE
    organization CONSTANT text := $s$(SELECT nullif(current_setting('otel_obs.organization_id', true), ''))$s$;
    workspace CONSTANT text := $s$(SELECT nullif(current_setting('otel_obs.workspace_id', true), ''))$s$;
BEGIN
    EXECUTE format('CREATE POLICY reader ON usage_rollups FOR SELECT TO otel_obs_reader '
                   'USING (organization_id = %s AND (%s IS NULL OR workspace_id = %s))',
                   organization, workspace, workspace);
    EXECUTE format('CREATE POLICY reader ON touched_days FOR SELECT TO otel_obs_reader USING (organization_id = %s)',
                   organization);
END
$$;
GRANT SELECT ON usage_rollups, touched_days TO otel_obs_reader;
