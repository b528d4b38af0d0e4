"""How is the system doing: executions, their success and latency, tokens and cost, per period."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Literal

import psycopg

from otel_obs.analytics.filters import Filters
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
    is_total: int
    executions: int
    failed: int
    latency_ms: list[float] | None


@dataclass(frozen=True, slots=True)
class _Calls:
    starts: datetime | None
    is_total: int
    calls: int
    failed_calls: int
    input_tokens: int | None
    cache_read_tokens: int | None
    output_tokens: int | None
    cost_cents: Decimal | None
    unpriced_calls: int
    estimated_calls: int


def get_system_metrics(connection: psycopg.Connection, filters: Filters, step: Step | None = None) -> SystemMetrics:
    """Return what happened from ``filters.since`` to before ``filters.until``, and in the period before.

    Raises:
        InvalidQueryError: there would be more than 2,000 periods.
    """
    step = step or step_for(filters.until - filters.since)
    if (filters.until - filters.since) / _SHORTEST[step] > MAX_PERIODS:
        raise InvalidQueryError(f"step: more than {MAX_PERIODS} periods between since and until")
    total, found = _figures(connection, filters, step)
    before, _ = _figures(connection, filters.before, step)
    return SystemMetrics(
        step=step,
        total=total,
        before=before,
        periods=[found.get(starts, Figures(starts=starts)) for starts in periods(filters.since, filters.until, step)],
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


def _figures(connection: psycopg.Connection, filters: Filters, step: Step) -> tuple[Figures, dict[datetime, Figures]]:
    asked = {**filters.parameters, "step": step}
    executions = {row.starts: row for row in rows(connection, _METRICS["executions"], asked, _Executions)}
    calls = {row.starts: row for row in rows(connection, _METRICS["calls"], asked, _Calls)}
    found = {starts: _joined(starts, executions.get(starts), calls.get(starts)) for starts in {*executions, *calls}}
    return found.pop(None, Figures()), {starts: figures for starts, figures in found.items() if starts is not None}


def _joined(starts: datetime | None, executions: _Executions | None, calls: _Calls | None) -> Figures:
    latency: Sequence[float | None] = (executions.latency_ms if executions is not None else None) or (None, None, None)
    return Figures(
        starts=starts,
        executions=0 if executions is None else executions.executions,
        failed=0 if executions is None else executions.failed,
        latency_p50_ms=latency[0],
        latency_p95_ms=latency[1],
        latency_p99_ms=latency[2],
        calls=0 if calls is None else calls.calls,
        failed_calls=0 if calls is None else calls.failed_calls,
        input_tokens=None if calls is None else calls.input_tokens,
        cache_read_tokens=None if calls is None else calls.cache_read_tokens,
        output_tokens=None if calls is None else calls.output_tokens,
        cost_cents=None if calls is None else calls.cost_cents,
        unpriced_calls=0 if calls is None else calls.unpriced_calls,
        estimated_calls=0 if calls is None else calls.estimated_calls,
    )
