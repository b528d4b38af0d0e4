"""A database for one run on somebody's server, gone afterwards."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from otel_obs.postgres.pool import translated


@contextmanager
def scratch_database(database_url: str) -> Iterator[str]:
    """Give the connection string of a new, empty database on the server of *database_url*; drop it afterwards.

    Raises:
        StorageUnavailableError: the server cannot be reached, or lets us make no databases.
    """
    name = f"otel_obs_scratch_{secrets.token_hex(6)}"
    with translated(), psycopg.connect(database_url, autocommit=True, connect_timeout=5) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    try:
        yield make_conninfo(database_url, dbname=name)
    finally:
        with translated(), psycopg.connect(database_url, autocommit=True, connect_timeout=5) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
