"""The command as scripts use it: output, exit codes, ``ready``, ``run.json``."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from otel_obs.postgres import schema
from otel_obs.postgres.embedded import running_dsn
from otel_obs.postgres.schema import Migration
from tests.command import NO_SERVER, PORTS, Running, run
from tests.corpus import capture
from tests.fault_proxy import FaultProxy
from tests.fix_postgres import short_folder
from tests.ledger import Ledger, adds_up
from tests.waiting import until


@pytest.fixture
def start() -> Iterator[Callable[..., Running]]:
    running: list[Running] = []

    def begin(*arguments: str, **more: str) -> Running:
        running.append(Running(*arguments, **more))
        return running[-1]

    yield begin
    for found in running:
        found.process.kill()
        found.process.communicate()


def get(address: str, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{address}{path}") as answer:  # our own gateway
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def post(address: str, signal_name: str, body: bytes) -> None:
    asked = urllib.request.Request(  # our own gateway
        f"http://{address}/v1/{signal_name}", body, {"content-type": "application/x-protobuf"}
    )
    with urllib.request.urlopen(asked) as answer:  # noqa: S310
        assert answer.status == 200


def test_up_runs_everything_says_where_and_stops_cleanly(start: Callable[..., Running]) -> None:
    with short_folder() as folder:
        running = start("up", "--data-dir", str(folder), *PORTS)
        running.ready()
        told: dict[str, Any] = json.loads((folder / "run.json").read_text())
        for found in capture("claude-code").bodies:
            post(told["http"], found.signal, found.data)

        assert told.keys() == {"pid", "grpc", "http", "api", "database_url"}
        assert told["pid"] == running.process.pid
        assert get(told["http"], "/healthz")[0] == 200
        assert get(told["http"], "/readyz") == (200, '{"ready":true}')
        assert "otel_obs_records_stored_total 18.0" in get(told["http"], "/metrics")[1]
        status, page = get(told["api"], "/")
        assert (status, "<title>Overview" in page) == (200, True)

        dsn = run("dsn", "--data-dir", str(folder))
        assert (dsn.returncode, dsn.stdout.strip()) == (0, told["database_url"])
        with psycopg.connect(dsn.stdout.strip(), autocommit=True) as connection:
            assert connection.execute("SELECT count(*) FROM event_logs").fetchone() == (18,)
            # Two spans, and two log records of the same calls: which they are shows when the trace is quiet.
            until(lambda: connection.execute("SELECT count(*) FROM model_costs").fetchone() == (2,))
        rows = run("psql", "--data-dir", str(folder), "-Atc", "SELECT count(*) FROM model_costs")
        assert rows.stdout.strip() == "2"

        code, errors = running.stop(signal.SIGINT)
        assert code == 0
        assert "OTEL_EXPORTER_OTLP_ENDPOINT" in errors
        assert f"look at it: http://{told['api']}/" in errors
        assert "Traceback" not in errors
        assert not (folder / "run.json").exists()
        until(lambda: running_dsn(folder) is None)


def test_what_was_accepted_before_a_stop_is_settled_by_it(start: Callable[..., Running], database: str) -> None:
    with short_folder() as folder:
        running = start("gateway", "--data-dir", str(folder), "--database-url", database, *PORTS)
        running.ready()
        http = json.loads((folder / "run.json").read_text())["http"]
        for found in capture("openinference-crewai").bodies:
            post(http, found.signal, found.data)

        code, _ = running.stop()

    assert code == 0
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM otel_obs.unsettled_traces").fetchone() == (0,)


def test_costs_in_json_have_the_shape_that_scripts_rely_on(start: Callable[..., Running], database: str) -> None:
    with short_folder() as folder:
        running = start("gateway", "--data-dir", str(folder), "--database-url", database, *PORTS)
        running.ready()
        for found in capture("anthropic-genai-latest").bodies:
            post(json.loads((folder / "run.json").read_text())["http"], found.signal, found.data)
        running.stop()

    done = run("costs", "--by", "day,model", "--json", "--since", "2026-11-01", "--database-url", database)

    found = json.loads(done.stdout)
    figures = {
        "calls", "calls_with_usage", "input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens",
        "reasoning_tokens", "cost_cents", "unpriced_calls", "estimated_calls",
    }  # fmt: skip
    assert found.keys() == {"since", "until", "by", "rows", "total"}
    assert (found["since"], found["until"], found["by"]) == ("2026-11-01T00:00:00Z", None, ["day", "model"])
    assert [row.keys() for row in found["rows"]] == [figures | {"day", "model"}] * 2
    assert found["total"].keys() == figures
    expected = capture("anthropic-genai-latest").totals
    assert (found["total"]["calls"], found["total"]["input_tokens"]) == (expected["calls"], expected["input_total"])
    assert found["total"]["cost_cents"] == pytest.approx(sum(row["cost_cents"] for row in found["rows"]))


def test_costs_of_nothing_are_unknown_not_zero(database: str) -> None:
    found = json.loads(run("costs", "--json", "--database-url", database).stdout)

    assert found["rows"] == []
    assert (found["total"]["calls"], found["total"]["input_tokens"], found["total"]["cost_cents"]) == (0, None, None)


@pytest.mark.parametrize(
    "arguments",
    [("costs", "--by", "colour"), ("costs", "--since", "yesterday"), ("nonsense",), ("gateway", "--grpc", "here")],
    ids=["unknown key", "no time", "unknown command", "no address"],
)
def test_wrong_usage_exits_with_2(arguments: tuple[str, ...], database: str) -> None:
    done = run(*arguments, *(("--database-url", database) if len(arguments) > 1 else ()))

    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr


@pytest.mark.parametrize("command", [("costs",), ("migrate",), ("migrate", "--check"), ("dsn",)], ids=" ".join)
def test_without_a_server_commands_exit_with_3(command: tuple[str, ...]) -> None:
    done = run(*command, "--database-url", NO_SERVER)

    assert done.returncode == 3
    assert "Traceback" not in done.stderr


def test_the_dsn_is_printed_even_if_nobody_answers(tmp_path: Path) -> None:
    done = run("dsn", "--data-dir", str(tmp_path))

    assert (done.returncode, done.stdout.count("\n")) == (3, 1)
    assert done.stdout.startswith("postgresql://otel_obs@/otel_obs?host=")
    assert "search_path" in done.stdout
    assert "otel-obs up" in done.stderr


def test_migrate_applies_and_check_says(empty_database: str) -> None:
    before = run("migrate", "--check", "--json", "--database-url", empty_database)
    applied = run("migrate", "--database-url", empty_database)
    after = run("migrate", "--check", "--json", "--database-url", empty_database)

    latest = schema.packaged()[-1].version
    assert before.returncode == 4
    assert json.loads(before.stdout).keys() == {"current", "latest", "pending"}
    assert json.loads(before.stdout)["current"] == 0
    assert (applied.returncode, applied.stdout.count("applied")) == (0, len(schema.packaged()))
    assert after.returncode == 0
    assert json.loads(after.stdout) == {"current": latest, "latest": latest, "pending": []}


@pytest.mark.parametrize("command", [("costs",), ("migrate",), ("gateway", *PORTS)], ids=lambda found: found[0])
def test_a_schema_newer_than_the_program_exits_with_4(command: tuple[str, ...], empty_database: str) -> None:
    schema.migrate(empty_database, (*schema.packaged(), Migration(9000, "new", "SELECT 1")))

    done = run(*command, "--database-url", empty_database)

    assert done.returncode == 4
    assert "upgrade otel_obs" in done.stderr


def test_a_gateway_on_a_schema_too_old_answers_that_it_is_not_ready(
    start: Callable[..., Running], empty_database: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        http = f"127.0.0.1:{free.getsockname()[1]}"
    with short_folder() as folder:
        running = start(
            "gateway", "--data-dir", str(folder), "--database-url", empty_database,
            "--grpc", "127.0.0.1:0", "--http", http,
        )  # fmt: skip
        assert running.process.stderr is not None
        waits = next(line for line in running.process.stderr if line.startswith("waiting: "))
        assert "otel-obs migrate" in waits
        status, told = get(http, "/readyz")
        assert (status, json.loads(told)["ready"]) == (503, False)
        assert get(http, "/healthz")[0] == 200
        with pytest.raises(urllib.error.HTTPError, match="503") as refused:
            post(http, "traces", capture("claude-code").bodies[0].data)
        refused.value.close()

        schema.migrate(empty_database)

        running.ready()


def test_a_gateway_whose_database_is_away_is_ready_to_keep_what_comes_and_says_so_once(
    start: Callable[..., Running], database: str
) -> None:
    proxy = FaultProxy.to_database(database)
    proxy.refuse()
    try:
        with short_folder() as folder:
            running = start("gateway", "--data-dir", str(folder), "--database-url", proxy.url(database), *PORTS)
            running.ready()
            http = json.loads((folder / "run.json").read_text())["http"]
            assert get(http, "/healthz")[0] == 200
            assert get(http, "/readyz")[0] == 503
            for found in capture("claude-code").bodies:
                post(http, found.signal, found.data)

            proxy.speak()

            with psycopg.connect(database) as connection:
                connection.autocommit = True
                until(lambda: connection.execute("SELECT count(*) FROM otel_obs.event_logs").fetchone() == (18,))
            until(lambda: get(http, "/readyz")[0] == 200)
            code, errors = running.stop()
        assert code == 0
        assert errors.count("rows cannot be written") == 1
        assert len(errors.splitlines()) <= 3, errors
    finally:
        proxy.close()


def until_more(ledgers: list[Ledger], more: int) -> None:
    """Return once *more* batches were acknowledged."""
    goal = sum(len(one.acked) for one in ledgers) + more
    until(lambda: sum(len(one.acked) for one in ledgers) >= goal)


def insist(ledger: Ledger, batches: int) -> None:
    for number in range(batches):
        ledger.insist(number)


def test_a_gateway_that_is_told_to_stop_while_senders_send_loses_and_refuses_nothing_for_good(
    start: Callable[..., Running], database: str
) -> None:
    with short_folder() as folder:
        arguments = ("gateway", "--data-dir", str(folder), "--database-url", database)
        running = start(*arguments, *PORTS)
        running.ready()
        told = json.loads((folder / "run.json").read_text())
        addresses = ("--grpc", told["grpc"], "--http", told["http"])
        ledgers = [
            Ledger(told["http"], seed=1),
            Ledger(told["http"], "json", seed=2),
            Ledger(told["grpc"], "grpc", seed=3),
        ]
        threads = [threading.Thread(target=insist, args=(ledger, 40)) for ledger in ledgers]
        for thread in threads:
            thread.start()
        for _ in range(2):
            until_more(ledgers, 5)
            code, errors = running.stop()
            assert (code, "Traceback" in errors) == (0, False)
            running = start(*arguments, *addresses)
            running.ready()
        for thread in threads:
            thread.join()
        running.stop()
        with psycopg.connect(database) as connection:
            assert adds_up(connection, *ledgers)["refused"] == 0
        for one in ledgers:
            one.close()


def test_an_address_that_others_can_reach_is_refused_without_encryption_and_without_keys(database: str) -> None:
    for setting, told in ({}, "OTEL_OBS_INSECURE"), ({"OTEL_OBS_AUTH": "off"}, "OTEL_OBS_AUTH=off"):
        done = run("gateway", "--http", "0.0.0.0:0", "--database-url", database, **setting)

        assert done.returncode == 2
        assert told in done.stderr


def test_a_variable_that_is_no_setting_is_pointed_out(database: str) -> None:
    assert "OTEL_OBS_DATABASE_ULR" in run("dsn", "--database-url", database, OTEL_OBS_DATABASE_ULR="x").stderr


def test_the_demo_accounts_for_every_token(server_dsn: str) -> None:
    done = run("demo", OTEL_OBS_DATABASE_URL=server_dsn)

    assert done.returncode == 0, done.stderr
    assert "every token is accounted for, once" in " ".join(done.stdout.split())
    assert "support_ticket" in done.stdout


def test_the_demo_needs_no_server_at_all() -> None:
    done = run("demo")

    assert done.returncode == 0, done.stderr


def test_the_demo_can_be_looked_at_until_it_is_stopped(start: Callable[..., Running], server_dsn: str) -> None:
    running = start("demo", "--serve", OTEL_OBS_DATABASE_URL=server_dsn)
    assert running.process.stdout is not None
    told = next(line for line in running.process.stdout if line.startswith("dashboard: "))
    address, path = told.split("http://")[1].strip().split("/", 1)

    status, page = get(address, f"/{path}")

    assert status == 200
    assert "support_ticket" in page
    assert running.stop(signal.SIGINT)[0] == 0


@pytest.mark.parametrize("command", ["demo", "up", "gateway", "migrate", "dsn", "psql", "costs"])
def test_help_needs_nothing(command: str) -> None:
    assert run(command, "--help").returncode == 0


WITHOUT = """
import sys

class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in %r:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Nothing())
sys.argv = ["otel-obs", *sys.argv[1:]]
from otel_obs.cli.main import main
main()
"""
SERVER = ("apscheduler", "cronsim", "fastapi", "jinja2", "standardwebhooks", "urllib3")
GATEWAY = (*SERVER, "cryptography", "grpc", "starlette", "uvicorn", "prometheus_client", "itsdangerous", "isal")


@pytest.mark.parametrize(
    ("absent", "name", "runs"),
    [
        (SERVER, "gateway", True), (SERVER, "keys", True), (SERVER, "serve", False), (SERVER, "maintain", False),
        (GATEWAY, "doctor", True), (GATEWAY, "migrate", True), (GATEWAY, "costs", True), (GATEWAY, "gateway", False),
    ],
)  # fmt: skip
def test_a_command_needs_its_own_extra_only(absent: tuple[str, ...], name: str, runs: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT % (absent,), name, "--help"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert ("Not installed" in done.stdout) is not runs


def test_a_command_that_is_not_installed_says_what_it_lacks() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT % (SERVER,), "maintain", "--once"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert "pip install" in done.stderr
