"""Connections, and what a driver's error means to the sender."""

from __future__ import annotations

import hashlib
import logging
import select
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any
from urllib.parse import quote, urlencode

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import Conninfo
from psycopg.types.json import set_json_dumps
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout, TooManyRequests

from otel_obs.errors import (
    ObsError,
    SchemaTooOldError,
    StorageBrokenError,
    StorageRejectedError,
    StorageUnavailableError,
)
from otel_obs.postgres.arrays import dumps

SCHEMA = "otel_obs"

_CONNECTION = {
    "connect_timeout": "3",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "2",
    "tcp_user_timeout": "8000",
    "application_name": "otel_obs",
}
"""A server that has vanished is noticed within ten seconds."""

_SESSION = {
    "search_path": SCHEMA,
    "synchronous_commit": "on",
    "timezone": "UTC",
    "idle_in_transaction_session_timeout": "30s",
}
"""An acknowledged row survives a crash: ``synchronous_commit=off`` lost rows in a kill -9 test."""


def conninfo(database_url: str, *, settings: Mapping[str, str] | None = None) -> str:
    """Return *database_url* with the schema's search path and with time-outs that it does not set itself.

    Raises:
        psycopg.ProgrammingError: it is no connection string.
    """
    given = conninfo_to_dict(database_url)
    options = " ".join(f"-c {name}={value}" for name, value in {**_SESSION, **(settings or {})}.items())
    merged = {**_CONNECTION, **{name: value for name, value in given.items() if value is not None}}
    merged["options"] = f"{given.get('options') or ''} {options}".strip()
    return make_conninfo("", **merged)


def fingerprint(database_url: str) -> str:
    """Return what tells one database from another by its address, whoever connects to it: 12 hex digits."""
    given = conninfo_to_dict(database_url)
    names = ("service", "host", "hostaddr", "port", "dbname")
    fallback = {option.keyword.decode(): option.val.decode() for option in Conninfo.get_defaults() if option.val}
    address = [f"{name}={given.get(name) or fallback.get(name) or ''}" for name in names]
    return hashlib.sha256("|".join(address).encode()).hexdigest()[:12]


def uri_with_search_path(database_url: str) -> str:
    """Return *database_url* as a URI whose sessions see the schema, for other programs.

    A ``key=value`` string becomes a URI too.
    """
    given = {name: str(value) for name, value in conninfo_to_dict(database_url).items() if value is not None}
    user, password = quote(given.pop("user", ""), safe=""), given.pop("password", None)
    database = quote(given.pop("dbname", ""), safe="")
    host, port = given.pop("host", ""), given.pop("port", "")
    options = given.pop("options", "")
    if "search_path" not in options:
        options = f"{options} -csearch_path={SCHEMA}".strip()
    credentials = user if password is None else f"{user}:{quote(password, safe='')}"
    address = ""
    if host.startswith("/") or "," in host:
        given = {"host": host, **({"port": port} if port else {}), **given}
    else:
        address = f"[{host}]" if ":" in host else host
        address += f":{port}" if port else ""
    query = urlencode({**given, "options": options}, quote_via=quote)
    return f"postgresql://{credentials}{'@' if credentials else ''}{address}/{database}?{query}"


def _unless_given(database_url: str, **values: str) -> dict[str, str]:
    given = conninfo_to_dict(database_url)
    return {name: value for name, value in values.items() if name not in given}


FRESH_S = 5.0
"""For so long after an answer the server is taken to be there, if it does not say otherwise."""


class PatientConnection(psycopg.Connection):
    """A connection that is given up when the server does not answer at all: statements have a time-out of their own."""

    answer_within_s = 8.0
    answered_at = 0.0
    """When the server last answered (``time.monotonic``)."""

    def wait(self, gen: Any, *args: Any, **more: Any) -> Any:
        """Return what *gen* returns, if the server sends anything in time."""
        found = super().wait(self._impatiently(gen), *args, **more)
        self.answered_at = time.monotonic()
        return found

    def _impatiently(self, gen: Any) -> Any:
        try:
            asked = next(gen)
            until = time.monotonic() + self.answer_within_s
            while True:
                ready = yield asked
                if ready:
                    until = time.monotonic() + self.answer_within_s
                elif time.monotonic() > until:
                    self.pgconn.finish()
                    raise psycopg.OperationalError("the server does not answer")
                asked = gen.send(ready)
        except StopIteration as end:
            return end.value


def _check(connection: psycopg.Connection) -> None:
    """Do nothing if the server is there; a server that goes says so, and one that answered just now is not asked.

    Raises:
        psycopg.OperationalError: it is gone.
    """
    unread = select.poll()
    unread.register(connection.fileno(), select.POLLIN)
    is_fresh = time.monotonic() - getattr(connection, "answered_at", 0.0) < FRESH_S
    if not is_fresh or unread.poll(0):
        ConnectionPool.check_connection(connection)


@contextmanager
def writing(pool: ConnectionPool) -> Iterator[psycopg.Connection]:
    """Give a connection to write with; one to a server that has become read-only is not used again."""
    with pool.connection() as connection:
        try:
            yield connection
        except errors.ReadOnlySqlTransaction:
            connection.close()
            raise


