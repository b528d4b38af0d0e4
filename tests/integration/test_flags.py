"""Flags in PostgreSQL, and what a process knows of them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

import psycopg
import pytest

import otel_obs
from otel_obs.client import Client
from otel_obs.errors import ConfigurationError, FlagConflictError, StorageUnavailableError
from otel_obs.flags.evaluate import FlagSet, bucket
from otel_obs.flags.lookup import FlagLookup
from otel_obs.flags.model import Flag
from otel_obs.flags.snapshot import Event, Snapshot
from otel_obs.flags.store import Change, FlagScope, delete_flag, history, listed, set_flag
from otel_obs.postgres import audit
from otel_obs.postgres.pool import conninfo
from tests import command
from tests.waiting import until

ACME = FlagScope(organization_id="acme")
ON = Change(is_enabled=True)
NOW = datetime(2026, 11, 25, tzinfo=timezone.utc)


@pytest.fixture
def snapshot(database: str) -> Iterator[Snapshot]:
    found = Snapshot(database)
    assert found.wait(10)
    try:
        yield found
    finally:
        found.close()


@pytest.fixture
def client(database: str) -> Iterator[Client]:
    with otel_obs.connect(database, organization_id="acme") as found:
        yield found


def test_a_flag_comes_back_as_it_was_set(connection: psycopg.Connection) -> None:
    at = datetime(2026, 11, 25, tzinfo=timezone.utc)
    change = Change(
        is_enabled=True, variants={"a": 0.5, "b": 1e16}, rollout={"a": 12.5, "b": 20}, prerequisites=("base",),
        starts_at=at, expires_at=at + timedelta(days=1), killed=False, description="what it is for", owner="team-a",
    )  # fmt: skip

    found = set_flag(connection, "new", FlagScope(organization_id="acme", user_id="alice"), change)

    assert (found.variants, found.rollout) == ({"a": 0.5, "b": 1e16}, {"a": 12.5, "b": 20})
    assert (found.prerequisites, found.starts_at, found.owner) == (("base",), at, "team-a")
    assert (found.version, found.key) == (1, ("acme", None, "alice"))
    assert listed(connection, limit=10) == [found]


def test_each_change_is_audited_with_before_after_who_and_why(connection: psycopg.Connection) -> None:
    set_flag(connection, "new", ACME, Change(is_enabled=True, variants={"a": 0.1, "b": 1e16}, rollout={"a": 100}))
    set_flag(connection, "new", ACME, Change(killed=True), why="it burns", actor="key-1")
    delete_flag(connection, "new", None, why="over")

    deleted, killed, made = history(connection, limit=10, flag_name="new")

    assert (made.action, made.before, killed.actor, killed.why) == ("flags.set", None, "key-1", "it burns")
    assert killed.before is not None
    assert killed.after is not None
    assert (killed.before["killed"], killed.after["killed"], killed.after["version"]) == (False, True, 2)
    assert (deleted.action, deleted.before, deleted.after) == ("flags.delete", killed.after, None)
    assert audit.first_bad(connection) is None


def test_a_change_that_is_not_committed_is_not_audited(database: str) -> None:
    with psycopg.connect(conninfo(database)) as connection:
        with connection.transaction(force_rollback=True):
            set_flag(connection, "new", ACME, ON)

        assert (listed(connection, limit=10), history(connection, limit=10)) == ([], [])


def test_setting_what_is_set_changes_nothing(connection: psycopg.Connection) -> None:
    set_flag(connection, "new", ACME, Change(is_enabled=True, rollout={"on": 25}, variants={"on": 1.5, "off": 0}))

    again = set_flag(connection, "new", ACME, Change(is_enabled=True, rollout={"on": 25}))

    assert again.version == 1
    assert len(history(connection, limit=10)) == 1


def test_of_two_writers_that_read_the_same_version_one_gets_a_conflict(database: str) -> None:
    with psycopg.connect(conninfo(database)) as connection:
        set_flag(connection, "new", ACME, ON)
    start = threading.Barrier(8)

    def write(number: int) -> str:
        with psycopg.connect(conninfo(database)) as connection:
            start.wait()
            try:
                set_flag(connection, "new", ACME, Change(description=f"writer {number}"), expected_version=1)
            except FlagConflictError:
                return "conflict"
            return f"writer {number}"

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(write, range(8)))

    assert outcomes.count("conflict") == 7
    with psycopg.connect(conninfo(database)) as connection:
        (found,) = listed(connection, limit=10)
        assert found.version == 2
        assert found.description in outcomes
        assert audit.first_bad(connection) is None


def test_writers_that_name_no_version_lose_nothing_of_each_other(database: str) -> None:
    def write(part: Change) -> None:
        with psycopg.connect(conninfo(database)) as connection:
            set_flag(connection, "new", ACME, part)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(write, [ON, Change(owner="team-a"), Change(description="text")]))

    with psycopg.connect(conninfo(database)) as connection:
        (found,) = listed(connection, limit=10)
    assert (found.is_enabled, found.owner, found.description, found.version) == (True, "team-a", "text", 3)


def test_a_flag_made_anew_has_no_version_that_the_old_one_had(connection: psycopg.Connection) -> None:
    set_flag(connection, "new", ACME, ON)
    delete_flag(connection, "new", ACME)

    assert set_flag(connection, "new", ACME, ON).version == 2
    with pytest.raises(FlagConflictError, match="has version 2"):
        set_flag(connection, "new", ACME, Change(killed=True), expected_version=1)
    with pytest.raises(FlagConflictError):
        set_flag(connection, "new", ACME, ON, expected_version=0)


@pytest.mark.parametrize(
    ("scope", "change", "told"),
    [
        (FlagScope(user_id="alice"), ON, "belongs to an organization"),
        (ACME, Change(is_enabled=True, rollout={"blue": 10}), "no variant 'blue'"),
        (ACME, Change(is_enabled=True, variants={"a": 1, "b": 2}), "what share"),
        (ACME, Change(variants={"a": 1, "b": "2"}), "one type"),
        (ACME, Change(rollout={"on": 101}), "no percentage"),
        (FlagScope(organization_id="a\nb"), ON, "control characters"),
        (
            ACME,
            Change(
                starts_at=datetime(2026, 1, 2, tzinfo=timezone.utc),
                expires_at=datetime(2026, 1, 1, tzinfo=timezone.utc),
            ),
            "start before",
        ),
    ],
)
def test_a_flag_that_makes_no_sense_is_refused(
    connection: psycopg.Connection, scope: FlagScope, change: Change, told: str
) -> None:
    with pytest.raises(ConfigurationError, match=told):
        set_flag(connection, "new", scope, change)

    assert listed(connection, limit=10) == []


def test_flags_go_with_their_organization_workspace_or_user_and_do_not_come_back(
    connection: psycopg.Connection, snapshot: Snapshot
) -> None:
    for scope in (
        ACME,
        FlagScope(organization_id="acme", workspace_id="research"),
        FlagScope(organization_id="acme", user_id="alice"),
        FlagScope(),
    ):
        set_flag(connection, "new", scope, ON)
    snapshot.used("new", "acme")

    connection.execute("DELETE FROM users WHERE id = 'alice'")
    connection.execute("DELETE FROM workspaces WHERE id = 'research'")
    assert [flag.scope for flag in listed(connection, limit=10)] == ["global", "organization"]
    connection.execute("DELETE FROM organizations WHERE id = 'acme'")

    assert [flag.scope for flag in listed(connection, limit=10)] == ["global"]
    until(lambda: [flag.scope for flag in snapshot.state.flags.flags()] == ["global"])
    with pytest.raises(ConfigurationError, match="was deleted"):
        set_flag(connection, "new", ACME, ON)


def test_plain_sql_counts_as_a_change_too(connection: psycopg.Connection, snapshot: Snapshot) -> None:
    connection.execute("INSERT INTO feature_flags (flag_name, is_enabled) VALUES ('new', false)")
    until(lambda: snapshot.state.flags.is_known("new", None))
    version = snapshot.state.version
    connection.execute("UPDATE feature_flags SET is_enabled = true")

    until(lambda: snapshot.state.version > version)

    (row,) = snapshot.state.flags.flags()
    assert (row.is_enabled, row.version) == (True, 2)


def test_postgresql_finds_the_same_bucket(connection: psycopg.Connection) -> None:
    for user in ("alice", "bob", "\u00e9\u4e2d", ""):
        row = connection.execute(
            "SELECT (('x' || encode(substr(sha256(convert_to(%s || E'\\n' || %s, 'UTF8')), 1, 4), 'hex'))"
            "::bit(32)::bigint * 100000) >> 32",
            ("new", user),
        ).fetchone()
        assert row == (bucket("new", user),)


def test_a_change_arrives_by_notification(connection: psycopg.Connection, database: str) -> None:
    snapshot = Snapshot(database, poll_s=3600)
    assert snapshot.wait(10)
    try:
        set_flag(connection, "new", FlagScope(), ON)

        until(lambda: snapshot.state.flags.is_known("new", None))
    finally:
        snapshot.close()


def test_a_change_arrives_by_polling_where_no_notification_does(connection: psycopg.Connection, database: str) -> None:
    connection.execute("ALTER TABLE feature_flags DISABLE TRIGGER USER")
    snapshot = Snapshot(database, poll_s=0.05)
    assert snapshot.wait(10)
    try:
        connection.execute("INSERT INTO feature_flags (flag_name, is_enabled) VALUES ('new', true)")
        connection.execute("UPDATE flag_set SET version = version + 1")

        until(lambda: snapshot.state.flags.is_known("new", None))
    finally:
        snapshot.close()


def test_a_version_that_was_seen_has_every_change_before_it(database: str, snapshot: Snapshot) -> None:
    """A transaction that is still open has no version yet, so nobody can take its version for seen."""
    with psycopg.connect(conninfo(database)) as slow, psycopg.connect(conninfo(database)) as other:
        with slow.transaction():
            set_flag(slow, "slow", ACME, ON)
            assert snapshot.refresh(5)
            assert snapshot.state.version == 0
        set_flag(other, "fast", ACME, ON)

    until(lambda: snapshot.state.version == 2)
    assert snapshot.state.flags.names("acme") == ["fast", "slow"]


class _Gone:
    """A database that can be taken away and brought back."""

    def __init__(self, connection: psycopg.Connection, url: str) -> None:
        self._connection = connection
        self._url: str | None = url
        self._real = url

    def __call__(self) -> str | None:
        return self._url

    def take_away(self) -> None:
        self._url = command.NO_SERVER
        self._connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    def bring_back(self) -> None:
        self._url = self._real


def test_while_the_database_is_away_the_last_flags_go_on_marked_stale(
    connection: psycopg.Connection, database: str
) -> None:
    set_flag(connection, "new", ACME, ON)
    gone = _Gone(connection, database)
    snapshot = Snapshot(gone)
    events: list[Event] = []
    snapshot.subscribe(events.append)
    lookup = FlagLookup(snapshot, "acme")
    assert lookup.is_enabled("new")
    assert not snapshot.stale

    gone.take_away()
    until(lambda: snapshot.stale)
    assert lookup.is_enabled("new")
    assert lookup.evaluate("new").variant == "on"
    set_flag(connection, "new", ACME, Change(is_enabled=False))
    assert lookup.is_enabled("new")

    gone.bring_back()
    until(lambda: not lookup.is_enabled("new"))
    until(lambda: not snapshot.stale)
    assert events.index("stale") < len(events) - 1 - events[::-1].index("fresh")
    snapshot.close()


def test_without_a_database_there_are_defaults_and_nothing_is_raised() -> None:
    with otel_obs.connect(command.NO_SERVER) as client:
        assert client.is_enabled("new") is False
        assert client.is_enabled("new", default=True) is True
        assert client.is_enabled({}, []) is False  # type: ignore[arg-type]
        assert client.evaluate("new").scope == "default"
        assert client.get_flags() == {}
        assert client.log_event("mine") is not None
        with pytest.raises(StorageUnavailableError):
            client.set_flag("new", True)
        with pytest.raises(StorageUnavailableError):
            client.list_flags()


def test_a_client_sees_what_it_has_just_set(client: Client) -> None:
    assert client.is_enabled("new") is False

    client.set_flag("new", True)
    assert client.is_enabled("new") is True
    assert client.is_enabled("new", "alice", "research") is True
    client.set_flag("new", False, user_id="alice")
    assert (client.is_enabled("new", "alice"), client.is_enabled("new", "bob")) == (False, True)
    client.set_flag("new", False, workspace_id="research")
    assert (client.is_enabled("new", "bob", "research"), client.is_enabled("new", "bob", "sales")) == (False, True)

    assert [(flag.scope, flag.is_enabled) for flag in client.list_flags()] == [
        ("organization", True), ("user", False), ("workspace", False),
    ]  # fmt: skip


def test_a_client_of_another_organization_sees_what_is_for_everyone_only(client: Client, database: str) -> None:
    client.set_flag("ours", True)
    client.set_flag("everyone's", True, for_everyone=True)

    with otel_obs.connect(database, organization_id="other") as other:
        assert (other.is_enabled("ours"), other.is_enabled("everyone's")) == (False, True)
        assert other.get_flags() == {"everyone's": True}
        assert [flag.flag_name for flag in other.list_flags()] == ["everyone's"]


def test_all_flags_of_a_user_are_what_each_alone_is(client: Client) -> None:
    client.set_flag("new", True)
    client.set_flag("new", False, "alice")
    client.set_flag("hers", True, "alice")
    client.set_flag("research", True, None, "research")

    assert client.get_flags() == {"new": True}
    assert client.get_flags("alice") == {"hers": True, "new": False}
    assert client.get_flags("bob", "research") == {"new": True, "research": True}


def test_the_fast_way_answers_what_the_long_way_does(client: Client) -> None:
    """Every way an answer can be remembered, asked twice: the second time from the table."""
    soon = datetime.now(tz=timezone.utc) + timedelta(seconds=0.3)
    client.set_flag("plain", True)
    client.set_flag("split", True, percent=50)
    client.set_flag("needs", True, prerequisites=["split"])
    client.set_flag("timed", True, starts_at=soon)
    client.set_flag("needs-timed", True, prerequisites=["timed"])
    client.set_flag("mine", True)
    client.set_flag("mine", False, user_id="user-1")
    names = ("plain", "split", "needs", "timed", "needs-timed", "mine", "unknown")

    for _ in range(2):
        for name in names:
            for user in (None, "user-1", "user-2", "user-3"):
                slow = client.evaluate(name, user)
                assert client.is_enabled(name, user) is slow.is_enabled, (name, user)

    until(lambda: client.is_enabled("timed") and client.is_enabled("needs-timed"))


def test_a_flag_that_starts_is_a_change(client: Client) -> None:
    client.set_flag("timed", True, starts_at=datetime.now(tz=timezone.utc) + timedelta(seconds=0.4))
    events: list[Event] = []
    client.snapshot.subscribe(events.append)

    until(lambda: "changed" in events)

    assert client.is_enabled("timed")


def test_what_was_asked_for_is_remembered_as_used(client: Client, connection: psycopg.Connection) -> None:
    client.set_flag("used", True)
    client.set_flag("unused", True)
    client.is_enabled("used", "alice")
    client.is_enabled("nobody's")

    client.close()

    assert connection.execute("SELECT organization_id, flag_name FROM flag_usage").fetchall() == [("acme", "used")]


def test_flags_go_on_in_a_forked_child(client: Client) -> None:
    client.set_flag("new", True)
    assert client.is_enabled("new")
    read, write = os.pipe()

    child = os.fork()
    if not child:
        try:
            answers = [client.is_enabled("new"), client.snapshot.wait(5), client.snapshot.refresh(5)]
            os.write(write, str(answers).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    client.set_flag("new", False)

    assert os.read(read, 100) == b"[True, True, True]"
    assert client.is_enabled("new") is False


def test_importing_the_package_imports_no_driver_and_no_openfeature() -> None:
    program = "import sys, otel_obs; sys.exit(any(name in sys.modules for name in ('psycopg', 'openfeature', 'click')))"

    assert subprocess.run([sys.executable, "-c", program], check=False, cwd=command.ROOT).returncode == 0


def test_an_organization_sees_the_same_in_a_snapshot_of_all_and_in_its_own() -> None:
    rows = [
        Flag(flag_name=f"flag-{n}", is_enabled=True, organization_id=f"org-{o}") for o in range(50) for n in range(5)
    ]
    flags = FlagSet(rows)

    assert flags.names("org-7") == [f"flag-{number}" for number in range(5)]
    assert flags.names("nobody's") == []
    assert flags.mark("org-7", NOW) == FlagSet(row for row in rows if row.organization_id == "org-7").mark("org-7", NOW)
