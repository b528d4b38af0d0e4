"""Processes whose host has another time than the others, or gets another while they run: nothing depends on it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path

import psycopg
import pytest

from otel_obs.maintenance.lease import Lease
from otel_obs.model import Decoded
from otel_obs.pipeline.batching import batch_of
from otel_obs.pipeline.ingest import receive
from otel_obs.postgres.pool import open_pool
from otel_obs.postgres.store import PostgresStore
from otel_obs.tenancy import Sender
from tests.builders import make_span
from tests.command import environment
from tests.fault_proxy import FaultProxy
from tests.fix_clock import HostClock
from tests.gateway_process import GatewayProcess
from tests.ledger import Ledger, adds_up
from tests.maintenance import DAY, cover, fill, present, set_plan
from tests.rows import MAPPING, price
from tests.waiting import until

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
NOW = datetime.now(tz=timezone.utc)


@pytest.fixture
def clock(tmp_path: Path) -> HostClock:
    return HostClock(tmp_path / "clock")


@pytest.fixture
def proxy(database: str) -> Iterator[FaultProxy]:
    found = FaultProxy.to_database(database)
    yield found
    found.close()


@contextmanager
def gateway_of(url: str, folder: Path, clock: HostClock) -> Iterator[GatewayProcess]:
    found = GatewayProcess(url, folder)
    found.environment |= clock.environment
    found.start()
    try:
        found.ready()
        yield found
    finally:
        found.kill()


def received(connection: psycopg.Connection, ledger: Ledger, number: int) -> timedelta:
    """Return how far ahead of now a batch was received, by its gateway's clock."""
    row = connection.execute(
        "SELECT max(received_at) FROM event_logs WHERE trace_id = %s", (ledger.trace_id(number).hex(),)
    ).fetchone()
    assert row is not None
    return row[0] - datetime.now(tz=timezone.utc)  # type: ignore[no-any-return]


def durations(gateway: GatewayProcess) -> dict[str, float]:
    """Return the sums of all seconds that the gateway has measured, and what it says of the disk."""
    names = ("otel_obs_request_seconds_sum", "otel_obs_commit_seconds_sum", "otel_obs_lag_seconds")
    return {name: gateway.metric(name) for name in names}


@pytest.mark.parametrize("jump", [-HOUR, DAY], ids=["an hour back", "a day forward"])
def test_a_clock_that_is_set_under_load_changes_no_duration_and_no_row(
    jump: timedelta, clock: HostClock, database: str, proxy: FaultProxy, connection: psycopg.Connection, tmp_path: Path
) -> None:
    with gateway_of(proxy.url(database), tmp_path / "data", clock) as gateway:
        ledger = gateway.ledger()
        assert ledger.send(0)
        proxy.refuse()
        assert ledger.send(1)

        clock.set(jump)

        assert ledger.send_all([0, 1, 2])
        assert ledger.slowest_s < 10
        assert durations(gateway)["otel_obs_lag_seconds"] >= 0
        proxy.speak()
        gateway.until_drained()
        assert ledger.send_all([2, 3])
        assert abs(received(connection, ledger, 3) - jump) < MINUTE
        assert abs(received(connection, ledger, 1)) < MINUTE
        assert all(0 <= value < 60 for value in durations(gateway).values())
        assert gateway.metric("otel_obs_records_duplicate_total") == 3 * 20
        assert gateway.metric("otel_obs_records_conflicting_total") == 0
        until(lambda: unsettled(connection) == 0, 60)
        assert adds_up(connection, ledger)["committed"] == 80
        assert gateway.stop() == 0


def unsettled(connection: psycopg.Connection) -> int:
    row = connection.execute("SELECT count(*) FROM unsettled_traces").fetchone()
    assert row is not None
    return int(row[0])


def test_a_request_that_comes_again_after_midnight_is_one_row(
    clock: HostClock, database: str, connection: psycopg.Connection, tmp_path: Path
) -> None:
    """A minute before a week ends, and a minute after it: partitions, too, are others by then."""
    now = datetime.now(tz=timezone.utc)
    monday = (now + timedelta(days=7 - now.weekday())).replace(hour=0, minute=0, second=0, microsecond=0)
    with gateway_of(database, tmp_path / "data", clock) as gateway:
        ledger = gateway.ledger("json")
        clock.set(monday - MINUTE - now)
        assert ledger.send_all(range(3))
        before = received(connection, ledger, 0) + datetime.now(tz=timezone.utc)
        clock.set(monday + MINUTE - now)

        assert ledger.send_all(range(4))

        after = received(connection, ledger, 3) + datetime.now(tz=timezone.utc)
        assert before < monday < after
        assert adds_up(connection, ledger)["committed"] == 80
        assert gateway.metric("otel_obs_records_duplicate_total") == 60


