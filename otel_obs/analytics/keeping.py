"""How long is what kept, what went when, and what was refused?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import psycopg

from otel_obs.analytics.filters import Filters, Page, checked_limit, count, moment, page_of, place
from otel_obs.postgres.queries import load
from otel_obs.postgres.reading import rows

_KEEPING = load("keeping")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionRun:
    """What a run of retention deleted from one table of the organization."""

    ran_at: datetime
    """The moment that its cut-off is counted from."""
    id: int
    run_id: str
    table_name: str
    action: str
    cutoff: datetime | None
    rows: int
    bytes: int
    duration_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Something that was refused and is kept; what it says is not shown."""

    received_at: datetime
    id: int
    workspace_id: str
    signal: str
    reason: str
    detail: str
    bytes: int | None
    sha256: str | None
    replayed_at: datetime | None


def retention_runs(
    connection: psycopg.Connection, filters: Filters, *, limit: int = 100, cursor: str | None = None
) -> Page[RetentionRun]:
    """Return what was deleted, the newest first.

    Raises:
        InvalidQueryError: *limit* or *cursor* makes no sense.
    """
    found = rows(connection, _KEEPING["retention_runs"], _after(filters, limit, cursor), RetentionRun)
    return page_of(found, limit, lambda row: (row.ran_at, row.id))


def quarantine(
    connection: psycopg.Connection, filters: Filters, *, limit: int = 100, cursor: str | None = None
) -> Page[Refused]:
    """Return what was refused, the newest first.

    Raises:
        InvalidQueryError: *limit* or *cursor* makes no sense.
    """
    found = rows(connection, _KEEPING["quarantine"], _after(filters, limit, cursor), Refused)
    return page_of(found, limit, lambda row: (row.received_at, row.id))


def _after(filters: Filters, limit: int, cursor: str | None) -> dict[str, object]:
    time, number = place(cursor, moment, count)
    return {**filters.parameters, "limit": checked_limit(limit), "after_time": time, "after_id": number}
