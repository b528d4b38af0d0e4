"""With encryption keys what was said rests sealed, opens for who may read it, and for nobody else."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pyarrow.parquet
import pytest
from click.testing import CliRunner
from psycopg import sql
from psycopg_pool import ConnectionPool

from otel_obs.analytics import detail
from otel_obs.cli.main import command
from otel_obs.errors import KeysUnavailableError
from otel_obs.maintenance import resealing, tenancy
from otel_obs.maintenance.resealing import Resealed, reseal
from otel_obs.maintenance.sweeping import Subject
from otel_obs.model import Span
from otel_obs.postgres import vault as vaults
from otel_obs.postgres.pool import conninfo, open_pool
from otel_obs.postgres.reading import Reader, reading
from otel_obs.postgres.store import PostgresStore
from otel_obs.postgres.vault import Vault
from otel_obs.rows.batch import Batch, Quarantined
from otel_obs.sealing import ConfiguredKeys, KeyService, SealedError
from otel_obs.settings import Settings
from otel_obs.web.server import ApiServer
from tests.builders import agent, chat, make_span
from tests.ledger import START_NS
from tests.rows import RECEIVED_AT, SETTLING, batch

OLD, NEW = ("old", secrets.token_bytes(32)), ("new", secrets.token_bytes(32))
CANARY = "the canary sings at midnight"
TRACE = "0af7651916cd43dd8448eb211c80319c"


def said(text: str) -> list[Span]:
    """Return an agent's run with a call and a guardrail, all of which repeat *text*."""
    message = json.dumps([{"role": "user", "content": text}])
    answer = json.dumps([{"role": "assistant", "content": f"I heard {text}"}])
    both = {"gen_ai.input.messages": message, "gen_ai.output.messages": answer}
    run = make_span(agent("writer", **both))
    return [
        run,
        make_span(chat(100, 20, response_id=secrets.token_hex(8), more=both), parent=run, start_ms=10, duration_ms=50),
        make_span(
            {"otel_obs.guardrail.name": "similar", "otel_obs.guardrail.similarity_score": 0.9,
             "otel_obs.guardrail.flagged_reference": text, "otel_obs.guardrail.action_taken": "block"},
            parent=run, start_ms=70, duration_ms=5,
        ),
    ]  # fmt: skip


@dataclass
class World:
    url: str
    pool: ConnectionPool
    connection: psycopg.Connection

    def store(self, *keys: tuple[str, bytes]) -> PostgresStore:
        return PostgresStore(self.pool, vault=vault(*keys) if keys else None)

    def rows(self, statement: str, *parameters: Any) -> list[Any]:
        return self.connection.execute(statement, parameters).fetchall()

    def everywhere(self, *texts: str) -> list[str]:
        """Return the tables that hold one of *texts* in clear."""
        tables = self.rows(
            "SELECT c.relname FROM pg_class AS c WHERE c.relnamespace = 'otel_obs'::regnamespace "
            "AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY 1"
        )
        found = []
        for (name,) in tables:
            copied = sql.SQL("COPY (SELECT * FROM {}) TO STDOUT").format(sql.Identifier(name))
            with self.connection.cursor().copy(copied) as copy:
                data = b"".join(bytes(part) for part in copy)
            if any(form in data for text in texts for form in (text.encode(), text.encode().hex().encode())):
                found.append(name)
        return found

    def detail(self, span: Span, vault_: Vault | None, organization: str = "acme") -> detail.EventDetail:
        with reading(self.pool, Reader(organization_id=organization)) as connection:
            return detail.event_detail(connection, organization, span.trace_id, span.span_id, vault_)


def vault(*keys: tuple[str, bytes]) -> Vault:
    return Vault(ConfiguredKeys(keys))


@pytest.fixture
def world(database: str) -> Iterator[World]:
    pool = open_pool(database)
    try:
        with psycopg.connect(conninfo(database), autocommit=True) as connection:
            yield World(database, pool, connection)
    finally:
        pool.close(2.0)


