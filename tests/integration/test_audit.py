"""Who changed what: written down whoever does it and however, sealed, and shown to whom it concerns."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.types.json import Jsonb

from otel_obs.flags.store import Change, FlagScope, set_flag
from otel_obs.postgres import audit, keys, schema
from otel_obs.postgres.audit import Entry
from otel_obs.postgres.pool import conninfo
from otel_obs.settings import Settings
from otel_obs.web.server import ApiServer
from tests import command
from tests.test_architecture import ROOT

NOW = datetime.now(tz=timezone.utc)
KEYS = {"OTEL_OBS_ENCRYPTION_KEYS": "k1:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="}


def told(connection: psycopg.Connection, chain: str | None = None) -> list[Entry]:
    return [entry for entry, _ in audit.entries(connection, chain)]


def test_many_writers_at_once_make_chains_without_a_gap_or_a_fork(database: str) -> None:
    def write(worker: int) -> None:
        with psycopg.connect(conninfo(database)) as connection:
            for number in range(15):
                organization = (None, "acme", "others")[(worker + number) % 3]
                audit.append(connection, action="test", subject=f"{worker}.{number}", organization_id=organization)
                if number % 5 == 4:
                    connection.rollback()
                else:
                    connection.commit()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))

    with psycopg.connect(conninfo(database)) as connection:
        assert audit.verify(connection)[:2] == (96, None)
        for chain in ("", "acme", "others"):
            places = [entry.position for entry in told(connection, chain)]
            assert places == list(range(1, len(places) + 1))


def test_nobody_waits_for_the_writer_of_another_organization(database: str) -> None:
    with psycopg.connect(conninfo(database)) as slow, psycopg.connect(conninfo(database)) as other:
        audit.append(slow, action="test", subject="not committed yet", organization_id="acme")
        other.execute("SET statement_timeout = '5s'")
        audit.append(other, action="test", subject="free", organization_id="others")
        other.commit()
        with pytest.raises(psycopg.errors.QueryCanceled):
            audit.append(other, action="test", subject="waits", organization_id="acme")


def test_flags_that_are_changed_with_plain_sql_are_told_of(connection: psycopg.Connection) -> None:
    set_flag(connection, "new", FlagScope(organization_id="acme"), Change(is_enabled=True), why="ready", actor="key:k")
    connection.execute("UPDATE feature_flags SET is_enabled = false WHERE flag_name = 'new'")
    connection.execute("DELETE FROM feature_flags")
    connection.execute("INSERT INTO feature_flags (flag_name, is_enabled) VALUES ('for all', true)")
    connection.execute("TRUNCATE feature_flags")

    made, changed, deleted = told(connection, "acme")
    assert (made.actor, made.why, made.before) == ("key:k", "ready", None)
    assert (changed.actor, changed.action, changed.why) == ("sql:otel_obs", "flags.set", None)
    assert changed.before is not None
    assert changed.after is not None
    assert (changed.before["is_enabled"], changed.after["is_enabled"]) == (True, False)
    assert (deleted.action, deleted.before, deleted.after) == ("flags.delete", changed.after, None)
    assert [(e.action, e.subject) for e in told(connection, "")] == [
        ("flags.set", "for all"),
        ("flags.truncate", "all"),
    ]
    assert audit.first_bad(connection) is None


def test_keys_that_are_changed_with_plain_sql_are_told_of_and_being_used_is_no_change(
    connection: psycopg.Connection,
) -> None:
    key = keys.create(connection, organization_id="acme", workspace_id=None, scopes=["read"], now=NOW)
    connection.execute("UPDATE api_keys SET last_used_at = now()")
    connection.execute("UPDATE api_keys SET scopes = '{read,admin}'")
    connection.execute("UPDATE api_keys SET hash = sha256('another')")
    connection.execute("UPDATE api_keys SET revoked_at = now()")
    connection.execute("UPDATE api_keys SET revoked_at = NULL")
    connection.execute("DELETE FROM api_keys")

    found = told(connection, "acme")
    assert [(entry.action, entry.actor) for entry in found[1:]] == [
        ("keys.change", "sql:otel_obs"), ("keys.change", "sql:otel_obs"), ("keys.revoke", "sql:otel_obs"),
        ("keys.change", "sql:otel_obs"), ("keys.delete", "sql:otel_obs"),
    ]  # fmt: skip
    assert (found[1].before, found[1].after) == ({"scopes": ["read"]}, {"scopes": ["read", "admin"]})
    assert key.split("_")[2] not in str(found)
    assert hashlib.sha256(b"another").hexdigest() not in str(found)
    assert audit.first_bad(connection) is None


def test_tenants_that_are_deleted_with_plain_sql_are_told_of_once(connection: psycopg.Connection) -> None:
    keys.create(connection, organization_id="acme", workspace_id="blue", scopes=["read"], now=NOW)
    set_flag(connection, "new", FlagScope(organization_id="acme"), Change(is_enabled=True))
    before = len(told(connection))

    connection.execute("DELETE FROM workspaces WHERE id = 'blue'")
    connection.execute("DELETE FROM organizations WHERE id = 'acme'")

    assert [(e.action, e.subject, e.actor) for e in told(connection)[before:]] == [
        ("workspace.delete", "blue", "sql:otel_obs"), ("org.delete", "acme", "sql:otel_obs"),
    ]  # fmt: skip


def test_the_log_of_versions_before_goes_on(empty_database: str) -> None:
    migrations = schema.packaged()
    schema.migrate(empty_database, [one for one in migrations if one.version < 31])
    with psycopg.connect(conninfo(empty_database), autocommit=True) as connection:
        previous = ""
        for number, organization in ((1, "acme"), (2, None), (3, "acme")):
            previous = _as_before(connection, number, organization, previous)
    schema.migrate(empty_database)

    with psycopg.connect(conninfo(empty_database), autocommit=True) as connection:
        audit.append(connection, action="test", subject="goes on")
        audit.append(connection, action="test", subject="begins", organization_id="acme")

        # A program of the version before, which has not been replaced yet, writes as ever.
        _as_before(connection, 6, "acme", previous)

        assert audit.verify(connection)[:2] == (6, None)
        assert [e.position for e in told(connection, "acme")] == [1, 2]
        assert [(e.id, e.position) for e in told(connection, "")] == [(1, 1), (2, 2), (3, 3), (4, 4)]
        assert told(connection, "")[3].previous_hash == previous
        _tamper(connection, "UPDATE audit_log SET why = 'other' WHERE id = 2")
        assert audit.first_bad(connection) == 2


def _as_before(connection: psycopg.Connection, number: int, organization: str | None, previous: str) -> str:
    """Write an entry as versions before did, and return its seal."""
    content: dict[str, Any] = {
        "id": number, "actor": "root", "organization_id": organization, "action": "test", "subject": "s",
        "before": None, "after": {"n": number, "s": "ö"}, "why": None, "previous_hash": previous,
    }  # fmt: skip
    at = NOW + timedelta(seconds=number)
    text = json.dumps({**content, "at": at.isoformat()}, sort_keys=True, ensure_ascii=True)
    seal = hashlib.sha256(text.encode()).hexdigest()
    connection.execute(
        "INSERT INTO audit_log (id, at, actor, organization_id, action, subject, before, after, why, previous_hash, "
        "hash) VALUES (%(id)s, %(at)s, %(actor)s, %(organization_id)s, %(action)s, %(subject)s, NULL, %(after)s, NULL, "
        "%(previous_hash)s, %(hash)s)",
        {**content, "at": at, "after": Jsonb(content["after"]), "hash": seal},
    )
    return seal


def _tamper(connection: psycopg.Connection, *statements: str) -> None:
    connection.execute("ALTER TABLE audit_log DISABLE TRIGGER USER")
    for statement in statements:
        connection.execute(statement)
    connection.execute("ALTER TABLE audit_log ENABLE TRIGGER USER")


@pytest.mark.parametrize("statement", ["UPDATE audit_log SET why = 'x'", "DELETE FROM audit_log", "TRUNCATE audit_log"])
def test_the_log_refuses_to_be_changed(statement: str, connection: psycopg.Connection) -> None:
    audit.append(connection, action="test", subject="s")

    with pytest.raises(psycopg.Error):
        connection.execute(statement)


FORGED = (
    "INSERT INTO audit_log (id, at, actor, action, subject, previous_hash, hash, format, chain, position) "
    "SELECT 1000, at, actor, action, subject, previous_hash, hash, 2, chain, {position} FROM audit_log WHERE id = 2"
)

FORGED_AS_BEFORE = (
    "INSERT INTO audit_log (id, at, actor, action, subject, previous_hash, hash) VALUES (9, now(), '', '', '', '', '')"
)


@pytest.mark.parametrize(
    ("statements", "first_bad"),
    [
        (("UPDATE audit_log SET subject = 'x' WHERE id = 2",), 2),
        (('UPDATE audit_log SET after = \'{"n": 7}\' WHERE id = 3',), 3),
        (("UPDATE audit_log SET actor = 'somebody else' WHERE id = 1",), 1),
        (("DELETE FROM audit_log WHERE id = 2",), 3),
        (("DELETE FROM audit_log WHERE id = 1",), 2),
        (
            (
                "UPDATE audit_log SET position = 99 WHERE id = 2",
                "UPDATE audit_log SET position = 2 WHERE id = 3",
                "UPDATE audit_log SET position = 3 WHERE id = 2",
            ),
            2,
        ),
        ((FORGED.format(position=5),), 1000),
        (("UPDATE audit_log SET position = 4 + position WHERE position > 2", FORGED.format(position=3)), 3),
        (("UPDATE audit_log SET organization_id = 'others' WHERE id = 2",), 2),
        (("UPDATE audit_log SET chain = 'others', position = 1 WHERE id = 4",), 4),
        ((FORGED_AS_BEFORE,), 9),
    ],
    ids=[
        "edited", "another figure", "another name", "removed", "the first removed", "reordered", "added",
        "put in between", "given to another", "moved into another chain", "added as versions before did",
    ],
)  # fmt: skip
def test_what_was_done_to_the_log_is_found(
    statements: tuple[str, ...], first_bad: int, connection: psycopg.Connection
) -> None:
    for number in range(4):
        audit.append(connection, action="test", subject=str(number), after={"n": number, "s": 'ö\u2028"'}, why=None)
    assert audit.first_bad(connection) is None

    _tamper(connection, *statements)

    assert audit.first_bad(connection) == first_bad


def _written_anew(connection: psycopg.Connection) -> None:
    """Make another chain of the same entries but one, which is right in itself: as a superuser could."""
    _tamper(connection, "CREATE TABLE old AS SELECT * FROM audit_log ORDER BY id", "TRUNCATE audit_log")
    connection.execute("UPDATE old SET subject = 'never happened' WHERE position = 2")
    connection.execute(
        "SELECT audit_append(actor, organization_id, action, subject, before, after, why) FROM old ORDER BY id"
    )
    connection.execute("DROP TABLE old")


def test_a_chain_that_was_written_anew_as_a_whole_is_found_by_what_lies_outside(database: str, tmp_path: Path) -> None:
    asked = ("audit", "verify", "--json", "--database-url", database, "--data-dir", str(tmp_path))
    with psycopg.connect(conninfo(database), autocommit=True) as connection:
        for number in range(3):
            audit.append(connection, action="test", subject=str(number), organization_id="acme")
        first = command.inside(*asked, **KEYS)
        assert (first.returncode, json.loads(first.stdout)["rows"]) == (0, 3)
        assert "nothing was remembered" in first.stderr
        assert "nothing was remembered" not in command.inside(*asked, **KEYS).stderr

        _written_anew(connection)
        assert audit.first_bad(connection) is None, "in itself it is right"
        found = command.inside(*asked, **KEYS)
        assert (found.returncode, json.loads(found.stdout)["ok"]) == (1, False)

        # Whoever writes the folder too, without the key, is found out as well.
        (head,) = tmp_path.glob("audit-head-*.json")
        said = json.loads(head.read_text())
        assert head.stat().st_mode & 0o077 == 0
        said["heads"] = {chain: list(one) for chain, one in audit.verify(connection).heads.items()}
        head.write_text(json.dumps(said))
        assert "signature" in command.inside(*asked, **KEYS).stderr
        head.write_text(json.dumps({"heads": said["heads"]}))
        unsigned = command.inside(*asked, **KEYS)
        assert unsigned.returncode != 0
        assert "without a key" in unsigned.stderr
        head.write_text(json.dumps({"rows": 1, "seal": "as versions before wrote it"}))
        assert json.loads(command.inside(*asked, **KEYS).stdout)["ok"] is False


@dataclass(frozen=True)
class World:
    url: str
    base: str
    keys: dict[str, str]

    def get(self, path: str, who: str, **asked: Any) -> httpx.Response:
        headers = {"x-api-key": self.keys[who]}
        return httpx.get(f"{self.base}{path}", params=asked, headers=headers, timeout=30)


@pytest.fixture(scope="module")
def world(module_database: str) -> Iterator[World]:
    with psycopg.connect(conninfo(module_database), autocommit=True) as connection:
        made = {
            name: keys.create(
                connection, organization_id=org, workspace_id=workspace, scopes=scopes, now=NOW, name=name
            )
            for name, org, workspace, scopes in (
                ("admin", "acme", None, ["admin"]),
                ("reader", "acme", None, ["read"]),
                ("bound", "acme", "blue", ["admin", "read"]),
                ("theirs", "others", None, ["admin", "read"]),
            )
        }
        for number in range(5):
            audit.append(
                connection, action="test.thing", subject=f"=cmd|{number}", organization_id="acme", actor="=1+1", why="w"
            )
        audit.append(connection, action="prices.set", subject="of everybody")
    server = ApiServer(Settings.from_env({}, {"API_ENDPOINT": "127.0.0.1:0", "AUTH": "keys"}), module_database)
    try:
        yield World(module_database, f"http://{server.start()}", made)
    finally:
        server.stop()


def test_administrators_read_what_concerns_their_organization_and_nobody_else_does(world: World) -> None:
    items = world.get("/api/v1/audit", "admin", limit=500).json()["items"]

    assert {item["organization_id"] for item in items} == {"acme"}
    assert {"keys.create", "test.thing"} <= {item["action"] for item in items}
    theirs = world.get("/api/v1/audit", "theirs").json()["items"]
    assert {item["organization_id"] for item in theirs} == {"others"}
    assert world.get("/api/v1/audit", "reader").status_code == 403
    assert world.get("/api/v1/audit", "bound").status_code == 403
    assert httpx.get(f"{world.base}/api/v1/audit").status_code == 401


def test_entries_are_found_by_what_was_done_who_did_it_and_when(world: World) -> None:
    def found(**asked: Any) -> int:
        answer = world.get("/api/v1/audit", "admin", **asked)
        assert answer.status_code == 200, answer.text
        return len(answer.json()["items"])

    assert found(action="test.thing") == found(action="test") == found(actor="=1+1") == 5
    assert found(action="tes") == found(actor="nobody") == found(day="2020-01-01") == 0
    assert found(action="test", day=datetime.now(tz=timezone.utc).date().isoformat()) in (0, 5), "midnight"
    assert world.get("/api/v1/audit", "admin", day="yesterday").status_code == 400
    assert world.get("/api/v1/audit", "admin", action="\x00").status_code == 400


def test_pages_of_the_log_follow_each_other(world: World) -> None:
    seen: list[int] = []
    cursor = None
    while True:
        page = world.get(
            "/api/v1/audit", "admin", action="test", limit=2, **({"cursor": cursor} if cursor else {})
        ).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert len(seen) == 5
    assert seen == sorted(set(seen), reverse=True)


def test_what_is_taken_out_as_a_file_is_written_down_first(world: World) -> None:
    table = world.get("/api/v1/audit", "admin", action="test", format="csv")
    lines = world.get("/api/v1/costs", "theirs", format="jsonl", group_by="model", q="what somebody said")
    world.get("/api/v1/costs", "theirs", group_by="model")
    assert world.get("/api/v1/events", "theirs", format="csv", limit=0).status_code == 400

    rows = list(csv.DictReader(io.StringIO(table.text)))
    assert (len(rows), rows[0]["actor"], rows[0]["subject"][:2]) == (5, "'=1+1", "'=")
    assert lines.status_code == 200
    with psycopg.connect(conninfo(world.url)) as connection:
        (ours,) = [entry for entry in told(connection, "acme") if entry.action == "data.export"]
        (others,) = [entry for entry in told(connection, "others") if entry.action == "data.export"]
    assert (ours.subject, ours.actor) == ("/api/v1/audit", f"key:{world.keys['admin'].split('_')[1]}")
    assert others.after == {"format": "jsonl", "group_by": "model"}


def test_the_page_tells_when_somebody_has_changed_the_log(database: str) -> None:
    with psycopg.connect(conninfo(database), autocommit=True) as connection:
        for number in range(3):
            audit.append(connection, action="test", subject=str(number), organization_id="acme")
        bad = told(connection, "acme")[1].id
        server = ApiServer(Settings.from_env({}, {"API_ENDPOINT": "127.0.0.1:0"}), database)
        try:
            address = f"http://{server.start()}/audit?organization_id=acme"
            assert "3 entries of acme are as they were written" in httpx.get(address).text
            _tamper(connection, "UPDATE audit_log SET why = 'x' WHERE position = 2")
            assert f"Entry {bad} is not as it was written" in httpx.get(address).text
        finally:
            server.stop()


def test_the_operator_reads_everything_in_the_terminal(database: str, tmp_path: Path) -> None:
    def listed(*more: str) -> list[Any]:
        asked = ("audit", "list", "--json", "--database-url", database, "--data-dir", str(tmp_path), *more)
        found: list[Any] = json.loads(command.inside(*asked).stdout)["items"]
        return found

    with psycopg.connect(conninfo(database)) as connection:
        for organization in ("acme", "others", None):
            audit.append(connection, action="test", subject="s", organization_id=organization)

    assert [item["organization_id"] for item in listed()] == [None, "others", "acme"]
    assert [item["organization_id"] for item in listed("--org", "acme")] == ["acme"]
    assert listed("--action", "other") == []


def test_each_act_that_is_promised_has_its_name_somewhere_in_the_code() -> None:
    # The table of docs/security.md and the code say the same.
    promised = set()
    table = (ROOT / "docs" / "security.md").read_text().split("| action |")[1].split("\n\n")[0]
    for line in table.splitlines()[2:]:
        promised |= {name.strip("` ") for name in line.split("|")[1].split(",")}
    source = "".join(path.read_text() for path in (ROOT / "otel_obs").rglob("*") if path.suffix in (".py", ".sql"))
    missing = {name for name in promised if f"'{name}'" not in source and f'"{name}"' not in source}
    assert {name for name in missing if not name.endswith((".delete", ".set"))} == set()
    assert promised >= {"dashboard.sign_in", "keys.create", "flags.set", "org.plan", "data.export", "retention.run"}
