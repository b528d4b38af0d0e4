"""Who may do what: each cell of the table in docs/roles.md, asked over each route of each listener.

What the application routes and the table lacks, or the other way round, fails.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import httpx
import psycopg
import pytest

from otel_obs.postgres import keys
from otel_obs.postgres.pool import conninfo
from otel_obs.server import Gateway, Listening
from otel_obs.settings import Settings
from otel_obs.web.server import ApiServer
from tests.waiting import until

DOCUMENT = Path(__file__).parents[2] / "docs" / "roles.md"
ROLES: dict[str, tuple[tuple[str, ...], str | None]] = {
    "no key": ((), None),
    "`ingest`": (("ingest",), None),
    "`read`": (("read",), None),
    "`flags`": (("flags",), None),
    "`admin`": (("admin",), None),
    "`read,admin`": (("read", "admin"), None),
    "`read,admin` of one workspace": (("read", "admin"), "blue"),
}
"""Column of the table -> scopes of the key, and the workspace that it is bound to."""
WITHIN_S = 30
"""A change of what a key may counts after so many seconds at the latest."""
BODIES = {"/api/v1/workflows/": {"workspace_id": "w"}}
SPECIMENS = {"trace_id": "0" * 32, "event_id": "0" * 16}
TICKET = "with a ticket"
FORMS = {
    "/sign-in": {},
    "/sign-out": {},
    "/flags": {"name": "f", "scope": "workspace", "workspace_id": "blue", "is_enabled": "on"},
    "/budgets": {"id": "b", "amount": "1", "period": "day", "workspace_id": "blue"},
}
"""Pages that are sent to, and what."""

Cell = tuple[str, str]
"""Method and path."""


def table() -> dict[Cell, dict[str, str]]:
    """Return the table by method and path: column -> what the cell says."""
    rows = [line for line in DOCUMENT.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    columns = cells[0][1:]
    found: dict[Cell, dict[str, str]] = {}
    for row in cells[2:]:
        method, _, path = row[0].strip("`").partition(" ")
        assert (method, path) not in found, row
        found[method, path] = dict(zip(columns, row[1:], strict=True))
    return found


TABLE = table()


@dataclass(frozen=True)
class World:
    url: str
    listening: Listening
    keys: dict[str, str | None]
    """Role -> its key."""
    routes: dict[Cell, list[str]]
    """Addresses at which each is answered."""


@pytest.fixture(scope="module")
def world(module_database: str) -> Iterator[World]:
    anywhere = {f"{name}_ENDPOINT": "0.0.0.0:0" for name in ("GRPC", "HTTP", "API")}
    settings = Settings.from_env({}, {**anywhere, "AUTH": "keys", "INSECURE": "on"})
    gateway, api = Gateway(settings, module_database), ApiServer(settings, module_database)
    try:
        found = gateway.start()
        addresses = [part.replace("0.0.0.0", "127.0.0.1") for part in (found.grpc, found.http, api.start())]  # noqa: S104
        with psycopg.connect(conninfo(module_database), autocommit=True) as connection:
            made = {role: _key(connection, *what) for role, what in ROLES.items()}
        routes: dict[Cell, list[str]] = {}
        for address, app in ((addresses[1], gateway._http._server.config.app), (addresses[2], api._listener.app)):
            for cell in _routes(app):
                routes.setdefault(cell, []).append(address)
        yield World(module_database, Listening(*addresses), made, routes)
    finally:
        api.stop()
        gateway.stop()


def _key(connection: psycopg.Connection, scopes: tuple[str, ...], workspace: str | None) -> str | None:
    if not scopes:
        return None
    now = datetime.now(tz=timezone.utc)
    return keys.create(connection, organization_id="acme", workspace_id=workspace, scopes=scopes, now=now)


def _routes(app: Any) -> Iterator[Cell]:
    """Yield all that *app* answers, that of the routers which it includes among it."""
    for route in app.routes:
        if hasattr(route, "original_router"):
            yield from _routes(route.original_router)
        else:
            yield from ((method, route.path) for method in route.methods if method != "HEAD")


def test_the_table_has_every_route_and_no_other(world: World) -> None:
    told = {cell for cell in TABLE if cell[0] != "RPC"}

    assert told - set(world.routes) == set()
    assert set(world.routes) - told == set()
    assert all(set(cells) == set(ROLES) for cells in TABLE.values())
    assert {said for cells in TABLE.values() for said in cells.values()} == {"yes", "", TICKET}


@pytest.mark.parametrize("role", ROLES)
def test_each_role_may_do_what_its_column_says_and_nothing_else(world: World, role: str) -> None:
    wrong = {}
    for (method, path), addresses in world.routes.items():
        for address in addresses:
            status = _asked(world, role, method, path, address)
            refused = status in (401, 403)
            if refused != (TABLE[method, path][role] != "yes"):
                wrong[method, path] = status
    assert wrong == {}


def _asked(world: World, role: str, method: str, path: str, address: str) -> int:
    """Return how a request of *role* is answered; a page that sends somebody to sign in refuses."""
    key = world.keys[role]
    headers = {} if key is None else {"x-api-key": key}
    named = re.sub(r"\{(\w+)(?::path)?\}", lambda match: SPECIMENS.get(match[1], "nothing"), path)
    with httpx.Client(base_url=f"http://{address}", timeout=30) as client:
        if method == "POST" and path in FORMS:
            return _sent(client, path, key)
        body = next((body for start, body in BODIES.items() if path.startswith(start)), {})
        sent = None if method in ("GET", "DELETE") else body
        with client.stream(method, named, headers=headers, json=sent) as answer:
            is_sent_away = answer.status_code == 303 and answer.headers["location"].startswith("/sign-in")
            return 401 if is_sent_away else answer.status_code


def _sent(client: httpx.Client, path: str, key: str | None) -> int:
    """Return how a form of a page is answered that somebody sends who has signed in, or tried to, with *key*."""
    signed_in = _post(client, "/sign-in", {"key": key or ""})
    if path == "/sign-in":
        return signed_in.status_code
    return _post(client, path, FORMS[path]).status_code


def _post(client: httpx.Client, path: str, fields: dict[str, str]) -> httpx.Response:
    token = re.search(r'name="form_token" value="([0-9a-f]{64})"', client.get("/sign-in").text)
    assert token is not None
    origin = {"origin": str(client.base_url).rstrip("/")}
    return client.post(path, data={"form_token": token[1], **fields}, headers=origin)


@pytest.mark.parametrize("role", ROLES)
def test_each_role_may_call_what_its_column_says(world: World, role: str) -> None:
    key = world.keys[role]
    for (kind, method), cells in TABLE.items():
        if kind != "RPC":
            continue
        metadata = () if key is None else (("authorization", f"Bearer {key}"),)
        with grpc.insecure_channel(world.listening.grpc) as channel:
            try:
                channel.unary_unary(f"/{method}", None, None)(b"", timeout=20, metadata=metadata)
                code = grpc.StatusCode.OK
            except grpc.RpcError as error:
                code = error.code()
        refusal = grpc.StatusCode.UNAUTHENTICATED if key is None else grpc.StatusCode.PERMISSION_DENIED
        assert code == (grpc.StatusCode.OK if cells[role] == "yes" else refusal), method


def test_a_key_that_is_given_or_loses_a_scope_may_or_may_not_within_seconds(world: World) -> None:
    address = f"http://{world.listening.api}/api/v1/costs"
    with psycopg.connect(conninfo(world.url), autocommit=True) as connection:
        key = _key(connection, ("read",), None)
        assert key is not None

        def is_answered(status: int) -> bool:
            return httpx.get(address, headers={"x-api-key": key}, timeout=20).status_code == status

        until(lambda: is_answered(200), WITHIN_S)
        for scopes, status in ((["ingest"], 403), (["ingest", "read"], 200)):
            connection.execute("UPDATE api_keys SET scopes = %s WHERE id = %s", (scopes, key.split("_")[1]))
            until(partial(is_answered, status), WITHIN_S)
