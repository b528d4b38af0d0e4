"""The jobs of ``otel-obs maintain``, each by its name."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from psycopg_pool import ConnectionPool

from otel_obs.errors import ObsError
from otel_obs.maintenance.reprice import Asked, reprice_calls
from otel_obs.pipeline.ingest import reprice
from otel_obs.pipeline.mapping import price_by
from otel_obs.pipeline.stored import settling
from otel_obs.postgres.prices import Current
from otel_obs.postgres.store import PostgresStore
from otel_obs.pricing.book import PriceBook

AT_ONCE = 500
"""Traces in one settling transaction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a job needs."""

    pool: ConnectionPool
    book: PriceBook
    dry_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What became of a job."""

    job: str
    status: Literal["done", "skipped", "failed"]
    duration_ms: float
    result: Mapping[str, Any] | None = None
    error: str | None = None


class Skipped(Exception):  # noqa: N818  # not an error
    """There is nothing to do; the message says why."""


def settle_overdue(pool: ConnectionPool, book: PriceBook) -> int:
    """Settle the traces that are due, those left behind by processes that ended among them; return how many.

    Raises:
        StorageUnavailableError: those before are settled.
    """
    repriced = partial(reprice, price=price_by(book))
    store = PostgresStore(pool, book.row, current=Current(book, repriced))
    how = settling(repriced)
    total = 0
    while found := store.settle(how, limit=AT_ONCE):
        total += found
    return total


def _settle(work: Work) -> Mapping[str, Any]:
    if work.dry_run:
        raise Skipped("settling has no dry run")
    return {"traces": settle_overdue(work.pool, work.book)}


def _reprice(work: Work) -> Mapping[str, Any]:
    """Price the calls that had no price, where there is one now."""
    found = reprice_calls(work.pool, work.book, Asked(unpriced=True), dry_run=work.dry_run, actor="maintain")
    if found.rows_changed and not work.dry_run:
        settle_overdue(work.pool, work.book)
    return {
        "rows_examined": found.rows_examined,
        "rows_changed": found.rows_changed,
        "before_cents": float(found.before_cents),
        "after_cents": float(found.after_cents),
    }


JOBS: Mapping[str, Callable[[Work], Mapping[str, Any]]] = {"settle": _settle, "reprice": _reprice}
"""In the order in which they run."""


def run(names: Sequence[str], work: Work) -> list[Done]:
    """Run the jobs called *names*; one that fails does not keep the others from running."""
    return [_run(name, work) for name in JOBS if name in names]


def _run(name: str, work: Work) -> Done:
    began = time.monotonic()

    def ended(status: Literal["done", "skipped", "failed"], **more: Any) -> Done:
        return Done(job=name, status=status, duration_ms=round((time.monotonic() - began) * 1000, 3), **more)

    try:
        return ended("done", result=JOBS[name](work))
    except Skipped as reason:
        return ended("skipped", result={"reason": str(reason)})
    except ObsError as error:
        return ended("failed", error=str(error))
