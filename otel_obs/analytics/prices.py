"""Which calls have no price, which prices are in use, and where the emitters disagree with ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

import psycopg

from otel_obs.postgres.prices import price_of
from otel_obs.postgres.queries import load
from otel_obs.pricing.rows import PriceRow

_PRICES = load("prices")

DISAGREEMENT = Decimal("0.05")
"""Share of the reported cost above which ours is said to differ."""


class Unpriced(NamedTuple):
    """Calls whose cost nobody knows."""

    provider: str | None
    model_name: str | None
    reason: str
    calls: int
    input_tokens: int | None
    output_tokens: int | None
    first_at: datetime
    last_at: datetime


class Disagreement(NamedTuple):
    """Calls of one model that their emitter reports another cost of."""

    organization_id: str
    provider: str | None
    model_name: str | None
    calls: int
    cost_cents: Decimal
    reported_cents: Decimal
    largest_share: Decimal
    """Of the reported cost, for one call."""
    trace_id: str
    span_id: str
    """Where the largest difference in money is."""


@dataclass(frozen=True, slots=True)
class Period:
    """Which calls."""

    since: datetime | None = None
    until: datetime | None = None
    organization_id: str | None = None

    def parameters(self) -> dict[str, Any]:
        """Return it for a query."""
        return {"since": self.since, "until": self.until, "organization_id": self.organization_id}


def unpriced(connection: psycopg.Connection, period: Period) -> list[Unpriced]:
    """Return the calls without a cost by provider, model and reason, the most frequent first."""
    return [Unpriced(*row) for row in connection.execute(_PRICES["unpriced"], period.parameters()).fetchall()]


class Shares(NamedTuple):
    """What of a sum is not exact."""

    calls: int
    unpriced_calls: int
    estimated_calls: int


def shares(connection: psycopg.Connection, period: Period) -> Shares:
    """Return how many calls there are, and how many of them have no cost or an estimated one."""
    row = connection.execute(_PRICES["shares"], period.parameters()).fetchone()
    return Shares(0, 0, 0) if row is None else Shares(*row)


def disagreements(
    connection: psycopg.Connection, period: Period, share: Decimal = DISAGREEMENT
) -> tuple[int, list[Disagreement]]:
    """Return how many calls have both costs, and those that differ by more than *share*, the largest sums first."""
    compared = connection.execute(_PRICES["compared"], period.parameters()).fetchone()
    rows = connection.execute(_PRICES["disagreements"], {**period.parameters(), "share": share}).fetchall()
    return (0 if compared is None else compared[0]), [Disagreement(*row) for row in rows]


class ListedPrice(NamedTuple):
    """A price of ``model_prices``."""

    price: PriceRow
    created_at: datetime


def prices(
    connection: psycopg.Connection,
    *,
    model: str | None = None,
    organization_id: str | None = None,
    after: Sequence[str] | None = None,
    limit: int = 100,
) -> list[ListedPrice]:
    """Return prices that calls were priced with, and those of operators, by model, provider and validity."""
    asked = {
        "model": model,
        "organization_id": organization_id,
        "after": None if after is None else list(after),
        "limit": limit,
    }
    return [ListedPrice(price_of(row), row[9]) for row in connection.execute(_PRICES["list_prices"], asked).fetchall()]
