"""Databases with the schema, made once and copied for each test."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from otel_obs.postgres import schema
from otel_obs.postgres.pool import conninfo, open_pool
from otel_obs.postgres.store import PostgresStore
from tests.fix_postgres import new_database


@pytest.fixture(scope="session")
def template_database(server_dsn: str) -> Iterator[str]:
    with new_database(server_dsn) as uri:
        schema.migrate(uri)
        yield str(conninfo_to_dict(uri)["dbname"])


@pytest.fixture
def database(server_dsn: str, template_database: str) -> Iterator[str]:
    with new_database(server_dsn, template_database) as uri:
        yield uri


@pytest.fixture(scope="module")
def module_database(server_dsn: str, template_database: str) -> Iterator[str]:
    """Give a database that the tests of a module only read from, or know how to share."""
    with new_database(server_dsn, template_database) as uri:
        yield uri


@pytest.fixture
def connection(database: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(conninfo(database), autocommit=True) as found:
        yield found


@pytest.fixture
def store(database: str) -> Iterator[PostgresStore]:
    pool = open_pool(database)
    try:
        yield PostgresStore(pool)
    finally:
        pool.close(2.0)
