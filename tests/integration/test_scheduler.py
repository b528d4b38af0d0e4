"""One runner at a time, each time of the schedule once, also after what was missed or broken off."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from typing import Any

import psycopg
import pytest
from psycopg_pool import ConnectionPool

from otel_obs.errors import LeaseLostError, StorageUnavailableError
from otel_obs.maintenance import slots
from otel_obs.maintenance.jobs import Job, run
from otel_obs.maintenance.lease import Lease
from otel_obs.maintenance.scheduler import Scheduler
from otel_obs.maintenance.slots import Schedule
from otel_obs.maintenance.work import Work
from otel_obs.postgres.pool import conninfo, open_pool
from otel_obs.pricing.book import PriceBook
from otel_obs.pricing.catalog import default_catalog
from tests.maintenance import DAY, work

NOW = datetime.now(tz=timezone.utc)
SHORT = timedelta(seconds=1)
EVERY_MINUTE = Schedule("* * * * *")
NEVER_NOW = Schedule("0 2 29 2 *")


@pytest.fixture
def pool(database: str) -> Iterator[ConnectionPool]:
    found = open_pool(database, wait_s=30)
    try:
        yield found
    finally:
        found.close(2.0)


@pytest.fixture
def installed_long_ago(connection: psycopg.Connection) -> None:
    connection.execute("UPDATE schema_migrations SET applied_at = now() - interval '900 days'")


def test_one_takes_the_lease_and_the_other_does_not(pool: ConnectionPool) -> None:
    first, second = Lease(pool), Lease(pool)

    assert first.take()
    assert not second.take()
    with first:
        assert not second.take_from_the_dead()
    assert second.take()


def test_of_many_that_come_at_once_one_takes_a_lease_that_nobody_had_before(database: str) -> None:
    pools = [open_pool(database, max_size=1, wait_s=30) for _ in range(8)]
    barrier = threading.Barrier(len(pools))

    def take(own: ConnectionPool, name: str) -> bool:
        lease = Lease(own, name=name)
        barrier.wait()
        return lease.take()

    with ThreadPoolExecutor(len(pools)) as threads:
        # Two have to be at it in the very same moment, so it is tried often.
        for number in range(200):
            taken = list(threads.map(take, pools, [f"lease {number}"] * len(pools)))
            assert sorted(taken) == [False] * (len(pools) - 1) + [True]
    for own in pools:
        own.close(1.0)


def test_the_lease_of_one_that_was_killed_is_taken_over(pool: ConnectionPool) -> None:
    killed, heir = Lease(pool, lasts=SHORT), Lease(pool, lasts=SHORT)
    assert killed.take()

    assert heir.take_from_the_dead()

    with pool.connection() as connection:
        heir.fence(connection)
        with pytest.raises(LeaseLostError):
            killed.fence(connection)


def test_a_takeover_waits_for_a_transaction_that_is_under_way(pool: ConnectionPool, database: str) -> None:
    slow, heir = Lease(pool, lasts=timedelta(0)), Lease(pool)
    assert slow.take()
    order: list[str] = []

    with psycopg.connect(conninfo(database)) as under_way:
        slow.fence(under_way)
        thread = threading.Thread(target=lambda: order.append(f"taken {heir.take()}"))
        thread.start()
        thread.join(0.3)
        order.append("committed")
        under_way.commit()
        thread.join()

    assert order == ["committed", "taken True"]


def test_renewing_waits_for_nobody(pool: ConnectionPool, database: str) -> None:
    lease = Lease(pool)
    assert lease.take()
    with psycopg.connect(conninfo(database)) as under_way:
        lease.fence(under_way)

        with psycopg.connect(conninfo(database, settings={"lock_timeout": "1s"})) as other:
            renewed = other.execute("UPDATE maintenance_leases SET expires_at = now() + interval '1 minute'").rowcount

    assert renewed == 1


def test_a_slot_that_was_missed_is_due_once_and_one_run_covers_all(
    connection: psycopg.Connection, installed_long_ago: None
) -> None:
    del installed_long_ago
    daily = Schedule("0 2 * * *")
    last = daily.last(NOW)
    assert last is not None
    connection.execute(
        "INSERT INTO maintenance_slots (scheduled_for, started_at, finished_at, holder) VALUES (%s, now(), now(), 'x')",
        (last - 3 * DAY,),
    )

    assert slots.due(connection, daily) == last
    assert slots.begin(connection, last)
    slots.end(connection, last, [])

    assert slots.due(connection, daily) is None
    assert not slots.begin(connection, last)
    row = connection.execute(
        "SELECT started_at > scheduled_for FROM maintenance_slots ORDER BY scheduled_for DESC LIMIT 1"
    ).fetchone()
    assert row == (True,)


def test_what_was_due_before_there_was_a_schema_is_not_missed(connection: psycopg.Connection) -> None:
    assert slots.due(connection, NEVER_NOW) is None


def test_a_slot_whose_runner_was_killed_is_begun_again_at_once_and_one_that_failed_later(
    connection: psycopg.Connection, pool: ConnectionPool, installed_long_ago: None
) -> None:
    del installed_long_ago
    slot = EVERY_MINUTE.last(NOW)
    assert slot is not None

    assert slots.begin(connection, slot)
    assert slots.begin(connection, slot)
    slots.end(connection, slot, run(("bad",), work(pool, NOW), {"bad": _fails}))

    assert not slots.begin(connection, slot)
    connection.execute("UPDATE maintenance_slots SET started_at = started_at - interval '6 minutes'")
    assert slots.begin(connection, slot)
    assert connection.execute("SELECT attempts FROM maintenance_slots").fetchone() == (3,)


def _fails(_: Work) -> Mapping[str, Any]:
    raise StorageUnavailableError


@pytest.fixture
def scheduler(database: str) -> Iterator[Callable[..., Scheduler]]:
    running: list[tuple[Scheduler, ConnectionPool]] = []

    def start(schedule: Schedule, jobs: Mapping[str, Job]) -> Scheduler:
        pool = open_pool(database, wait_s=30)
        found = Scheduler(pool, PriceBook(default_catalog()), schedule, jobs=jobs, settles=False)
        running.append((found, pool))
        found.start()
        return found

    yield start
    for found, pool in running:
        found.stop()
        pool.close(1.0)


def test_two_schedulers_catch_up_with_one_run(
    scheduler: Callable[..., Scheduler], connection: psycopg.Connection, installed_long_ago: None
) -> None:
    del installed_long_ago
    ran = threading.Event()
    runs: list[datetime] = []

    def job(found: Work) -> Mapping[str, Any]:
        runs.append(found.now)
        ran.set()
        return {}

    yearly = Schedule(f"0 0 {NOW.day} {NOW.month} *")
    running = [scheduler(yearly, {"a job": job}) for _ in range(2)]

    assert ran.wait(20)
    for found in running:
        found.stop()
    assert len(runs) == 1
    rows = connection.execute(
        "SELECT scheduled_for, finished_at IS NOT NULL, attempts FROM maintenance_slots"
    ).fetchall()
    assert rows == [(yearly.last(NOW), True, 1)]
    jobs = connection.execute("SELECT job, last_success_at IS NOT NULL, last_error FROM maintenance_jobs").fetchall()
    assert jobs == [("a job", True, None)]


def test_a_scheduler_that_is_stopped_breaks_off_between_transactions_and_the_next_one_goes_on(
    scheduler: Callable[..., Scheduler], connection: psycopg.Connection, installed_long_ago: None
) -> None:
    del installed_long_ago
    begun, stopped, ended = threading.Event(), threading.Event(), threading.Event()

    def long(found: Work) -> Mapping[str, Any]:
        begun.set()
        assert stopped.wait(20)
        with found.pool.connection() as conn:
            found.fence(conn)
        return {}

    def short(_: Work) -> Mapping[str, Any]:
        ended.set()
        return {}

    yearly = Schedule(f"0 0 {NOW.day} {NOW.month} *")
    first = scheduler(yearly, {"a job": long})
    assert begun.wait(20)
    first._stopping.set()
    stopped.set()
    first.stop()
    assert connection.execute("SELECT finished_at FROM maintenance_slots").fetchall() == [(None,)]

    second = scheduler(yearly, {"a job": short})
    assert ended.wait(20)
    second.stop()

    assert connection.execute("SELECT attempts, finished_at IS NULL FROM maintenance_slots").fetchall() == [(2, False)]
