"""Several gateways' stores on one database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
import pytest

from otel_obs.model import Decoded, LogRecord, Span
from otel_obs.pipeline.batching import batch_of
from otel_obs.pipeline.ingest import receive
from otel_obs.postgres.pool import conninfo, open_pool
from otel_obs.postgres.store import PostgresStore
from otel_obs.rows import AgentRunRow, CallRow, ContentRow, EventRow
from otel_obs.tenancy import Sender
from tests.fix_postgres import new_database
from tests.rows import MAPPING, RECEIVED_AT, SETTLING, price

TABLES: dict[str, type[Any]] = {
    "event_logs": EventRow,
    "model_cost_logs": CallRow,
    "agent_trace_history": AgentRunRow,
    "span_contents": ContentRow,
}


class Writers:
    """Gateways' stores on one database; each organization is a world of its own."""

    def __init__(self, database: str) -> None:
        self.database = database
        self.pools = [open_pool(database, max_size=2) for _ in range(3)]
        self.stores = [PostgresStore(pool) for pool in self.pools]
        self.worlds = 0

    def organization(self) -> str:
        self.worlds += 1
        return f"world-{self.worlds}"

    def write(self, organization: str, number: int, records: Sequence[Span | LogRecord]) -> None:
        decoded = Decoded(
            spans=[record for record in records if isinstance(record, Span)],
            logs=[record for record in records if isinstance(record, LogRecord)],
        )
        received = receive(decoded, Sender(organization_id=organization), RECEIVED_AT, MAPPING)
        self.stores[number % len(self.stores)].write(batch_of([received], price))

    def settle(self, number: int = 0) -> None:
        while self.stores[number % len(self.stores)].settle(SETTLING, limit=50, all_now=True):
            pass

    def settle_all_again(self) -> None:
        """Settle everything that is stored, whatever is known of it."""
        with psycopg.connect(conninfo(self.database)) as connection:
            connection.execute("INSERT INTO touched_traces SELECT DISTINCT organization_id, trace_id FROM event_logs")
        self.settle()

    def rows(self, organization: str) -> dict[str, list[Any]]:
        """Return the rows of a world, without the world's own name."""
        with psycopg.connect(conninfo(self.database)) as connection:
            return {
                table: sorted(
                    (
                        kind(*row)._replace(organization_id="", resource_hash=None)
                        if kind is EventRow
                        else kind(*row)._replace(organization_id="")
                        for row in connection.execute(
                            f"SELECT * FROM {table} WHERE organization_id = %s",  # noqa: S608  # our own names
                            [organization],
                        ).fetchall()
                    ),
                    key=lambda row: (row.trace_id, row.event_id, str(row)),
                )
                for table, kind in TABLES.items()
            }


@pytest.fixture(scope="module")
def writers(server_dsn: str, template_database: str) -> Iterator[Writers]:
    with new_database(server_dsn, template_database) as database:
        found = Writers(database)
        try:
            yield found
        finally:
            for pool in found.pools:
                pool.close(2.0)
