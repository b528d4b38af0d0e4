"""Organizations, workspaces, users and workflows: set, listed, exported, deleted, also while data arrives."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.parquet
import pytest
from click.testing import CliRunner, Result

from otel_obs.cli.main import command as otel_obs
from otel_obs.errors import ObsError
from otel_obs.maintenance import sweeping, tenancy
from otel_obs.maintenance.sweeping import Subject
from otel_obs.postgres import audit
from otel_obs.postgres.pool import open_pool
from otel_obs.postgres.store import PostgresStore
from tests.builders import agent, chat, make_span
from tests.maintenance import HOT, counts, set_plan
from tests.rows import SETTLING, batch

NOW = datetime.now(tz=timezone.utc)
CONTENT = {"gen_ai.input.messages": "asked", "gen_ai.output.messages": "answered"}


@pytest.fixture
def run(database: str) -> Callable[..., Result]:
    def run(*arguments: str) -> Result:
        return CliRunner().invoke(otel_obs, [*arguments, "--database-url", database])

    return run


def told(done: Result) -> Any:
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return json.loads(done.stdout)


def spans(number: int, workspace: str = "w", user: str = "ann") -> list[Any]:
    named = {"otel_obs.workspace.id": workspace, "user.id": user}
    trace = f"{number:032x}"
    root = make_span(agent("writer", **named, **CONTENT), trace_id=trace)
    call = make_span(chat(response_id=f"r{number}", more={**named, **CONTENT}), trace_id=trace, parent=root)
    check = {"gen_ai.operation.name": "apply_guardrail", "otel_obs.guardrail.name": "g", **named}
    return [root, call, make_span(check, trace_id=trace, parent=root)]


def write(store: PostgresStore, *numbers: int, organization: str = "acme", **more: str) -> None:
    for number in numbers:
        store.write(batch(spans(number, **more), organization=organization))
    while store.settle(SETTLING, limit=100, all_now=True):
        pass


def test_an_organization_is_made_changed_and_listed(run: Callable[..., Result], connection: psycopg.Connection) -> None:
    made = told(run("org", "set", "acme", "--plan", "team", "--json"))
    held = told(run("org", "set", "acme", "--legal-hold", "on", "--why", "a court", "--json"))
    lower = told(run("org", "set", "acme", "--plan", "enterprise", "--retention-days", "30", "--json"))
    run("org", "set", "beta", "--plan", "free")

    assert (made["plan"], made["days_in_force"], made["legal_hold"]) == ("team", 365, False)
    assert (held["plan"], held["legal_hold"]) == ("team", True)
    assert (lower["retention_days"], lower["plan_days"], lower["days_in_force"]) == (30, 30, 365)
    page = told(run("org", "list", "--limit", "1", "--json"))
    rest = told(run("org", "list", "--limit", "1", "--cursor", page["next_cursor"], "--json"))
    assert [item["id"] for item in (*page["items"], *rest["items"])] == ["acme", "beta"]
    assert rest["next_cursor"] is None
    assert "everything is kept (legal hold)" in run("org", "list").stdout
    entries = [(entry.action, entry.subject) for entry, _ in audit.entries(connection)]
    assert entries == [("org.plan", "acme"), ("org.legal_hold", "acme"), ("org.plan", "acme"), ("org.plan", "beta")]
    assert audit.first_bad(connection) is None


def test_days_are_for_the_plan_enterprise(run: Callable[..., Result]) -> None:
    assert run("org", "set", "acme", "--plan", "pro", "--retention-days", "30").exit_code == 2
    assert run("org", "set", "\x00", "--plan", "pro").exit_code == 2


def test_a_workflow_is_bound_to_a_workspace(run: Callable[..., Result], connection: psycopg.Connection) -> None:
    run("workspace", "set", "sales", "--org", "acme")
    assert told(run("workflow", "set", "flow", "--workspace", "support", "--org", "acme", "--json")) == {
        "organization_id": "acme", "workflow_id": "flow", "workspace_id": "support",
    }  # fmt: skip
    run("workflow", "set", "flow", "--workspace", "sales", "--org", "acme")

    assert connection.execute("SELECT organization_id, id, workspace_id FROM workflows").fetchall() == [
        ("acme", "flow", "sales")
    ]


@pytest.mark.parametrize("way", ["command", "sql"])
def test_an_organization_goes_with_everything_and_no_other_is_touched(
    way: str, run: Callable[..., Result], connection: psycopg.Connection, store: PostgresStore
) -> None:
    for organization in ("acme", "other"):
        write(store, 1, 2, organization=organization)
    set_plan(connection, "acme", "free", NOW)
    others = counts(connection, "other")

    if way == "sql":
        connection.execute("DELETE FROM organizations WHERE id = 'acme'")
    else:
        assert told(run("org", "delete", "acme", "--json"))["rows"] == 20

    left = {table for table, rows in counts(connection, "acme").items() if rows}
    assert left <= {"audit_log", "deleted_tenants"}
    assert counts(connection, "other") == others
    refused = store.write(batch(spans(3), organization="acme")).refused
    assert set(refused.values()) == {"organization_deleted"}


@pytest.mark.parametrize("way", ["command", "sql"])
@pytest.mark.parametrize("kind", ["workspace", "user"])
def test_a_workspace_or_a_user_goes_with_everything_and_stays_away_until_it_is_set_again(
    kind: str, way: str, run: Callable[..., Result], connection: psycopg.Connection, store: PostgresStore
) -> None:
    write(store, 1, workspace="gone", user="gone")
    write(store, 2, workspace="stays", user="stays")

    if way == "sql":
        connection.execute(f"DELETE FROM {kind}s WHERE id = 'gone'")  # noqa: S608  # our own names
    else:
        assert told(run(kind, "delete", "gone", "--org", "acme", "--json"))["rows"] == 10

    for table in HOT:
        found = connection.execute(f"SELECT DISTINCT {kind}_id FROM {table}").fetchall()  # noqa: S608
        assert found == [("stays",)], table
    assert connection.execute("SELECT response_id FROM call_registry").fetchall() == [("r2",)]
    late = store.write(batch(spans(3, workspace="gone", user="gone"), organization="acme"))
    assert set(late.refused.values()) == {f"{kind}_deleted"}
    if kind == "workspace":
        run("workspace", "set", "gone", "--org", "acme")
        assert store.write(batch(spans(4, workspace="gone"), organization="acme")).refused == {}


def test_what_is_not_there_cannot_be_deleted_or_exported(run: Callable[..., Result], tmp_path: Path) -> None:
    for arguments in (
        ("org", "delete", "nobody"),
        ("workspace", "delete", "nobody"),
        ("user", "delete", "nobody"),
        ("trace", "delete", "nobody"),
        ("org", "export", "nobody", "--to", str(tmp_path)),
    ):
        done = run(*arguments)
        assert done.exit_code == 1, arguments
        assert isinstance(done.exception, ObsError)
        assert "there is no such" in str(done.exception).lower()


def test_under_legal_hold_nothing_is_deleted_by_name(
    run: Callable[..., Result], connection: psycopg.Connection, store: PostgresStore
) -> None:
    write(store, 1)
    run("org", "set", "acme", "--legal-hold", "on")
    before = counts(connection, "acme")

    for arguments in (("org", "delete", "acme"), ("user", "delete", "ann", "--org", "acme")):
        assert "legal hold" in str(run(*arguments).exception)

    assert counts(connection, "acme") == before


def test_one_trace_is_exported_and_deleted(
    run: Callable[..., Result], connection: psycopg.Connection, store: PostgresStore, tmp_path: Path
) -> None:
    write(store, 1, 2)
    trace = f"{1:032x}"

    found = told(run("trace", "delete", trace, "--org", "acme", "--export", str(tmp_path), "--json"))

    assert (found["rows"], found["exported"]["event_logs"]) == (10, 3)
    lines = [json.loads(line) for line in (tmp_path / "event_logs.jsonl").read_text().splitlines()]
    assert {line["trace_id"] for line in lines} == {trace}
    for table in HOT:
        assert connection.execute(f"SELECT DISTINCT trace_id FROM {table}").fetchall() == [(f"{2:032x}",)]  # noqa: S608
    assert connection.execute("SELECT day FROM touched_days").fetchone() is not None


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_an_export_holds_each_row_and_each_column_and_money_exactly(
    kind: str, run: Callable[..., Result], connection: psycopg.Connection, store: PostgresStore, tmp_path: Path
) -> None:
    write(store, 1, 2)
    write(store, 3, organization="other")
    connection.execute("UPDATE model_cost_logs SET cost_usd = 0.1234567890123456789012345 WHERE span_id <> ''")

    found = told(run("org", "export", "acme", "--to", str(tmp_path), "--format", kind, "--json"))

    for table in HOT:
        path = tmp_path / f"{table}.{kind}"
        rows = (
            pyarrow.parquet.read_table(path).to_pylist()
            if kind == "parquet"
            else [json.loads(line, parse_float=str) for line in path.read_text().splitlines()]
        )
        cursor = connection.execute(f"SELECT * FROM {table} WHERE organization_id = 'acme'")  # noqa: S608
        assert len(rows) == cursor.rowcount == found["files"][table]
        assert list(rows[0]) == [column.name for column in cursor.description or ()]
        if table == "model_cost_logs":
            assert {row["cost_usd"] for row in rows} == {"0.1234567890123456789012345"}
        if table == "event_logs" and kind == "parquet":
            stored = connection.execute('SELECT "timestamp" FROM event_logs WHERE organization_id = %s', ("acme",))
            assert {row["timestamp"] for row in rows} == {row[0] for row in stored}
    assert (tmp_path / f"event_logs.{kind}").stat().st_mode & 0o077 == 0
    assert not (tmp_path / f"api_keys.{kind}").exists()


def test_an_export_without_a_folder_makes_one(
    run: Callable[..., Result], store: PostgresStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(store, 1, organization="../acme", user="ann")

    assert told(run("user", "export", "ann", "--org", "../acme", "--json"))["folder"] == "export-.._acme-ann"

    assert (tmp_path / "export-.._acme-ann" / "event_logs.jsonl").exists()


@pytest.mark.parametrize(
    "subject",
    [
        Subject(organization_id="acme"),
        Subject(organization_id="acme", workspace_id="gone"),
        Subject(organization_id="acme", user_id="gone"),
    ],
    ids=["organization", "workspace", "user"],
)
def test_while_data_arrives_a_deletion_leaves_nothing_and_others_go_on(
    subject: Subject, database: str, connection: psycopg.Connection
) -> None:
    pools = [open_pool(database, max_size=2, wait_s=30) for _ in range(4)]
    stores = [PostgresStore(pool) for pool in pools[:3]]
    stores[0].write(batch(spans(1, workspace="gone", user="gone"), organization="acme"))
    stop, arrived = threading.Event(), [0, 0, 0]
    failures: list[Exception] = []

    def sender(number: int) -> None:
        organization = "other" if number == 0 else "acme"
        trace = 1000 * (number + 1)
        while not stop.is_set():
            trace += 1
            try:
                stores[number].write(batch(spans(trace, workspace="gone", user="gone"), organization=organization))
            except ObsError as error:
                failures.append(error)
            arrived[number] += 1

    threads = [threading.Thread(target=sender, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    while min(arrived) < 3:
        stop.wait(0.01)
    tenancy.delete(pools[3], subject)
    at_once = list(arrived)
    while min(now - then for now, then in zip(arrived, at_once, strict=True)) < 3:
        stop.wait(0.01)
    stop.set()
    for thread in threads:
        thread.join()
    for pool in pools[:3]:
        pool.close(1.0)

    def in_transaction(work: Callable[[psycopg.Connection], Any]) -> Any:
        with connection.transaction():
            return work(connection)

    left = 0 if subject.user_id is None else sweeping.sweep(subject, in_transaction)
    pools[3].close(1.0)
    assert failures == []
    # A writer that had looked just before leaves at most its batch of a user, which retention finds.
    assert left <= 40
    assert not sweeping.has_rows(connection, subject)
    assert counts(connection, "other")["event_logs"] == 3 * arrived[0]
