"""The jobs of ``otel-obs maintain``, each by its name."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Literal

import psycopg
import tenacity
from psycopg import errors
from psycopg_pool import ConnectionPool

from otel_obs.errors import ObsError
from otel_obs.maintenance import budgets
from otel_obs.maintenance.reprice import Asked, reprice_calls
from otel_obs.maintenance.retention import Retention
from otel_obs.maintenance.rollups import count_touched, roll_up
from otel_obs.maintenance.work import Done, Skipped, Work
from otel_obs.pipeline.ingest import reprice
from otel_obs.pipeline.mapping import price_by
from otel_obs.pipeline.stored import settling
from otel_obs.postgres import partitions
from otel_obs.postgres.pool import translated
from otel_obs.postgres.prices import Current
from otel_obs.postgres.queries import load
from otel_obs.postgres.store import PostgresStore
from otel_obs.postgres.vault import Vault
from otel_obs.pricing.book import PriceBook

_MAINTENANCE = load("maintenance")

AT_ONCE = 500
"""Traces in one settling transaction."""

Job = Callable[[Work], Mapping[str, Any]]
"""Returns what it did; raises ``Skipped``, or an ``ObsError``."""


def settle_overdue(
    pool: ConnectionPool,
    book: PriceBook,
    *,
    vault: Vault | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Settle the traces that are due, those left behind by processes that ended among them; return how many.

    Raises:
        StorageUnavailableError: those before are settled.
    """
    repriced = partial(reprice, price=price_by(book))
    store = PostgresStore(pool, book.row, current=Current(book, repriced), vault=vault)
    how = settling(repriced)
    total = 0
    while found := store.settle(how, limit=AT_ONCE):
        total += found
        progress(total)
    return total


def _partitions(work: Work) -> Mapping[str, Any]:
    """Make the weeks ahead."""
    with translated(), work.pool.connection() as connection:
        before = partitions.covered(connection)
    wanted = partitions.week_of(work.now) + partitions.WEEK + partitions.AHEAD
    if work.dry_run:
        missing = 0 if before is None else max(0, (wanted - before[1]) // partitions.WEEK)
        return {"weeks": missing}

    def make() -> partitions.Bounds:
        with work.pool.connection() as connection, connection.transaction():
            work.fence(connection)
            return partitions.ensure(connection, (), work.now)

    with translated():
        after = _patiently(make)
    made = (after[1] - after[0] - (before[1] - before[0] if before else after[0] - after[0])) // partitions.WEEK
    return {"weeks": made, "from": after[0].isoformat(), "to": after[1].isoformat()}


def _retention(work: Work) -> Mapping[str, Any]:
    """Delete what is older than each organization's plan keeps it."""
    return Retention(work).run().as_json()


def _settle(work: Work) -> Mapping[str, Any]:
    if work.dry_run:
        raise Skipped("settling has no dry run")
    traces = settle_overdue(
        work.pool, work.book, vault=work.vault, progress=lambda total: work.progress("settle", total, total)
    )
    return {"traces": traces}


def _rollups(work: Work) -> Mapping[str, Any]:
    """Compute the roll-ups of days that are over, and of those whose calls changed."""
    if work.dry_run:
        return {"days": count_touched(work.pool)}
    return roll_up(work.pool, work.now, fence=work.fence, progress=partial(work.progress, "rollups"))


def _reprice(work: Work) -> Mapping[str, Any]:
    """Price the calls that had no price, where there is one now."""
    found = reprice_calls(work.pool, work.book, Asked(unpriced=True), dry_run=work.dry_run, actor="maintain")
    if found.rows_changed and not work.dry_run:
        settle_overdue(work.pool, work.book, vault=work.vault)
    return {
        "rows_examined": found.rows_examined,
        "rows_changed": found.rows_changed,
        "before_cents": float(found.before_cents),
        "after_cents": float(found.after_cents),
    }


JOBS: Mapping[str, Job] = {
    "partitions": _partitions,
    "retention": _retention,
    "settle": _settle,
    "rollups": _rollups,
    "reprice": _reprice,
    "budgets": budgets.evaluate,
}
"""In the order in which they run. One more is one more line, here and in the README."""

_patiently = tenacity.Retrying(
    retry=tenacity.retry_if_exception_type((errors.LockNotAvailable, errors.DeadlockDetected)),
    stop=tenacity.stop_after_attempt(10),
    wait=tenacity.wait_random_exponential(multiplier=0.2, max=2.0),
    reraise=True,
)
"""A reader holds the parent: in between writers go on."""


def run(names: Sequence[str], work: Work, jobs: Mapping[str, Job] = JOBS) -> list[Done]:
    """Run the jobs called *names*; one that fails does not keep the others from running."""
    return [_run(name, jobs[name], work) for name in jobs if name in names]


def _run(name: str, job: Job, work: Work) -> Done:
    began = time.monotonic()

    def ended(status: Literal["done", "skipped", "failed"], **more: Any) -> Done:
        return Done(job=name, status=status, duration_ms=round((time.monotonic() - began) * 1000, 3), **more)

    try:
        if not work.dry_run:
            with translated(), work.pool.connection() as connection:
                work.fence(connection)
        done = ended("done", result=job(work))
    except Skipped as reason:
        return ended("skipped", result={"reason": str(reason)})
    except ObsError as error:
        done = ended("failed", error=str(error))
    if not work.dry_run:
        # Last, so that nobody is told of a success that is not one; a database that is away hears of it later.
        with suppress(ObsError, psycopg.Error), translated(), work.pool.connection() as connection:
            connection.execute(_MAINTENANCE["job_ended"], {"job": name, "error": done.error})
    return done
