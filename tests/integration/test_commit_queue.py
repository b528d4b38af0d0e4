"""Requests that wait for a commit: one that is held up holds up no other while there is a second writer."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from otel_obs.errors import StorageUnavailableError
from otel_obs.model import Decoded
from otel_obs.pipeline.ingest import Received, receive
from otel_obs.pipeline.queue import CommitQueue
from otel_obs.postgres.pool import conninfo, open_pool
from otel_obs.postgres.store import PostgresStore
from otel_obs.tenancy import Sender
from tests.builders import make_span
from tests.rows import MAPPING, RECEIVED_AT, batch, price
from tests.waiting import until

HELD, FREE = "held", "free"


def request(organization: str, name: str) -> Received:
    spans = [make_span({}, name=name, trace_id=name.encode().hex().ljust(32, "0"))]
    return receive(Decoded(spans=spans), Sender(organization_id=organization), RECEIVED_AT, MAPPING)


@pytest.fixture
def store(database: str) -> Iterator[PostgresStore]:
    pool = open_pool(database, writes=True, statement_timeout_s=60)
    found = PostgresStore(pool)
    for organization in (HELD, FREE):
        found.write(batch([make_span({}, name="first")], organization=organization))
    yield found
    pool.close(2.0)


@pytest.fixture
def lock(database: str) -> Iterator[psycopg.Connection]:
    """Give a transaction that holds an organization, as deleting it does."""
    with psycopg.connect(conninfo(database)) as connection:
        connection.execute("SELECT FROM organizations WHERE id = %s FOR UPDATE", (HELD,))
        yield connection


def waits(database: str) -> bool:
    with psycopg.connect(conninfo(database)) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"
        ).fetchone()
    return row is not None and row[0] > 0


@pytest.mark.parametrize("writers", [1, 2])
def test_a_commit_that_is_held_up_leaves_the_second_writer_to_others(
    database: str, store: PostgresStore, lock: psycopg.Connection, writers: int
) -> None:
    queue = CommitQueue(store, price, answer_within_s=0.2, writers=writers)
    with ThreadPoolExecutor() as senders:
        held = senders.submit(queue.submit, request(HELD, "held"), within_s=30)
        until(lambda: waits(database))
        if writers == 2:
            assert queue.submit(request(FREE, "free"), within_s=30).stored == 1
            assert not queue.is_stalled
        else:
            with pytest.raises(StorageUnavailableError):
                queue.submit(request(FREE, "free"), within_s=0.5)
            assert queue.is_stalled
        assert not held.done()
        lock.rollback()
        assert held.result(30).stored == 1
    until(lambda: not queue.is_stalled)
    queue.close()
    assert queue.size_bytes == 0
