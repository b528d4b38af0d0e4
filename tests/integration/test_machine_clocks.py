"""Machines whose clocks are wrong, differ, or are set while a process runs: nothing that matters depends on them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psycopg
import pytest

from otel_obs.maintenance.lease import Lease
from otel_obs.postgres.pool import open_pool
from tests.command import Running, environment
from tests.fault_proxy import FaultProxy, eventually
from tests.gateway_process import GatewayProcess
from tests.ledger import Ledger, adds_up
from tests.machine_clock import MachineClock, clocks
from tests.maintenance import DAY, cover, fill, present, set_plan

__all__ = ["clocks"]

Start = Callable[..., GatewayProcess]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    running: list[GatewayProcess] = []

    def begin(url: str, clock: MachineClock) -> GatewayProcess:
        found = GatewayProcess(url, tmp_path / f"data-{len(running)}", clock.variables)
        running.append(found)
        found.start()
        found.ready()
        return found

    yield begin
    for found in running:
        found.kill()


def until_settled(connection: psycopg.Connection) -> None:
    """Return once the gateway has settled its traces, which it does by the database's clock."""
    eventually(lambda: connection.execute("SELECT count(*) FROM unsettled_traces").fetchone() == (0,))


def samples(gateway: GatewayProcess) -> dict[str, float]:
    found = re.findall(r"^(otel_obs_\S+?|otel_obs_\w+\{[^}]*\}) (\S+)$", gateway.exposition(), re.MULTILINE)
    return {name: float(value) for name, value in found}


def test_a_clock_that_is_set_while_a_gateway_runs_harms_nothing(
    clocks: list[MachineClock], start: Start, database: str, connection: psycopg.Connection
) -> None:
    proxy = FaultProxy.to_database(database)
    try:
        gateway = start(proxy.url(database), clocks[0])
        ledger = gateway.ledger()
        assert ledger.send(0)
        proxy.refuse()
        number = 0
        for said in ("-1h", "+1d", "+0"):
            for _ in range(3):
                number += 1
                assert ledger.send(number)
            clocks[0].set(said)
            number += 1
            assert ledger.send(number)
            assert min(samples(gateway).values()) >= 0
        proxy.speak()
        gateway.until_drained()
        assert ledger.send(number + 1)

        until_settled(connection)
        found = samples(gateway)
        adds_up(connection, ledger)
    finally:
        proxy.close()
    assert min(found.values()) >= 0
    for histogram in ("otel_obs_request_seconds", "otel_obs_commit_seconds"):
        assert found[f"{histogram}_count"] > 0
        assert found[f"{histogram}_sum"] < 60, "a duration was taken from the clock of the wall"
    # Oldest first, whatever the clock said when they came.
    order = connection.execute(
        "SELECT span_id FROM event_logs WHERE trace_id = ANY(%s) ORDER BY xmin::text::bigint, span_id",
        ([ledger.trace_id(n).hex() for n in range(1, number + 1)],),
    ).fetchall()
    assert order == sorted(order)


def test_gateways_whose_clocks_differ_store_what_one_would(
    clocks: list[MachineClock], start: Start, database: str, connection: psycopg.Connection
) -> None:
    """Ten minutes and more: no effect on what is the same, on what comes first, and on who settles."""
    early, late = clocks
    early.set("-10m")
    late.set("+1d")
    addresses = [start(database, clock).http for clock in clocks]
    ledgers = [Ledger(address, seed=9) for address in addresses]

    for number in range(6):
        assert all(ledger.insist(number) for ledger in (ledgers if number % 2 else ledgers[::-1]))

    until_settled(connection)
    assert adds_up(connection, *ledgers)["committed"] == 120
    told = connection.execute(
        "SELECT trace_id, received_at > now() + interval '12 hours' FROM event_logs GROUP BY 1, 2 ORDER BY 1"
    ).fetchall()
    assert [is_late for _, is_late in told] == [True, False] * 3, "the first to come stays"


