"""Budgets in PostgreSQL: set, deleted, and how much of each is spent. Each change is audited in its own transaction."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, Literal, NamedTuple

import psycopg

from otel_obs.errors import BudgetConflictError, ConfigurationError, NotFoundError
from otel_obs.postgres import audit
from otel_obs.postgres.arrays import arrays
from otel_obs.postgres.queries import load
from otel_obs.settings import is_identifier

_BUDGETS = load("budgets")
_CHANGES = load("budget_changes")

Period = Literal["day", "week", "month"]
PERIODS: tuple[Period, ...] = ("day", "week", "month")
State = Literal["ok", "warning", "exceeded"]
FULL = 100
"""Percent of the amount at which a budget is exceeded."""
THRESHOLDS = (80, FULL)
LEAST_CENTS = Decimal("0.01")
MAX_PERCENT = 1000
MAX_THRESHOLDS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How much may be spent in a period, by whom; of the ids None means: whoever."""

    organization_id: str
    id: str
    workspace_id: str | None = None
    user_id: str | None = None
    agent_id: str | None = None
    model_name: str | None = None
    period: Period
    amount_cents: Decimal
    thresholds: tuple[int, ...] = THRESHOLDS
    """Percents of the amount that are told of, ascending; the lowest is where warning begins, 100 is always there."""
    flag_name: str | None = None
    """Flag that is set when the amount is reached."""
    flag_enabled: bool | None = None
    """What it is set to."""
    version: int = 1
    updated_at: datetime | None = None

    def starts(self, now: datetime) -> datetime:
        """Return the first moment of the period that *now* lies in, in UTC."""
        day = now.astimezone(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
        if self.period == "week":
            return day - timedelta(days=day.weekday())
        return day.replace(day=1) if self.period == "month" else day

    def ends(self, now: datetime) -> datetime:
        """Return the first moment after that period."""
        starts = self.starts(now)
        if self.period == "month":
            return (starts + timedelta(days=32)).replace(day=1)
        return starts + timedelta(days=7 if self.period == "week" else 1)

    def state(self, spent_cents: Decimal) -> State:
        """Return how much has been spent, in a word: exceeded from the amount on, warning from the lowest threshold."""
        if spent_cents >= self.amount_cents:
            return "exceeded"
        return "warning" if self.reached(spent_cents) else "ok"

    def reached(self, spent_cents: Decimal) -> tuple[int, ...]:
        """Return the thresholds that *spent_cents* has reached."""
        return tuple(percent for percent in self.thresholds if spent_cents * FULL >= self.amount_cents * percent)


class Spent(NamedTuple):
    """What was spent of a budget in a period."""

    spent_cents: Decimal
    calls: int
    unpriced_calls: int
    """Calls without a cost: they are not in it."""
    estimated_calls: int
    """Calls whose cost is estimated: they are in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a budget is to be."""

    budget: Budget
    webhook_url: str | None = None
    """Where alerts are posted; '': nowhere any more; None: as before."""
    expected_version: int | None = None
    """The version that was read; 0: it must not exist; None: whatever it is."""
    why: str | None = None
    actor: str | None = None


class SetBudget(NamedTuple):
    """What was set."""

    budget: Budget
    webhook_secret: str | None
    """Key that signs what is posted, told this once; None where no address was set."""


def budgets(
    connection: psycopg.Connection,
    *,
    limit: int,
    organization_id: str | None = None,
    budget_id: str | None = None,
    workspace_id: str | None = None,
    user_id: str | None = None,
    agent_id: str | None = None,
    model: str | None = None,
    after: Sequence[str] | None = None,
) -> list[Budget]:
    """Return at most *limit* budgets by organization and id, beginning behind the pair *after*."""
    asked = {
        "organization_id": organization_id, "id": budget_id, "workspace_id": workspace_id, "user_id": user_id,
        "agent_id": agent_id, "model": model, "after": None if after is None else list(after), "limit": limit,
    }  # fmt: skip
    return [_budget(row) for row in connection.execute(_BUDGETS["budgets"], asked).fetchall()]


def _budget(row: tuple[Any, ...]) -> Budget:
    return Budget(
        organization_id=row[0], id=row[1], workspace_id=row[2], user_id=row[3], agent_id=row[4], model_name=row[5],
        period=row[6], amount_cents=row[7], thresholds=tuple(row[8]), flag_name=row[9], flag_enabled=row[10],
        version=row[11], updated_at=row[12],
    )  # fmt: skip


_SUBJECT = ("organization_ids", "workspace_ids", "user_ids", "agent_ids", "model_names", "starts", "ends")


def spending(connection: psycopg.Connection, found: Sequence[Budget], now: datetime) -> list[Spent]:
    """Return what was spent of each of *found* in the period that *now* lies in, each as of one moment."""
    spent: dict[int, Spent] = {}
    for by in ("user", "workspace", "agent", "model", "organization"):
        places = [place for place, budget in enumerate(found) if _found_by(budget) == by]
        if not places:
            continue
        subjects = [
            (b.organization_id, b.workspace_id, b.user_id, b.agent_id, b.model_name, b.starts(now), b.ends(now))
            for b in (found[place] for place in places)
        ]
        asked = {
            **arrays(_SUBJECT, subjects),
            "by": by,
            "first": min(s[5] for s in subjects),
            "last": max(s[6] for s in subjects),
        }
        rows = connection.execute(_BUDGETS["spending"], asked).fetchall()
        spent.update((place, Spent(*row[1:])) for place, row in zip(places, rows, strict=True))
    return [spent[place] for place in range(len(found))]


def _found_by(budget: Budget) -> str:
    """Return by which of its ids an index finds the calls of *budget*: the one that fewest calls have."""
    named = {"user": budget.user_id, "workspace": budget.workspace_id, "agent": budget.agent_id}
    return next(
        (by for by, name in named.items() if name is not None), "model" if budget.model_name else "organization"
    )


def with_webhook(connection: psycopg.Connection, found: Sequence[Budget]) -> frozenset[tuple[str, str]]:
    """Return (organization, id) of those of *found* whose alerts are posted somewhere; for whoever owns the schema."""
    asked = arrays(("organization_ids", "ids"), [(budget.organization_id, budget.id) for budget in found])
    return frozenset((row[0], row[1]) for row in connection.execute(_CHANGES["webhooks_of"], asked).fetchall())


def set_budget(connection: psycopg.Connection, wanted: Wanted, *, only_workspace: str | None = None) -> SetBudget:
    """Make a budget, or put another one in its place; *only_workspace*: whoever asks sees and may change no other.

    Raises:
        ConfigurationError: it would make no sense, or whom it is about was deleted.
        BudgetConflictError: somebody else has changed it since ``expected_version``.
        NotFoundError: there is one that whoever asks may not see.
    """
    budget = wanted.budget
    _check(budget)
    names = {"organization_id": budget.organization_id, "id": budget.id}
    with connection.transaction():
        connection.execute(_CHANGES["lock_budgets"], names)
        before = _one(connection, budget.organization_id, budget.id)
        if before is not None and only_workspace not in (None, before.workspace_id):
            raise NotFoundError
        _expect(before, wanted.expected_version)
        columns = _columns(budget)
        _register(connection, columns)
        connection.execute(_CHANGES["set_budget"], columns)
        secret = _set_webhook(connection, names, wanted.webhook_url)
        after = _one(connection, budget.organization_id, budget.id)
        if after is None:
            raise NotFoundError
        _audit(connection, "budget.set", before, after, wanted)
    return SetBudget(after, secret)


def delete_budget(
    connection: psycopg.Connection,
    organization_id: str,
    budget_id: str,
    *,
    only_workspace: str | None = None,
    expected_version: int | None = None,
    why: str | None = None,
    actor: str | None = None,
) -> None:
    """Delete a budget with its alerts.

    Raises:
        NotFoundError: there is none, or none that whoever asks may see.
        BudgetConflictError: somebody else has changed it since *expected_version*.
    """
    names = {"organization_id": organization_id, "id": budget_id}
    with connection.transaction():
        connection.execute(_CHANGES["lock_budgets"], names)
        before = _one(connection, organization_id, budget_id)
        if before is None or only_workspace not in (None, before.workspace_id):
            raise NotFoundError
        _expect(before, expected_version)
        connection.execute(_CHANGES["delete_budget"], names)
        _audit(connection, "budget.delete", before, None, Wanted(budget=before, why=why, actor=actor))


def _one(connection: psycopg.Connection, organization_id: str, budget_id: str) -> Budget | None:
    return next(iter(budgets(connection, limit=1, organization_id=organization_id, budget_id=budget_id)), None)


def _check(budget: Budget) -> None:
    for name in ("organization_id", "id", "workspace_id", "user_id", "agent_id", "model_name", "flag_name"):
        value = getattr(budget, name)
        if value is not None and not is_identifier(value):
            raise ConfigurationError(f"{name}: at most 200 bytes without control characters are expected")
    if budget.period not in PERIODS:
        raise ConfigurationError(f"period: one of {', '.join(PERIODS)} is expected")
    if not budget.amount_cents.is_finite() or not LEAST_CENTS <= budget.amount_cents < Decimal(10) ** 15:
        raise ConfigurationError("amount: at least a hundredth of a cent is expected")
    if len(budget.thresholds) > MAX_THRESHOLDS or not all(0 < percent <= MAX_PERCENT for percent in budget.thresholds):
        raise ConfigurationError(f"thresholds: at most {MAX_THRESHOLDS} percents from 1 to {MAX_PERCENT} are expected")
    if (budget.flag_name is None) != (budget.flag_enabled is None):
        raise ConfigurationError("a flag goes with what it is set to, on or off")


def _expect(before: Budget | None, version: int | None) -> None:
    current = 0 if before is None else before.version
    if version is not None and version != current:
        has = "does not exist" if before is None else f"has version {current}"
        raise BudgetConflictError(f"the budget {has}, not {version}: somebody else has changed it; read it again")


def _columns(budget: Budget) -> dict[str, Any]:
    names = [name for name in Budget.__dataclass_fields__ if name not in ("version", "updated_at")]
    thresholds = sorted({*budget.thresholds, FULL})
    return {**{name: getattr(budget, name) for name in names}, "thresholds": thresholds}


def _register(connection: psycopg.Connection, columns: dict[str, Any]) -> None:
    """Make the organization, workspace and user known, with whom the budget is deleted."""
    row = connection.execute(_CHANGES["is_deleted"], columns).fetchone()
    if row is not None and row[0]:
        raise ConfigurationError("that organization, workspace or user was deleted")
    connection.execute(_CHANGES["register_organization"], columns)
    for part in ("workspace", "user"):
        if columns[f"{part}_id"] is not None:
            connection.execute(_CHANGES[f"register_{part}"], columns)


def _set_webhook(connection: psycopg.Connection, names: dict[str, str], url: str | None) -> str | None:
    """Return the key of a new address; the same address keeps its key, which is not told again."""
    if url is None:
        return None
    if not url:
        connection.execute(_CHANGES["delete_webhook"], names)
        return None
    before = connection.execute(_CHANGES["webhook"], names).fetchone()
    if before is not None and before[0] == url:
        return None
    secret = "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()
    connection.execute(_CHANGES["set_webhook"], {**names, "url": url, "secret": secret})
    return secret


def _audit(
    connection: psycopg.Connection, action: str, before: Budget | None, after: Budget | None, wanted: Wanted
) -> None:
    """Write it down; of an address only that it was set, for it often is a secret."""
    told = None if after is None else _told(after)
    if told is not None and wanted.webhook_url is not None:
        told["webhook"] = "set" if wanted.webhook_url else "removed"
    audit.append(
        connection,
        action=action,
        subject=wanted.budget.id,
        organization_id=wanted.budget.organization_id,
        before=None if before is None else _told(before),
        after=told,
        why=wanted.why,
        actor=wanted.actor,
    )


def _told(budget: Budget) -> dict[str, Any]:
    """Return it as the audit log has it: money as text, which comes back as it went in."""
    return {**_columns(budget), "amount_cents": str(budget.amount_cents), "version": budget.version}
