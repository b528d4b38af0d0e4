"""What is kept of an organization, and what the last runs of retention deleted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import psycopg

from otel_obs.postgres.queries import load

_RETENTION = load("retention_report")


class RunRow(NamedTuple):
    """What one run deleted from one table."""

    run_id: str
    ran_at: datetime
    """The moment that its cut-off was counted from."""
    table: str
    cutoff: datetime | None
    rows: int
    bytes: int
    """The rows' share of the partitions' size."""
    duration_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanChange:
    """A promise of days, and since when it was made."""

    since: datetime
    plan: str | None
    days: int | None
    """None: everything is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What holds for an organization."""

    organization_id: str
    plan: str | None
    plan_days: int | None
    """None: everything is kept."""
    legal_hold: bool
    changes: list[PlanChange]
    """The latest first; days that were promised before count on for the days of grace."""
    runs: list[RunRow]
    """The latest first."""


def retention(
    connection: psycopg.Connection, organization_id: str, *, limit: int = 100, before: datetime | None = None
) -> Kept | None:
    """Return what is kept, and at most *limit* rows of runs before *before*; None if there is no such organization.

    It may be asked as ``otel_obs_reader``. What a run would delete now is told by
    ``otel_obs.maintenance.retention.dry``, which only the owner of the rows can count.
    """
    asked = {"organization_id": organization_id, "limit": limit, "before": before}
    row = connection.execute(_RETENTION["kept"], asked).fetchone()
    if row is None:
        return None
    changes = connection.execute(_RETENTION["changes"], asked).fetchall()
    return Kept(
        organization_id=organization_id,
        plan=row[0],
        plan_days=row[1],
        legal_hold=row[2],
        changes=[PlanChange(since=since, plan=plan, days=days) for since, plan, days in changes],
        runs=[RunRow(*found) for found in connection.execute(_RETENTION["runs"], asked)],
    )
