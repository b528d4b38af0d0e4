"""Who may do what: each route of each listener, asked with each scope. What is in no table is refused to all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
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

OPEN = {"/healthz", "/readyz", "/api/v1/openapi.json", "/static/{name}"}
"""Says nothing of anybody."""
BY_TICKET = {"/ofrep/v1/stream"}
"""Browsers cannot send a key there: asked with a ticket that a lookup gives."""
ALLOWS = {
    "/v1/traces": {"ingest"},
    "/v1/logs": {"ingest"},
    "/v1/metrics": {"ingest"},
    "/api/v1": {"read"},
    "/ofrep/v1": {"flags"},
    "/metrics": {"read", "admin"},
}
"""Beginning of a path -> the scopes of which one is needed ..."""
CHANGES = {"/api/v1": {"admin"}}
"""... and of which one is needed for another method than GET, where that is different."""
RPCS = tuple(
    f"/opentelemetry.proto.collector.{name}.v1.{name.title()}Service/Export"
    for name in ("trace", "logs", "metrics")
)  # fmt: skip


@dataclass(frozen=True)
class World:
    listening: Listening
    by_scope: dict[str, str]
    """Scope -> a key that has no other."""
    routes: list[tuple[str, str, str]]
    """Address, method and path of everything that HTTP answers."""


@pytest.fixture(scope="module")
def world(module_database: str) -> Iterator[World]:
    anywhere = {f"{name}_ENDPOINT": "0.0.0.0:0" for name in ("GRPC", "HTTP", "API")}
    settings = Settings.from_env({}, {**anywhere, "AUTH": "keys", "INSECURE": "on"})
    gateway, api = Gateway(settings, module_database), ApiServer(settings, module_database)
    try:
        found = gateway.start()
        addresses = [part.replace("0.0.0.0", "127.0.0.1") for part in (found.grpc, found.http, api.start())]  # noqa: S104
        with psycopg.connect(conninfo(module_database), autocommit=True) as connection:
            by_scope = {scope: _key(connection, scope) for scope in keys.SCOPES}
        http_app, api_app = gateway._http._server.config.app, api._listener.app
        routes = [
            (address, method, path.replace("{trace_id}", "0" * 32).replace("{event_id}", "0" * 16))
            for address, app in ((addresses[1], http_app), (addresses[2], api_app))
            for method, path in _routes(app)
        ]
        yield World(Listening(*addresses), by_scope, routes)
    finally:
        api.stop()
        gateway.stop()


def _key(connection: psycopg.Connection, scope: str) -> str:
    return keys.create(
        connection, organization_id="acme", workspace_id=None, scopes=(scope,), now=datetime.now(tz=timezone.utc)
    )


def _routes(app: Any) -> set[tuple[str, str]]:
    """Return all that *app* answers: its own routes, and those of its routers, which its description names."""
    own = {(method, route.path) for route in app.routes if hasattr(route, "methods") for method in route.methods or ()}
    described = app.openapi()["paths"] if hasattr(app, "openapi") else {}
    more = {(method.upper(), path) for path, methods in described.items() for method in methods}
    return {(method, path) for method, path in own | more if method != "HEAD"}


def allowed(method: str, path: str) -> set[str]:
    table = ALLOWS if method == "GET" else {**ALLOWS, **CHANGES}
    return next((scopes for beginning, scopes in table.items() if path.startswith(beginning)), set())


def answers(world: World, key: str | None) -> dict[tuple[str, str, str], int]:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    found = {}
    for address, method, path in world.routes:
        if path.endswith(("/stream", "/event-stream")):
            with httpx.stream(method, f"http://{address}{path}", headers=headers, timeout=20) as answer:
                found[address, method, path] = answer.status_code
        else:
            found[address, method, path] = httpx.request(method, f"http://{address}{path}", headers=headers).status_code
    return found


def test_every_route_is_in_the_table_and_the_table_has_no_other(world: World) -> None:
    paths = {path for _, _, path in world.routes}

    assert {path for _, method, path in world.routes if not allowed(method, path) and path not in OPEN} == set()
    assert all(any(path.startswith(beginning) for path in paths) for beginning in ALLOWS)
    assert {"/api/v1/costs", "/api/v1/stream", f"/api/v1/traces/{'0' * 32}"} <= paths


def test_nobody_without_a_key_is_answered(world: World) -> None:
    for (_, _, path), status in answers(world, None).items():
        assert (status == 401) == (path not in OPEN), path


@pytest.mark.parametrize("scope", keys.SCOPES)
def test_a_scope_allows_what_the_table_says_and_nothing_else(world: World, scope: str) -> None:
    for (_, method, path), status in answers(world, world.by_scope[scope]).items():
        may = path in OPEN or scope in allowed(method, path)

        assert (status == 401) == (path in BY_TICKET), path
        assert (status == 403) == (not may and path not in BY_TICKET), path


@pytest.mark.parametrize("method", RPCS)
@pytest.mark.parametrize("scope", [None, *keys.SCOPES])
def test_remote_calls_are_for_who_may_ingest(world: World, scope: str | None, method: str) -> None:
    metadata = () if scope is None else (("authorization", f"Bearer {world.by_scope[scope]}"),)
    with grpc.insecure_channel(world.listening.grpc) as channel:
        try:
            channel.unary_unary(method, None, None)(b"", timeout=20, metadata=metadata)
            code = grpc.StatusCode.OK
        except grpc.RpcError as error:
            code = error.code()

    refusal = grpc.StatusCode.UNAUTHENTICATED if scope is None else grpc.StatusCode.PERMISSION_DENIED
    assert code == (grpc.StatusCode.OK if scope == "ingest" else refusal)
