"""Workspaces, users, workflows and traces over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone

import httpx
import psycopg
import pytest

from otel_obs.postgres import keys
from otel_obs.postgres.pool import conninfo, open_pool
from otel_obs.postgres.store import PostgresStore
from otel_obs.settings import Settings
from otel_obs.web.server import ApiServer
from tests.builders import chat, make_span
from tests.rows import batch


@pytest.fixture
def client(database: str) -> Iterator[httpx.Client]:
    pool = open_pool(database)
    for organization in ("acme", "others"):
        spans = [
            make_span({**chat(), "otel_obs.workspace.id": workspace, "user.id": user}, trace_id=trace * 32)
            for workspace, user, trace in (("blue", "ann", "1"), ("green", "bob", "2"))
        ]
        PostgresStore(pool).write(batch(spans, organization=organization))
    pool.close()
    server = ApiServer(Settings.from_env({}, {"API_ENDPOINT": "127.0.0.1:0", "AUTH": "keys"}), database)
    try:
        with httpx.Client(base_url=f"http://{server.start()}/api/v1", timeout=30) as found:
            yield found
    finally:
        server.stop()


def _key(url: str, *scopes: str, workspace: str | None = None) -> dict[str, str]:
    with psycopg.connect(conninfo(url)) as connection:
        key = keys.create(
            connection,
            organization_id="acme",
            workspace_id=workspace,
            scopes=scopes,
            now=datetime.now(tz=timezone.utc),
        )
    return {"x-api-key": key}


def _left(url: str, organization: str) -> list[tuple[str, str]]:
    with psycopg.connect(conninfo(url)) as connection:
        rows = connection.execute(
            "SELECT workspace_id, user_id FROM event_logs WHERE organization_id = %s ORDER BY 1", (organization,)
        ).fetchall()
    return [(row[0], row[1]) for row in rows]


def test_a_workspace_is_deleted_with_all_that_is_its_and_can_be_made_again(client: httpx.Client, database: str) -> None:
    admin = _key(database, "admin", "read")

    gone = client.delete("/workspaces/blue", headers=admin, params={"why": "asked for"})
    again = client.delete("/workspaces/blue", headers=admin)
    made = client.put("/workspaces/blue", headers=admin)
    seen = client.get("/workspaces", headers=admin).json()["items"]

    assert (gone.status_code, again.status_code, made.status_code) == (200, 404, 204)
    assert gone.json()["rows"] > 0
    assert [row["id"] for row in seen] == ["blue", "green"]
    assert _left(database, "acme") == [("green", "bob")]
    assert len(_left(database, "others")) == 2
    with psycopg.connect(conninfo(database)) as connection:
        told = connection.execute("SELECT actor, why FROM audit_log WHERE action = 'workspace.delete'").fetchall()
    assert told[0][0].startswith("key:")
    assert told[0][1] == "asked for"


def test_a_user_and_a_trace_are_deleted(client: httpx.Client, database: str) -> None:
    admin = _key(database, "admin", "read")

    assert client.delete("/users/ann", headers=admin).status_code == 200
    assert [row["id"] for row in client.get("/users", headers=admin).json()["items"]] == ["bob"]
    assert client.delete(f"/traces/{'2' * 32}", headers=admin).status_code == 200

    assert _left(database, "acme") == []
    assert len(_left(database, "others")) == 2


def test_under_legal_hold_nothing_is_deleted(client: httpx.Client, database: str) -> None:
    admin = _key(database, "admin", "read")
    with psycopg.connect(conninfo(database)) as connection:
        connection.execute("UPDATE organizations SET legal_hold = true WHERE id = 'acme'")

    refused = client.delete("/users/ann", headers=admin)

    assert refused.status_code == 409
    assert client.get("/organization", headers=admin).json()["legal_hold"] is True
    assert len(_left(database, "acme")) == 2


def test_a_workflow_is_bound_to_a_workspace(client: httpx.Client, database: str) -> None:
    bound = client.put("/workflows/nightly", headers=_key(database, "admin"), json={"workspace_id": "green"})

    assert bound.status_code == 204
    with psycopg.connect(conninfo(database)) as connection:
        found = connection.execute("SELECT organization_id, id, workspace_id FROM workflows").fetchall()
    assert found == [("acme", "nightly", "green")]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/workspaces/blue"),
        ("DELETE", "/users/ann"),
        ("PUT", "/workspaces/x"),
        ("DELETE", f"/traces/{'1' * 32}"),
    ],
)
def test_only_an_administrator_of_the_organization_changes_tenants(
    method: str, path: str, client: httpx.Client, database: str
) -> None:
    for key in (_key(database, "read", "ingest", "flags"), _key(database, "admin", workspace="blue")):
        assert client.request(method, path, headers=key).status_code == 403
    assert client.request(method, path).status_code == 401
    assert len(_left(database, "acme")) == 2
