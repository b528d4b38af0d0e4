"""``otel-obs maintain``: once for cron, and as a daemon."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result

from otel_obs.cli.main import command as otel_obs
from otel_obs.maintenance.jobs import JOBS
from otel_obs.maintenance.lease import Lease
from otel_obs.postgres.pool import open_pool
from tests import command
from tests.maintenance import DAY, HOT, cover, fill, present, set_plan

NOW = datetime.now(tz=timezone.utc)


@pytest.fixture
def maintain(database: str) -> Callable[..., Result]:
    def run(*arguments: str) -> Result:
        return CliRunner().invoke(otel_obs, ["maintain", *arguments, "--database-url", database], standalone_mode=False)

    return run


@pytest.fixture
def acme(connection: psycopg.Connection) -> None:
    """An organization with the plan free and rows of 1, 100 and 200 days before now."""
    set_plan(connection, "acme", "free", NOW - 300 * DAY)
    moments = [NOW - day * DAY for day in (1, 100, 200)]
    cover(connection, moments, NOW)
    fill(connection, [("acme", at) for at in moments])


def test_once_runs_all_jobs_in_their_order_and_answers_with_one_object(
    maintain: Callable[..., Result], acme: None, connection: psycopg.Connection
) -> None:
    del acme
    before = datetime.now(tz=timezone.utc)
    done = maintain("--once", "--json")

    told = json.loads(done.stdout)
    assert done.return_value == 0
    assert set(told) == {"now", "dry_run", "leader", "jobs"}
    assert (told["dry_run"], told["leader"]) == (False, True)
    assert before <= datetime.fromisoformat(told["now"].replace("Z", "+00:00")) <= datetime.now(tz=timezone.utc)
    assert [job["job"] for job in told["jobs"]] == list(JOBS)
    assert {job["status"] for job in told["jobs"]} == {"done"}
    for job in told["jobs"]:
        assert set(job) == {"job", "status", "duration_ms", "error", "result"}
    rows = {(row["organization_id"], row["table"]): row for row in _job(told, "retention")["result"]["rows"]}
    assert {table: rows["acme", table]["rows"] for table in HOT} == dict.fromkeys(HOT, 2)
    assert set(rows["acme", "event_logs"]) == {"organization_id", "table", "cutoff", "rows", "bytes"}
    assert len(present(connection, "event_logs", "acme")) == 1


def _job(told: dict[str, Any], name: str) -> dict[str, Any]:
    return next(job for job in told["jobs"] if job["job"] == name)


def test_a_moment_can_be_named_and_a_dry_run_deletes_nothing(
    maintain: Callable[..., Result], acme: None, connection: psycopg.Connection
) -> None:
    del acme
    later = (NOW + 95 * DAY).isoformat()

    dry = json.loads(maintain("--once", "retention", "--now", later, "--dry-run", "--json").stdout)
    assert len(present(connection, "event_logs", "acme")) == 3
    wet = json.loads(maintain("--once", "retention", "--now", later, "--json").stdout)

    assert dry["dry_run"]
    told = [{row["table"]: row["rows"] for row in _job(found, "retention")["result"]["rows"]} for found in (dry, wet)]
    assert told[0] == told[1]
    assert told[0]["event_logs"] == 3
    assert present(connection, "event_logs", "acme") == []


def test_people_are_told_in_a_line_for_each_job(maintain: Callable[..., Result], acme: None) -> None:
    del acme
    done = maintain("--once", "partitions", "retention")

    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == ["partitions", "retention"]
    assert "acme event_logs 2" in lines[1]


def test_whoever_finds_another_runner_leaves_it_to_that_one(
    maintain: Callable[..., Result], database: str, acme: None, connection: psycopg.Connection
) -> None:
    del acme
    pool = open_pool(database, wait_s=30)
    lease = Lease(pool)
    assert lease.take()
    with lease:
        done = maintain("--once", "retention", "--json")
    pool.close(1.0)

    told = json.loads(done.stdout)
    assert (done.return_value, told["leader"], told["jobs"]) == (0, False, [])
    assert "not leader" in done.stderr
    assert len(present(connection, "event_logs", "acme")) == 3


@pytest.mark.parametrize(
    "arguments", [("retention",), ("--dry-run",), ("--now", "2026-01-01"), ("--once", "retain")], ids=" ".join
)
def test_what_makes_no_sense_is_usage(arguments: tuple[str, ...], database: str) -> None:
    done = command.run("maintain", *arguments, "--database-url", database)

    assert done.returncode == 2


def test_without_a_server_and_without_a_schema_it_says_so(empty_database: str) -> None:
    assert command.run("maintain", "--once", "--database-url", command.NO_SERVER).returncode == 3
    assert command.run("maintain", "--once", "--database-url", empty_database).returncode == 4


def test_killed_and_started_again_it_finishes(database: str, connection: psycopg.Connection) -> None:
    set_plan(connection, "acme", "free", NOW - 300 * DAY)
    moments = [NOW - (100 + number % 300) * DAY for number in range(3000)]
    cover(connection, moments, NOW)
    fill(connection, [("acme", at) for at in [*moments, NOW - DAY]])
    set_plan(connection, "other", None, NOW - 300 * DAY)
    fill(connection, [("other", at) for at in {at.date(): at for at in moments}.values()])
    arguments = [sys.executable, "-m", "otel_obs", "maintain", "--once", "retention", "--database-url", database]

    killed = subprocess.Popen(
        arguments, env=command.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while not _has_begun(connection):
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    left = len(present(connection, "span_contents", "acme"))
    done = command.run("maintain", "--once", "retention", "--json", "--database-url", database)

    assert left > 1
    told = json.loads(done.stdout)
    assert (told["leader"], _job(told, "retention")["status"]) == (True, "done")
    for table in HOT:
        assert len(present(connection, table, "acme")) == 1
        assert len(present(connection, table, "other")) == 300
    sums = connection.execute(
        "SELECT sum(rows) FROM retention_runs WHERE organization_id = 'acme' GROUP BY table_name HAVING sum(rows) > 0"
    ).fetchall()
    assert sums == [(3000,)] * 6


def _has_begun(connection: psycopg.Connection) -> bool:
    row = connection.execute("SELECT count(*) FROM retention_runs WHERE rows > 0").fetchone()
    return row is not None and row[0] > 0


@pytest.fixture
def daemon(database: str) -> Iterator[tuple[command.Running, str]]:
    running = command.Running("maintain", "--api", "127.0.0.1:0", "--database-url", database)
    try:
        yield running, running.ready().split("api=")[1].strip()
    finally:
        if running.process.poll() is None:
            running.stop()


def _get(where: str, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{where}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_the_daemon_settles_serves_its_health_and_ends_well(
    daemon: tuple[command.Running, str], connection: psycopg.Connection, maintain: Callable[..., Result]
) -> None:
    running, where = daemon
    connection.execute(
        "INSERT INTO unsettled_traces VALUES ('acme', 't', now() - interval '1 hour', now() - interval '1 hour')"
    )

    assert maintain("--once", "retention").return_value == 0
    while connection.execute("SELECT count(*) FROM unsettled_traces").fetchone() != (0,):
        time.sleep(0.05)
    health = [_get(where, path) for path in ("/healthz", "/readyz", "/metrics", "/none")]
    connection.execute("INSERT INTO schema_migrations (version, name, checksum) VALUES (9000, 'newer', 'x')")
    newer = _get(where, "/readyz")
    connection.execute("DELETE FROM schema_migrations WHERE version > 5")
    too_old = _get(where, "/readyz")
    code, errors = running.stop(signal.SIGTERM)

    assert [status for status, _ in health] == [200, 200, 200, 404]
    assert 'otel_obs_maintenance_last_success_timestamp_seconds{job="retention"}' in health[2][1]
    assert 'otel_obs_maintenance_failing{job="retention"} 0.0' in health[2][1]
    assert newer[0] == 200
    assert too_old[0] == 503
    assert code == 0, errors


def _read(terminal: int) -> str:
    """Return some of what was drawn, at most 4 KiB; nothing at the end, which Linux tells by an error."""
    try:
        return os.read(terminal, 65_536).decode(errors="replace")
    except OSError:
        return ""


def test_a_bar_shows_on_a_terminal_how_far_it_is_and_nowhere_else(database: str, acme: None) -> None:
    del acme
    arguments = [
        sys.executable,
        "-m",
        "otel_obs",
        "maintain",
        "--once",
        "retention",
        "--json",
        "--database-url",
        database,
    ]
    ours, theirs = os.openpty()
    environment = command.environment(TERM="xterm", COLUMNS="100")

    done = subprocess.run(arguments, env=environment, stdout=subprocess.PIPE, stderr=theirs, check=True, timeout=60)
    os.close(theirs)
    drawn = "".join(iter(lambda: _read(ours), ""))
    os.close(ours)
    plain = subprocess.run(arguments, env=environment, capture_output=True, check=True, timeout=60)

    assert "retention" in drawn
    assert "10/10" in drawn
    assert json.loads(done.stdout)["leader"]
    assert plain.stderr == b""


def test_up_catches_up_with_what_was_missed_and_tells_when_it_last_succeeded(
    database: str, acme: None, connection: psycopg.Connection, tmp_path: Path
) -> None:
    del acme
    connection.execute("UPDATE schema_migrations SET applied_at = now() - interval '900 days'")
    where = ("--database-url", database, "--data-dir", str(tmp_path), *command.PORTS)
    running = command.Running("up", *where, OTEL_OBS_RETENTION_SCHEDULE="* * * * *")
    try:
        http = running.ready().split("http=")[1].split()[0]
        while len(present(connection, "event_logs", "acme")) > 1:
            time.sleep(0.05)
        while connection.execute("SELECT FROM maintenance_jobs WHERE job = 'retention'").fetchone() is None:
            time.sleep(0.05)
        metrics = _get(http, "/metrics")[1]
    finally:
        code, errors = running.stop(signal.SIGINT)

    assert 'otel_obs_maintenance_last_success_timestamp_seconds{job="retention"}' in metrics
    assert code == 0, errors
