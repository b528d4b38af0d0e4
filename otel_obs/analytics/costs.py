"""What was spent: calls, tokens and cost by day, model, agent ..."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

import psycopg

from otel_obs.postgres.queries import load

KEYS = (
    "day", "model", "provider", "operation", "agent", "flow", "run", "conversation", "user", "workspace",
    "organization", "flag_variant",
)  # fmt: skip
"""By what costs can be grouped; ``flag_variant`` needs a flag."""

_COSTS = {**load("costs"), **load("flag_costs")}


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
    asked: dict[str, Any] = {"since": since, "until": until, "organization_id": organization_id}
    statement = _COSTS["costs"]
    if "flag_variant" in by:
        statement, asked["flag"] = _COSTS["costs_by_flag_variant"], flag
    rows = [CostRow(*row) for row in connection.execute(statement, {**asked, "by": list(by)}).fetchall()]
    total = connection.execute(_COSTS["costs"], {**asked, "by": []}).fetchone()
    empty = CostRow([], 0, 0, None, None, None, None, None, None, 0, 0)
    return Costs(by=by, rows=rows, total=empty if total is None else CostRow(*total))
