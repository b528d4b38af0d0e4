"""How is the system doing: executions, their success and latency, tokens and cost, per period."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Literal, TypeVar

import psycopg

from otel_obs.analytics.costs import CostRow
from otel_obs.analytics.filters import Filters
from otel_obs.analytics.spend import spend
from otel_obs.errors import InvalidQueryError
from otel_obs.postgres.queries import load
from otel_obs.postgres.reading import rows

_METRICS = load("metrics")

Step = Literal["hour", "day", "week", "month"]
STEPS: tuple[Step, ...] = ("hour", "day", "week", "month")
MAX_PERIODS = 2000
_SHORTEST = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=28),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What happened in one period; sums are None where nobody says anything."""

    starts: datetime | None = None
    """Beginning of the period, in UTC; None for a total."""
    executions: int = 0
    failed: int = 0
    latency_p50_ms: float | None = None
    latency_p95_ms: float | None = None
    latency_p99_ms: float | None = None
    calls: int = 0
    failed_calls: int = 0
    input_tokens: int | None = None
    cache_read_tokens: int | None = None
    output_tokens: int | None = None
    cost_cents: Decimal | None = None
    unpriced_calls: int = 0
    estimated_calls: int = 0

    @property
    def success_rate(self) -> float | None:
        """Return the share of executions that did not fail; None without any."""
        return None if not self.executions else (self.executions - self.failed) / self.executions

    @property
    def error_rate(self) -> float | None:
        """Return the share of executions that failed; None without any."""
        return None if not self.executions else self.failed / self.executions


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemMetrics:
    """An answer."""

    step: Step
    total: Figures
    before: Figures
    """The same for the period before, of the same length."""
    periods: Sequence[Figures]
    """Every period, also those in which nothing happened."""


@dataclass(frozen=True, slots=True)
class _Executions:
    starts: datetime | None
    executions: int
    failed: int
    latency_ms: list[float] | None


def get_system_metrics(connection: psycopg.Connection, filters: Filters, step: Step | None = None) -> SystemMetrics:
    """Return what happened from ``filters.since`` to before ``filters.until``, and in the period before.

    Raises:
        InvalidQueryError: there would be more than 2,000 periods.
    """
    step = step or step_for(filters.until - filters.since)
    if (filters.until - filters.since) / _SHORTEST[step] > MAX_PERIODS:
        raise InvalidQueryError(f"step: more than {MAX_PERIODS} periods between since and until")
    executions, calls = _executions(connection, filters, step), _calls(connection, filters, step)
    before = _executions(connection, filters.before, None), spend(connection, filters.before, []).rows
    return SystemMetrics(
        step=step,
        total=_figures(None, executions.get(None), [row for found in calls.values() for row in found]),
        before=_figures(None, before[0].get(None), before[1]),
        periods=[
            _figures(starts, executions.get(starts), calls.get(starts, []))
            for starts in periods(filters.since, filters.until, step)
        ],
    )


def step_for(length: timedelta) -> Step:
    """Return the step in which a chart of *length* has some dozens of periods."""
    if length <= timedelta(days=3):
        return "hour"
    return "day" if length <= timedelta(days=120) else ("week" if length <= timedelta(days=800) else "month")


def periods(since: datetime, until: datetime, step: Step) -> list[datetime]:
    """Return the beginnings of all periods, in UTC, that overlap *since* to before *until*."""
    found = []
    starts = _floor(since.astimezone(timezone.utc), step)
    while starts < until:
        found.append(starts)
        starts = _floor(starts + _SHORTEST[step] + timedelta(days=4 if step == "month" else 0), step)
    return found


def _floor(at: datetime, step: Step) -> datetime:
    hour = at.replace(minute=0, second=0, microsecond=0)
    if step == "hour":
        return hour
    day = hour.replace(hour=0)
    if step == "week":
        return day - timedelta(days=day.weekday())
    return day if step == "day" else day.replace(day=1)


def _executions(
    connection: psycopg.Connection, filters: Filters, step: Step | None
) -> dict[datetime | None, _Executions]:
    """Return executions by the beginnings of periods; of None those of all, which are the only ones without a step."""
    statement = _METRICS["executions_in_all" if step is None else "executions"]
    asked = {**filters.parameters, "step": step}
    return {row.starts: row for row in rows(connection, statement, asked, _Executions)}


def _calls(connection: psycopg.Connection, filters: Filters, step: Step) -> dict[datetime, list[CostRow]]:
    """Return calls of hours or days by the beginnings of the periods that these belong to."""
    found: dict[datetime, list[CostRow]] = {}
    for row in spend(connection, filters, ["hour" if step == "hour" else "day"]).rows:
        at = datetime.fromisoformat(str(row.keys[0]).replace("Z", "+00:00"))
        found.setdefault(_floor(at.replace(tzinfo=timezone.utc), step), []).append(row)
    return found


def _figures(starts: datetime | None, executions: _Executions | None, calls: Sequence[CostRow]) -> Figures:
    latency: Sequence[float | None] = (executions.latency_ms if executions is not None else None) or (None, None, None)
    return Figures(
        starts=starts,
        executions=0 if executions is None else executions.executions,
        failed=0 if executions is None else executions.failed,
        latency_p50_ms=latency[0],
        latency_p95_ms=latency[1],
        latency_p99_ms=latency[2],
        calls=sum(row.calls for row in calls),
        failed_calls=sum(row.failed_calls for row in calls),
        input_tokens=_sum(row.input_tokens for row in calls),
        cache_read_tokens=_sum(row.cache_read_tokens for row in calls),
        output_tokens=_sum(row.output_tokens for row in calls),
        cost_cents=_sum(row.cost_cents for row in calls),
        unpriced_calls=sum(row.unpriced_calls for row in calls),
        estimated_calls=sum(row.estimated_calls for row in calls),
    )


_T = TypeVar("_T", int, Decimal)


def _sum(values: Iterable[_T | None]) -> _T | None:
    """Return the sum of what is known; None where nothing is."""
    total: _T | None = None
    for value in values:
        if value is not None:
            total = value if total is None else total + value
    return total
