"""What was spent over time, by the dearest of a key, and what changed most?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from decimal import Decimal

import psycopg

from otel_obs.analytics.costs import CostRow, Costs
from otel_obs.analytics.filters import Filters
from otel_obs.analytics.metrics import periods, step_for
from otel_obs.analytics.spend import spend
from otel_obs.web.dashboard.charts import MAX_SERIES, Chart, Series, stacked
from otel_obs.web.dashboard.figures import axis_money, money, period_name
from otel_obs.web.dashboard.page import Page

FILTERED_BY = {
    "model": "model", "provider": "provider", "agent": "agent_id", "flow": "flow_id", "run": "run_id",
    "conversation": "conversation_id", "user": "user_id", "workspace": "workspace_id", "environment": "environment",
}  # fmt: skip
"""Which parameter of an address shows the calls of one group only."""
OTHERS = 7
"""The colour of what has none of its own."""


@dataclass(frozen=True, slots=True)
class Mover:
    """Something that costs more or less than it did."""

    key: str
    name: str | None
    now: Decimal
    before: Decimal

    @property
    def difference(self) -> Decimal:
        """Return by how many cents."""
        return self.now - self.before


def spending(page: Page, connection: psycopg.Connection, key: str | None, *, flag: str | None = None) -> Chart:
    """Return the chart of cost over time, stacked by the dearest of *key*."""
    filters = page.filters
    step = step_for(filters.until - filters.since)
    by = ["hour" if step == "hour" else "day", *([] if key is None else [key])]
    found = spend(connection, filters, by, flag=flag)
    starts = periods(filters.since, filters.until, step)
    names = _dearest(found) if key is not None else []
    values = _values(found, starts, names)
    series = [
        Series(name=name or "none", values=values[name], color=index)
        for index, name in enumerate(names)
        if name in values
    ]
    rest = values.get(_REST)
    if rest is not None and any(rest):
        color, called = (0, "cost") if key is None else (OTHERS, "others")
        series.append(Series(name=called, values=rest, color=color))
    labels = [period_name(at, step) for at in starts]
    return stacked("Cost", labels, series, money, links(page, starts), axis=axis_money)


def links(page: Page, starts: Sequence[datetime]) -> list[str]:
    """Return where each period of a chart leads: this page, for that period only."""
    ends = [*starts[1:], max(page.filters.until, starts[-1] + timedelta(hours=1))] if starts else []
    return [page.period(start, end) for start, end in zip(starts, ends, strict=True)]


def movers(connection: psycopg.Connection, filters: Filters, keys: Sequence[str], *, limit: int = 6) -> list[Mover]:
    """Return what costs most more, or less, than in the period before, by *keys*."""
    found: list[Mover] = []
    for key in keys:
        now, before = _by_name(spend(connection, filters, [key])), _by_name(spend(connection, filters.before, [key]))
        found += [
            Mover(key, name, now.get(name, Decimal(0)), before.get(name, Decimal(0))) for name in {**now, **before}
        ]
    moved = [mover for mover in found if mover.difference]
    return sorted(moved, key=lambda mover: (-abs(mover.difference), mover.key, mover.name or ""))[:limit]


_REST = "\x00rest"


def _by_name(costs: Costs) -> dict[str | None, Decimal]:
    return {row.keys[0]: row.cost_cents for row in costs.rows if row.cost_cents is not None}


def _dearest(found: Costs) -> list[str | None]:
    sums: dict[str | None, Decimal] = {}
    for row in found.rows:
        if row.cost_cents:
            sums[row.keys[1]] = sums.get(row.keys[1], Decimal(0)) + row.cost_cents
    return sorted(sums, key=lambda name: -sums[name])[:MAX_SERIES]


def _values(
    found: Costs, starts: Sequence[datetime], names: Sequence[str | None]
) -> Mapping[str | None, list[float | None]]:
    """Return cents by name and period; what has no name of its own is ``_REST``."""
    values: dict[str | None, list[float | None]] = {name: [None] * len(starts) for name in [*names, _REST]}
    for row in found.rows:
        index = _index(row, starts)
        if row.cost_cents is None or index is None:
            continue
        name = row.keys[1] if len(row.keys) > 1 and row.keys[1] in names else _REST
        values[name][index] = (values[name][index] or 0) + float(row.cost_cents)
    return values


def _index(row: CostRow, starts: Sequence[datetime]) -> int | None:
    at = datetime.fromisoformat(str(row.keys[0]).replace("Z", "+00:00"))
    at = at if at.tzinfo is not None else at.replace(tzinfo=timezone.utc)
    return next((index for index in range(len(starts) - 1, -1, -1) if starts[index] <= at), None)
