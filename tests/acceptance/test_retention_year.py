"""A year: what is there each day is what each plan allows, across a downgrade, an upgrade, a hold and a deletion."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import psycopg
import pytest

from otel_obs.postgres.pool import open_pool
from tests.maintenance import DAY, HOT, counts, cover, done, fill, present, set_plan

BEGIN = datetime(2024, 10, 7, 2, tzinfo=timezone.utc)
"""Across the end of a year, the 29th of February of none, and both changes of clocks in Europe and America."""
DAYS = 365
HISTORY = 380
"""Days of rows that are there on the first day: more than any plan keeps."""
GRACE = 7
DOWNGRADE, REGRETTED, UPGRADE, HOLD, RELEASE, DELETION = 40, 100, 103, 150, 200, 300
WINDOWS = ((DOWNGRADE, GRACE), (REGRETTED, GRACE), (HOLD, 1), (RELEASE, 1), (DELETION, 1))
"""Changes, and until how many days after them they may matter."""
NOON = timedelta(hours=12)


def _is_lived(day: int) -> bool:
    """Tell whether maintenance runs on a day: daily around changes, less often where nothing happens."""
    return day % 12 == 0 or day == DAYS - 1 or any(-1 <= day - change <= after + 1 for change, after in WINDOWS)


def _kept_days(organization: str, day: int) -> int | None:
    """Return how many days are kept, as the README says; None: everything."""
    match organization:
        case "free":
            return 90
        case "pro":
            # Downgraded to free for good: counts after the grace.
            return 365 if day < DOWNGRADE + GRACE else 90
        case "team":
            # Downgraded, and upgraded again before that counted; under legal hold for a while.
            return None if HOLD <= day < RELEASE else 365
        case "enterprise":
            return 120
        case _:
            return None


def _change_plans(connection: psycopg.Connection, day: int, now: datetime) -> None:
    if day == DOWNGRADE:
        set_plan(connection, "pro", "free", now)
    elif day == REGRETTED:
        set_plan(connection, "team", "free", now)
    elif day == UPGRADE:
        set_plan(connection, "team", "team", now)
    elif day in (HOLD, RELEASE):
        connection.execute("UPDATE organizations SET legal_hold = %s WHERE id = 'team'", (day == HOLD,))
    elif day == DELETION:
        connection.execute("DELETE FROM organizations WHERE id = 'enterprise'")


@pytest.mark.timeout(300)
def test_on_each_day_of_a_year_exactly_those_rows_are_there_that_the_plans_allow(
    database: str, connection: psycopg.Connection
) -> None:
    first = BEGIN - NOON
    written: dict[str, list[datetime]] = {
        name: [first - number * DAY for number in range(1, 10 if name == "no plan" else HISTORY)]
        for name in ("free", "pro", "team", "enterprise", "no plan")
    }
    cover(connection, [first - HISTORY * DAY], BEGIN)
    for name, moments in written.items():
        set_plan(connection, name, None if name == "no plan" else name, BEGIN, 120 if name == "enterprise" else None)
        fill(connection, [(name, at) for at in moments])
    held: list[datetime] = []
    arrived: list[tuple[str, datetime]] = []
    pool = open_pool(database, wait_s=30)
    try:
        for day in range(DAYS):
            now = BEGIN + day * DAY
            _change_plans(connection, day, now)
            if day == DELETION:
                del written["enterprise"]
            arrived += [(name, now - NOON) for name in written]
            for moments in written.values():
                moments.append(now - NOON)
            if not _is_lived(day):
                continue
            fill(connection, [row for row in arrived if row[0] in written])
            arrived.clear()

            done(pool, now, "partitions", "retention")

            for name, moments in written.items():
                kept = _kept_days(name, day)
                if kept is not None:
                    moments[:] = [at for at in moments if at >= now - timedelta(days=kept)]
                expected = sorted(set(moments))
                assert present(connection, HOT[day % len(HOT)], name) == expected, (name, day)
            if day in (0, DOWNGRADE + GRACE, UPGRADE, RELEASE, DELETION, DAYS - 1):
                for table in (*HOT, "quarantine", "call_registry"):
                    for name, moments in written.items():
                        assert sorted(set(present(connection, table, name))) == sorted(set(moments)), (table, name, day)
            if day == RELEASE - 1:
                held = present(connection, "event_logs", "team")
    finally:
        pool.close(2.0)

    assert min(held) == BEGIN + (HOLD - 366) * DAY + NOON
    left = counts(connection, "enterprise")
    assert {table for table, rows in left.items() if rows} == {"audit_log", "deleted_tenants"}
