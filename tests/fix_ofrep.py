"""An OFREP server as ``serve`` and ``maintain`` mount it, with keys."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone

import psycopg
import pytest
import uvicorn
from starlette.applications import Starlette

from otel_obs.flags import ofrep
from otel_obs.flags.limits import RateLimit
from otel_obs.flags.snapshot import Snapshot
from otel_obs.flags.store import Change, FlagScope, set_flag
from otel_obs.postgres import keys
from otel_obs.postgres.keys import PostgresKeys
from otel_obs.postgres.pool import conninfo, open_pool
from otel_obs.receiver.auth import FLAGS, Authenticator
from otel_obs.receiver.known_keys import KnownKeys
from otel_obs.web.lookups import may_listen


@dataclass
class Ofrep:
    """A server, and what is behind it."""

    url: str
    database: str
    snapshot: Snapshot

    def set(self, name: str, change: Change, **scope: str) -> None:
        with psycopg.connect(conninfo(self.database)) as connection:
            set_flag(connection, name, FlagScope(**scope), change)
        self.snapshot.refresh(5)

    def key(self, *, organization_id: str = "acme", workspace_id: str | None = None, scope: str = "flags") -> str:
        with psycopg.connect(conninfo(self.database)) as connection:
            return keys.create(
                connection, organization_id=organization_id, workspace_id=workspace_id, scopes=[scope],
                now=datetime.now(tz=timezone.utc),
            )  # fmt: skip


class _Running:
    def __init__(self, app: Starlette) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
        self._thread = threading.Thread(target=self._server.run, args=([self.socket],), daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.005)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        self.socket.close()


@pytest.fixture
def ofrep_limit() -> RateLimit:
    return RateLimit(10_000, 10_000)


@pytest.fixture
def ofrep_server(database: str, ofrep_limit: RateLimit) -> Iterator[Ofrep]:
    snapshot = Snapshot(database)
    pool = open_pool(database, max_size=1)
    authenticator = Authenticator(KnownKeys(PostgresKeys(pool)))
    authenticator.start()
    authenticate = ofrep.by_key(lambda headers, _: authenticator.authenticate(headers, FLAGS))
    routes = ofrep.routes(
        snapshot, authenticate, limit=ofrep_limit, max_body_bytes=20_000, still_may=may_listen(authenticator)
    )
    running = _Running(Starlette(routes=routes))
    try:
        yield Ofrep(f"http://127.0.0.1:{running.socket.getsockname()[1]}", database, snapshot)
    finally:
        snapshot.close()
        running.stop()
        authenticator.close()
        pool.close(1.0)
