"""What else the API and a program's client answer: retention, quarantine, flags, recommendations, cleaning up."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import httpx
import psycopg
import pytest

import otel_obs
from otel_obs.errors import InvalidQueryError
from otel_obs.postgres import keys
from otel_obs.postgres.pool import conninfo
from otel_obs.settings import Settings
from otel_obs.web.server import ApiServer
from tests.maintenance import DAY, cover, fill, present, set_plan

NOW = datetime.now(tz=timezone.utc)


@pytest.fixture
def client(database: str) -> Iterator[httpx.Client]:
    server = ApiServer(Settings.from_env({}, {"API_ENDPOINT": "127.0.0.1:0", "AUTH": "keys"}), database)
    try:
        with httpx.Client(base_url=f"http://{server.start()}/api/v1/", timeout=30) as found:
            yield found
    finally:
        server.stop()


def key(database: str, *scopes: str, organization: str = "acme", workspace: str | None = None) -> Any:
    with psycopg.connect(conninfo(database)) as connection:
        made = keys.create(
            connection, organization_id=organization, workspace_id=workspace, scopes=list(scopes), now=NOW
        )
    return {"headers": {"authorization": f"Bearer {made}"}}


def old_and_new(connection: psycopg.Connection, *organizations: str) -> None:
    """Store a row that a free plan no longer keeps and one that it does, of each organization."""
    moments = [NOW - 100 * DAY, NOW - DAY]
    cover(connection, moments, NOW)
    for name in organizations:
        set_plan(connection, name, "free", NOW - 200 * DAY)
        fill(connection, [(name, moment) for moment in moments])


def test_retention_tells_the_policy_and_what_went_to_whom_it_belongs(
    client: httpx.Client, connection: psycopg.Connection, database: str
) -> None:
    old_and_new(connection, "acme", "umbrella")
    with otel_obs.connect(database, organization_id="acme") as platform:
        platform.cleanup_old_events()
    reader = key(database, "read")

    found = client.get("retention", **reader).json()
    bound = client.get("retention", **key(database, "read", workspace="w")).json()

    assert (found["policy"]["plan"], found["policy"]["days"], found["policy"]["legal_hold"]) == ("free", 90, False)
    cutoff = datetime.fromisoformat(found["cutoff"].replace("Z", "+00:00"))
    assert NOW - 90 * DAY <= cutoff <= datetime.now(tz=timezone.utc) - 90 * DAY
    assert {item["table_name"]: item["rows"] for item in found["items"]}["event_logs"] == 1
    assert (bound["policy"]["plan"], bound["items"]) == ("free", [])
    first = client.get("retention?limit=1", **reader).json()
    rest = client.get(f"retention?cursor={first['next_cursor']}", **reader).json()
    assert [*first["items"], *rest["items"]] == found["items"]
    assert client.get("retention?format=csv", **reader).text.startswith("ran_at,")


def test_quarantine_is_listed_without_what_it_says(
    client: httpx.Client, connection: psycopg.Connection, database: str
) -> None:
    for organization, workspace, payload in (
        ("acme", "blue", b"secret"),
        ("acme", "green", b"x"),
        ("umbrella", "", b"x"),
    ):
        connection.execute(
            "INSERT INTO quarantine (organization_id, workspace_id, received_at, signal, reason, payload) "
            "VALUES (%s, %s, now(), 'traces', 'trace_id:absent', %s)",
            (organization, workspace, payload),
        )

    found = client.get("quarantine", **key(database, "read"))
    bound = client.get("quarantine", **key(database, "read", workspace="blue")).json()["items"]

    assert [item["workspace_id"] for item in found.json()["items"]] == ["green", "blue"]
    assert "secret" not in found.text
    assert [(item["reason"], item["bytes"]) for item in bound] == [("trace_id:absent", 6)]


def test_flags_are_set_by_administrators_with_the_version_they_read(
    client: httpx.Client, connection: psycopg.Connection, database: str
) -> None:
    admin, reader = key(database, "admin", "read"), key(database, "read")
    with otel_obs.connect(database, organization_id="acme") as platform:
        platform.set_flag("of everybody", True, for_everyone=True)

    refused = client.put("flags/new", json={"is_enabled": True}, **reader)
    made = client.put("flags/new", json={"is_enabled": True, "version": 0, "why": "try"}, **admin).json()
    conflict = client.put("flags/new", json={"is_enabled": False, "version": 0}, **admin)
    changed = client.put("flags/new", json={"is_enabled": True, "rollout": {"on": 20}, "version": 1}, **admin).json()
    senseless = client.put("flags/new", json={"rollout": {"on": 120}}, **admin)
    shown = client.get("flags/new", **reader).json()["items"]
    listed = client.get("flags", **reader).json()["items"]

    assert refused.status_code == 403
    assert (made["version"], made["organization_id"], conflict.status_code) == (1, "acme", 409)
    assert (changed["version"], changed["rollout"]) == (2, {"on": 20})
    assert senseless.status_code == 400
    assert shown == [changed]
    assert [item["flag_name"] for item in listed] == ["new", "of everybody"]
    assert client.delete("flags/of everybody", **admin).status_code == 404, "it is not the organization's"
    assert client.delete("flags/new", **admin).status_code == 204
    audited = connection.execute(
        "SELECT actor, why FROM audit_log WHERE subject = 'new' ORDER BY id LIMIT 1"
    ).fetchone()
    assert audited is not None
    assert (audited[0].startswith("key:"), audited[1]) == (True, "try")


def test_flags_of_others_are_not_there_and_a_bound_key_sets_those_of_its_workspace(
    client: httpx.Client, database: str
) -> None:
    admin, blue = key(database, "admin", "read"), key(database, "admin", "read", workspace="blue")
    other = key(database, "admin", "read", organization="umbrella")
    client.put("flags/theirs", json={"is_enabled": True}, **other)
    client.put("flags/green", json={"is_enabled": True, "workspace_id": "green"}, **admin)

    mine = client.put("flags/mine", json={"is_enabled": True}, **blue).json()

    assert mine["workspace_id"] == "blue"
    assert client.put("flags/mine", json={"is_enabled": True, "workspace_id": "green"}, **blue).status_code == 400
    unknown = client.get("flags/none", **admin)
    for path, who in (("flags/theirs", admin), ("flags/green", blue), ("flags/green", other)):
        found = client.get(path, **who)
        assert (found.status_code, found.json()) == (404, unknown.json())
        assert client.delete(path, **who).status_code == 404
    assert [item["flag_name"] for item in client.get("flags", **blue).json()["items"]] == ["mine"]


def test_recommendations_come_over_http_with_the_scope_of_the_key(
    client: httpx.Client, connection: psycopg.Connection, database: str
) -> None:
    cover(connection, [NOW - DAY], NOW)
    fill(connection, [("acme", NOW - DAY)] * 10)
    connection.execute("UPDATE model_cost_logs SET prompt_hash = 'same', usage_source = 'reported'")

    found = client.get("recommendations?since=7d", **key(database, "read")).json()
    theirs = client.get("recommendations?since=7d", **key(database, "read", organization="umbrella")).json()

    assert [(one["kind"], one["saving_cents"], one["calls"]) for one in found["findings"]] == [
        ("exact_repeats", 4.5, 9)
    ]
    assert (found["calls"], theirs["calls"], theirs["findings"]) == (10, 0, [])


def test_a_program_cleans_up_for_one_organization_or_for_all(connection: psycopg.Connection, database: str) -> None:
    old_and_new(connection, "acme", "umbrella", "third")
    with otel_obs.connect(database, organization_id="acme") as platform:
        tried = platform.cleanup_old_events_for_organization(dry_run=True)
        untouched = len(present(connection, "event_logs", "acme"))
        one = platform.cleanup_old_events_for_organization()
        named = platform.cleanup_old_events_for_organization("umbrella")
        left = len(present(connection, "event_logs", "third"))
        platform.cleanup_old_events()

    def rows(found: Any) -> dict[tuple[str, str], int]:
        return {(row["organization_id"], row["table"]): row["rows"] for row in found["rows"]}

    assert rows(tried) == rows(one)
    assert rows(one)["acme", "event_logs"] == 1
    assert {name for name, _ in rows(named)} == {"umbrella"}
    assert (untouched, left) == (2, 2)
    for name in ("acme", "umbrella", "third"):
        assert len(present(connection, "event_logs", name)) == 1


def test_a_program_that_comes_second_cleans_nothing(connection: psycopg.Connection, database: str) -> None:
    old_and_new(connection, "acme")
    connection.execute(
        "INSERT INTO maintenance_leases VALUES ('maintain', 1, 'another', clock_timestamp() + interval '1 hour')"
    )

    def renew() -> None:
        """Move the end on, as whoever is at work does: that is what whoever waits looks for."""
        with psycopg.connect(conninfo(database), autocommit=True) as another:
            another.execute("UPDATE maintenance_leases SET expires_at = expires_at + interval '1 hour'")

    renewed = threading.Timer(1.0, renew)
    with otel_obs.connect(database, organization_id="acme") as platform:
        renewed.start()
        found = platform.cleanup_old_events()
        renewed.join()

    assert found == {"leader": False, "rows": [], "disk": []}
    assert len(present(connection, "event_logs", "acme")) == 2


def test_a_program_asks_how_the_system_is_doing_and_what_fails(connection: psycopg.Connection, database: str) -> None:
    cover(connection, [NOW - DAY], NOW)
    fill(connection, [("acme", NOW - DAY)] * 3, workspace="blue", user="alice")
    fill(connection, [("acme", NOW - DAY), ("umbrella", NOW - DAY)], workspace="green")
    connection.execute("UPDATE event_logs SET status = 'error', error_type = 'timeout' WHERE workspace_id = 'blue'")
    with otel_obs.connect(database, organization_id="acme") as platform:
        assert platform.get_system_metrics().total.calls == 4
        assert platform.get_system_metrics(user_id="alice").total.calls == 3
        assert platform.get_system_metrics(NOW - 3 * DAY, NOW - 2 * DAY).total.calls == 0
        (group,) = platform.get_error_logs()
        assert (group.error_type, group.count, group.users) == ("timeout", 3, 1)
        with pytest.raises(InvalidQueryError, match="colour"):
            platform.get_error_logs(colour="blue")
    with otel_obs.connect(database, organization_id="acme", workspace_id="green") as platform:
        assert platform.get_system_metrics().total.calls == 1
        assert platform.get_error_logs() == []
