"""Migrations: numbered SQL files, each applied once, however many runners there are.

``NNNN_name.sql`` runs in one transaction together with its record. ``NNNN_name.notx.sql`` (what PostgreSQL
refuses in a transaction, such as CREATE INDEX CONCURRENTLY) is recorded only after it has succeeded, so
its statements must bear being run again.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.resources import files
from typing import TYPE_CHECKING, TypeVar

import psycopg
from psycopg import errors, sql

from otel_obs.errors import MigrationChangedError, SchemaTooNewError, SchemaTooOldError
from otel_obs.postgres import partitions
from otel_obs.postgres.pool import conninfo, error_of
from otel_obs.postgres.queries import load

if TYPE_CHECKING:
    from typing_extensions import LiteralString

_SCHEMA = load("schema")
_FILE = re.compile(r"^(\d{4})_(\w+?)(\.notx)?\.sql$")
_ATTEMPTS = 30
"""A lock that a reader holds is waited for this many times two seconds; in between writers go on."""
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Migration:
    """One file."""

    version: int
    name: str
    text: LiteralString
    transactional: bool = True

    @property
    def checksum(self) -> str:
        """Return what tells whether the file is the one that was applied."""
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class SchemaStatus:
    """Where a database stands."""

    current: int
    """The newest migration that was applied; 0 without any."""
    latest: int
    """The newest that this program knows."""
    pending: tuple[str, ...]


def packaged() -> tuple[Migration, ...]:
    """Return the migrations of this program, in order."""
    found = []
    for entry in (files("otel_obs.postgres") / "sql" / "migrations").iterdir():
        match = _FILE.match(entry.name)
        if match is not None:
            found.append(Migration(int(match[1]), match[2], entry.read_text(encoding="utf-8"), match[3] is None))
    return tuple(sorted(found, key=lambda migration: migration.version))


def status(database_url: str, migrations: Sequence[Migration] | None = None) -> SchemaStatus:
    """Return where the database stands.

    Raises:
        StorageUnavailableError: it cannot be reached.
        SchemaTooNewError, MigrationChangedError: this program does not fit it.
    """
    migrations = packaged() if migrations is None else migrations
    with _connected(database_url) as connection:
        return _status(connection, migrations)


def check(connection: psycopg.Connection, *, goes_on: bool = False) -> None:
    """See to it that this program fits the database; one that has found so before *goes_on* with a newer schema.

    Raises:
        SchemaTooOldError, SchemaTooNewError, MigrationChangedError: it does not.
    """
    try:
        status = _status(connection, packaged())
    except SchemaTooNewError:
        if goes_on:
            return  # Migrations only add.
        raise
    if status.pending:
        raise SchemaTooOldError


def migrate(database_url: str, migrations: Sequence[Migration] | None = None) -> list[str]:
    """Apply what is pending, make the partitions of the weeks ahead, and return the names of what was applied.

    Raises:
        StorageUnavailableError: the database cannot be reached.
        SchemaTooNewError, MigrationChangedError: this program does not fit it; nothing was changed.
    """
    migrations = packaged() if migrations is None else migrations
    applied: list[str] = []
    with _connected(database_url) as connection:
        _patiently(lambda: _prepare(connection))
        for migration in migrations:
            apply = _apply if migration.transactional else _apply_outside
            if _patiently(lambda apply=apply, migration=migration: apply(connection, migration, migrations)):  # type: ignore[misc]
                applied.append(f"{migration.version:04}_{migration.name}")
        _patiently(lambda: partitions.ensure(connection, (), datetime.now(tz=timezone.utc)))
    return applied


@contextmanager
def _connected(database_url: str) -> Iterator[psycopg.Connection]:
    try:
        with psycopg.connect(conninfo(database_url), autocommit=True, prepare_threshold=None) as connection:
            yield connection
    except psycopg.Error as error:
        raise error_of(error) from error


def _patiently(work: Callable[[], _T]) -> _T:
    """Return what *work* returns, begun anew while somebody else holds a lock that it needs."""
    for attempt in range(_ATTEMPTS):
        try:
            return work()
        except (errors.LockNotAvailable, errors.DeadlockDetected):  # noqa: PERF203  # that is what the loop is for
            time.sleep(min(0.1 * 2**attempt, 2.0))
    return work()


def _prepare(connection: psycopg.Connection) -> None:
    with connection.transaction():
        connection.execute(_SCHEMA["lock_migrations"])
        if not _has_record(connection):
            connection.execute(_SCHEMA["create_record"])


def _has_record(connection: psycopg.Connection) -> bool:
    row = connection.execute(_SCHEMA["has_record"]).fetchone()
    return row is not None and bool(row[0])


def _status(connection: psycopg.Connection, migrations: Sequence[Migration]) -> SchemaStatus:
    applied = _applied(connection)
    latest = migrations[-1].version if migrations else 0
    current = max(applied, default=0)
    if current > latest:
        raise SchemaTooNewError(
            f"the database has migration {current:04}, this program knows up to {latest:04}: upgrade otel_obs"
        )
    _refuse_changed(applied, migrations)
    pending = tuple(f"{m.version:04}_{m.name}" for m in migrations if m.version not in applied)
    return SchemaStatus(current=current, latest=latest, pending=pending)


def _applied(connection: psycopg.Connection) -> dict[int, str]:
    if not _has_record(connection):
        return {}
    return dict(connection.execute(_SCHEMA["applied"]).fetchall())


def _refuse_changed(applied: dict[int, str], migrations: Sequence[Migration]) -> None:
    for migration in migrations:
        known = applied.get(migration.version)
        if known is not None and known != migration.checksum:
            raise MigrationChangedError(
                f"migration {migration.version:04}_{migration.name} was applied with a different content"
            )


def _apply(connection: psycopg.Connection, migration: Migration, migrations: Sequence[Migration]) -> bool:
    with connection.transaction():
        connection.execute(_SCHEMA["lock_migrations"])
        if _is_applied(connection, migration, migrations):
            return False
        connection.execute(migration.text)
        _record(connection, migration)
    return True


def _apply_outside(connection: psycopg.Connection, migration: Migration, migrations: Sequence[Migration]) -> bool:
    connection.execute(_SCHEMA["lock_session"])
    try:
        if _is_applied(connection, migration, migrations):
            return False
        _drop_invalid_indexes(connection)
        for statement in _statements(migration.text):
            connection.execute(statement)
        _record(connection, migration)
    finally:
        connection.execute(_SCHEMA["unlock_session"])
    return True


def _drop_invalid_indexes(connection: psycopg.Connection) -> None:
    for namespace, name in connection.execute(_SCHEMA["invalid_indexes"]).fetchall():
        connection.execute(sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(sql.Identifier(namespace, name)))


def _statements(text: LiteralString) -> Iterator[LiteralString]:
    """Yield the statements of a file that may not run in one transaction; they end at the end of a line."""
    for statement in text.split(";\n"):
        if statement.strip():
            yield statement


def _is_applied(connection: psycopg.Connection, migration: Migration, migrations: Sequence[Migration]) -> bool:
    return not any(name.startswith(f"{migration.version:04}_") for name in _status(connection, migrations).pending)


def _record(connection: psycopg.Connection, migration: Migration) -> None:
    connection.execute(
        _SCHEMA["record"],
        {"version": migration.version, "name": migration.name, "checksum": migration.checksum},
    )
