# ruff: noqa: INP001 -- a program
"""What can PostgreSQL take? The rows that the gateway wrote, made beforehand, by binary COPY into the same schema."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import psycopg

from otel_obs.postgres.copying import TABLES

TRACES_IN_COMMIT = 43
"""About 512 spans, as a request has."""

Chunk = dict[str, bytes]
"""Table -> its rows as COPY writes them."""


def rows_of(url: str, trace_ids: Sequence[str]) -> list[Chunk]:
    """Return the rows of these traces as they are stored in their final form."""
    with psycopg.connect(url) as connection:
        return [
            {
                table: _rows(connection, table, trace_ids[at : at + TRACES_IN_COMMIT])
                for table in (*TABLES, "call_registry")
            }
            for at in range(0, len(trace_ids), TRACES_IN_COMMIT)
        ]


def _rows(connection: psycopg.Connection, table: str, trace_ids: Sequence[str]) -> bytes:
    query = psycopg.sql.SQL("COPY (SELECT * FROM {} WHERE trace_id = ANY({})) TO STDOUT (FORMAT BINARY)").format(
        psycopg.sql.Identifier("otel_obs", table), psycopg.sql.Literal(list(trace_ids))
    )
    with connection.cursor().copy(query) as copy:
        return b"".join(bytes(part) for part in copy)


def copy(url: str, chunks: Sequence[Chunk]) -> float:
    """Store *chunks*, each in a transaction of its own; return the seconds it takes."""
    with psycopg.connect(url) as connection:
        began = time.perf_counter()
        for chunk in chunks:
            for table, data in chunk.items():
                _copy(connection, table, data)
            connection.commit()
        return time.perf_counter() - began


def _copy(connection: psycopg.Connection, table: str, data: bytes) -> None:
    statement = psycopg.sql.SQL("COPY {} FROM STDIN (FORMAT BINARY)").format(psycopg.sql.Identifier("otel_obs", table))
    with connection.cursor().copy(statement) as stream:
        for part in _parts(data):
            stream.write(part)


def _parts(data: bytes, size: int = 256 * 1024) -> Iterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]