@contextmanager
def at_once(connection: psycopg.Connection) -> Iterator[None]:
    """Let each statement be a transaction of its own: one that is asked alone needs no other to begin and to commit."""
    connection.autocommit = True
    try:
        yield
    finally:
        if not connection.closed:
            connection.autocommit = False


POOL_NAME = "otel-obs"
SAID_EVERY_S = 20.0


class _SeldomSaid(logging.Filter):
    """Lets the same warning about one of our connections through once in a while: an outage brings one each second."""

    def __init__(self) -> None:
        super().__init__()
        self._said_at: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether *record* is logged; what is said of other people's connections always is."""
        about = record.args if isinstance(record.args, tuple) else ()
        ours = any(one == POOL_NAME or isinstance(one, PatientConnection) for one in about)
        if not ours or record.levelno < logging.WARNING:
            return True
        last, now = self._said_at.get(record.msg), time.monotonic()
        if last is not None and now - last < SAID_EVERY_S:
            return False
        self._said_at[record.msg] = now
        return True


_seldom_said = _SeldomSaid()


class PatientPool(ConnectionPool):
    """A pool that forgets who has given up waiting.

    psycopg_pool (3.3) counts them as waiting until a connection comes. With a limit to how many may wait, and a server
    that was away for as long as that many questions take, it would refuse each of them before it tries to connect.
    """

    def getconn(self, timeout: float | None = None) -> psycopg.Connection:
        """Return a connection within *timeout* seconds.

        Raises:
            PoolTimeout: there was none.
        """
        try:
            return super().getconn(timeout)
        except PoolTimeout:
            with self._lock:
                waiting = [client for client in self._waiting if client.error is None]
                self._waiting.clear()
                self._waiting.extend(waiting)
            raise


def open_pool(
    database_url: str,
    *,
    max_size: int = 4,
    statement_timeout_s: float = 3.0,
    wait_s: float = 1.0,
    writes: bool = False,
) -> ConnectionPool:
    """Return a pool of connections; it does not wait for a server that is down, it keeps trying.

    Whoever asks for a connection waits *wait_s* for one.
    Where it *writes*, of several hosts the one is taken that takes writes, also after a failover.
    """
    given = _unless_given(database_url, target_session_attrs="read-write") if writes else {}
    url = conninfo(
        make_conninfo(database_url, **given), settings={"statement_timeout": f"{int(statement_timeout_s * 1000)}ms"}
    )
    pool: ConnectionPool = PatientPool(
        url,
        connection_class=type(
            "PatientConnection", (PatientConnection,), {"answer_within_s": statement_timeout_s + 5.0}
        ),
        min_size=1,
        max_size=max_size,
        open=False,
        timeout=wait_s,
        max_waiting=64,
        reconnect_timeout=1.0,
        num_workers=1,
        check=_check,
        configure=partial(set_json_dumps, dumps),
        kwargs={"prepare_threshold": None},
        name=POOL_NAME,
    )
    logging.getLogger("psycopg.pool").addFilter(_seldom_said)
    pool.open(wait=False)
    return pool


_RETRYABLE = (
    "08", "25006", "25P03", "40001", "40P01", "53", "55P03", "57014", "57P01", "57P02", "57P03", "57P05",
)  # fmt: skip
"""SQLSTATEs (or their beginnings) after which the same data may succeed."""
_SCHEMA_MISSING = ("3F000", "42P01", "42703", "42883")
_BROKEN = ("42",)
"""A missing column, a revoked grant: no data will ever go in until somebody has looked."""
_DATA = ("22", "23", "54")


def error_of(error: Exception) -> ObsError:
    """Return what *error* means to the sender; without the driver's detail, which holds row contents."""
    if isinstance(error, PoolTimeout | TooManyRequests | PoolClosed):
        return StorageUnavailableError()
    if isinstance(error, UnicodeError):
        return StorageRejectedError("text that PostgreSQL cannot store")
    if not isinstance(error, psycopg.Error):
        return StorageUnavailableError(f"storing failed: {type(error).__name__}")
    state = error.sqlstate
    if state is None:
        return StorageRejectedError() if isinstance(error, errors.DataError) else StorageUnavailableError()
    if state.startswith(_RETRYABLE):
        return StorageUnavailableError(f"PostgreSQL is not accepting writes (SQLSTATE {state})")
    if state in _SCHEMA_MISSING:
        return SchemaTooOldError()
    if state.startswith(_BROKEN):
        return StorageBrokenError(
            f"PostgreSQL refuses what this program does (SQLSTATE {state}): an operator has to look"
        )
    if state.startswith(_DATA):
        return StorageRejectedError(f"PostgreSQL refuses this data (SQLSTATE {state})")
    return StorageUnavailableError(f"PostgreSQL failed (SQLSTATE {state})")


@contextmanager
def translated() -> Iterator[None]:
    """Turn what the driver raises into errors of ours."""
    try:
        yield
    except (psycopg.Error, UnicodeError) as error:
        found = error_of(error)
        if isinstance(found, StorageRejectedError):
            # The driver's message may quote the row, and whoever logs a cause would log that.
            raise found from None
        raise found from error
