"""Who has reached what may be spent? Alerts for each threshold, once a period: as events, to webhooks, as a flag.

An alert is a row first (``budget_alerts``); events and webhooks are made from rows and ticked off there, so that a
process that dies in between loses none, and one more that does the same makes none twice.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, NamedTuple

import psycopg

from otel_obs.errors import ObsError, WebhookError, WebhookRefusedError
from otel_obs.maintenance import webhooks
from otel_obs.maintenance.work import Work
from otel_obs.postgres.arrays import arrays
from otel_obs.postgres.budgets import FULL, Budget, Spent, budgets, spending
from otel_obs.postgres.pool import translated
from otel_obs.postgres.queries import load
from otel_obs.postgres.store import PostgresStore
from otel_obs.rows import EventRow
from otel_obs.rows.batch import Batch
from otel_obs.tenancy import DEFAULT

_CHANGES = load("budget_changes")
_log = logging.getLogger(__name__)

AT_ONCE = 200
"""Budgets of one question, and alerts of one batch of events."""
DELIVER_FOR_S = 20.0
"""No delivery begins later than that in a round: the next spending is to be looked at."""
FIRST_PAUSE = timedelta(seconds=30)
LONGEST_PAUSE = timedelta(hours=1)
GIVE_UP_AFTER = 40
"""Rounds, which is more than a day."""


class Alert(NamedTuple):
    """What is told of a threshold that was reached."""

    organization_id: str
    id: str
    budget_id: str
    workspace_id: str | None
    period_starts: datetime
    percent: int
    state: str
    amount_cents: Decimal
    spent_cents: Decimal
    unpriced_calls: int
    estimated_calls: int
    at: datetime
    user_id: str | None
    agent_id: str | None
    model_name: str | None
    period: str

    def as_json(self) -> dict[str, Any]:
        """Return it as a webhook tells it."""
        told = {**self._asdict(), "amount_cents": float(self.amount_cents), "spent_cents": float(self.spent_cents)}
        for name in ("period_starts", "at"):
            told[name] = told[name].astimezone(timezone.utc).isoformat().replace("+00:00", "Z")
        return told


def evaluate(work: Work) -> Mapping[str, Any]:
    """Look at all budgets, and tell what was reached; return how many are in which state.

    Raises:
        StorageUnavailableError: what was noted before is told by the next round.
    """
    states: Counter[str] = Counter()
    alerts = 0
    after: tuple[str, str] | None = None
    while True:
        with translated(), work.pool.connection() as connection:
            found = budgets(connection, limit=AT_ONCE, after=after)
            spent = spending(connection, found, work.now)
        states.update(budget.state(one.spent_cents) for budget, one in zip(found, spent, strict=True))
        if not work.dry_run:
            alerts += sum(_note(work, *pair) for pair in zip(found, spent, strict=True))
        if len(found) < AT_ONCE:
            break
        after = (found[-1].organization_id, found[-1].id)
    answer = {state: states[state] for state in ("ok", "warning", "exceeded")}
    if work.dry_run:
        return {"budgets": states.total(), **answer}
    _tell(work)
    delivered, failed = _deliver(work)
    return {"budgets": states.total(), **answer, "alerts": alerts, "delivered": delivered, "undelivered": failed}


def _note(work: Work, budget: Budget, spent: Spent) -> int:
    """Write down the thresholds that were reached since the last round; return how many."""
    reached = budget.reached(spent.spent_cents)
    if not reached:
        return 0
    new = 0
    with translated(), work.pool.connection() as connection, connection.transaction():
        for percent in reached:
            names = {"organization_id": budget.organization_id, "alert_id": _id_of(budget, percent, work.now)}
            asked = {
                **names,
                "budget_id": budget.id,
                "version": budget.version,
                "period_starts": budget.starts(work.now),
                "percent": percent,
                "state": "exceeded" if percent >= FULL else "warning",
                "spent_cents": spent.spent_cents,
                "unpriced_calls": spent.unpriced_calls,
                "estimated_calls": spent.estimated_calls,
                "now": work.now,
            }
            if connection.execute(_CHANGES["note_alert"], asked).fetchone() is None:
                continue
            new += 1
            if percent == FULL and budget.flag_name is not None and work.actions.set_flag is not None:
                _act(connection, work.actions.set_flag, budget, names)
    return new


def _act(
    connection: psycopg.Connection,
    set_flag: Callable[[psycopg.Connection, Budget, str], None],
    budget: Budget,
    names: Mapping[str, str],
) -> None:
    """Set the flag; that it cannot be is told beside the alert, and is no reason to be silent."""
    try:
        with connection.transaction():
            set_flag(connection, budget, f"budget {budget.id} is exceeded")
    except ObsError as error:
        _log.warning("budget %s: its flag cannot be set: %s", budget.id, error)
        connection.execute(_CHANGES["action_failed"], {**names, "error": str(error)})


def _id_of(budget: Budget, percent: int, now: datetime) -> str:
    parts = (
        budget.organization_id,
        budget.id,
        str(budget.version),
        str(budget.updated_at),
        budget.starts(now).isoformat(),
        str(percent),
    )
    return hashlib.sha256("\x00".join(parts).encode()).hexdigest()[:32]


def _tell(work: Work) -> None:
    """Write the events of alerts that have none yet."""
    store = PostgresStore(work.pool)
    while True:
        with translated(), work.pool.connection() as connection:
            found = [Alert(*row) for row in connection.execute(_CHANGES["untold"], {"limit": AT_ONCE}).fetchall()]
        if found:
            store.write(Batch(events=[_event(alert) for alert in found]))
            with translated(), work.pool.connection() as connection:
                told = arrays(("organization_ids", "ids"), [(alert.organization_id, alert.id) for alert in found])
                connection.execute(_CHANGES["told"], {**told, "now": work.now})
        if len(found) < AT_ONCE:
            break
    with translated(), work.pool.connection() as connection:
        connection.execute(_CHANGES["forget_alerts"], {"now": work.now})


def _event(alert: Alert) -> EventRow:
    """Return the row of *alert*; one of a whole organization does not tell its workspaces how much that spends."""
    attributes = {
        "otel_obs.budget.id": alert.budget_id,
        "otel_obs.budget.state": alert.state,
        "otel_obs.budget.percent": alert.percent,
        "otel_obs.budget.period": alert.period,
        "otel_obs.budget.period_starts": alert.period_starts.astimezone(timezone.utc).isoformat(),
    }
    if alert.workspace_id is not None:
        attributes["otel_obs.budget.amount_cents"] = float(alert.amount_cents)
        attributes["otel_obs.budget.spent_cents"] = float(alert.spent_cents)
    return EventRow(
        organization_id=alert.organization_id,
        workspace_id=alert.workspace_id or DEFAULT,
        user_id=alert.user_id,
        trace_id="",
        span_id="",
        event_id=alert.id,
        timestamp=alert.at,
        received_at=alert.at,
        event_type="budget",
        name=alert.budget_id,
        status="unset",
        error_type=None,
        latency_ms=None,
        parent_span_id=None,
        service_name=None,
        service_version=None,
        environment=None,
        agent_id=alert.agent_id,
        flow_id=None,
        run_id=None,
        conversation_id=None,
        cost_state=None,
        counted_trace_id=None,
        counted_span_id=None,
        node_name=None,
        inherited=0,
        resource_hash=None,
        context={"attributes": attributes},
    )


def _deliver(work: Work) -> tuple[int, int]:
    """Post alerts that are due; return how many were accepted, and how many were not."""
    until = time.monotonic() + DELIVER_FOR_S
    delivered = failed = 0
    with translated(), work.pool.connection() as connection:
        connection.execute(_CHANGES["drop_undeliverable"], {"now": work.now})
    while time.monotonic() < until:
        with translated(), work.pool.connection() as connection:
            row = connection.execute(_CHANGES["claim_delivery"], {"now": work.now}).fetchone()
        if row is None:
            break
        *fields, url, secret, attempts = row
        alert = Alert(*fields)
        error = _post(alert, url, secret, private=work.actions.private_webhooks)
        _tick_off(work, alert, error, attempts)
        delivered, failed = delivered + (error is None), failed + (error is not None)
    return delivered, failed


def _post(alert: Alert, url: str, secret: str, *, private: bool) -> WebhookError | WebhookRefusedError | None:
    message = {"type": f"budget.{alert.state}", "timestamp": alert.as_json()["at"], "data": alert.as_json()}
    try:
        webhooks.post(url, secret, alert.id, message, private=private)
    except (WebhookError, WebhookRefusedError) as error:
        return error
    return None


def _tick_off(work: Work, alert: Alert, error: ObsError | None, attempts: int) -> None:
    names = {"organization_id": alert.organization_id, "alert_id": alert.id}
    with translated(), work.pool.connection() as connection:
        if error is None:
            connection.execute(_CHANGES["delivered"], {**names, "now": work.now})
            return
        gives_up = isinstance(error, WebhookRefusedError) or attempts >= GIVE_UP_AFTER
        pause = min(FIRST_PAUSE * 2 ** min(attempts - 1, 20), LONGEST_PAUSE)
        again = None if gives_up else work.now + pause
        connection.execute(_CHANGES["not_delivered"], {**names, "error": str(error), "next_attempt_at": again})
    if gives_up:
        _log.error("budget %s: an alert was not delivered and will not be: %s", alert.budget_id, error)