def write(store: PostgresStore, spans: list[Span], organization: str = "acme") -> None:
    store.write(batch(spans, organization=organization))
    while store.settle(SETTLING, limit=100, all_now=True):
        pass


REFUSED = Quarantined(
    organization_id="acme", workspace_id="blue", received_at=RECEIVED_AT, signal="traces", reason="trace_id:absent",
    payload=CANARY.encode(), format="read",
)  # fmt: skip


def test_what_was_said_is_nowhere_readable_and_everything_else_is(world: World) -> None:
    store = world.store(OLD)
    write(store, said(CANARY))
    store.write(Batch(quarantined=[REFUSED]))

    assert world.everywhere(CANARY) == []
    assert world.everywhere("writer", "gpt-4o-mini") != []
    assert world.rows("SELECT input_tokens, cost_usd, model_name FROM model_cost_logs") == [(100, 120, "gpt-4o-mini")]
    assert world.rows("SELECT count(*), count(body), count(body_encrypted) FROM span_contents")[0][1:] == (0, 5)
    assert world.rows("SELECT input_context, output_summary, agent_name FROM agent_trace_history") == [
        (None, None, "writer")
    ]


def test_without_keys_it_is_readable(world: World) -> None:
    write(world.store(), said(CANARY))
    assert set(world.everywhere(CANARY)) >= {"span_contents", "agent_trace_history", "prompt_similarity_logs"}


def test_who_may_read_it_is_shown_it(world: World) -> None:
    spans = said(CANARY)
    write(world.store(OLD), spans)
    run, call, guardrail = (world.detail(span, vault(NEW, OLD)) for span in spans)

    assert all(CANARY in (part.body or "") for part in (*run.contents, *call.contents))
    assert not any(part.is_sealed for part in (*run.contents, *call.contents, *guardrail.contents))
    assert [check.flagged_reference for check in guardrail.checks] == [CANARY]


@pytest.mark.parametrize("keys", [(), (NEW,)], ids=["no keys", "other keys"])
def test_without_the_key_it_is_locked_and_no_error(world: World, keys: tuple[tuple[str, bytes], ...]) -> None:
    spans = said(CANARY)
    write(world.store(OLD), spans)
    found = [world.detail(span, vault(*keys) if keys else None) for span in spans]

    parts = [part for detail in found for part in detail.contents]
    assert {(part.body, part.is_sealed, part.sealed_reason) for part in parts} == {(None, True, "locked")}
    assert [(check.flagged_reference, check.is_sealed) for check in found[2].checks] == [(None, True)]


SWAPS = {
    "row": "UPDATE span_contents AS t SET body_encrypted = o.body_encrypted FROM span_contents AS o "
    "WHERE t.part = 'input' AND o.part = 'input' AND t.event_id <> o.event_id",
    "part": "UPDATE span_contents AS t SET body_encrypted = o.body_encrypted FROM span_contents AS o "
    "WHERE t.part = 'input' AND o.part = 'output' AND t.event_id = o.event_id",
    "bit": "UPDATE span_contents SET body_encrypted = set_bit(body_encrypted, 400, 1 - get_bit(body_encrypted, 400))",
    "key": "UPDATE span_contents SET body_encrypted = set_byte(body_encrypted, 3, 113)",
    "cut": "UPDATE span_contents SET body_encrypted = substring(body_encrypted FROM 1 FOR 20)",
    "format": "UPDATE span_contents SET body_encrypted = set_byte(body_encrypted, 1, 57)",
}


@pytest.mark.parametrize("statement", SWAPS.values(), ids=SWAPS)
def test_what_was_tampered_with_is_undecryptable_and_no_error(world: World, statement: str) -> None:
    spans = said(CANARY)
    write(world.store(OLD), spans)
    world.connection.execute(statement)
    found = [part for part in world.detail(spans[1], vault(OLD)).contents if part.part == "input"]

    assert [(part.body, part.sealed_reason) for part in found] == [(None, "undecryptable")]


