"""A batch of few rows is one statement: what it stores is what COPY stores, and it stands back where it has to."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from otel_obs.otlp.decode import decode_logs, decode_traces
from otel_obs.pipeline.batching import batch_of
from otel_obs.pipeline.ingest import receive
from otel_obs.postgres import store as stores
from otel_obs.postgres.copying import TABLES
from otel_obs.postgres.pool import conninfo, open_pool
from otel_obs.postgres.store import PostgresStore
from otel_obs.rows.batch import Batch
from otel_obs.tenancy import Sender
from tests.builders import chat, make_span, tool
from tests.corpus import NAMES, Body, capture
from tests.rows import MAPPING, RECEIVED_AT, batch, price

KEPT = (*TABLES, "call_registry", "call_reports")


@pytest.fixture
def connection(database: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(conninfo(database), autocommit=True) as connection:
        yield connection


@pytest.fixture
def store(database: str) -> Iterator[PostgresStore]:
    pool = open_pool(database)
    yield PostgresStore(pool)
    pool.close(2.0)


def batch_in(body: Body) -> Batch:
    decoded = decode_traces(body.data) if body.signal == "traces" else decode_logs(body.data)
    return batch_of([receive(decoded, Sender(), RECEIVED_AT, MAPPING)], price)


def stored(connection: psycopg.Connection) -> dict[str, list[tuple[object, ...]]]:
    """Return the rows that are stored, and remove them."""
    found = {
        table: sorted(connection.execute(f"SELECT t::text FROM {table} AS t").fetchall())  # noqa: S608  # our own names
        for table in KEPT
    }
    found["unsettled_traces"] = sorted(
        connection.execute("SELECT organization_id, trace_id, events FROM unsettled_traces").fetchall()
    )
    connection.execute(f"TRUNCATE {', '.join((*KEPT, 'unsettled_traces'))}")
    return found


@pytest.mark.parametrize("name", NAMES)
def test_one_statement_stores_what_copy_stores(
    name: str, store: PostgresStore, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = [batch_in(body) for body in capture(name).bodies]
    monkeypatch.setattr(stores, "FEW", 0)
    copied = [store.write(found) for found in batches]
    by_copy = stored(connection)

    monkeypatch.setattr(stores, "FEW", 100_000)
    written = [store.write(found) for found in batches]

    assert written == copied
    assert stored(connection) == by_copy
    assert by_copy["event_logs"]


@pytest.mark.parametrize("spans", [1, stores.FEW, stores.FEW + 1])
def test_a_tenant_that_nobody_announced_is_registered_however_few_rows_it_sends(
    spans: int, store: PostgresStore, connection: psycopg.Connection
) -> None:
    store.write(batch([make_span(tool("search"))]))

    found = [
        make_span({**tool("search"), "otel_obs.workspace.id": "new", "user.id": f"user {number}"})
        for number in range(spans)
    ]
    written = store.write(batch(found))

    assert written.stored == spans
    assert connection.execute("SELECT count(*) FROM workspaces WHERE id = 'new'").fetchone() == (1,)
    assert connection.execute("SELECT count(*) FROM users WHERE id LIKE 'user %'").fetchone() == (spans,)


def test_a_row_that_is_stored_already_leaves_the_others_of_few_to_be_stored(
    store: PostgresStore, connection: psycopg.Connection
) -> None:
    first, second = make_span(chat(response_id="r1")), make_span(chat(response_id="r2"))
    store.write(batch([first]))
    store.write(batch([first]))

    written = store.write(batch([first, second]))

    assert (written.stored, written.duplicates) == (1, 1)
    assert connection.execute("SELECT count(*) FROM model_cost_logs").fetchone() == (2,)
