"""What is another organization's: asked for by each id, over each route, it is answered like what does not exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import httpx
import psycopg
import pytest

from otel_obs.flags.store import Change, FlagScope, set_flag
from otel_obs.postgres import keys
from otel_obs.postgres.budgets import Budget, Wanted, set_budget
from otel_obs.postgres.pool import conninfo
from otel_obs.settings import Settings
from otel_obs.web.server import ApiServer
from tests import showroom
from tests.builders import agent, chat, make_span
from tests.integration.test_scopes import TABLE

OURS = {
    "trace_id": "a" * 32,
    "event_id": "a" * 16,
    "agent": "ours-agent",
    "budget_id": "ours-budget",
    "flag_name": "ours-flag",
    "user": "ours-user",
    "workspace": "ours-workspace",
    "workflow": "ours-workflow",
}
NOBODYS = {
    "trace_id": "b" * 32,
    "event_id": "b" * 16,
    **{name: value.replace("ours", "none") for name, value in OURS.items() if name not in ("trace_id", "event_id")},
}
PARAMETERS = {
    "agent_id": "ours-agent",
    "user_id": "ours-user",
    "workspace_id": "ours-workspace",
    "flow_id": "ours-workflow",
    "conversation_id": "ours-conversation",
    "q": "ours",
    "organization_id": "acme",
}
NAMED = sorted(
    {(method, path) for method, path in TABLE if "{" in path and path.startswith("/api/v1/") and method != "PUT"}
)
LISTS = sorted({path for method, path in TABLE if method == "GET" and "{" not in path and path.startswith("/api/v1/")})
NO_LISTS = ("/api/v1/stream", "/api/v1/openapi.json")


@dataclass(frozen=True)
class World:
    url: str
    base: str
    ours: str
    theirs: str

    def ask(self, method: str, path: str, key: str, **asked: str) -> httpx.Response:
        return httpx.request(method, f"{self.base}{path}", params=asked, headers={"x-api-key": key}, timeout=30)


@pytest.fixture(scope="module")
def world(module_database: str) -> Iterator[World]:
    more: dict[str, Any] = {
        "otel_obs.workspace.id": "ours-workspace",
        "otel_obs.workflow.id": "ours-workflow",
        "user.id": "ours-user",
        "gen_ai.conversation.id": "ours-conversation",
    }
    at = showroom.now_ms() - 60_000
    run = make_span({**agent("ours-agent"), **more}, trace_id=OURS["trace_id"], span_id=OURS["event_id"], start_ms=at)
    call = make_span(chat(response_id="r", more=more), trace_id=OURS["trace_id"], parent=run, start_ms=at)
    showroom.write(module_database, [run, call], "acme")
    with psycopg.connect(conninfo(module_database), autocommit=True) as connection:
        set_flag(connection, "ours-flag", FlagScope(organization_id="acme"), Change(is_enabled=True))
        budget = Budget(organization_id="acme", id="ours-budget", period="day", amount_cents=Decimal(1))
        set_budget(connection, Wanted(budget=budget))
        made = [
            keys.create(
                connection,
                organization_id=name,
                workspace_id=None,
                scopes=["read", "admin"],
                now=datetime.now(tz=timezone.utc),
            )
            for name in ("acme", "others")
        ]
    server = ApiServer(Settings.from_env({}, {"API_ENDPOINT": "127.0.0.1:0", "AUTH": "keys"}), module_database)
    try:
        yield World(module_database, f"http://{server.start()}", *made)
    finally:
        server.stop()


def _filled(path: str, names: dict[str, str]) -> str:
    return re.sub(r"\{(\w+)(?::path)?\}", lambda match: quote(names[match[1]], safe=""), path)


@pytest.mark.parametrize(("method", "path"), NAMED)
def test_by_an_id_of_another_organization_nothing_is_found_nor_deleted(method: str, path: str, world: World) -> None:
    theirs = world.ask(method, _filled(path, OURS), world.theirs)
    nobodys = world.ask(method, _filled(path, NOBODYS), world.theirs)

    assert theirs.status_code == nobodys.status_code == 404
    assert theirs.text.replace("ours", "none") == nobodys.text
    if method == "GET":
        assert world.ask(method, _filled(path, OURS), world.ours).status_code == 200, "it is there, for its owner"


@pytest.mark.parametrize("path", [path for path in LISTS if path not in NO_LISTS])
def test_by_a_parameter_or_a_place_of_another_organization_nothing_is_listed(path: str, world: World) -> None:
    cursor = world.ask("GET", path, world.ours, limit="1").json().get("next_cursor")
    for name, value in {**PARAMETERS, **({"cursor": cursor} if cursor else {})}.items():
        found = world.ask("GET", path, world.theirs, **{name: value})

        assert found.status_code in (200, 404), found.text
        assert "ours-" not in found.text.replace(value, ""), name
        assert OURS["trace_id"] not in found.text, name


def test_after_all_that_everything_is_still_there(world: World) -> None:
    for path in ("traces/" + OURS["trace_id"], "flags/ours-flag", "budgets/ours-budget"):
        assert world.ask("GET", f"/api/v1/{path}", world.ours).status_code == 200, path
    for path in ("users", "workspaces"):
        assert "ours-" in world.ask("GET", f"/api/v1/{path}", world.ours).text, path


@pytest.mark.parametrize("method", ["OPTIONS", "GET", "PUT"])
def test_pages_of_other_sites_are_let_read_nothing(method: str, world: World) -> None:
    asked = {"origin": "https://evil.example", "access-control-request-method": "PUT", "x-api-key": world.ours}
    for path in ("/api/v1/flags/ours-flag", "/ofrep/v1/evaluate/flags", "/"):
        answer = httpx.request(method, f"{world.base}{path}", headers=asked, timeout=30)
        assert not [name for name in answer.headers if name.startswith("access-control")], path