def test_the_rows_of_one_organization_do_not_open_in_another(world: World) -> None:
    spans = said(CANARY)
    for organization in ("acme", "others"):
        write(world.store(OLD), spans, organization)
    world.connection.execute(
        "UPDATE span_contents AS t SET body_encrypted = o.body_encrypted FROM span_contents AS o "
        "WHERE t.organization_id = 'others' AND o.organization_id = 'acme' "
        "AND (t.event_id, t.part) = (o.event_id, o.part)"
    )

    assert {part.sealed_reason for part in world.detail(spans[1], vault(OLD), "others").contents} == {"undecryptable"}


def test_hashes_of_prompts_are_equal_inside_an_organization_only(world: World) -> None:
    spans = [*said(CANARY * 200), *said(CANARY * 200)]
    for organization in ("acme", "others"):
        write(world.store(OLD), spans, organization)
    found = world.rows(
        "SELECT organization_id, count(*), count(DISTINCT prompt_hash), count(DISTINCT prefix_hashes), "
        "bool_and(prompt_hash LIKE 'k%%') AND bool_and(prefix_hashes[1] LIKE 'k%%') "
        "FROM model_cost_logs GROUP BY 1 ORDER BY 1"
    )

    assert found == [("acme", 2, 1, 1, True), ("others", 2, 1, 1, True)]
    assert world.rows("SELECT count(DISTINCT prompt_hash), count(DISTINCT sha256) FROM model_cost_logs, span_contents")
    assert world.rows("SELECT count(DISTINCT prompt_hash) FROM model_cost_logs") == [(2,)]


def test_a_run_that_settling_finds_again_is_sealed_too(world: World) -> None:
    """The inner of two layers that tell one run has no row until the outer one turns out to be no run."""
    spans = said(CANARY)
    write(world.store(OLD), spans)
    world.connection.execute("DELETE FROM agent_trace_history")
    world.connection.execute(
        "INSERT INTO unsettled_traces VALUES ('acme', %s, now(), now()) ON CONFLICT DO NOTHING", [TRACE]
    )
    store = world.store(OLD)
    while store.settle(SETTLING, limit=100, all_now=True):
        pass

    (row,) = world.rows(
        "SELECT input_context, input_context_encrypted IS NOT NULL, output_summary FROM agent_trace_history"
    )
    assert row == (None, True, None)
    assert world.everywhere(CANARY) == []


