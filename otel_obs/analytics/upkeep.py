"""Is everything in order: why things were refused, when jobs last ran, and which tenants there are."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import psycopg

from otel_obs.analytics.filters import Filters
from otel_obs.postgres.queries import load
from otel_obs.postgres.reading import rows

_UPKEEP = load("upkeep")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why things were refused, and how often."""

    reason: str
    count: int
    replayed: int
    last_at: datetime


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


def reasons(connection: psycopg.Connection, filters: Filters) -> list[Reason]:
    """Return why things were refused, the most frequent reason first."""
    return rows(connection, _UPKEEP["quarantine_reasons"], filters.parameters, Reason)


def jobs(connection: psycopg.Connection) -> list[JobState]:
    """Return when each job last ran; *connection* is the owner's."""
    return rows(connection, _UPKEEP["jobs"], {}, JobState)
