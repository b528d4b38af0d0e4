"""PostgreSQL for the tests: the one that OTEL_OBS_DATABASE_URL names, else an embedded one."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from otel_obs.postgres.embedded import EmbeddedPostgres
from otel_obs.postgres.locks import FileLock

POSTGRES_15 = Path("/usr/lib/postgresql/15/bin")


@contextmanager
def short_folder() -> Iterator[Path]:
    """Give a folder that any account may enter, with a path short enough for a socket."""
    folder = Path(tempfile.mkdtemp(prefix="oo", dir="/tmp"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        for lock in list(folder.rglob("supervisor.lock")):
            until_stopped(lock.parent)
        shutil.rmtree(folder)


def until_stopped(data_dir: Path) -> None:
    """Return once the server of *data_dir* is down, which is a little later than it answers nobody."""
    with FileLock(data_dir / "supervisor.lock") as supervisor:
        assert supervisor.exclusive(60)


@pytest.fixture(scope="session")
def server_dsn() -> Iterator[str]:
    given = os.environ.get("OTEL_OBS_DATABASE_URL")
    if given:
        yield given
        return
    with short_folder() as folder, EmbeddedPostgres(folder, durable=False) as uri:
        yield uri


@pytest.fixture(scope="session")
def postgres_15_dsn() -> Iterator[str]:
    if not (POSTGRES_15 / "postgres").exists():
        pytest.skip("PostgreSQL 15 is not installed here")
    with short_folder() as folder, EmbeddedPostgres(folder, bin_dir=POSTGRES_15, durable=False) as uri:
        yield uri


@contextmanager
def new_database(server: str, template: str = "template1") -> Iterator[str]:
    """Give a new database on *server*, dropped afterwards."""
    name = f"t_{secrets.token_hex(6)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        )
    try:
        yield make_conninfo(server, dbname=name)
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def empty_database(server_dsn: str) -> Iterator[str]:
    with new_database(server_dsn) as uri:
        yield uri
