"""Prices in the database: those that were used, and those that operators set."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from otel_obs.postgres.arrays import arrays
from otel_obs.postgres.queries import load
from otel_obs.pricing.rows import PriceRow, as_json, from_json

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
