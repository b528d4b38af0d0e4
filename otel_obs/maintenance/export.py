"""Everything of an organization, a workspace, a user or a trace as files: one for each table.

JSON lines, or Parquet with ``otel-obs[export]``. Money and other exact numbers are text in Parquet, which would round
them; times are UTC. All files show one moment. Keys are not exported. What is sealed is opened with the keys that are
given; what they do not open stays sealed.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import psycopg
from psycopg import sql

from otel_obs.errors import ConfigurationError, UnknownTenantError
from otel_obs.maintenance.opening import SEALED, in_line, opened
from otel_obs.maintenance.sweeping import Subject
from otel_obs.postgres.partitions import HOT_TABLES
from otel_obs.postgres.queries import load
from otel_obs.postgres.vault import Vault

_TENANCY = load("tenancy")

FORMATS = ("jsonl", "parquet")
TABLES = (
    "organizations", "workspaces", "users", "workflows", *HOT_TABLES, "resources", "feature_flags", "usage_rollups",
    "quarantine",
)  # fmt: skip
AT_ONCE = 5_000
"""Rows that are held in memory."""
_ID_OF = {"organizations": "organization_id", "workspaces": "workspace_id", "users": "user_id"}
"""Tables of tenants themselves, in which that column is called ``id``."""


def export(
    connection: psycopg.Connection,
    subject: Subject,
    folder: Path,
    *,
    kind: str = "jsonl",
    vault: Vault | None = None,
    progress: Callable[[str, int], None] = lambda *_: None,
) -> dict[str, int]:
    """Write a file for each table that has rows of *subject* or could have; return how many rows each has.

    Raises:
        UnknownTenantError: there are none anywhere.
        ConfigurationError: a library is missing, or the folder cannot be written to.
    """
    write = _parquet if kind == "parquet" else _json_lines
    counts: dict[str, int] = {}
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            for table in TABLES:
                columns = connection.execute(_TENANCY["columns"], {"table": table}).fetchall()
                condition = _condition(table, subject, {name for name, _ in columns})
                if condition is None:
                    continue
                with _whole(folder / f"{table}.{kind}") as file:
                    counts[table] = write(connection, table, columns, condition, subject, file, vault)
                progress(table, counts[table])
    except OSError as error:
        raise ConfigurationError(f"{error.filename or folder} cannot be written: {error.strerror}") from None
    if not any(counts.values()):
        raise UnknownTenantError
    return counts


def _condition(table: str, subject: Subject, columns: set[str]) -> sql.Composable | None:
    """Return which rows of *table* are meant; None where the table cannot tell."""
    parts = []
    for name in subject.names():
        column = "id" if _ID_OF.get(table) == name else name
        if column not in columns:
            return None
        parts.append(sql.SQL("t.{} = {}").format(sql.Identifier(column), sql.Placeholder(name)))
    return sql.SQL(" AND ").join(parts)


@contextmanager
def _whole(path: Path) -> Iterator[BinaryIO]:
    """Give a file that bears its name only once it is complete; nobody else may read it."""
    half = path.with_name(f"{path.name}.part")
    descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        yield file
    half.replace(path)


def _rows(
    connection: psycopg.Connection, what: sql.Composable, table: str, condition: sql.Composable, subject: Subject
) -> Iterator[Sequence[tuple[Any, ...]]]:
    statement = sql.SQL("SELECT {} FROM {} AS t WHERE {}").format(what, sql.Identifier(table), condition)
    with connection.cursor(name="export") as cursor:
        cursor.execute(statement, subject.names())
        while rows := cursor.fetchmany(AT_ONCE):
            yield rows


def _json_lines(
    connection: psycopg.Connection,
    table: str,
    columns: Sequence[tuple[str, str]],
    condition: sql.Composable,
    subject: Subject,
    file: BinaryIO,
    vault: Vault | None,
) -> int:
    count = 0
    opens = vault is not None and table in SEALED
    named = [sql.SQL("t.{}").format(sql.Identifier(name)) for name, _ in columns if opens]
    what = sql.SQL(", ").join([sql.SQL("row_to_json(t)::text"), *named])
    for rows in _rows(connection, what, table, condition, subject):
        for line, *values in rows:
            text = line
            if vault is not None and opens:
                record = dict(zip((name for name, _ in columns), values, strict=True))
                text = in_line(line, record, opened(connection, vault, subject.organization_id, table, record))
            file.write(f"{text}\n".encode())
        count += len(rows)
    return count


def _parquet(
    connection: psycopg.Connection,
    table: str,
    columns: Sequence[tuple[str, str]],
    condition: sql.Composable,
    subject: Subject,
    file: BinaryIO,
    vault: Vault | None,
) -> int:
    arrow, parquet = _libraries()
    types = {
        "timestamp with time zone": arrow.timestamp("us", tz="UTC"),
        "bigint": arrow.int64(),
        "integer": arrow.int32(),
        "smallint": arrow.int16(),
        "double precision": arrow.float64(),
        "boolean": arrow.bool_(),
        "bytea": arrow.binary(),
        "date": arrow.date32(),
        "text[]": arrow.list_(arrow.string()),
    }
    fields = [arrow.field(name, types.get(kind, arrow.string())) for name, kind in columns]
    what = sql.SQL(", ").join(
        sql.SQL("t.{}").format(sql.Identifier(name))
        if kind in types
        else sql.SQL("t.{}::text").format(sql.Identifier(name))
        for name, kind in columns
    )
    count = 0
    with parquet.ParquetWriter(file, arrow.schema(fields), compression="zstd") as writer:
        for found in _rows(connection, what, table, condition, subject):
            rows = found
            if vault is not None and table in SEALED:
                records = [dict(zip((name for name, _ in columns), row, strict=True)) for row in found]
                changes = [opened(connection, vault, subject.organization_id, table, record) for record in records]
                rows = [tuple({**record, **new}.values()) for record, new in zip(records, changes, strict=True)]
            arrays = [
                arrow.array(values, field.type) for values, field in zip(zip(*rows, strict=True), fields, strict=True)
            ]
            writer.write_table(arrow.Table.from_arrays(arrays, schema=writer.schema))
            count += len(rows)
    return count


def _libraries() -> tuple[Any, Any]:
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ModuleNotFoundError:
        raise ConfigurationError("Parquet needs pyarrow: install otel-obs[export]") from None
