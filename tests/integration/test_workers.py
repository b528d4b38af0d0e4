"""Several processes behind one pair of addresses: they are one gateway to whoever sends, reads metrics, or stops it."""

from __future__ import annotations

import json
import os
import re
import signal
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from tests.command import PORTS, ROOT, Running, run
from tests.fault_proxy import FaultProxy
from tests.fix_postgres import short_folder
from tests.ledger import Ledger, adds_up
from tests.private_postgres import children
from tests.waiting import until

Start = Callable[..., tuple[Running, dict[str, str]]]


@pytest.fixture
def folder() -> Iterator[Path]:
    with short_folder() as found:
        yield found


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    running: list[Running] = []

    def begin(url: str, command: str = "gateway", **more: str) -> tuple[Running, dict[str, str]]:
        api = ("--api", "127.0.0.1:0") if command == "up" else ()
        arguments = (command, "--data-dir", str(folder), "--database-url", url, *PORTS, *api)
        running.append(Running(*arguments, **{"OTEL_OBS_WORKERS": "2", **more}))
        running[-1].ready()
        return running[-1], json.loads((folder / "run.json").read_text())

    yield begin
    for found in running:
        found.process.kill()
        found.process.communicate()


def workers(running: Running) -> list[int]:
    """Return the processes that serve; beside them there may be one that only keeps track of resources."""
    found = []
    for pid in children(running.process.pid):
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if b"spawn_main" in line:
            found.append(pid)
    return found


def metrics(address: str) -> str:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=20) as answer:
        return str(answer.read().decode())


def total(address: str, name: str) -> float:
    """Return what one line, or all labels, of a metric say: workers have no lines of their own."""
    return sum(map(float, re.findall(rf"^{name}(?:\{{[^}}]*\}})? (\S+)$", metrics(address), re.MULTILINE)))


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def test_workers_are_one_gateway(start: Start, database: str) -> None:
    running, told = start(database)
    ledgers = [Ledger(told["grpc"] if n % 2 else told["http"], "grpc" if n % 2 else "json", seed=n) for n in range(6)]
    assert int(told["pid"]) == running.process.pid
    assert len(workers(running)) == 2

    assert all(ledger.send_all(range(5)) for ledger in ledgers)

    for _ in range(6):  # each on a connection of its own, which either worker may get
        assert re.findall(r"^otel_obs_records_stored_total (\S+)$", metrics(told["http"]), re.MULTILINE) == ["600.0"]
    assert total(told["http"], "otel_obs_workers") == 2
    pids = workers(running)
    code, errors = running.stop(signal.SIGINT)
    assert (code, "Traceback" in errors) == (0, False), errors
    assert all(is_gone(pid) for pid in pids)
    with psycopg.connect(database) as connection:
        assert adds_up(connection, *ledgers)["committed"] == 600
    for ledger in ledgers:
        ledger.close()


def test_a_worker_that_falls_is_started_again_and_its_spool_is_drained(start: Start, database: str) -> None:
    proxy = FaultProxy.to_database(database)
    try:
        running, told = start(proxy.url(database))
        ledger = Ledger(told["http"])
        assert ledger.insist(0)
        proxy.refuse()
        assert all(ledger.insist(number) for number in range(1, 10))
        before = workers(running)

        for pid in before:
            os.kill(pid, signal.SIGKILL)

        until(lambda: len(set(workers(running)) - set(before)) == 2)
        assert all(ledger.insist(number) for number in range(10, 15))
        proxy.speak()
        until(lambda: total(told["http"], "otel_obs_spool_bytes") == 0)
        code, errors = running.stop()
        assert code == 0
        assert "started again" in errors
        with psycopg.connect(database) as connection:
            assert adds_up(connection, ledger)["committed"] == 300
    finally:
        proxy.close()


def test_each_port_shows_the_same_sums_and_they_never_fall(start: Start, database: str) -> None:
    running, told = start(database, "up")
    ledgers = [Ledger(told["http"], seed=n) for n in range(8)]
    assert all(ledger.send_all(range(3)) for ledger in ledgers)
    names = ("otel_obs_records_stored_total", "otel_obs_records_received_total", "otel_obs_commit_seconds_count",
             "otel_obs_workers", "otel_obs_database_up")  # fmt: skip

    seen = {port: [total(told[port], name) for name in names] for port in ("api", "http")}

    assert seen["api"] == seen["http"]
    assert seen["api"][:2] == [480.0, 480.0]
    assert seen["api"][3:] == [2.0, 1.0]
    shown = set(re.findall(r"^# TYPE (\w+) \w+$", metrics(told["http"]), re.MULTILINE))
    documented = set(re.findall(r"^\| `(otel_obs_\w+)", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE))
    assert {name for name in shown if not name.endswith("_created")} == documented
    before = workers(running)
    os.kill(before[0], signal.SIGKILL)
    until(lambda: len(set(workers(running)) - set(before)) == 1)
    assert total(told["api"], "otel_obs_records_stored_total") == 480.0
    assert all(Ledger(told["http"], seed=n).insist(3) for n in range(8))
    until(lambda: total(told["api"], "otel_obs_records_stored_total") == 640.0)
    assert running.stop()[0] == 0


def test_there_are_as_many_as_cores_and_at_most_four_where_nobody_says_how_many(start: Start, database: str) -> None:
    running, told = start(database, OTEL_OBS_WORKERS="")

    wanted = min(4, len(os.sched_getaffinity(0)))
    assert len(workers(running)) == (wanted if wanted > 1 else 0)
    ledger = Ledger(told["http"])
    assert ledger.send_all(range(3))
    ledger.close()


def test_workers_end_with_their_parent(start: Start, database: str) -> None:
    running, _ = start(database)
    pids = workers(running)

    running.process.kill()

    until(lambda: all(is_gone(pid) for pid in pids))


def test_an_address_in_use_is_told(start: Start, database: str, folder: Path) -> None:
    with short_folder() as other:
        first = Running("gateway", "--data-dir", str(other), "--database-url", database, *PORTS)
        try:
            first.ready()
            http = json.loads((other / "run.json").read_text())["http"]
            done = run("gateway", "--data-dir", str(folder), "--database-url", database, "--http", http,
                       "--grpc", "127.0.0.1:0", OTEL_OBS_WORKERS="2")  # fmt: skip
        finally:
            first.stop()

    assert done.returncode == 2
    assert http in done.stderr
    del start
