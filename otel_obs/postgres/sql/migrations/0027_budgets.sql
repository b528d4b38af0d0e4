-- Budgets: how much may be spent by whom in a day, a week or a month, and what was told of it.
--
-- What is spent is never stored here: it is read from roll-ups and, for days that those do not tell, from rows, whenever
-- somebody asks.  maintain asks every half minute and leaves an alert for each threshold that is reached; alerts are the
-- outbox of events and webhooks, so that none is lost and none is made twice.

SET LOCAL search_path TO otel_obs;

CREATE TABLE budgets (
    organization_id text NOT NULL REFERENCES organizations ON DELETE CASCADE,
    id              text NOT NULL,
    workspace_id    text,
    user_id         text,
    agent_id        text,
    model_name      text,
    period          text NOT NULL CHECK (period IN ('day', 'week', 'month')),
    amount_cents    numeric NOT NULL CHECK (amount_cents > 0 AND amount_cents < 'Infinity'),
    thresholds      integer[] NOT NULL,
    flag_name       text,
    flag_enabled    boolean,
    version         bigint NOT NULL DEFAULT 1,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, id),
    FOREIGN KEY (organization_id, workspace_id) REFERENCES workspaces (organization_id, id) ON DELETE CASCADE,
    FOREIGN KEY (organization_id, user_id) REFERENCES users (organization_id, id) ON DELETE CASCADE,
    CONSTRAINT budgets_flag_check CHECK ((flag_name IS NULL) = (flag_enabled IS NULL))
);
CREATE INDEX budgets_workspace_idx ON budgets (organization_id, workspace_id) WHERE workspace_id IS NOT NULL;
CREATE INDEX budgets_user_idx ON budgets (organization_id, user_id) WHERE user_id IS NOT NULL;

COMMENT ON TABLE budgets IS 'How much may be spent in a period: by an organization, or in it by a workspace, a user, an agent, on a model.';
COMMENT ON COLUMN budgets.organization_id IS 'Organization whose calls count.';
COMMENT ON COLUMN budgets.id IS 'Name of the budget, unique inside the organization.';
COMMENT ON COLUMN budgets.workspace_id IS 'Only calls of this workspace count; NULL: of all.';
COMMENT ON COLUMN budgets.user_id IS 'Only calls for this user count; NULL: for all.';
COMMENT ON COLUMN budgets.agent_id IS 'Only calls of this agent count; NULL: of all.';
COMMENT ON COLUMN budgets.model_name IS 'Only calls to this model count; NULL: to all.';
COMMENT ON COLUMN budgets.period IS 'day, week (from Monday) or month, in UTC.';
COMMENT ON COLUMN budgets.amount_cents IS 'What may be spent in a period, in US cents.';
COMMENT ON COLUMN budgets.thresholds IS 'Percents of the amount of which is told when they are reached, ascending; the lowest is where warning begins, 100 is exceeded.';
COMMENT ON COLUMN budgets.flag_name IS 'Feature flag that is set when the amount is reached; NULL: none.';
COMMENT ON COLUMN budgets.flag_enabled IS 'What the flag is set to.';
COMMENT ON COLUMN budgets.version IS 'Grows with each change; a writer may name the version it read.';
COMMENT ON COLUMN budgets.created_at IS 'When it was first set.';
COMMENT ON COLUMN budgets.updated_at IS 'When it was last set.';

-- Apart from what tenants read: an address often is a secret too.
CREATE TABLE budget_webhooks (
    organization_id text NOT NULL,
    budget_id       text NOT NULL,
    url             text NOT NULL,
    secret          text NOT NULL,
    PRIMARY KEY (organization_id, budget_id),
    FOREIGN KEY (organization_id, budget_id) REFERENCES budgets (organization_id, id) ON DELETE CASCADE
);

COMMENT ON TABLE budget_webhooks IS 'Where alerts of a budget are posted; no tenant reads it.';
COMMENT ON COLUMN budget_webhooks.organization_id IS 'Organization of the budget.';
COMMENT ON COLUMN budget_webhooks.budget_id IS 'Budget.';
COMMENT ON COLUMN budget_webhooks.url IS 'Address; set by an administrator only.';
COMMENT ON COLUMN budget_webhooks.secret IS 'Key that signs what is posted (https://www.standardwebhooks.com).';