def test_what_is_sent_again_after_midnight_is_one_row(
    clocks: list[MachineClock], start: Start, database: str, connection: psycopg.Connection
) -> None:
    """A midnight between two weeks, which is one between two partitions."""
    day = "2026-11-29"

    def newest() -> str:
        return str(connection.execute("SELECT max(received_at)::date FROM event_logs").fetchall()[0][0])

    clocks[0].set(f"@{day} 12:00:00")
    ledger = start(database, clocks[0]).ledger()
    clocks[0].set(f"@{day} 23:59:58")
    assert ledger.insist(0)
    assert newest() == day
    number = 0
    while newest() == day:
        number += 1
        assert ledger.insist(number)
        assert ledger.insist(0)

    assert ledger.insist(0)
    until_settled(connection)
    assert adds_up(connection, ledger)["committed"] == 20 * (number + 1)


def maintained(database: str, clock: MachineClock, *more: str) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "otel_obs", "maintain", "--once", *more, "--database-url", database, "--json"],
        env=environment(**clock.variables), capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_a_host_whose_clock_is_wrong_deletes_nothing_unless_it_is_told_the_time(
    clocks: list[MachineClock], database: str, connection: psycopg.Connection
) -> None:
    now = datetime.now(tz=timezone.utc)
    set_plan(connection, "acme", "free", now - 400 * DAY)
    cover(connection, [now - 91 * DAY], now)
    fill(connection, [("acme", now - days * DAY) for days in (1, 89, 91)])

    def kept() -> list[int]:
        return [(now - at).days for at in present(connection, "event_logs", "acme")]

    for wrong in ("-2h", "+1d"):
        clocks[0].set(wrong)
        code, told = maintained(database, clocks[0], "retention")
        assert (code, told["jobs"][0]["status"], "--now" in told["jobs"][0]["error"]) == (1, "failed", True)
        assert kept() == [91, 89, 1]

    code, told = maintained(database, clocks[0], "retention", "--now", told["now"])
    assert (code, told["jobs"][0]["status"]) == (0, "done")
    assert kept() == [89, 1]


TAKE = """
import sys, time
from otel_obs.maintenance.lease import Lease
from otel_obs.postgres.pool import open_pool

pool = open_pool(sys.argv[1], wait_s=30)
print(Lease(pool).take(), round(time.time()))
pool.close()
"""


def test_a_lease_ends_by_the_clock_of_the_database(clocks: list[MachineClock], database: str) -> None:
    def taken() -> bool:
        done = subprocess.run(
            [sys.executable, "-c", TAKE, database],
            env=environment(**clocks[0].variables), capture_output=True, text=True, check=True, timeout=120,
        )  # fmt: skip
        took, clock = done.stdout.split()
        assert int(clock) > time.time() + 80_000
        return took == "True"

    clocks[0].set("+1d")
    pool = open_pool(database, wait_s=30)
    try:
        lease = Lease(pool)
        assert lease.take()
        with lease:
            assert not taken()
            with pool.connection() as connection:
                lease.fence(connection)
        assert taken()
        assert not lease.take()
    finally:
        pool.close(2.0)


def test_maintenance_goes_on_when_its_clock_is_set_back(
    clocks: list[MachineClock], database: str, connection: psycopg.Connection, tmp_path: Path
) -> None:
    where = ("--database-url", database, "--data-dir", str(tmp_path), "--api", "127.0.0.1:0")
    running = Running("maintain", *where, **clocks[0].variables)
    try:
        eventually(lambda: ran(connection) is not None, 60)
        clocks[0].set("-1h")
        connection.execute("DELETE FROM maintenance_jobs")

        eventually(lambda: ran(connection) is not None, 60)
    finally:
        code, errors = running.stop()
    assert code == 0, errors


def ran(connection: psycopg.Connection) -> object:
    return connection.execute("SELECT last_run_at FROM maintenance_jobs WHERE job = 'budgets'").fetchone()