def test_two_gateways_ten_minutes_apart_are_one(database: str, connection: psycopg.Connection, tmp_path: Path) -> None:
    clocks = [HostClock(tmp_path / name) for name in ("first", "second")]
    clocks[1].set(10 * MINUTE)
    with (
        gateway_of(database, tmp_path / "data 1", clocks[0]) as first,
        gateway_of(database, tmp_path / "data 2", clocks[1]) as second,
    ):
        ledgers = [first.ledger(), second.ledger("grpc"), second.ledger(), first.ledger("json")]

        at_once([lambda ledger=ledger: ledger.send_all(range(10)) for ledger in ledgers])  # type: ignore[misc]

        assert all(ledger.acked == set(range(10)) for ledger in ledgers)
        counted = {
            name: first.metric(f"otel_obs_records_{name}_total") + second.metric(f"otel_obs_records_{name}_total")
            for name in ("received", "stored", "duplicate", "conflicting")
        }
        assert counted == {"received": 800, "stored": 200, "duplicate": 600, "conflicting": 0}
        until(lambda: unsettled(connection) == 0, 60)
        assert adds_up(connection, *ledgers)["committed"] == 200
        for ledger in ledgers:
            ledger.close()


def at_once(tasks: Sequence[Callable[[], object]]) -> None:
    threads = [threading.Thread(target=task) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def maintain(clock: HostClock, database: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "otel_obs", "maintain", "--once", "retention", "--json", "--database-url", database,
         *arguments],
        env=environment(**clock.environment), capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


@pytest.fixture
def acme(connection: psycopg.Connection) -> None:
    """Rows of the plan that keeps 90 days, of which one is due to go and another not before tomorrow."""
    set_plan(connection, "acme", "free", NOW - 300 * DAY)
    moments = [NOW - 100 * DAY, NOW - 89.5 * DAY, NOW - DAY]
    cover(connection, moments, NOW)
    fill(connection, [("acme", at) for at in moments])


@pytest.mark.parametrize("ahead", [-2 * HOUR, DAY], ids=["behind", "ahead"])
def test_nothing_is_deleted_by_a_host_with_another_time_than_the_database(
    ahead: timedelta, acme: None, clock: HostClock, database: str, connection: psycopg.Connection
) -> None:
    del acme
    clock.set(ahead)

    refused = maintain(clock, database)

    (job,) = json.loads(refused.stdout)["jobs"]
    assert (refused.returncode, job["status"]) == (1, "failed")
    assert "name the time with --now" in job["error"]
    assert len(present(connection, "event_logs", "acme")) == 3
    named = maintain(clock, database, "--now", NOW.isoformat())
    assert named.returncode == 0, named.stderr
    assert len(present(connection, "event_logs", "acme")) == 2


def test_half_an_hour_is_no_difference_and_ages_are_counted_by_the_database(
    acme: None, clock: HostClock, database: str, connection: psycopg.Connection
) -> None:
    del acme
    clock.set(30 * MINUTE)

    done = maintain(clock, database)

    assert done.returncode == 0, done.stderr
    told = datetime.fromisoformat(json.loads(done.stdout)["now"].replace("Z", "+00:00"))
    assert abs(told - datetime.now(tz=timezone.utc)) < 5 * MINUTE
    assert len(present(connection, "event_logs", "acme")) == 2


def test_a_lease_ends_by_the_clock_of_the_database(clock: HostClock, database: str) -> None:
    """A host that is a day ahead takes it from nobody, one that is behind lets nobody wait."""
    pool = open_pool(database, wait_s=30)
    try:
        lease = Lease(pool)
        assert lease.take()
        with lease:
            clock.set(DAY)
            ahead = maintain(clock, database)
            assert not json.loads(ahead.stdout)["leader"]
        clock.set(-HOUR)
        assert json.loads(maintain(clock, database).stdout)["leader"]
        assert lease.take()
    finally:
        pool.close(2.0)


def test_maintenance_goes_on_when_its_clock_is_set_back(
    clock: HostClock, database: str, store: PostgresStore, connection: psycopg.Connection
) -> None:
    daemon = subprocess.Popen(
        [sys.executable, "-m", "otel_obs", "maintain", "--database-url", database, "--api", "127.0.0.1:0"],
        env=environment(**clock.environment), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert daemon.stdout is not None
        assert daemon.stdout.readline().startswith("ready")
        for _ in range(2):
            store.write(batch_of([receive(Decoded(spans=[make_span()]), Sender(), NOW, MAPPING)], price))
            until(lambda: unsettled(connection) == 0, 60)
            clock.set(-HOUR)
    finally:
        daemon.terminate()
        _, errors = daemon.communicate(timeout=60)
    assert re.search("the clock of this host was set by -3[56]", errors), errors
    assert daemon.returncode == 0
