"""What was refused: it is there with its reason, and can be taken in after all, once."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result

from otel_obs.cli.main import command
from otel_obs.errors import StorageRejectedError
from otel_obs.model import Decoded, LogRecord, Span
from otel_obs.otlp.decode import decode_traces
from otel_obs.pipeline.committing import Committer
from otel_obs.pipeline.ingest import receive
from otel_obs.pipeline.memory import MemoryStore
from otel_obs.postgres.store import PostgresStore
from otel_obs.rows.batch import Batch, Quarantined, Written
from otel_obs.tenancy import Sender
from tests.builders import chat, make_log, make_span
from tests.ledger import Ledger
from tests.rows import MAPPING, RECEIVED_AT, price

Run = Callable[..., Result]


@pytest.fixture
def run(database: str) -> Run:
    def run(*arguments: str) -> Result:
        return CliRunner().invoke(command, ["quarantine", *arguments, "--database-url", database])

    return run


class Picky(MemoryStore):
    """A store that refuses some spans, and counts how often it is asked."""

    def __init__(self, *refused: str) -> None:
        super().__init__()
        self.refused = set(refused)
        self.asked = 0

    def write(self, batch: Batch) -> Written:
        self.asked += 1
        if any(event.span_id in self.refused for event in batch.events):
            raise StorageRejectedError
        return super().write(batch)


@pytest.mark.parametrize("position", [0, 1, 250, 498, 499])
def test_one_bad_span_of_500_costs_nine_more_writes_and_nobody_else_anything(position: int) -> None:
    spans = [make_span() for _ in range(500)]
    store = Picky(spans[position].span_id)

    written = Committer(store, price).commit([receive(Decoded(spans=spans), Sender(), RECEIVED_AT, MAPPING)])

    assert len(store.events) == 499
    assert [item.reason for item in store.quarantine] == ["storage_rejected"]
    assert list(written.refused.values()) == ["storage_rejected"]
    assert store.asked <= 1 + 9 + 2


def test_several_bad_spans_of_several_requests_are_all_found() -> None:
    spans = [make_span() for _ in range(60)]
    store = Picky(*(spans[index].span_id for index in (3, 4, 31, 59)))
    noted = Quarantined(
        organization_id="o", workspace_id="w", received_at=RECEIVED_AT, signal="traces", reason="trace_id:absent"
    )
    requests = [receive(Decoded(spans=spans[i : i + 20]), Sender(), RECEIVED_AT, MAPPING) for i in (0, 20, 40)]

    written = Committer(store, price).commit([*requests[:2], replace(requests[2], quarantined=[noted])])

    assert len(store.events) == 56
    assert sorted(item.reason for item in store.quarantine) == ["storage_rejected"] * 4 + ["trace_id:absent"]
    assert (written.stored, len(written.refused)) == (56, 4)


def test_a_store_that_refuses_everything_notes_everything() -> None:
    spans = [make_span() for _ in range(33)]
    store = Picky(*(span.span_id for span in spans))

    written = Committer(store, price).commit([receive(Decoded(spans=spans), Sender(), RECEIVED_AT, MAPPING)])

    assert len(store.quarantine) == len(written.refused) == 33
    assert store.events == {}


def refuse(store: PostgresStore, spans: list[Span], logs: list[LogRecord] | None = None, **sender: Any) -> None:
    received = receive(Decoded(spans=spans, logs=logs or []), Sender(**sender), RECEIVED_AT, MAPPING)
    Committer(store, price).commit([received])


def names(connection: psycopg.Connection) -> list[tuple[Any, ...]]:
    return connection.execute("SELECT name, organization_id, workspace_id FROM event_logs ORDER BY name").fetchall()


def test_what_the_database_refused_is_taken_in_once_it_no_longer_does(
    store: PostgresStore, connection: psycopg.Connection, run: Run
) -> None:
    connection.execute("ALTER TABLE event_logs ADD CONSTRAINT no_b CHECK (name <> 'b')")
    said = chat(response_id="r", more={"gen_ai.input.messages": "hello"})
    spans = [make_span(name="a"), make_span(said, name="b"), make_span(name="c")]
    refuse(store, spans, [make_log(event_name="b", at_ms=5)], organization_id="acme")
    assert names(connection) == [("a", "acme", "default"), ("c", "acme", "default")]
    assert json.loads(run("replay", "--json").stdout)["refused"] == 2
    assert json.loads(run("list", "--json").stdout)["items"][0]["replayed_at"] is None

    connection.execute("ALTER TABLE event_logs DROP CONSTRAINT no_b")
    tried = json.loads(run("replay", "--dry-run", "--json").stdout)
    assert (tried["replayed"], tried["dry_run"], len(names(connection))) == (2, True, 2)
    done = json.loads(run("replay", "--json").stdout)
    again = json.loads(run("replay", "--json").stdout)

    assert (done["replayed"], done["refused"], done["not_replayable"]) == (2, 0, 0)
    assert [again[name] for name in ("replayed", "refused", "not_replayable")] == [0, 0, 0]
    assert [row[0] for row in names(connection)] == ["a", "b", "b", "c"]
    assert connection.execute("SELECT body FROM span_contents").fetchall() == [("hello",)]
    assert connection.execute("SELECT input_tokens, cost_usd > 0 FROM model_cost_logs").fetchone() == (100, True)
    assert connection.execute("SELECT count(*) FROM quarantine WHERE replayed_at IS NULL").fetchone() == (0,)


def test_a_replay_that_was_interrupted_stores_nothing_twice(
    store: PostgresStore, connection: psycopg.Connection, run: Run
) -> None:
    connection.execute("ALTER TABLE event_logs ADD CONSTRAINT no_b CHECK (name <> 'b')")
    refuse(store, [make_span(chat(response_id="r"), name="b")])
    connection.execute("ALTER TABLE event_logs DROP CONSTRAINT no_b")
    run("replay")
    connection.execute("UPDATE quarantine SET replayed_at = NULL")

    done = json.loads(run("replay", "--json").stdout)

    assert done["replayed"] == 1
    assert len(names(connection)) == 1
    assert connection.execute("SELECT count(*) FROM model_cost_logs").fetchone() == (1,)


def test_what_was_meant_for_a_workspace_that_its_key_may_not_write_to_stays_out(
    store: PostgresStore, connection: psycopg.Connection, run: Run
) -> None:
    refuse(store, [make_span({"otel_obs.workspace.id": "theirs"})], organization_id="acme", bound_workspace_id="mine")

    done = json.loads(run("replay", "--json").stdout)

    assert done["items"] == [{"id": 1, "outcome": "refused", "why": "workspace_not_allowed"}]
    assert names(connection) == []
    assert connection.execute("SELECT count(*) FROM quarantine").fetchone() == (1,)


def test_what_has_no_id_or_was_not_kept_is_told(store: PostgresStore, connection: psycopg.Connection, run: Run) -> None:
    ledger = Ledger("", bad=True, spans=50)
    received = receive(decode_traces(ledger.request(0).SerializeToString()), Sender(), RECEIVED_AT, MAPPING)
    Committer(store, price).commit([received])
    connection.execute(
        "INSERT INTO quarantine (organization_id, received_at, signal, reason) VALUES ('o', now(), 'traces', 'x')"
    )

    outcomes = {item["outcome"]: item["why"] for item in json.loads(run("replay", "--json").stdout)["items"]}

    assert outcomes == {"refused": "trace_id:absent", "not_replayable": "nothing of it was kept"}


def test_a_whole_request_that_could_not_be_read_is_taken_in_by_a_program_that_can(
    connection: psycopg.Connection, run: Run
) -> None:
    ledger = Ledger("", bad=True, spans=50)
    connection.execute(
        "INSERT INTO quarantine (organization_id, workspace_id, received_at, signal, reason, payload, format) "
        "VALUES ('acme', 'w', now(), 'traces', 'not_readable', %s, 'request/protobuf')",
        (ledger.request(0).SerializeToString(),),
    )

    assert json.loads(run("replay", "1", "--json").stdout)["replayed"] == 1

    assert len(names(connection)) == 49
    assert {row[1:] for row in names(connection)} == {("acme", "w")}


def test_pages_follow_one_another_to_the_end(store: PostgresStore, run: Run) -> None:
    connection_of = [make_span({"otel_obs.workspace.id": "theirs"}, name=str(index)) for index in range(5)]
    refuse(store, connection_of, organization_id="acme", bound_workspace_id="mine")

    found, cursor = [], None
    while True:
        page = json.loads(run("list", "--limit", "2", "--json", *(("--cursor", cursor) if cursor else ())).stdout)
        assert page.keys() == {"items", "next_cursor"}
        found += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            break

    assert [item["id"] for item in found] == [1, 2, 3, 4, 5]
    assert {(item["organization_id"], item["workspace_id"], item["reason"]) for item in found} == {
        ("acme", "mine", "workspace_not_allowed")
    }
    assert run("list", "--cursor", "x").exit_code == 2
    assert "workspace_not_allowed" in run("list").output
    assert json.loads(run("list", "--org", "other", "--json").stdout) == {"items": [], "next_cursor": None}
