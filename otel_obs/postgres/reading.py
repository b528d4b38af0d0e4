"""Reading as a tenant: every answer that leaves this process is read by a role that row-level security binds.

``SET LOCAL`` only, so that it works behind a transaction pooler and nothing of one reader is left for the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg.rows import class_row
from psycopg_pool import ConnectionPool

from otel_obs.postgres.pool import translated
from otel_obs.postgres.queries import load

if TYPE_CHECKING:
    from typing_extensions import LiteralString

_READING = load("reading")

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Whose rows may be seen."""

    organization_id: str
    workspace_id: str | None = None
    """The only workspace; None: all of the organization."""


@contextmanager
def reading(pool: ConnectionPool, reader: Reader, *, timeout_s: float = 10.0) -> Iterator[psycopg.Connection]:
    """Give a connection in a read-only transaction that sees the rows of *reader* only, as they are when it begins.

    Raises:
        StorageUnavailableError: PostgreSQL cannot be reached, or a statement took longer than *timeout_s*.
    """
    with translated(), pool.connection() as connection, read_as(connection, reader, timeout_s=timeout_s):
        yield connection


@contextmanager
def read_as(connection: psycopg.Connection, reader: Reader, *, timeout_s: float = 10.0) -> Iterator[None]:
    """Let *connection* see the rows of *reader* only, in a read-only transaction."""
    with connection.transaction():
        connection.execute(_READING["read_only"])
        connection.execute(
            _READING["become_reader"],
            {
                "organization_id": reader.organization_id,
                "workspace_id": reader.workspace_id or "",
                "statement_timeout": f"{int(timeout_s * 1000)}ms",
            },
        )
        yield


@contextmanager
def within(connection: psycopg.Connection, timeout_s: float) -> Iterator[None]:
    """Let each statement on *connection*, which is in a transaction, take *timeout_s* and no longer.

    Raises:
        psycopg.errors.QueryCanceled: one took longer; the transaction is as it was.
    """
    with connection.transaction():
        asked = {"statement_timeout": f"{max(int(timeout_s * 1000), 1)}ms"}
        row = connection.execute(_READING["give_up_after"], asked).fetchone()
        yield
        if row is not None:
            connection.execute(_READING["give_up_as_before"], {"statement_timeout": row[0]})


def rows(
    connection: psycopg.Connection, statement: LiteralString, parameters: Mapping[str, Any], kind: type[_T]
) -> list[_T]:
    """Return what *statement* finds; its columns are the fields of *kind*."""
    with connection.cursor(row_factory=class_row(kind)) as cursor:
        return cursor.execute(statement, parameters).fetchall()