def test_writers_that_begin_together_seal_with_one_key(world: World) -> None:
    stores = [world.store(OLD) for _ in range(4)]
    threads = [
        threading.Thread(target=write, args=(store, said(f"{CANARY} {number}"))) for number, store in enumerate(stores)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert world.rows("SELECT purpose, count(*) FROM data_keys GROUP BY 1 ORDER BY 1") == [("content", 1), ("index", 1)]
    assert world.rows("SELECT count(DISTINCT substring(body_encrypted FROM 1 FOR 16)) FROM span_contents") == [(1,)]


def test_a_worn_key_is_replaced_and_still_opens(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    spans = said(CANARY)
    write(world.store(OLD), spans)
    world.connection.execute("UPDATE data_keys SET created_at = now() - interval '366 days', messages = 5")
    write(world.store(OLD), said("later"))
    monkeypatch.setattr(vaults, "COUNTED_AT_ONCE", 1)
    write(world.store(OLD), said("much later"))

    kept = world.rows("SELECT retired_at IS NULL, messages > 0 FROM data_keys WHERE purpose = 'content' ORDER BY 1")
    assert kept == [(False, True), (True, True)]
    assert all(CANARY in (part.body or "") for part in world.detail(spans[0], vault(OLD)).contents)


class Switched:
    """A key service that can be switched off."""

    def __init__(self) -> None:
        self.keys = ConfiguredKeys([OLD])
        self.name = "kms/1"
        self.is_off = False

    def wrap(self, key: bytes, place: bytes) -> bytes:
        return self._on().wrap(key, place)

    def unwrap(self, name: str, wrapped: bytes, place: bytes) -> bytes:
        assert name == self.name
        return self._on().unwrap("old", wrapped, place)

    def _on(self) -> ConfiguredKeys:
        if self.is_off:
            raise ConnectionError
        return self.keys


def test_while_the_key_service_is_away_writing_is_tried_again_later_and_reading_is_locked(world: World) -> None:
    service = Switched()
    spans = said(CANARY)
    write(PostgresStore(world.pool, vault=Vault(KeyService(service))), spans)
    service.is_off = True
    away = Vault(KeyService(service))

    with pytest.raises(KeysUnavailableError) as caught:
        PostgresStore(world.pool, vault=away).write(batch(said("more"), organization="acme"))
    assert caught.value.retryable
    assert {part.sealed_reason for part in world.detail(spans[0], away).contents} == {"locked"}
    service.is_off = False
    assert CANARY in str(world.detail(spans[0], away).contents)
    assert world.rows("SELECT wrapped_by FROM data_keys") == [("kms/1",), ("kms/1",)]


def rotated(world: World, *keys: tuple[str, bytes], **more: Any) -> Resealed:
    return reseal(world.pool, vault(*keys), **more)


def test_rotation_seals_everything_anew_and_destroys_the_old_key(world: World) -> None:
    spans = said(CANARY)
    store = world.store(OLD)
    write(store, spans)
    store.write(Batch(quarantined=[REFUSED]))
    before = world.rows("SELECT id FROM data_keys WHERE purpose = 'content'")
    done = rotated(world, NEW, OLD)

    assert (done.organizations, done.values_sealed, done.values_unreadable) == (1, 0, 0)
    assert (done.values_resealed, done.keys_wrapped, done.keys_destroyed) == (5 + 2 + 1 + 1, 2, 1)
    assert world.rows("SELECT wrapped_by FROM data_keys") == [("new",), ("new",)]
    assert before[0] not in world.rows("SELECT id FROM data_keys")
    assert CANARY in str(world.detail(spans[1], vault(NEW)).contents)
    assert {part.sealed_reason for part in world.detail(spans[1], vault(OLD)).contents} == {"locked"}
    assert world.everywhere(CANARY) == []


def test_nothing_is_sealed_where_nothing_was_kept(world: World) -> None:
    nothing = replace(REFUSED, payload=b"", format="")
    for store in (world.store(), world.store(OLD)):
        store.write(Batch(quarantined=[nothing]))
    done = rotated(world, NEW, OLD)

    assert (done.values_sealed, done.values_resealed) == (0, 0)
    kept = "SELECT DISTINCT payload, payload_encrypted FROM quarantine"
    assert world.rows(kept) == [(None, None)]


def test_rotation_seals_what_rested_readable(world: World) -> None:
    spans = [*said(CANARY * 200), *said(CANARY * 200)]
    write(world.store(), spans)
    world.store().write(Batch(quarantined=[REFUSED]))
    open_hashes = world.rows("SELECT prompt_hash FROM model_cost_logs")
    done = rotated(world, NEW)

    assert done.values_sealed == 2 * (5 + 2 + 1) + 1
    assert done.hashes_blinded == 2
    assert world.everywhere(CANARY, open_hashes[0][0]) == []
    write(world.store(NEW), said(CANARY * 200))
    assert world.rows("SELECT count(DISTINCT prompt_hash), count(DISTINCT prefix_hashes) FROM model_cost_logs") == [
        (1, 1)
    ]
    assert CANARY in str(world.detail(spans[1], vault(NEW)).contents)
    # Those that another run left are found, and no more is done.
    again = rotated(world, NEW)
    assert (again.values_sealed, again.hashes_blinded) == (0, 0)


def test_a_rotation_that_was_killed_is_gone_on_with(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resealing, "AT_ONCE", 3)
    spans = [span for number in range(4) for span in said(f"{CANARY} {number}")]
    write(world.store(OLD), spans)

    class Killed(Exception):  # noqa: N818  # nothing is wrong
        pass

    def kill(done: Resealed) -> None:
        if done.values_resealed >= 6:
            raise Killed

    with pytest.raises(Killed):
        rotated(world, NEW, OLD, progress=kill)
    heads = world.rows("SELECT DISTINCT substring(body_encrypted FROM 1 FOR 16) FROM span_contents")
    assert len(heads) == 2
    assert all(CANARY in str(world.detail(span, vault(NEW, OLD)).contents) for span in spans[::3])
    done = rotated(world, NEW, OLD)

    assert done.values_resealed == 4 * (5 + 2 + 1) - 6
    assert done.keys_destroyed == 1
    assert world.rows("SELECT count(*) FROM data_keys") == [(2,)]
    assert all(CANARY in str(world.detail(span, vault(NEW)).contents) for span in spans[::3])


def test_a_writer_that_seals_with_the_old_key_during_a_rotation_loses_nothing(world: World) -> None:
    write(world.store(OLD), said("before"))
    late = said(CANARY)
    started, go_on = threading.Event(), threading.Event()

    class Slow(PostgresStore):
        def _sealed(self, connection: psycopg.Connection, batch: Batch) -> Any:
            found = super()._sealed(connection, batch)
            started.set()
            go_on.wait(20)
            return found

    writer = threading.Thread(target=Slow(world.pool, vault=vault(OLD)).write, args=(batch(late, organization="acme"),))
    writer.start()
    started.wait(20)
    rotation = threading.Thread(target=rotated, args=(world, NEW, OLD))
    rotation.start()
    rotation.join(0.5)
    assert rotation.is_alive(), "it waits for who still seals with the old key"
    go_on.set()
    writer.join()
    rotation.join()

    assert world.rows("SELECT count(*) FROM data_keys") == [(2,)]
    assert CANARY in str(world.detail(late[1], vault(NEW)).contents)


def test_what_nobody_can_open_stays_with_its_key(world: World) -> None:
    write(world.store(OLD), said(CANARY))
    world.connection.execute(
        "UPDATE span_contents SET body_encrypted = set_byte(body_encrypted, 40, 255 - get_byte(body_encrypted, 40)) "
        "WHERE part = 'input'"
    )
    done = rotated(world, OLD)

    assert done.values_unreadable == 2, "the run's and the call's, each counted once"
    assert done.keys_destroyed == 0
    assert world.rows("SELECT count(*) FROM data_keys WHERE retired_at IS NOT NULL") == [(1,)]


def test_with_an_organization_its_keys_go_and_backups_say_nothing(world: World) -> None:
    spans = said(CANARY)
    writer = world.store(OLD)
    write(writer, spans)
    write(writer, said("theirs"), "others")
    backup = world.rows("SELECT * FROM span_contents WHERE organization_id = 'acme'")
    reader = vault(OLD)
    tenancy.delete(world.pool, Subject(organization_id="acme"), why="asked for", actor="test")

    assert world.rows("SELECT DISTINCT organization_id FROM data_keys") == [("others",)]
    with pytest.raises(SealedError, match="does not exist"):
        reader.opened(world.connection, "acme", backup[0][10], b"anywhere")
    # Brought back, it begins with keys of its own, although the writer still knows the old ones.
    with world.connection.transaction():
        world.connection.execute("DELETE FROM deleted_tenants")
        world.connection.execute("INSERT INTO organizations (id) VALUES ('acme')")
    again = said("afterwards")
    write(writer, again)
    assert "afterwards" in str(world.detail(again[1], vault(OLD)).contents)


def test_refused_payloads_are_shown_by_size_and_taken_in_again(database: str, world: World) -> None:
    span: dict[str, Any] = {
        "trace_id": "0" * 31 + "1", "span_id": "0" * 15 + "1", "parent_span_id": None, "name": CANARY,
        "start_time_unix_nano": START_NS, "end_time_unix_nano": START_NS + 1000, "attributes": {},
        "status_code": 0, "scope": {"name": "test"}, "resource": {"attributes": {}}, "events": [], "links": [],
    }  # fmt: skip
    payload = json.dumps(span).encode()
    item = Quarantined(
        organization_id="acme", workspace_id="blue", received_at=RECEIVED_AT, signal="traces",
        reason="organization_busy", payload=payload, format="read",
    )  # fmt: skip
    store = world.store(OLD)
    for _ in range(2):
        store.write(Batch(quarantined=[item], from_spool=True))
    key = f"old:{base64.b64encode(OLD[1]).decode()}"

    def run(*arguments: str, **environment: str) -> Any:
        result = CliRunner(env=environment).invoke(command, [*arguments, "--database-url", database, "--json"])
        return json.loads(result.output)

    (listed,) = run("quarantine", "list")["items"]
    assert listed["bytes"] > len(payload)
    locked = run("quarantine", "replay")
    assert (locked["replayed"], locked["not_replayable"]) == (0, 1)
    assert "OTEL_OBS_ENCRYPTION_KEYS" in locked["items"][0]["why"]
    assert run("quarantine", "replay", OTEL_OBS_ENCRYPTION_KEYS=key)["replayed"] == 1
    assert world.rows("SELECT name FROM event_logs") == [(CANARY,)]


def test_the_command_rotates_and_says_what_it_did(database: str, world: World) -> None:
    write(world.store(OLD), said(CANARY))
    keys = ",".join(f"{name}:{base64.b64encode(key).decode()}" for name, key in (NEW, OLD))

    def run(environment: dict[str, str], *arguments: str) -> Any:
        return CliRunner(env=environment).invoke(command, [*arguments, "--database-url", database])

    without = run({}, "keys", "rotate-encryption")
    done = run({"OTEL_OBS_ENCRYPTION_KEYS": keys}, "keys", "rotate-encryption", "--json")
    lost = run({"OTEL_OBS_ENCRYPTION_KEYS": f"other:{base64.b64encode(secrets.token_bytes(32)).decode()}"},
               "keys", "rotate-encryption")  # fmt: skip

    assert without.exit_code == 2
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["values_resealed"] == 8
    assert lost.exit_code != 0
    assert world.rows("SELECT action, subject FROM audit_log WHERE action = 'encryption.rotate'") == [
        ("encryption.rotate", "new")
    ]


def test_doctor_says_whether_content_is_sealed(database: str, world: World) -> None:
    def content(**environment: str) -> dict[str, Any]:
        result = CliRunner(env=environment).invoke(command, ["doctor", "--database-url", database, "--json"])
        return next(check for check in json.loads(result.output)["checks"] if check["name"] == "content")

    plain = content()
    write(world.store(OLD), said(CANARY))
    mine = content(OTEL_OBS_ENCRYPTION_KEYS=f"old:{base64.b64encode(OLD[1]).decode()}")
    lost = content(OTEL_OBS_ENCRYPTION_KEYS=f"new:{base64.b64encode(NEW[1]).decode()}")

    assert (plain["ok"], "warning: " in plain["detail"]) == (True, True)
    assert mine["ok"]
    assert "old" in mine["detail"]
    assert not lost["ok"]


def test_a_deletion_that_is_interrupted_has_destroyed_the_keys_first(world: World) -> None:
    spans = said(CANARY)
    write(world.store(OLD), spans)
    with world.pool.connection() as connection:
        tenancy._refuse_more(connection, Subject(organization_id="acme"), "organization")

    assert world.rows("SELECT count(*) FROM span_contents") == [(5,)]
    assert {part.sealed_reason for part in world.detail(spans[1], vault(OLD)).contents} == {"undecryptable"}


def test_keys_that_nobody_used_for_long_leave_memory(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    held = vault(OLD)
    write(PostgresStore(world.pool, vault=held), said(CANARY))
    assert len(held._remembered) == 2
    monkeypatch.setattr(vaults, "FORGOTTEN_S", 0.0)
    held._forget_at = 0.0

    write(PostgresStore(world.pool, vault=held), said("theirs"), "others")

    assert {organization for organization, _ in held._remembered} == {"others"}


def test_an_export_is_in_clear_with_the_key_and_sealed_without(database: str, world: World, tmp_path: Path) -> None:
    quoted = f'{CANARY} "body":null, \\ and \u00e4'
    write(world.store(OLD), said(quoted))
    world.store(OLD).write(Batch(quarantined=[REFUSED]))
    key = f"old:{base64.b64encode(OLD[1]).decode()}"

    def exported(name: str, *more: str, **environment: str) -> Path:
        arguments = ["org", "export", "acme", "--to", str(tmp_path / name), *more, "--database-url", database]
        done = CliRunner(env=environment).invoke(command, arguments)
        assert done.exit_code == 0, done.output
        return tmp_path / name

    def rows(folder: Path, table: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (folder / f"{table}.jsonl").read_text().splitlines()]

    opened = exported("opened", OTEL_OBS_ENCRYPTION_KEYS=key)
    for row in rows(opened, "span_contents"):
        assert quoted in row["body"] or json.dumps(quoted)[1:-1] in row["body"]
        assert row["body_encrypted"] is None
        assert row["sha256"] == hashlib.sha256(row["body"].encode()).hexdigest()
    (run,) = rows(opened, "agent_trace_history")
    assert run["input_context"] == {"input": [{"role": "user", "content": quoted}]}
    assert run["output_summary"] == f"I heard {quoted}"
    assert [row["flagged_reference"] for row in rows(opened, "prompt_similarity_logs")] == [quoted]
    assert [row["payload"] for row in rows(opened, "quarantine")] == ["\\x" + CANARY.encode().hex()]
    sealed = exported("sealed")
    assert not any(CANARY in path.read_text() for path in sealed.iterdir())
    columns = exported("columns", "--format", "parquet", OTEL_OBS_ENCRYPTION_KEYS=key)
    found = pyarrow.parquet.read_table(columns / "span_contents.parquet").to_pydict()
    assert all(CANARY in body for body in found["body"])
    context = pyarrow.parquet.read_table(columns / "agent_trace_history.parquet").to_pydict()["input_context"]
    assert json.loads(context[0]) == run["input_context"]


def test_api_and_dashboard_open_content_and_say_what_a_search_did_not_look_at(database: str, world: World) -> None:
    spans = said(CANARY)
    write(world.store(OLD), spans)
    write(world.store(), spans, "plain")
    period = "since=2026-11-01T00:00:00Z&until=2026-12-31T00:00:00Z"
    call = f"{TRACE}/events/{spans[1].span_id}"

    def asked(*keys: tuple[str, bytes]) -> tuple[Any, str, httpx.Response, httpx.Response]:
        given = ",".join(f"{name}:{base64.b64encode(key).decode()}" for name, key in keys)
        server = ApiServer(
            Settings.from_env({"OTEL_OBS_ENCRYPTION_KEYS": given}, {"API_ENDPOINT": "127.0.0.1:0"}), database
        )
        try:
            with httpx.Client(base_url=f"http://{server.start()}", timeout=30) as client:
                detail = client.get(f"/api/v1/traces/{call}?organization_id=acme")
                assert detail.status_code == 200
                shown = f"event={spans[1].span_id}&content=1&organization_id=acme&{period}"
                page = client.get(f"/traces/{TRACE}?{shown}")
                assert page.status_code == 200
                search = f"/api/v1/traces?q=midnight&{period}&organization_id="
                return detail.json(), page.text, client.get(search + "acme"), client.get(search + "plain")
        finally:
            server.stop()

    detail, page, sealed, plain = asked(OLD)
    assert all(CANARY in part["body"] for part in detail["contents"])
    assert CANARY in page
    assert sealed.json()["items"] == []
    assert sealed.json()["note"] == sealed.headers["x-otel-obs-note"]
    assert "was not searched" in sealed.json()["note"]
    assert len(plain.json()["items"]) == 1
    assert "note" not in plain.json()
    for keys in ((), (NEW,)):
        detail, page, *_ = asked(*keys)
        assert {(part["body"], part["sealed_reason"]) for part in detail["contents"]} == {(None, "locked")}
        assert "its key cannot be had here" in page
        assert CANARY not in page
