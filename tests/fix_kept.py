"""Stores that tests claim something about: in memory and in PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from otel_obs.model import Span
from otel_obs.pipeline.memory import MemoryStore
from otel_obs.pipeline.store import Store
from otel_obs.postgres.copying import TABLES
from otel_obs.postgres.pool import conninfo, open_pool
from otel_obs.postgres.quarantine import Chosen, pending
from otel_obs.postgres.queries import naming
from otel_obs.postgres.store import PostgresStore
from otel_obs.rows import AgentRunRow, CallRow, ContentRow, EventRow
from otel_obs.rows.batch import Quarantined
from tests.rows import SETTLING, batch


@dataclass(frozen=True)
class Kept:
    """A store, and what it holds."""

    store: Store
    rows: Callable[[str], list[Any]]
    quarantined: Callable[[], list[Quarantined]]

    @property
    def events(self) -> dict[str, EventRow]:
        return {row.span_id: row for row in self.rows("event_logs")}

    @property
    def calls(self) -> list[CallRow]:
        return self.rows("model_cost_logs")

    @property
    def runs(self) -> list[AgentRunRow]:
        return self.rows("agent_trace_history")

    @property
    def contents(self) -> list[ContentRow]:
        return self.rows("span_contents")

    def everything(self) -> list[list[Any]]:
        tables = ("event_logs", "model_cost_logs", "agent_trace_history", "prompt_similarity_logs", "span_contents")
        return [sorted(self.rows(table), key=lambda row: (row.trace_id, row.event_id, str(row))) for table in tables]

    def write(self, spans: Sequence[Span]) -> None:
        self.store.write(batch(spans))

    def settle(self) -> None:
        for _ in range(10):
            if not self.store.settle(SETTLING, limit=100, all_now=True):
                return
        raise AssertionError("settling does not come to an end")


def in_memory() -> Kept:
    store = MemoryStore()
    tables: dict[str, Any] = {
        "event_logs": store.events,
        "model_cost_logs": store.calls,
        "agent_trace_history": store.runs,
        "prompt_similarity_logs": store.checks,
        "span_contents": store.contents,
    }
    return Kept(store, lambda table: list(tables[table].values()), lambda: list(store.quarantine))


def in_postgres(database: str) -> Iterator[Kept]:
    pool = open_pool(database)

    def rows(table: str) -> list[Any]:
        kind: Any = TABLES[table]
        statement = naming(kind._fields, f"SELECT t.* FROM {table} AS t")  # noqa: S608  # our own names
        with psycopg.connect(conninfo(database)) as connection:
            return [kind(*row) for row in connection.execute(statement).fetchall()]

    def quarantined() -> list[Quarantined]:
        with psycopg.connect(conninfo(database)) as connection:
            return [item for _, item in pending(connection, Chosen(), after=0)]

    try:
        yield Kept(PostgresStore(pool), rows, quarantined)
    finally:
        pool.close(2.0)


@pytest.fixture(params=["memory", "postgres"])
def kept(request: pytest.FixtureRequest) -> Iterator[Kept]:
    if request.param == "memory":
        yield in_memory()
    else:
        yield from in_postgres(request.getfixturevalue("database"))
