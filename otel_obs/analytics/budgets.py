"""How much of what may be spent is spent? Read when it is asked for, from roll-ups and rows: never older than those."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

import psycopg

from otel_obs.analytics.filters import Filters, Page, checked_limit, moment, page_of, place, word
from otel_obs.errors import NotFoundError
from otel_obs.postgres import budgets as stored
from otel_obs.postgres.budgets import Budget, Period, Spent, State
from otel_obs.postgres.queries import load
from otel_obs.postgres.reading import rows

_BUDGETS = load("budgets")


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetStatus:
    """A budget, and how much of it is spent in this period."""

    id: str
    workspace_id: str | None
    user_id: str | None
    agent_id: str | None
    model_name: str | None
    period: Period
    period_starts: datetime
    period_ends: datetime
    amount_cents: Decimal
    spent_cents: Decimal
    """Cost that is known; see ``unpriced_calls``."""
    left_cents: Decimal
    """0 where more was spent."""
    percent: float
    state: State
    thresholds: Sequence[int]
    calls: int
    unpriced_calls: int
    """Calls without a cost: they are not in it."""
    estimated_calls: int
    """Calls whose cost is estimated: they are in it."""
    flag_name: str | None
    flag_enabled: bool | None
    version: int
    updated_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetAlert:
    """A threshold that was reached."""

    at: datetime
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
    action_error: str | None
    """Why the flag of the budget could not be set."""
    delivered_at: datetime | None
    attempts: int
    next_attempt_at: datetime | None
    last_error: str | None


def statuses(
    connection: psycopg.Connection, filters: Filters, now: datetime, *, limit: int = 100, cursor: str | None = None
) -> Page[BudgetStatus]:
    """Return budgets by id, with what is spent of each; of *filters* whom they are about.

    Raises:
        InvalidQueryError: *limit* or *cursor* makes no sense.
    """
    (after,) = place(cursor, word)
    found = stored.budgets(
        connection,
        limit=checked_limit(limit) + 1,
        organization_id=filters.organization_id,
        workspace_id=filters.workspace_id,
        user_id=filters.user_id,
        agent_id=filters.agent_id,
        model=filters.model,
        after=None if after is None else (filters.organization_id, after),
    )
    spent = stored.spending(connection, found, now)
    told = [_status(budget, one, now) for budget, one in zip(found, spent, strict=True)]
    return page_of(told, limit, lambda row: (row.id,))


def status(connection: psycopg.Connection, organization_id: str, budget_id: str, now: datetime) -> BudgetStatus:
    """Return one budget, and how much of it is spent.

    Raises:
        NotFoundError: there is no such budget, or none that the reader may see.
    """
    found = stored.budgets(connection, limit=1, organization_id=organization_id, budget_id=budget_id)
    if not found:
        raise NotFoundError
    return _status(found[0], stored.spending(connection, found, now)[0], now)


def alerts(
    connection: psycopg.Connection, filters: Filters, *, limit: int = 100, cursor: str | None = None
) -> Page[BudgetAlert]:
    """Return the thresholds that were reached, the newest first.

    Raises:
        InvalidQueryError: *limit* or *cursor* makes no sense.
    """
    time, alert_id = place(cursor, moment, word)
    asked = {
        **filters.parameters,
        "budget_id": None,
        "limit": checked_limit(limit),
        "after_time": time,
        "after_id": alert_id,
    }
    found = rows(connection, _BUDGETS["alerts"], asked, BudgetAlert)
    return page_of(found, limit, lambda row: (row.at, row.id))


def _status(budget: Budget, spent: Spent, now: datetime) -> BudgetStatus:
    return BudgetStatus(
        id=budget.id,
        workspace_id=budget.workspace_id,
        user_id=budget.user_id,
        agent_id=budget.agent_id,
        model_name=budget.model_name,
        period=budget.period,
        period_starts=budget.starts(now),
        period_ends=budget.ends(now),
        amount_cents=budget.amount_cents,
        spent_cents=spent.spent_cents,
        left_cents=max(budget.amount_cents - spent.spent_cents, Decimal(0)),
        percent=float(spent.spent_cents * 100 / budget.amount_cents),
        state=budget.state(spent.spent_cents),
        thresholds=budget.thresholds,
        calls=spent.calls,
        unpriced_calls=spent.unpriced_calls,
        estimated_calls=spent.estimated_calls,
        flag_name=budget.flag_name,
        flag_enabled=budget.flag_enabled,
        version=budget.version,
        updated_at=budget.updated_at,
    )
