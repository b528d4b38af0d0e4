-- name: lock_budgets
-- One writer of an organization's budgets at a time: each decides by what it has read.
SELECT pg_advisory_xact_lock(hashtextextended('otel_obs.budgets ' || %(organization_id)s, 0));

-- name: is_deleted
SELECT EXISTS (
    SELECT FROM deleted_tenants
    WHERE organization_id = %(organization_id)s
      AND (workspace_id, user_id) IN (('', ''), (coalesce(%(workspace_id)s, ''), ''), ('', coalesce(%(user_id)s, '')))
);

-- name: register_organization
INSERT INTO organizations (id) VALUES (%(organization_id)s) ON CONFLICT (id) DO NOTHING;

-- name: register_workspace
INSERT INTO workspaces (organization_id, id) VALUES (%(organization_id)s, %(workspace_id)s)
ON CONFLICT (organization_id, id) DO NOTHING;

-- name: register_user
INSERT INTO users (organization_id, id) VALUES (%(organization_id)s, %(user_id)s)
ON CONFLICT (organization_id, id) DO NOTHING;

-- name: set_budget
INSERT INTO budgets (organization_id, id, workspace_id, user_id, agent_id, model_name, period, amount_cents, thresholds,
    flag_name, flag_enabled, version)
VALUES (%(organization_id)s, %(id)s, %(workspace_id)s, %(user_id)s, %(agent_id)s, %(model_name)s, %(period)s,
    %(amount_cents)s, %(thresholds)s, %(flag_name)s, %(flag_enabled)s, 1)
ON CONFLICT (organization_id, id) DO UPDATE SET
    workspace_id = EXCLUDED.workspace_id, user_id = EXCLUDED.user_id, agent_id = EXCLUDED.agent_id,
    model_name = EXCLUDED.model_name, period = EXCLUDED.period, amount_cents = EXCLUDED.amount_cents,
    thresholds = EXCLUDED.thresholds, flag_name = EXCLUDED.flag_name, flag_enabled = EXCLUDED.flag_enabled,
    version = budgets.version + 1, updated_at = clock_timestamp();

-- name: delete_budget
DELETE FROM budgets WHERE organization_id = %(organization_id)s AND id = %(id)s;

-- name: webhook
SELECT url, secret FROM budget_webhooks WHERE organization_id = %(organization_id)s AND budget_id = %(id)s;

-- name: webhooks_of
SELECT organization_id, budget_id FROM budget_webhooks
WHERE (organization_id, budget_id) IN (SELECT * FROM unnest(%(organization_ids)s::text[], %(ids)s::text[]));

-- name: set_webhook
INSERT INTO budget_webhooks (organization_id, budget_id, url, secret)
VALUES (%(organization_id)s, %(id)s, %(url)s, %(secret)s)
ON CONFLICT (organization_id, budget_id) DO UPDATE SET url = EXCLUDED.url, secret = EXCLUDED.secret;

-- name: delete_webhook
DELETE FROM budget_webhooks WHERE organization_id = %(organization_id)s AND budget_id = %(id)s;

-- name: note_alert
-- Once for each threshold of a period; who has no webhook has nothing to be posted.
INSERT INTO budget_alerts (organization_id, id, budget_id, workspace_id, budget_version, period_starts, percent, state,
    amount_cents, spent_cents, unpriced_calls, estimated_calls, at, next_attempt_at)
SELECT b.organization_id, %(alert_id)s, b.id, b.workspace_id, b.version, %(period_starts)s, %(percent)s, %(state)s,
    b.amount_cents, %(spent_cents)s, %(unpriced_calls)s, %(estimated_calls)s, %(now)s,
    CASE WHEN EXISTS (SELECT FROM budget_webhooks AS w WHERE w.organization_id = b.organization_id AND w.budget_id = b.id)
        THEN %(now)s::timestamptz END
FROM budgets AS b
WHERE b.organization_id = %(organization_id)s AND b.id = %(budget_id)s AND b.version = %(version)s
ON CONFLICT DO NOTHING
RETURNING id;

-- name: action_failed
UPDATE budget_alerts SET action_error = %(error)s WHERE organization_id = %(organization_id)s AND id = %(alert_id)s;

-- name: untold
-- Alerts without their row of event_logs.
SELECT a.organization_id, a.id, a.budget_id, a.workspace_id, a.period_starts, a.percent, a.state, a.amount_cents,
    a.spent_cents, a.unpriced_calls, a.estimated_calls, a.at, b.user_id, b.agent_id, b.model_name, b.period
FROM budget_alerts AS a
JOIN budgets AS b ON b.organization_id = a.organization_id AND b.id = a.budget_id
WHERE a.event_at IS NULL
ORDER BY a.at
LIMIT %(limit)s;

-- name: told
UPDATE budget_alerts SET event_at = %(now)s
WHERE (organization_id, id) IN (SELECT * FROM unnest(%(organization_ids)s::text[], %(ids)s::text[]));

-- name: claim_delivery
-- The next alert that is due to be posted; who takes it has two minutes before somebody else does.
UPDATE budget_alerts AS a
SET attempts = a.attempts + 1, next_attempt_at = %(now)s::timestamptz + interval '2 minutes'
FROM budgets AS b, budget_webhooks AS w
WHERE (a.organization_id, a.id) = (
        SELECT d.organization_id, d.id FROM budget_alerts AS d
        WHERE d.next_attempt_at <= %(now)s
        ORDER BY d.next_attempt_at LIMIT 1 FOR UPDATE SKIP LOCKED)
    AND b.organization_id = a.organization_id AND b.id = a.budget_id
    AND w.organization_id = a.organization_id AND w.budget_id = a.budget_id
RETURNING a.organization_id, a.id, a.budget_id, a.workspace_id, a.period_starts, a.percent, a.state, a.amount_cents,
    a.spent_cents, a.unpriced_calls, a.estimated_calls, a.at, b.user_id, b.agent_id, b.model_name, b.period, w.url,
    w.secret, a.attempts;

-- name: drop_undeliverable
-- Alerts whose budget has no webhook any more.
UPDATE budget_alerts AS a SET next_attempt_at = NULL
WHERE a.next_attempt_at <= %(now)s AND NOT EXISTS (
    SELECT FROM budget_webhooks AS w WHERE w.organization_id = a.organization_id AND w.budget_id = a.budget_id);

-- name: delivered
UPDATE budget_alerts SET delivered_at = %(now)s, next_attempt_at = NULL, last_error = NULL
WHERE organization_id = %(organization_id)s AND id = %(alert_id)s;

-- name: not_delivered
UPDATE budget_alerts SET last_error = %(error)s, next_attempt_at = %(next_attempt_at)s
WHERE organization_id = %(organization_id)s AND id = %(alert_id)s;

-- name: forget_alerts
DELETE FROM budget_alerts WHERE at < %(now)s::timestamptz - interval '400 days';
