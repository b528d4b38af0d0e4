-- Prices that were used, those of operators, runs that price again, and the log of what people changed.

SET LOCAL search_path TO otel_obs;

ALTER TABLE model_prices ADD COLUMN conditions jsonb NOT NULL DEFAULT '{}';
COMMENT ON COLUMN model_prices.conditions IS 'Requests that it holds for: service_tier, processing (batch), hours (UTC); empty: ordinary ones.';
CREATE INDEX model_prices_operator_idx ON model_prices (created_at) WHERE source = 'operator';

-- Few calls, looked for often: those that a new price may apply to.
CREATE INDEX model_cost_logs_unpriced_idx ON model_cost_logs (organization_id, trace_id, event_id, "timestamp")
    WHERE cost_source = 'unpriced' AND cost_reason <> 'no_usage';

-- One chain for the whole database: a row's hash covers its content and the hash of the row before it.
CREATE TABLE audit_log (
    id              bigint PRIMARY KEY,
    at              timestamptz NOT NULL,
    actor           text NOT NULL,
    organization_id text,
    action          text NOT NULL,
    subject         text NOT NULL,
    before          jsonb,
    after           jsonb,
    why             text,
    previous_hash   text NOT NULL,
    hash            text NOT NULL
);
CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE INDEX audit_log_at_idx ON audit_log (at);
ALTER TABLE audit_log ENABLE ROW LEVEL SECURITY;

COMMENT ON TABLE audit_log IS 'Who changed what, and why: append-only, each row sealed with the hash of the one before.';
COMMENT ON COLUMN audit_log.id IS 'Number in the chain, from 1, without gaps.';
COMMENT ON COLUMN audit_log.at IS 'When it was done.';
COMMENT ON COLUMN audit_log.actor IS 'Who did it: a key id, or the account that ran the command.';
COMMENT ON COLUMN audit_log.organization_id IS 'Organization that it concerns; NULL: all.';
COMMENT ON COLUMN audit_log.action IS 'What was done: prices.set, prices.reprice ...';
COMMENT ON COLUMN audit_log.subject IS 'What it was done to.';
COMMENT ON COLUMN audit_log.before IS 'How it was before.';
COMMENT ON COLUMN audit_log.after IS 'How it is since.';
COMMENT ON COLUMN audit_log.why IS 'Reason that was given.';
COMMENT ON COLUMN audit_log.previous_hash IS 'hash of the row before; empty for the first.';
COMMENT ON COLUMN audit_log.hash IS 'SHA-256 over previous_hash and everything else of the row.';

CREATE TABLE reprice_runs (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    asked         jsonb NOT NULL,
    prices        text NOT NULL,
    started_at    timestamptz NOT NULL DEFAULT now(),
    finished_at   timestamptz,
    position      jsonb,
    rows_examined bigint NOT NULL DEFAULT 0,
    rows_changed  bigint NOT NULL DEFAULT 0,
    changes       jsonb NOT NULL DEFAULT '[]'
);
ALTER TABLE reprice_runs ENABLE ROW LEVEL SECURITY;

COMMENT ON TABLE reprice_runs IS 'Runs that price past calls again; one that was interrupted is continued.';
COMMENT ON COLUMN reprice_runs.id IS 'Number of the run.';
COMMENT ON COLUMN reprice_runs.asked IS 'Which calls: since, until, model, organization, unpriced only.';
COMMENT ON COLUMN reprice_runs.prices IS 'Hash of the prices in force; with others a run begins anew.';
COMMENT ON COLUMN reprice_runs.started_at IS 'When it began.';
COMMENT ON COLUMN reprice_runs.finished_at IS 'When it was done; NULL: not yet.';
COMMENT ON COLUMN reprice_runs.position IS 'Key of the last call that was looked at.';
COMMENT ON COLUMN reprice_runs.rows_examined IS 'Calls looked at.';
COMMENT ON COLUMN reprice_runs.rows_changed IS 'Calls whose cost changed.';
COMMENT ON COLUMN reprice_runs.changes IS 'By organization and model: calls, those that changed, cents before and after.';
