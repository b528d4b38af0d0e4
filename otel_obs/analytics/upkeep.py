"""Is everything in order: what was refused, what retention deleted, and when jobs last ran."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import psycopg

from otel_obs.analytics.filters import Filters, Page, checked_limit, count, moment, page_of, place
from otel_obs.postgres.queries import load
from otel_obs.postgres.reading import rows

_UPKEEP = load("upkeep")


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """A span or a record that was refused."""

    id: int
    received_at: datetime
    workspace_id: str
    signal: str
    reason: str
    detail: str
    bytes: int | None
    """Of what is kept of it; None: nothing."""
    replayed_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why things were refused, and how often."""

    reason: str
    count: int
    replayed: int
    last_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionRun:
    """What a run of retention deleted of an organization from one table."""

    run_id: str
    ran_at: datetime
    table_name: str
    action: str
    cutoff: datetime | None
    rows: int
    bytes: int
    duration_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class JobState:
    """When a job of maintenance last ran."""

    job: str
    last_run_at: datetime
    last_success_at: datetime | None
    last_error: str | None
    """What kept it from ending well since; None: nothing."""


def organizations(connection: psycopg.Connection) -> list[str]:
    """Return the ids of at most 200 organizations, the newest first; for the operator."""
    return [str(row[0]) for row in connection.execute(_UPKEEP["organization_ids"]).fetchall()]


def workspaces(connection: psycopg.Connection, organization_id: str, workspace_id: str | None = None) -> list[str]:
    """Return the ids of at most 200 workspaces of an organization, or the one that may be seen."""
    asked = {"organization_id": organization_id, "workspace_id": workspace_id}
    return [str(row[0]) for row in connection.execute(_UPKEEP["workspace_ids"], asked).fetchall()]


def quarantined(
    connection: psycopg.Connection, filters: Filters, *, limit: int = 100, cursor: str | None = None
) -> Page[Quarantined]:
    """Return what was refused, the newest first.

    Raises:
        InvalidQueryError: *limit* or *cursor* makes no sense.
    """
    time, after_id = place(cursor, moment, count)
    asked = {**filters.parameters, "limit": checked_limit(limit), "after_time": time, "after_id": after_id}
    found = rows(connection, _UPKEEP["quarantined"], asked, Quarantined)
    return page_of(found, limit, lambda row: (row.received_at, row.id))


def reasons(connection: psycopg.Connection, filters: Filters) -> list[Reason]:
    """Return why things were refused, the most frequent reason first."""
    return rows(connection, _UPKEEP["quarantine_reasons"], filters.parameters, Reason)


def retention_runs(connection: psycopg.Connection, organization_id: str, *, limit: int = 100) -> list[RetentionRun]:
    """Return what retention deleted of an organization, the newest first."""
    asked = {"organization_id": organization_id, "limit": limit}
    return rows(connection, _UPKEEP["retention_runs"], asked, RetentionRun)


def jobs(connection: psycopg.Connection) -> list[JobState]:
    """Return when each job last ran; *connection* is the owner's."""
    return rows(connection, _UPKEEP["jobs"], {}, JobState)
