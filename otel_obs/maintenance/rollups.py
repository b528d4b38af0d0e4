"""Roll-ups: each day that is over is computed from its rows, and again whenever its calls changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta, timezone
from typing import Any

import psycopg
from psycopg_pool import ConnectionPool

from otel_obs.maintenance.work import Fence, no_fence
from otel_obs.postgres.pool import translated
from otel_obs.postgres.queries import load

_ROLLUPS = load("rollups")

HOURS_FOR_DAYS = 3
"""Hours are kept of as many days before today."""
SETTLES_AFTER = timedelta(minutes=30)
"""A day is over that much after midnight: writers whose clocks are late, or whose transactions last, have ended."""


def roll_up(
    pool: ConnectionPool,
    now: datetime,
    *,
    fence: Fence = no_fence,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> dict[str, Any]:
    """Roll up the days that are over and those that were touched, each in a transaction; return how many.

    Those whose roll-ups do not tell environments, for an older release made them, are computed again as well.

    Raises:
        StorageUnavailableError: the days before are committed, the others still noted.
    """
    last = last_day(now)
    _close_days(pool, last, fence)
    with translated(), pool.connection() as connection:
        total = _count(connection)
    done = 0
    while True:
        with translated(), pool.connection() as connection, connection.transaction():
            fence(connection)
            touched = connection.execute(_ROLLUPS["next_touched"]).fetchone()
            if touched is None:
                break
            roll_day(connection, touched[0], touched[1], last)
        done += 1
        progress(done, max(done, total))
    done += _describe(pool, last, fence)
    with translated(), pool.connection() as connection, connection.transaction():
        fence(connection)
        before = last - timedelta(days=HOURS_FOR_DAYS - 1)
        hours = connection.execute(_ROLLUPS["forget_hours"], {"before": before}).rowcount
    return {"days": done, "hours_forgotten": hours, "rolled_through": last.isoformat()}


def _describe(pool: ConnectionPool, last: date, fence: Fence) -> int:
    """Compute the days again whose roll-ups do not tell environments; return how many.

    Until then they tell the truth about all else, so readers are not sent to the rows as they are for touched days.
    """
    done, after = 0, {"organization_id": "", "day": date.min}
    while True:
        with translated(), pool.connection() as connection, connection.transaction():
            fence(connection)
            found = connection.execute(_ROLLUPS["next_undescribed"], after).fetchone()
            if found is None:
                return done
            roll_day(connection, found[0], found[1], last)
        done, after = done + 1, {"organization_id": found[0], "day": found[1]}


def count_touched(pool: ConnectionPool) -> int:
    """Return how many days wait to be computed again."""
    with translated(), pool.connection() as connection:
        return _count(connection)


def _count(connection: psycopg.Connection) -> int:
    row = connection.execute(_ROLLUPS["count_touched"]).fetchone()
    return 0 if row is None else int(row[0])


def last_day(now: datetime) -> date:
    """Return the last day that is over at *now*."""
    return (now.astimezone(timezone.utc) - SETTLES_AFTER).date() - timedelta(days=1)


def _close_days(pool: ConnectionPool, last: date, fence: Fence) -> None:
    """Note the days up to *last* that were today when their calls were written."""
    with translated(), pool.connection() as connection, connection.transaction():
        fence(connection)
        row = connection.execute(_ROLLUPS["first_behind"], {"last": last}).fetchone()
        if row is None or row[0] is None:
            return
        since, until = _midnight(row[0] + timedelta(days=1)), _midnight(last + timedelta(days=1))
        connection.execute(_ROLLUPS["close_days"], {"last": last, "since": since, "until": until})


def roll_day(connection: psycopg.Connection, organization_id: str, day: date, last: date) -> None:
    """Compute a touched day again, in the transaction of *connection*.

    A day from which rows are gone by age stays as it was rolled up: what is left would tell less than what is known.
    """
    asked = {"organization_id": organization_id, "day": day}
    connection.execute(_ROLLUPS["lock_rollups"], asked)
    organization = connection.execute(_ROLLUPS["lock_organization"], asked).fetchone()
    connection.execute(_ROLLUPS["untouch"], asked)
    start = _midnight(day)
    if organization is None or day > organization[0]:
        return
    if organization[1] is not None and organization[1] > start and _is_rolled(connection, asked):
        return
    connection.execute(_ROLLUPS["forget_day"], asked)
    hours = day > last - timedelta(days=HOURS_FOR_DAYS)
    connection.execute(
        _ROLLUPS["roll_day"], {**asked, "start": start, "end": start + timedelta(days=1), "hours": hours}
    )


def _is_rolled(connection: psycopg.Connection, asked: Mapping[str, Any]) -> bool:
    row = connection.execute(_ROLLUPS["is_rolled"], asked).fetchone()
    return row is not None and bool(row[0])


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), timezone.utc)
