"""Pricing past calls again, each with the price that was valid when it was made.

Works in batches, each a transaction of its own that also notes how far it came: a run that was interrupted is
continued by the next one that is asked the same with the same prices.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from decimal import Decimal
from importlib.metadata import version
from typing import Any

import psycopg
import tenacity
from psycopg.types.json import Jsonb
from psycopg_pool import ConnectionPool

from otel_obs.errors import StorageUnavailableError
from otel_obs.pipeline.ingest import reprice
from otel_obs.pipeline.mapping import price_by
from otel_obs.postgres import audit
from otel_obs.postgres.arrays import recordset
from otel_obs.postgres.pool import translated
from otel_obs.postgres.prices import operator_prices, store_prices
from otel_obs.postgres.queries import load, naming
from otel_obs.postgres.rollups import touch_days
from otel_obs.postgres.settling import touch
from otel_obs.pricing.book import PriceBook
from otel_obs.pricing.models import pattern_of
from otel_obs.rows import CallRow

_REPRICE = load("reprice")
_CALLS_AFTER = naming(CallRow._fields, _REPRICE["calls_after"])

BATCH = 2_000
"""Calls in one transaction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Which calls."""

    since: datetime | None = None
    until: datetime | None = None
    model: str | None = None
    """Response or request model, also under its dated and prefixed names."""
    organization_id: str | None = None
    unpriced: bool = False
    """Only those whose model or unit had no price."""

    def as_json(self) -> dict[str, Any]:
        """Return it as ``reprice_runs.asked``."""
        return {
            name: value.isoformat() if isinstance(value, datetime) else value for name, value in asdict(self).items()
        }


@dataclass(slots=True, kw_only=True)
class Change:
    """The calls of one model of one organization, in US cents; those without a price count as nothing."""

    organization_id: str
    model_name: str | None
    rows_examined: int = 0
    rows_changed: int = 0
    before_cents: Decimal = Decimal(0)
    after_cents: Decimal = Decimal(0)
    unpriced_before: int = 0
    unpriced_after: int = 0


@dataclass(slots=True, kw_only=True)
class Repriced:
    """What a run did, or would do."""

    dry_run: bool
    by: dict[tuple[str, str | None], Change] = field(default_factory=dict)
    finished: bool = False

    @property
    def rows_examined(self) -> int:
        """Return how many calls were looked at."""
        return sum(change.rows_examined for change in self.by.values())

    @property
    def rows_changed(self) -> int:
        """Return how many of them cost something else now."""
        return sum(change.rows_changed for change in self.by.values())

    @property
    def before_cents(self) -> Decimal:
        """Return what the calls cost before."""
        return sum((change.before_cents for change in self.by.values()), Decimal(0))

    @property
    def after_cents(self) -> Decimal:
        """Return what they cost now."""
        return sum((change.after_cents for change in self.by.values()), Decimal(0))

    def add(self, before: CallRow, after: CallRow) -> None:
        """Count a call."""
        key = (before.organization_id, before.model_name)
        change = self.by.setdefault(key, Change(organization_id=key[0], model_name=key[1]))
        change.rows_examined += 1
        change.rows_changed += before != after
        change.before_cents += before.cost_usd or 0
        change.after_cents += after.cost_usd or 0
        change.unpriced_before += before.cost_usd is None
        change.unpriced_after += after.cost_usd is None


def reprice_calls(
    pool: ConnectionPool,
    book: PriceBook,
    asked: Asked,
    *,
    dry_run: bool = False,
    actor: str | None = None,
    batch: int = BATCH,
    batch_done: Callable[[Repriced], None] = lambda _: None,
) -> Repriced:
    """Price the calls that are *asked* for with *book*; a dry run only tells what would change.

    The traces of changed calls are left to be settled, so that totals of agents follow.

    Raises:
        StorageUnavailableError: batches before are committed; the same again continues there.
    """
    price = price_by(book)

    def priced(row: CallRow) -> CallRow:
        return reprice(row, price)

    with translated(), pool.connection() as connection:
        book.set_own(operator_prices(connection))
        run_id = None if dry_run else _begin(connection, asked, book)
    found = Repriced(dry_run=dry_run)
    position: Mapping[str, Any] | None = None
    while not found.finished:
        if run_id is None:
            with translated(), pool.connection() as connection:
                rows = _calls_after(connection, asked, position, batch)
            for row in rows:
                found.add(row, priced(row))
            found.finished = len(rows) < batch
            position = _position_of(rows) or position
        else:
            found = _retrying(_batch, pool, book, asked, run_id, priced, batch, actor)
        batch_done(found)
    return found


def _begin(connection: psycopg.Connection, asked: Asked, book: PriceBook) -> int:
    connection.execute(_REPRICE["lock_runs"])
    parameters = {"asked": Jsonb(asked.as_json()), "prices": _fingerprint(book)}
    row = connection.execute(_REPRICE["unfinished_run"], parameters).fetchone()
    if row is None:
        row = connection.execute(_REPRICE["begin_run"], parameters).fetchone()
    return int(row[0]) if row is not None else 0


def _fingerprint(book: PriceBook) -> str:
    """Return what names the prices in force."""
    content = json.dumps([version("genai-prices"), sorted(book.own_ids)])
    return hashlib.sha256(content.encode()).hexdigest()


def _batch(
    pool: ConnectionPool,
    book: PriceBook,
    asked: Asked,
    run_id: int,
    priced: Callable[[CallRow], CallRow],
    batch: int,
    actor: str | None,
) -> Repriced:
    """Do the next batch of a run; return what the whole run did so far."""
    with translated(), pool.connection() as connection, connection.transaction():
        state = connection.execute(_REPRICE["lock_run"], {"id": run_id}).fetchone()
        if state is None or state[4] is not None:
            return Repriced(dry_run=False, finished=True) if state is None else _kept(state)
        found = _kept(state)
        rows = _calls_after(connection, asked, state[0], batch)
        both = [(row, priced(row)) for row in rows]
        _store(connection, book, [after for before, after in both if after != before])
        for before, after in both:
            found.add(before, after)
        found.finished = len(rows) < batch
        connection.execute(
            _REPRICE["keep_position"],
            {
                "id": run_id,
                "position": Jsonb(_position_of(rows) or state[0]),
                "rows_examined": found.rows_examined,
                "rows_changed": found.rows_changed,
                "changes": Jsonb([_spelled(change) for change in found.by.values()]),
                "finished": found.finished,
            },
        )
        if found.finished and (found.rows_changed or not asked.unpriced):
            _log(connection, asked, found, actor)
    return found


_retrying = tenacity.Retrying(
    retry=tenacity.retry_if_exception_type(StorageUnavailableError),
    stop=tenacity.stop_after_attempt(4),
    wait=tenacity.wait_random_exponential(multiplier=0.2, max=2.0),
    reraise=True,
)
"""Whoever waits in a circle with a writer is the one that gives way."""


def _calls_after(
    connection: psycopg.Connection, asked: Asked, position: Mapping[str, Any] | None, batch: int
) -> list[CallRow]:
    after = position or {"after_time": None, "after_organization": None, "after_trace": None, "after_event": None}
    named = {**asdict(asked), "model": None if asked.model is None else pattern_of(asked.model)}
    rows = connection.execute(_CALLS_AFTER, {**named, **after, "limit": batch}).fetchall()
    return [CallRow(*row) for row in rows]


def _position_of(rows: Sequence[CallRow]) -> dict[str, Any] | None:
    if not rows:
        return None
    last = rows[-1]
    return {
        "after_time": last.timestamp.isoformat(),
        "after_organization": last.organization_id,
        "after_trace": last.trace_id,
        "after_event": last.event_id,
    }


def _store(connection: psycopg.Connection, book: PriceBook, rows: Sequence[CallRow]) -> None:
    if not rows:
        return
    traces = sorted({(row.organization_id, row.trace_id) for row in rows})
    touch(connection, traces)
    touch_days(connection, rows)
    used = sorted({row.price_id for row in rows if row.price_id is not None})
    store_prices(connection, [price for price_id in used if (price := book.row(price_id)) is not None])
    connection.execute(_REPRICE["set_costs"], {"rows": recordset(rows)})


def _kept(state: tuple[Any, ...]) -> Repriced:
    found = Repriced(dry_run=False, finished=state[4] is not None)
    for spelled in state[3]:
        cents = {name: Decimal(value) for name, value in spelled.items() if name.endswith("_cents")}
        change = Change(**{**spelled, **cents})
        found.by[change.organization_id, change.model_name] = change
    return found


def _spelled(change: Change) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, Decimal) else value for name, value in asdict(change).items()}


def _log(connection: psycopg.Connection, asked: Asked, found: Repriced, actor: str | None) -> None:
    audit.append(
        connection,
        action="prices.reprice",
        subject="model_cost_logs",
        organization_id=asked.organization_id,
        before={"cost_cents": str(found.before_cents)},
        after={
            "cost_cents": str(found.after_cents),
            "rows_examined": found.rows_examined,
            "rows_changed": found.rows_changed,
            "asked": asked.as_json(),
        },
        actor=actor,
    )
