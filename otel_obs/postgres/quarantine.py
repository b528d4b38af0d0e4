"""What was refused, as PostgreSQL keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import psycopg

from otel_obs.postgres.queries import load
from otel_obs.rows.batch import Quarantined

_QUARANTINE = load("quarantine")
AT_ONCE = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One row, without its payload."""

    id: int
    organization_id: str
    workspace_id: str
    received_at: datetime
    signal: str
    reason: str
    detail: str
    format: str
    bytes: int
    sha256: str | None
    replayed_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Which entries are meant; all of them where nothing is said."""

    organization_id: str | None = None
    reason: str | None = None
    ids: Sequence[int] | None = None


def page(connection: psycopg.Connection, chosen: Chosen, *, pending: bool, after: int, limit: int) -> list[Entry]:
    """Return up to *limit* entries whose number is greater than *after*; *pending*: those not taken in yet."""
    rows = connection.execute(
        _QUARANTINE["page"],
        {
            "organization_id": chosen.organization_id,
            "reason": chosen.reason,
            "pending": pending,
            "after": after,
            "row_limit": limit,
        },
    ).fetchall()
    return [
        Entry(
            id=row[0],
            organization_id=row[1],
            workspace_id=row[2],
            received_at=row[3],
            signal=row[4],
            reason=row[5],
            detail=row[6],
            format=row[7],
            bytes=row[8],
            sha256=row[9],
            replayed_at=row[10],
        )
        for row in rows
    ]


def pending(connection: psycopg.Connection, chosen: Chosen, *, after: int) -> list[tuple[int, Quarantined]]:
    """Return some of the *chosen* entries that were not taken in yet, by number."""
    rows = connection.execute(
        _QUARANTINE["pending"],
        {
            "organization_id": chosen.organization_id,
            "reason": chosen.reason,
            "ids": None if chosen.ids is None else list(chosen.ids),
            "after": after,
            "row_limit": AT_ONCE,
        },
    ).fetchall()
    return [
        (
            row[0],
            Quarantined(
                organization_id=row[1],
                workspace_id=row[2],
                received_at=row[3],
                signal=row[4],
                reason=row[5],
                detail=row[6],
                format=row[7],
                payload=bytes(row[8] or b""),
                payload_encrypted=row[9],
                sha256=row[10],
            ),
        )
        for row in rows
    ]


def replayed(connection: psycopg.Connection, number: int, now: datetime) -> None:
    """Note that an entry was taken in."""
    connection.execute(_QUARANTINE["replayed"], {"id": number, "now": now})
