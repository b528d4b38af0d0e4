"""Rows into tables by binary COPY: the cheapest way in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import psycopg
from psycopg import sql
from psycopg.postgres import types

from otel_obs.postgres.queries import load
from otel_obs.rows import AgentRunRow, CallRow, CheckRow, ContentRow, EventRow
from otel_obs.rows.batch import Batch

_WRITE = load("write")

TABLES: dict[str, type[tuple[Any, ...]]] = {
    "event_logs": EventRow,
    "model_cost_logs": CallRow,
    "agent_trace_history": AgentRunRow,
    "prompt_similarity_logs": CheckRow,
    "span_contents": ContentRow,
}

_TYPES = {
    "timestamp": "timestamptz",
    "received_at": "timestamptz",
    "latency_ms": "float8",
    "time_to_first_token_ms": "float8",
    "similarity_score": "float8",
    "inherited": "int2",
    "attempts": "int4",
    "is_batch": "bool",
    "is_stream": "bool",
    "truncated": "bool",
    "context": "jsonb",
    "billed_units": "jsonb",
    "input_context": "jsonb",
    "execution_nodes": "jsonb",
    "prefix_hashes": "text[]",
    **dict.fromkeys(
        ("body_encrypted", "input_context_encrypted", "output_summary_encrypted", "flagged_reference_encrypted"),
        "bytea",
    ),
    "rate_per_1k": "numeric",
    "cost_usd": "numeric",
    "cost_cents": "numeric",
    "reported_cost_cents": "numeric",
    "bytes": "int8",
    **dict.fromkeys(
        (
            "input_tokens", "cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens", "output_tokens",
            "reasoning_tokens",
        ),
        "int8",
    ),
}  # fmt: skip
"""Column -> type, where it is not text."""
_CLAIM = tuple(types.get_oid(name) for name in ("text", "text", "timestamptz", "text", "text"))
"""Types of the columns of a claim on a response id."""


def copy_batch(connection: psycopg.Connection, batch: Batch) -> None:
    """Copy all rows of *batch* into their tables.

    Raises:
        psycopg.Error: for one, because a row is stored already.
    """
    copy_rows(connection, "event_logs", batch.events)
    copy_derived(connection, batch)
    copy_registry(connection, batch.calls)


def copy_derived(connection: psycopg.Connection, batch: Batch) -> None:
    """Copy what the events of *batch* mean."""
    copy_rows(connection, "model_cost_logs", batch.calls)
    copy_rows(connection, "agent_trace_history", batch.runs)
    copy_rows(connection, "prompt_similarity_logs", batch.checks)
    copy_rows(connection, "span_contents", batch.contents)


def copy_rows(
    connection: psycopg.Connection, table: str, rows: Sequence[tuple[Any, ...]], *, into: str | None = None
) -> None:
    """Copy *rows*, tuples in column order, into *table* (or into *into*, which is like it)."""
    if not rows:
        return
    statement, oids = _copying(table, into or table)
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.set_types(oids)
        write = copy.write_row
        for row in rows:
            write(row)


@cache
def _copying(table: str, into: str) -> tuple[bytes, tuple[int, ...]]:
    """Return the statement that takes rows of *table* in, and the types of their columns."""
    columns: tuple[str, ...] = TABLES[table]._fields  # type: ignore[attr-defined]  # each is a NamedTuple
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(
        sql.Identifier(into), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    return statement.as_bytes(None), tuple(types.get_oid(_TYPES.get(column, "text")) for column in columns)


def copy_registry(connection: psycopg.Connection, calls: Iterable[CallRow]) -> None:
    """Claim the response ids of *calls*, in one order for all writers; a claimed one is an error."""
    claims: dict[tuple[str, str], CallRow] = {}
    for call in calls:
        if call.response_id is not None:
            claims.setdefault((call.organization_id, call.response_id), call)
    if not claims:
        return
    with connection.cursor() as cursor, cursor.copy(_WRITE["copy_registry"]) as copy:
        copy.set_types(_CLAIM)
        for (organization_id, response_id), call in sorted(claims.items(), key=lambda claim: claim[0]):
            copy.write_row((organization_id, response_id, call.timestamp, call.trace_id, call.event_id))
