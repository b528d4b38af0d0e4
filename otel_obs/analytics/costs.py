"""What was spent: calls, tokens and cost by day, model, agent ..."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

import psycopg

from otel_obs.analytics.filters import Filters
from otel_obs.postgres.queries import load

KEYS = (
    "day", "hour", "model", "provider", "operation", "agent", "flow", "run", "conversation", "user", "workspace",
    "environment", "organization", "flag_variant",
)  # fmt: skip
"""By what costs can be grouped; ``flag_variant`` needs a flag."""

_COSTS = load("costs")


class CostRow(NamedTuple):
    """One group; sums are None where no call of the group says anything."""

    keys: list[str | None]
    calls: int
    calls_with_usage: int
    input_tokens: int | None
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    output_tokens: int | None
    reasoning_tokens: int | None
    cost_cents: Decimal | None
    unpriced_calls: int
    estimated_calls: int
    failed_calls: int

    @property
    def figures(self) -> dict[str, Any]:
        """Return what answers about costs tell, by name."""
        return {name: value for name, value in self._asdict().items() if name not in ("keys", "failed_calls")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """An answer."""

    by: Sequence[str]
    rows: Sequence[CostRow]
    total: CostRow


def costs(
    connection: psycopg.Connection,
    by: Sequence[str],
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    organization_id: str | None = None,
    flag: str | None = None,
) -> Costs:
    """Return what was spent from *since* to before *until*, grouped by *by* (of ``KEYS``), dearest first.

    Without an organization those of all: this is for the operator. By ``flag_variant``, a call belongs to the
    variant of the last evaluation of *flag* in its trace before it began; to None where there was none.
    """
    of_whoever = dict.fromkeys(Filters.__dataclass_fields__)
    first, last = since.isoformat() if since else "-infinity", until.isoformat() if until else "infinity"
    asked = {
        **of_whoever, "since": since, "until": until, "organization_id": organization_id, "flag": flag, "limit": None,
        "rolled_days": [], "starts": [first], "ends": [last], "first": first, "last": last,
    }  # fmt: skip
    return ask(connection, by, asked)


def ask(connection: psycopg.Connection, by: Sequence[str], asked: Mapping[str, Any]) -> Costs:
    """Return the groups and their total, which comes first and has no keys."""
    found = connection.execute(_COSTS["costs"], {**asked, "by": list(by)}).fetchall()
    places = [KEYS.index(key) for key in by]
    rows = [CostRow([row[place] for place in places], *row[len(KEYS) :]) for row in found]
    if not rows or not rows[0].calls:
        return Costs(by=by, rows=[], total=CostRow([], 0, 0, None, None, None, None, None, None, 0, 0, 0))
    total = rows[0]._replace(keys=[])
    return Costs(by=by, rows=rows[1:] if by else [total], total=total)
