"""What is too old goes, of whom it may, whatever happens meanwhile; nothing else does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from typing import Any

import psycopg
import pytest
from psycopg_pool import ConnectionPool

from otel_obs.analytics.retention import retention
from otel_obs.errors import ClockDisagreesError, LeaseLostError
from otel_obs.maintenance.policy import check_clocks, policies
from otel_obs.maintenance.retention import Retention
from otel_obs.maintenance.rewriting import Worth
from otel_obs.postgres import audit, partitions
from otel_obs.postgres.pool import open_pool
from otel_obs.postgres.store import PostgresStore
from tests.builders import make_span
from tests.maintenance import DAY, HOT, counts, cover, done, fill, present, set_plan, work
from tests.rows import batch

NOW = datetime(2026, 11, 24, 2, tzinfo=timezone.utc)
LONG_AGO = NOW - 700 * DAY
GRACE = timedelta(days=7)


@pytest.fixture
def pool(database: str) -> Iterator[ConnectionPool]:
    found = open_pool(database, wait_s=30)
    try:
        yield found
    finally:
        found.close(2.0)


def ago(*days: float) -> list[datetime]:
    return [NOW - day * DAY for day in days]


def filled(connection: psycopg.Connection, organization: str, *days: float, plan: str | None, **more: Any) -> None:
    """Give an organization a plan, long ago, and rows of so many days before now."""
    set_plan(connection, organization, plan, LONG_AGO, **more)
    cover(connection, ago(*days), NOW)
    fill(connection, [(organization, at) for at in ago(*days)])


def gone(pool: ConnectionPool, now: datetime = NOW, **more: Any) -> dict[tuple[str, str], int]:
    """Run retention; return how many rows went, by organization and table."""
    found = done(pool, now, "retention", **more)["retention"].result or {}
    return {(row["organization_id"], row["table"]): row["rows"] for row in found["rows"] if row["rows"]}


@pytest.mark.parametrize(
    ("plan", "days", "kept"),
    [("free", None, 90), ("pro", None, 365), ("team", None, 365), ("enterprise", None, 365), ("enterprise", 30, 30)],
    ids=["free", "pro", "team", "enterprise", "enterprise that says"],
)
def test_each_plan_keeps_its_days_to_the_microsecond(
    plan: str, days: int | None, kept: int, connection: psycopg.Connection, pool: ConnectionPool
) -> None:
    least = timedelta(microseconds=1) / DAY
    filled(connection, "acme", kept - 1, kept, kept + least, kept + 1, plan=plan, days=days)
    filled(connection, "other", kept + 1, plan=None)

    found = gone(pool)

    assert found == {("acme", table): 2 for table in (*HOT, "quarantine")}
    for table in (*HOT, "quarantine", "call_registry"):
        assert min(present(connection, table, "acme")) == NOW - kept * DAY
        assert len(present(connection, table, "other")) == 1


def test_a_dry_run_tells_what_a_run_deletes_and_changes_nothing(
    connection: psycopg.Connection, pool: ConnectionPool
) -> None:
    filled(connection, "acme", 1, 89, 91, 100, 300, plan="free")
    filled(connection, "held", 100, plan="free")
    connection.execute("UPDATE organizations SET legal_hold = true WHERE id = 'held'")
    before = counts(connection, "acme")

    told = gone(pool, dry_run=True)

    assert counts(connection, "acme") == before
    assert told == {("acme", table): 3 for table in (*HOT, "quarantine")}
    assert gone(pool) == told
    assert gone(pool) == {}
    assert len(present(connection, "event_logs", "held")) == 1


def test_each_run_leaves_a_row_for_each_organization_and_table_that_it_looked_at(
    connection: psycopg.Connection, pool: ConnectionPool
) -> None:
    filled(connection, "acme", 1, 100, plan="free")

    gone(pool)

    rows = connection.execute(
        "SELECT table_name, cutoff, rows, bytes > 0 FROM retention_runs WHERE organization_id = 'acme' ORDER BY 1"
    ).fetchall()
    tables = sorted((*HOT, "quarantine"))
    assert rows == [(table, NOW - 90 * DAY, 1, True) for table in tables] + [
        ("usage_rollups", NOW - 90 * DAY, 0, False)
    ]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([(-1, "free")], 90),
        ([(-100, "team"), (-8, "free")], 90),
        ([(-100, "team"), (-6, "free")], 365),
        ([(-100, "team"), (-6, "free"), (-3, "pro")], 365),
        ([(-100, "free"), (-1, "team")], 365),
        ([(-100, "team"), (-8, None), (-1, "free")], None),
        ([(-100, "team"), (-1, None)], None),
    ],
    ids=[
        "the first plan counts at once",
        "a downgrade counts after the grace",
        "during the grace the longer promise holds",
        "an upgrade undoes the downgrade",
        "an upgrade counts at once",
        "after a time without a plan, everything is kept for the grace",
        "without a plan everything is kept",
    ],
)
def test_days_in_force(
    changes: list[tuple[int, str | None]], expected: int | None, connection: psycopg.Connection
) -> None:
    for day, plan in changes:
        set_plan(connection, "acme", plan, NOW + day * DAY)

    assert policies(connection, NOW, GRACE)["acme"].days == expected


def test_one_downgrade_after_another_waits_for_each_of_them(connection: psycopg.Connection) -> None:
    set_plan(connection, "acme", "enterprise", LONG_AGO, days=1000)
    set_plan(connection, "acme", "pro", NOW)
    set_plan(connection, "acme", "free", NOW + 3 * DAY)

    def days(after: float) -> int | None:
        return policies(connection, NOW + after * DAY, GRACE)["acme"].days

    assert [days(6), days(8), days(9.9), days(10.1)] == [1000, 365, 365, 90]


def test_plans_that_are_changed_with_plain_sql_are_in_the_audit_log(
    connection: psycopg.Connection, pool: ConnectionPool
) -> None:
    filled(connection, "acme", 1, plan="team")
    connection.execute("UPDATE organizations SET plan = 'free' WHERE id = 'acme'")

    gone(pool)
    gone(pool)

    told = [entry for entry, _ in audit.entries(connection, "acme")]
    assert [entry.action for entry in told] == ["org.plan", "org.plan"]
    downgrade = told[1].after or {}
    assert (told[1].before or {})["days"] == 365
    assert datetime.fromisoformat(downgrade["counts_from"]) == datetime.fromisoformat(downgrade["since"]) + GRACE
    assert audit.first_bad(connection) is None


def test_each_run_is_in_the_audit_log_and_for_each_organization_what_went(
    connection: psycopg.Connection, pool: ConnectionPool
) -> None:
    filled(connection, "acme", 100, plan="free")
    filled(connection, "keeps", 1, plan="free")

    gone(pool)

    (run,) = [entry for entry, _ in audit.entries(connection, "") if entry.action == "retention.run"]
    (of_acme,) = [entry for entry, _ in audit.entries(connection, "acme") if entry.action == "retention.delete"]
    assert run.after is not None
    assert of_acme.after is not None
    assert (run.subject, run.after["organizations"]) == (of_acme.subject, 1)
    assert run.after["rows"] == sum(of_acme.after.values()) > 0
    assert [e.action for e, _ in audit.entries(connection, "keeps")] == ["org.plan"]
    assert audit.first_bad(connection) is None


def test_a_hold_that_comes_while_a_run_deletes_stops_it(connection: psycopg.Connection, pool: ConnectionPool) -> None:
    filled(connection, "acme", *(100 + number / 100 for number in range(40)), 1, plan="free")
    filled(connection, "other", 101, 1, plan="team")

    def hold(_: psycopg.Connection) -> None:
        row = connection.execute("SELECT sum(rows) FROM retention_runs").fetchone()
        if row is not None and (row[0] or 0) >= 10:
            connection.execute("UPDATE organizations SET legal_hold = true WHERE id = 'acme'")

    Retention(work(pool, NOW, fence=hold), batch=5).run()

    left = len(present(connection, "event_logs", "acme"))
    assert 1 < left <= 31
    assert len(present(connection, "span_contents", "acme")) == 41


class Killed(Exception):  # noqa: N818
    """Nobody handles it."""


def test_killed_before_any_transaction_and_run_again_it_has_deleted_the_same(
    connection: psycopg.Connection, pool: ConnectionPool
) -> None:
    days = [88, 89, *(95 + number for number in range(6)), 200, 201]
    filled(connection, "acme", *days, plan="free")
    filled(connection, "other", 88, 96, 400, plan="team")
    kills = 0

    def killing(at: int) -> Callable[[psycopg.Connection], None]:
        seen = iter(range(10_000))

        def fence(_: psycopg.Connection) -> None:
            if next(seen) == at:
                raise Killed

        return fence

    for at in range(0, 60, 3):
        with suppress(Killed):
            Retention(work(pool, NOW, fence=killing(at)), batch=2).run()
            continue
        kills += 1
    Retention(work(pool, NOW), batch=2).run()

    assert kills > 5
    assert present(connection, "event_logs", "acme") == sorted(ago(88, 89))
    assert present(connection, "event_logs", "other") == sorted(ago(88, 96))
    told = connection.execute(
        "SELECT table_name, sum(rows) FROM retention_runs WHERE organization_id = 'acme' GROUP BY 1 ORDER BY 1"
    ).fetchall()
    assert told == [(table, 8) for table in sorted((*HOT, "quarantine"))] + [("usage_rollups", 0)]


def test_weeks_of_which_nothing_is_kept_are_dropped_and_those_between_are_emptied(
    connection: psycopg.Connection, pool: ConnectionPool
) -> None:
    filled(connection, "acme", 100, 200, 300, plan="free")
    filled(connection, "other", 200, plan=None)
    before = partitions.covered(connection)

    found = done(pool, NOW, "retention")["retention"].result or {}

    after = partitions.covered(connection)
    assert before is not None
    assert after is not None
    assert before[0] == partitions.week_of(NOW - 300 * DAY)
    assert after[0] == partitions.week_of(NOW - 200 * DAY)
    emptied = {item["partition"] for item in found["disk"] if item["action"] == "drop" and item["bytes"] > 0}
    assert emptied == {f"{table}_{partitions.week_of(NOW - day * DAY):%Y%m%d}" for table in HOT for day in (100, 300)}
    fill(connection, [("acme", NOW - 250 * DAY)])
    assert connection.execute("SELECT count(*) FROM event_logs_early").fetchone() == (1,)
    assert gone(pool) == {("acme", table): 1 for table in (*HOT, "quarantine")}


def test_weeks_that_writers_need_stay_whatever_moment_a_run_is_given(
    connection: psycopg.Connection, pool: ConnectionPool
) -> None:
    filled(connection, "acme", 1, plan="free")

    assert gone(pool, datetime.now(tz=timezone.utc) + 1000 * DAY)

    bounds = partitions.covered(connection)
    assert bounds is not None
    assert bounds[0] <= datetime.now(tz=timezone.utc) < bounds[1]


def test_the_disk_comes_back_from_a_week_in_which_some_keep_their_rows(
    connection: psycopg.Connection, pool: ConnectionPool
) -> None:
    week = partitions.week_of(NOW - 100 * DAY)
    filled(
        connection, "acme", *((NOW - week - number * timedelta(seconds=1)) / DAY for number in range(4000)), plan="free"
    )
    filled(connection, "other", (NOW - week) / DAY, plan=None)
    name = f"span_contents_{week:%Y%m%d}"
    connection.execute("ANALYZE")
    before = connection.execute("SELECT pg_total_relation_size(%s)", (name,)).fetchone()

    report = Retention(work(pool, NOW), rewrite=Worth(bytes=10_000)).run()

    after = connection.execute("SELECT pg_total_relation_size(%s)", (name,)).fetchone()
    assert before is not None
    assert after is not None
    assert after[0] < before[0] / 4
    told = {item["partition"]: item for item in report.disk}
    assert (told[name]["action"], told[name]["bytes"]) == ("rewrite", before[0] - after[0])
    assert len(present(connection, "span_contents", "other")) == 1
    assert Retention(work(pool, NOW), rewrite=Worth(bytes=10_000)).run().disk == []


def test_rows_of_no_sensible_time_are_as_old_as_their_arrival(
    connection: psycopg.Connection, pool: ConnectionPool
) -> None:
    set_plan(connection, "acme", "free", LONG_AGO)
    nonsense = (datetime(1970, 1, 1, tzinfo=timezone.utc), datetime(2550, 1, 1, tzinfo=timezone.utc))
    for received in ago(1, 89, 91):
        fill(connection, [("acme", at) for at in nonsense], received=received)

    found = gone(pool)

    assert found == {("acme", table): 2 for table in (*HOT, "quarantine")}
    assert connection.execute("SELECT min(received_at) FROM event_logs").fetchone() == (NOW - 89 * DAY,)


def test_roll_ups_go_with_their_rows_unless_they_are_to_be_kept_for_longer(
    connection: psycopg.Connection, pool: ConnectionPool
) -> None:
    filled(connection, "acme", 89, 95, 200, plan="free")
    connection.execute("INSERT INTO touched_days SELECT DISTINCT 'acme', \"timestamp\"::date FROM model_cost_logs")
    days = [(at.date(),) for at in sorted(ago(89, 95, 200))]

    def rolled() -> list[tuple[Any, ...]]:
        return connection.execute("SELECT DISTINCT day FROM usage_rollups ORDER BY 1").fetchall()

    done(pool, NOW, "rollups")
    assert rolled() == days
    assert gone(pool, rollup_days=100)[("acme", "usage_rollups")] == 1
    connection.execute("INSERT INTO touched_days SELECT 'acme', day FROM usage_rollups")
    done(pool, NOW, "rollups")
    assert rolled() == days[1:]
    assert gone(pool)[("acme", "usage_rollups")] == 1
    assert rolled() == days[2:]


def test_what_a_writer_left_of_somebody_who_was_deleted_meanwhile_is_found(
    connection: psycopg.Connection, pool: ConnectionPool, store: PostgresStore
) -> None:
    for user in ("gone", "stays"):
        store.write(batch([make_span({"user.id": user})], organization="acme"))
    connection.execute("DELETE FROM users WHERE id = 'gone'")
    fill(connection, [("acme", NOW - DAY)], user="gone")

    done(pool, NOW, "retention")

    assert connection.execute("SELECT DISTINCT user_id FROM event_logs").fetchall() == [("stays",)]


def test_nothing_is_deleted_by_age_while_two_clocks_disagree(connection: psycopg.Connection) -> None:
    host = datetime.now(tz=timezone.utc)

    check_clocks(connection, host + timedelta(minutes=50))
    for wrong in (timedelta(hours=2), timedelta(hours=-2), timedelta(days=1)):
        with pytest.raises(ClockDisagreesError, match="--now"):
            check_clocks(connection, host + wrong)


def test_a_run_whose_lease_is_lost_deletes_nothing_more(connection: psycopg.Connection, pool: ConnectionPool) -> None:
    filled(connection, "acme", 100, plan="free")

    def lost(_: psycopg.Connection) -> None:
        raise LeaseLostError

    with pytest.raises(LeaseLostError):
        Retention(work(pool, NOW, fence=lost)).run()

    assert len(present(connection, "event_logs", "acme")) == 1


def test_an_organization_is_told_what_is_kept_of_it_and_nothing_of_others(
    connection: psycopg.Connection, pool: ConnectionPool
) -> None:
    filled(connection, "acme", 1, 100, plan="free")
    filled(connection, "other", 1, 400, plan="team")
    gone(pool)

    with connection.transaction():
        connection.execute("SELECT set_config('otel_obs.organization_id', 'acme', true)")
        connection.execute("SET LOCAL ROLE otel_obs_reader")
        kept, other = retention(connection, "acme"), retention(connection, "other")

    assert other is None
    assert kept is not None
    assert (kept.plan, kept.plan_days, kept.legal_hold) == ("free", 90, False)
    assert [(change.since, change.days) for change in kept.changes] == [(LONG_AGO, 90)]
    assert {(run.table, run.cutoff, run.rows) for run in kept.runs} == {
        *((table, NOW - 90 * DAY, 1) for table in (*HOT, "quarantine")),
        ("usage_rollups", NOW - 90 * DAY, 0),
    }
