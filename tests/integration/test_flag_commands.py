"""``otel-obs flags``, as scripts use it."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest

from otel_obs.postgres import audit
from tests import command


class Flags:
    def __init__(self, database: str) -> None:
        self.database = database

    def __call__(self, *arguments: str, fails: int = 0) -> Any:
        done = command.inside("flags", *arguments, "--json", OTEL_OBS_DATABASE_URL=self.database)
        assert done.returncode == fails, done.stderr
        return json.loads(done.stdout) if done.stdout else done.stderr


@pytest.fixture
def flags(database: str) -> Flags:
    return Flags(database)


def test_a_flag_is_set_and_got_with_the_narrowest_scope_first(flags: Flags) -> None:
    assert flags("get", "new") == {
        "flag_name": "new", "is_enabled": False, "value": None, "variant": None, "reason": "DEFAULT",
        "scope": "default", "version": None,
    }  # fmt: skip
    flags("set", "new", "on")
    flags("set", "new", "off", "--user", "alice", "--why", "she asked")
    flags("set", "new", "on", "--workspace", "research", "--org", "acme")

    assert flags("get", "new") == {
        "flag_name": "new", "is_enabled": True, "value": True, "variant": "on", "reason": "STATIC",
        "scope": "global", "version": 1,
    }  # fmt: skip
    assert (flags("get", "new", "--user", "alice")["is_enabled"]) is False
    assert flags("get", "new", "--org", "acme", "--workspace", "research", "--user", "alice")["scope"] == "workspace"
    assert flags("get", "new", "--org", "acme", "--user", "alice")["scope"] == "global"


def test_shares_variants_and_the_rest_come_back(flags: Flags) -> None:
    made = flags(
        "set", "model", "on", "--org", "acme", "--variant", "off=gpt-4o-mini", "--variant", "large=gpt-4o",
        "--share", "large=12.5", "--requires", "base", "--starts", "2026-01-01", "--expires", "2099-01-01",
        "--owner", "team-a", "--description", "which model", "--version", "0",
    )  # fmt: skip

    assert made.pop("updated_at").endswith("Z")
    assert made == {
        "flag_name": "model", "scope": "organization", "organization_id": "acme", "workspace_id": None,
        "user_id": None, "is_enabled": True, "variants": {"off": "gpt-4o-mini", "large": "gpt-4o"},
        "rollout": {"large": 12.5}, "prerequisites": ["base"], "starts_at": "2026-01-01T00:00:00Z",
        "expires_at": "2099-01-01T00:00:00Z", "killed": False, "description": "which model", "owner": "team-a",
        "version": 1,
    }  # fmt: skip
    got = flags("get", "model", "--org", "acme", "--user", "alice")
    assert (got["is_enabled"], got["value"], got["reason"]) == (False, "gpt-4o-mini", "DISABLED")
    assert flags("set", "model", "on", "--org", "acme", "--kill")["killed"] is True
    assert flags("set", "model", "off", "--org", "acme", "--revive", "--no-expires")["expires_at"] is None


def test_a_percentage_is_of_users_and_always_the_same_ones(flags: Flags, connection: psycopg.Connection) -> None:
    assert flags("set", "new", "on", "--percent", "30")["rollout"] == {"on": 30}
    alice = [flags("get", "new", "--user", "user-3") for _ in range(2)]
    assert (alice[0], alice[0]["reason"]) == (alice[1], "SPLIT")
    assert flags("set", "new", "on")["rollout"] is None
    assert audit.first_bad(connection) is None


def test_of_two_writers_the_second_is_told(flags: Flags) -> None:
    flags("set", "new", "on")

    assert flags("set", "new", "off", "--version", "1")["version"] == 2
    assert "has version 2, not 1" in flags("set", "new", "on", "--version", "1", fails=1)
    assert "has version 2, not 1" in flags("delete", "new", "--version", "1", fails=1)


def test_lists_come_in_pages(flags: Flags, connection: psycopg.Connection) -> None:
    connection.execute(
        "INSERT INTO feature_flags (flag_name, organization_id, user_id)"
        " SELECT 'flag-' || n, 'acme', u FROM generate_series(1, 3) n, unnest(ARRAY[NULL, 'alice', 'bob']) u"
    )
    seen, cursor = [], None
    while True:
        page = flags("list", "--limit", "4", *(("--cursor", cursor) if cursor else ()))
        seen += [(item["flag_name"], item["user_id"]) for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break

    assert seen == [(f"flag-{number}", user) for number in (1, 2, 3) for user in (None, "alice", "bob")]
    assert "no cursor" in flags("list", "--cursor", "nonsense", fails=2)
    assert flags("list", "--org", "other")["items"] == []


def test_who_changed_what_and_why_is_shown_the_newest_first(flags: Flags) -> None:
    flags("set", "new", "on", "--why", "try it")
    flags("set", "other", "on")
    flags("delete", "new", "--all", "--why", "over")

    page = flags("audit", "new", "--limit", "1")
    (deleted,) = page["items"]
    (made,) = flags("audit", "new", "--cursor", page["next_cursor"])["items"]

    assert (deleted["action"], deleted["why"], deleted["after"]) == ("flags.delete", "over", None)
    assert (made["action"], made["why"], made["before"], made["after"]["is_enabled"]) == (
        "flags.set", "try it", None, True,
    )  # fmt: skip
    assert made["actor"]
    assert len(flags("audit")["items"]) == 3
    assert "no such flag" in flags("delete", "new", fails=1)


def test_expired_flags_are_listed_as_stale(flags: Flags) -> None:
    flags("set", "old", "on", "--starts", "2020-01-01", "--expires", "2020-02-01", "--owner", "team-a")
    flags("set", "new", "on")

    (found,) = flags("stale")["items"]

    assert (found["flag_name"], found["reasons"], found["owner"]) == ("old", ["expired"], "team-a")


def test_people_get_tables_and_wrong_options_exit_2(flags: Flags) -> None:
    flags("set", "new", "on", "--percent", "12.5", "--user", "alice", "--kill")
    for arguments, shown in (
        (("list",), "killed"),
        (("get", "new", "--user", "alice"), "off, DISABLED of user (killed for user)"),
        (("audit",), "is_enabled true"),
        (("stale",), "Stale flags"),
    ):
        done = command.inside("flags", *arguments, OTEL_OBS_DATABASE_URL=flags.database)
        assert shown in done.stdout, done.stdout
    for wrong in (
        ("set", "new", "perhaps"),
        ("set", "new", "on", "--percent", "101"),
        ("set", "new", "on", "--share", "blue"),
        ("set", "new", "on", "--share", "blue=3"),
        ("set", "a\nb", "on"),
        ("delete", "new", "--all", "--user", "alice"),
    ):
        flags(*wrong, fails=2)
