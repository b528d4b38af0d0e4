"""Retention for whoever calls it from a program, of all organizations or of one, with the same lease as the job."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from psycopg_pool import ConnectionPool

from otel_obs.maintenance.lease import Lease
from otel_obs.maintenance.policy import time_of
from otel_obs.maintenance.retention import Retention
from otel_obs.maintenance.work import Work, no_fence
from otel_obs.postgres.pool import translated
from otel_obs.pricing.book import default_book


def clean_up(
    pool: ConnectionPool,
    *,
    only: str | None = None,
    now: datetime | None = None,
    dry_run: bool = False,
    grace: timedelta = timedelta(days=7),
    rollup_days: int | None = None,
) -> Mapping[str, Any]:
    """Delete what plans no longer keep, of the organization *only* or of all; return what went, as the job tells it.

    ``leader`` is False where somebody else is at it: then nothing was done.

    Raises:
        ClockDisagreesError: nothing was deleted.
        StorageUnavailableError, LeaseLostError: what went before is gone; doing it again goes on.
    """
    with translated(), pool.connection() as connection:
        at = now or time_of(connection)
    lease = Lease(pool)
    if not dry_run and not lease.take_from_the_dead():
        return {"leader": False, "rows": [], "disk": []}
    work = Work(
        pool=pool,
        book=default_book(),
        now=at,
        now_is_given=now is not None,
        dry_run=dry_run,
        grace=grace,
        rollup_days=rollup_days,
        fence=no_fence if dry_run else lease.fence,
    )
    if dry_run:
        return {"leader": True, **Retention(work, only=only).run().as_json()}
    with lease:
        return {"leader": True, **Retention(work, only=only).run().as_json()}
