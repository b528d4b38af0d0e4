"""Prices in the database: those that were used, and those that operators set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from otel_obs.postgres.arrays import arrays
from otel_obs.postgres.queries import load
from otel_obs.pricing.book import PriceBook
from otel_obs.pricing.rows import PriceRow, as_json, from_json
from otel_obs.rows import CallRow

_PRICES = load("prices")
_COLUMNS = (
    "ids", "organization_ids", "providers", "model_names", "valid_from", "valid_to", "sources", "unit_prices",
    "conditions",
)  # fmt: skip


def store_prices(connection: psycopg.Connection, rows: Iterable[PriceRow]) -> None:
    """Keep *rows* for ever: the cost of calls names them."""
    found = [
        (
            row.id, row.organization_id, row.provider, row.model_name, row.valid_from, row.valid_to, row.source,
            Jsonb(as_json(row.unit_prices)), Jsonb(dict(row.conditions)),
        )
        for row in rows
    ]  # fmt: skip
    if found:
        connection.execute(_PRICES["store_prices"], arrays(_COLUMNS, found))


def operator_prices(connection: psycopg.Connection) -> list[PriceRow]:
    """Return what operators set, in the order in which they did."""
    return [price_of(row) for row in connection.execute(_PRICES["operator_prices"]).fetchall()]


@dataclass(frozen=True, slots=True)
class Current:
    """The prices in force, as they are once a transaction looks."""

    book: PriceBook
    reprice: Callable[[CallRow], CallRow]
    """Returns the row with the cost of its usage by *book*."""

    def refresh(self, connection: psycopg.Connection, count: int | None = None) -> None:
        """Learn what operators have set since; *count* is how many prices they have set, where that is known."""
        if count is None:
            row = connection.execute(_PRICES["operator_prices_set"]).fetchone()
            count = None if row is None else row[0]
        if count != len(self.book.own_ids):
            self.book.set_own(operator_prices(connection))

    def repriced(self, connection: psycopg.Connection, calls: Sequence[CallRow], count: int) -> Sequence[CallRow]:
        """Return *calls* at the prices in force: they may have been priced, and have waited, before those were set.

        *count* is how many prices operators have set.
        """
        self.refresh(connection, count)
        return [self.reprice(call) for call in calls] if self.book.own_ids else calls


def price_of(row: tuple[Any, ...]) -> PriceRow:
    """Return the price that a row of ``model_prices`` says."""
    return PriceRow(
        id=row[0],
        organization_id=row[1],
        provider=row[2],
        model_name=row[3],
        valid_from=row[4],
        valid_to=row[5],
        source=row[6],
        unit_prices=from_json(row[7]),
        conditions=row[8],
    )