CREATE TABLE budget_alerts (
    organization_id text NOT NULL,
    id              text NOT NULL,
    budget_id       text NOT NULL,
    workspace_id    text,
    budget_version  bigint NOT NULL,
    period_starts   timestamptz NOT NULL,
    percent         integer NOT NULL,
    state           text NOT NULL CHECK (state IN ('warning', 'exceeded')),
    amount_cents    numeric NOT NULL,
    spent_cents     numeric NOT NULL,
    unpriced_calls  bigint NOT NULL,
    estimated_calls bigint NOT NULL,
    at              timestamptz NOT NULL,
    event_at        timestamptz,
    action_error    text,
    attempts        integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz,
    delivered_at    timestamptz,
    last_error      text,
    PRIMARY KEY (organization_id, id),
    UNIQUE (organization_id, budget_id, budget_version, period_starts, percent),
    FOREIGN KEY (organization_id, budget_id) REFERENCES budgets (organization_id, id) ON DELETE CASCADE
);
CREATE INDEX budget_alerts_at_idx ON budget_alerts (organization_id, at);
CREATE INDEX budget_alerts_untold_idx ON budget_alerts (at) WHERE event_at IS NULL;
CREATE INDEX budget_alerts_next_idx ON budget_alerts (next_attempt_at) WHERE next_attempt_at IS NOT NULL;

COMMENT ON TABLE budget_alerts IS 'Each threshold that a budget reached in a period, once; and what became of telling it.';
COMMENT ON COLUMN budget_alerts.organization_id IS 'Organization of the budget.';
COMMENT ON COLUMN budget_alerts.id IS 'Hash of budget, version, period and threshold; also the id of the event and of the webhook''s message.';
COMMENT ON COLUMN budget_alerts.budget_id IS 'Budget.';
COMMENT ON COLUMN budget_alerts.workspace_id IS 'Workspace of the budget; NULL: all of the organization.';
COMMENT ON COLUMN budget_alerts.budget_version IS 'Version of the budget: one that was changed tells again.';
COMMENT ON COLUMN budget_alerts.period_starts IS 'First moment of the period.';
COMMENT ON COLUMN budget_alerts.percent IS 'The threshold, in percent of the amount.';
COMMENT ON COLUMN budget_alerts.state IS 'warning or exceeded.';
COMMENT ON COLUMN budget_alerts.amount_cents IS 'Amount of the budget then, in US cents.';
COMMENT ON COLUMN budget_alerts.spent_cents IS 'What was spent in the period by then, in US cents.';
COMMENT ON COLUMN budget_alerts.unpriced_calls IS 'Calls of the period without a cost, which are not in it.';
COMMENT ON COLUMN budget_alerts.estimated_calls IS 'Calls of the period whose cost is estimated, which are in it.';
COMMENT ON COLUMN budget_alerts.at IS 'When it was noticed.';
COMMENT ON COLUMN budget_alerts.event_at IS 'When its row of event_logs was written; NULL: not yet.';
COMMENT ON COLUMN budget_alerts.action_error IS 'Why the flag of the budget could not be set; NULL: it was, or there is none.';
COMMENT ON COLUMN budget_alerts.attempts IS 'How often it was posted.';
COMMENT ON COLUMN budget_alerts.next_attempt_at IS 'When it is posted (again); NULL: no more.';
COMMENT ON COLUMN budget_alerts.delivered_at IS 'When the webhook''s receiver accepted it.';
COMMENT ON COLUMN budget_alerts.last_error IS 'What kept it from being delivered the last time.';

ALTER TABLE budgets ENABLE ROW LEVEL SECURITY;
ALTER TABLE budget_webhooks ENABLE ROW LEVEL SECURITY;
ALTER TABLE budget_alerts ENABLE ROW LEVEL SECURITY;

-- A key that is bound to a workspace sees budgets of that workspace only: others tell what others spend.
DO $$
DECLARE
    organization CONSTANT text := $s$(SELECT nullif(current_setting('otel_obs.organization_id', true), ''))$s$;
    workspace CONSTANT text := $s$(SELECT nullif(current_setting('otel_obs.workspace_id', true), ''))$s$;
    table_name text;
BEGIN
    FOREACH table_name IN ARRAY ARRAY['budgets', 'budget_alerts'] LOOP
        EXECUTE format('CREATE POLICY reader ON %I FOR SELECT TO otel_obs_reader '
                       'USING (organization_id = %s AND (%s IS NULL OR workspace_id = %s))',
                       table_name, organization, workspace, workspace);
    END LOOP;
END
$$;
GRANT SELECT ON budgets, budget_alerts TO otel_obs_reader;
