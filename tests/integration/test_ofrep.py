"""OFREP 0.3 on the wire, and the clients that people use."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode
from starlette.applications import Starlette
from starlette.testclient import TestClient

from otel_obs.flags import ofrep
from otel_obs.flags import stream as stream_module
from otel_obs.flags.limits import RateLimit
from otel_obs.flags.snapshot import Snapshot
from otel_obs.flags.store import Change, FlagScope, set_flag
from otel_obs.flags.stream import ticket_of, token
from otel_obs.postgres import keys
from otel_obs.postgres.pool import conninfo
from tests import command
from tests.fix_ofrep import Ofrep
from tests.waiting import until

FLAGS = "/ofrep/v1/evaluate/flags"
CLIENTS = Path(__file__).resolve().parents[1] / "js" / "ofrep"
ALICE = {"context": {"targetingKey": "alice"}}
ON = Change(is_enabled=True)
MODEL = Change(is_enabled=True, variants={"off": "gpt-4o-mini", "large": "gpt-4o"}, rollout={"large": 100})


@pytest.fixture
def server(ofrep_server: Ofrep) -> Ofrep:
    with psycopg.connect(conninfo(ofrep_server.database)) as connection:
        for name, change, scope in (
            ("plain", ON, FlagScope()),
            ("model", MODEL, FlagScope(organization_id="acme")),
            ("off", Change(is_enabled=False), FlagScope()),
            ("theirs", ON, FlagScope(organization_id="other")),
            ("research", ON, FlagScope(organization_id="acme", workspace_id="research")),
            ("hers", ON, FlagScope(organization_id="acme", user_id="alice")),
        ):
            set_flag(connection, name, scope, change)
    ofrep_server.snapshot.refresh(5)
    return ofrep_server


@pytest.fixture
def http(server: Ofrep) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {server.key()}"}
    with httpx.Client(base_url=server.url, headers=headers) as found:
        yield found


def bulk(http: httpx.Client, context: dict[str, Any] | None = None, *, etag: str | None = None) -> httpx.Response:
    headers = {} if etag is None else {"If-None-Match": etag}
    return http.post(FLAGS, json={"context": context or {"targetingKey": "alice"}}, headers=headers)


def names(response: httpx.Response) -> list[str]:
    return [item["key"] for item in response.json()["flags"]]


def test_one_flag_is_answered_with_value_variant_reason_and_version(http: httpx.Client) -> None:
    assert http.post(f"{FLAGS}/model", json=ALICE).json() == {
        "key": "model", "value": "gpt-4o", "variant": "large", "reason": "SPLIT",
        "metadata": {"version": 1, "scope": "organization"},
    }  # fmt: skip
    assert http.post(f"{FLAGS}/off", json=ALICE).json()["reason"] == "DISABLED"
    assert http.post(f"{FLAGS}/hers", json=ALICE).json()["reason"] == "TARGETING_MATCH"
    assert http.post(f"{FLAGS}/plain", json=ALICE).json()["reason"] == "STATIC"


BODIES = [
    (b"", 400, "PARSE_ERROR"),
    (b"{", 400, "PARSE_ERROR"),
    (b'{"context": {"targetingKey": "a", "x": NaN}}', 400, "PARSE_ERROR"),
    (b'{"context": {"targetingKey": "a", "x": 1e999}}', 400, "PARSE_ERROR"),
    (b'{"context": {"targetingKey": "a", "x": ' + b"9" * 5000 + b"}}", 400, "PARSE_ERROR"),
    (b'{"context": ' * 1500, 400, "PARSE_ERROR"),
    (b"\xff\xfe", 400, "PARSE_ERROR"),
    (b"[]", 400, "INVALID_CONTEXT"),
    (b"{}", 400, "INVALID_CONTEXT"),
    (b'{"context": []}', 400, "INVALID_CONTEXT"),
    (b'{"context": {}}', 400, "TARGETING_KEY_MISSING"),
    (b'{"context": {"targetingKey": ""}}', 400, "TARGETING_KEY_MISSING"),
    (b'{"context": {"targetingKey": 7}}', 400, "INVALID_CONTEXT"),
    (b'{"context": {"targetingKey": "a", "workspace_id": 7}}', 400, "INVALID_CONTEXT"),
    (b'{"context": {"targetingKey": "\\ud800", "x": "\\u0000"}}', 200, None),
    (b'{"context": {"targetingKey": "a", "x": ' + b"[" * 300 + b"]" * 300 + b"}}", 200, None),
]


def test_a_body_that_cannot_be_answered_says_why(http: httpx.Client) -> None:
    for body, status, code in BODIES:
        one = http.post(f"{FLAGS}/plain", content=body, headers={"Content-Type": "application/json"})
        every = http.post(FLAGS, content=body, headers={"Content-Type": "application/json"})

        assert (one.status_code, every.status_code) == (status, status), body
        assert (one.json().get("errorCode"), every.json().get("errorCode")) == (code, code), body
        if code:
            assert (one.json()["key"], "key" in every.json()) == ("plain", False)


def test_a_context_that_is_too_large_is_refused(http: httpx.Client) -> None:
    large = {"context": {"targetingKey": "a", "x": "x" * 30_000}}

    def chunks() -> Iterator[bytes]:
        for _ in range(30):
            yield b" " * 1000

    for response in (http.post(FLAGS, json=large), http.post(f"{FLAGS}/plain", content=chunks())):
        assert (response.status_code, response.json()) == (413, {"errorDetails": "request body too large"})


def test_a_flag_of_others_is_not_found_as_one_that_nobody_has(http: httpx.Client) -> None:
    for name in ("nobody's", "theirs", "research", "", "a/b", "\u00e9'; DROP TABLE"):
        response = http.post(f"{FLAGS}/{name}", json=ALICE)

        assert response.status_code == 404
        assert response.json() == {
            "key": name, "errorCode": "FLAG_NOT_FOUND", "errorDetails": f"Flag '{name}' was not found",
        }  # fmt: skip


def test_whose_flags_is_told_by_the_key_and_not_by_the_body(server: Ofrep, http: httpx.Client) -> None:
    named = {"targetingKey": "alice", "organization_id": "other", "org_id": "other"}
    assert names(bulk(http, named)) == ["hers", "model", "off", "plain"]
    assert names(bulk(http, {"targetingKey": "bob"})) == ["model", "off", "plain"]
    assert "research" in names(bulk(http, {"targetingKey": "bob", "workspace_id": "research"}))

    bound = {"x-api-key": server.key(workspace_id="sales")}
    with httpx.Client(base_url=server.url, headers=bound) as sales:
        assert "research" not in names(bulk(sales, {"targetingKey": "bob", "workspace_id": "research"}))


def test_no_key_a_wrong_one_and_one_of_another_scope_are_told_apart(server: Ofrep) -> None:
    def status(**headers: str) -> int:
        return httpx.post(server.url + FLAGS, json=ALICE, headers=headers).status_code

    assert status() == 401
    assert status(Authorization="Bearer nonsense") == 401
    assert status(Authorization=f"Bearer {server.key(scope='ingest')}") == 403
    assert status(Authorization=f"Bearer {server.key()}") == 200
    text = server.key()
    with psycopg.connect(conninfo(server.database)) as connection:
        keys.revoke(connection, text.split("_")[1], now=datetime.now(tz=timezone.utc))
    assert status(Authorization=f"Bearer {text}") == 401


def test_nothing_changed_is_told_by_the_etag_alone(server: Ofrep, http: httpx.Client) -> None:
    first = bulk(http)
    again = bulk(http, etag=first.headers["etag"])

    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert bulk(http, etag=f'"x", W/{first.headers["etag"]}').status_code == 304
    server.set("theirs", Change(is_enabled=False), organization_id="other")
    assert bulk(http, etag=first.headers["etag"]).status_code == 304
    server.set("plain", Change(is_enabled=False))
    assert bulk(http, etag=first.headers["etag"]).status_code == 200


def test_an_etag_of_another_context_is_not_this_one(http: httpx.Client) -> None:
    """Otherwise a user gets what was worked out for another (flagd had that)."""
    etag = bulk(http).headers["etag"]

    for context in (
        {"targetingKey": "bob"},
        {"targetingKey": "alice", "workspace_id": "research"},
        {"targetingKey": "alice", "plan": "pro"},
        {"targetingKey": "alice", "nested": {"deep": [1, {"a": None}]}},
    ):
        assert bulk(http, context, etag=etag).status_code == 200


def test_an_etag_of_another_caller_is_not_this_one(server: Ofrep, http: httpx.Client) -> None:
    first = bulk(http)

    for more in ({"organization_id": "other"}, {"workspace_id": "research"}):
        with httpx.Client(base_url=server.url, headers={"x-api-key": server.key(**more)}) as other:
            assert bulk(other, etag=first.headers["etag"]).status_code == 200


def test_the_order_of_a_context_is_no_difference(http: httpx.Client) -> None:
    one = bulk(http, {"targetingKey": "alice", "a": 1, "b": {"c": 2, "d": 3}})

    assert bulk(http, {"b": {"d": 3, "c": 2}, "a": 1, "targetingKey": "alice"}).headers["etag"] == one.headers["etag"]


def test_a_flag_whose_time_comes_has_another_etag_without_a_change(server: Ofrep, http: httpx.Client) -> None:
    server.set("timed", Change(is_enabled=True, starts_at=datetime.now(tz=timezone.utc) + timedelta(seconds=0.5)))
    etag = bulk(http).headers["etag"]
    assert bulk(http, etag=etag).status_code == 304

    response = bulk(http, etag=etag)
    while response.status_code == 304:
        response = bulk(http, etag=etag)

    assert {item["key"]: item["value"] for item in response.json()["flags"]}["timed"] is True


def test_a_broken_flag_is_an_error_among_the_others(server: Ofrep, http: httpx.Client) -> None:
    with psycopg.connect(conninfo(server.database)) as connection:
        connection.execute(
            """INSERT INTO feature_flags (flag_name, is_enabled, rollout) VALUES ('broken', true, '7')"""
        )
    server.snapshot.refresh(5)

    items = {item["key"]: item for item in bulk(http).json()["flags"]}

    assert (items["broken"]["errorCode"], items["plain"]["value"]) == ("PARSE_ERROR", True)
    one = http.post(f"{FLAGS}/broken", json=ALICE)
    assert (one.status_code, one.json()["errorCode"]) == (400, "PARSE_ERROR")


class _FrozenLimit(RateLimit):
    def __init__(self) -> None:
        super().__init__(0.1, 3, clock=lambda: 0.0)


@pytest.mark.parametrize("ofrep_limit", [_FrozenLimit()])
def test_who_asks_too_often_is_told_when_to_come_again(server: Ofrep, http: httpx.Client) -> None:
    del server
    statuses = [http.post(f"{FLAGS}/plain", json=ALICE).status_code for _ in range(3)]
    refused = bulk(http)

    assert statuses == [200, 200, 200]
    assert (refused.status_code, refused.headers["retry-after"], refused.content) == (429, "10", b"")


def test_while_the_database_is_away_flags_are_answered_stale_with_the_same_etag(
    server: Ofrep, http: httpx.Client, connection: psycopg.Connection
) -> None:
    before = bulk(http)
    connection.execute("ALTER TABLE flag_set RENAME TO away")
    until(lambda: (server.snapshot.refresh(0.1), server.snapshot.stale)[1])

    after = bulk(http)

    assert (before.json()["metadata"]["stale"], after.json()["metadata"]["stale"]) == (False, True)
    assert after.headers["etag"] == before.headers["etag"]
    assert bulk(http, etag=before.headers["etag"]).status_code == 304
    assert http.post(f"{FLAGS}/plain", json=ALICE).json()["metadata"]["stale"] is True


def _stream_of(http: httpx.Client) -> str:
    (stream,) = bulk(http).json()["eventStreams"]
    assert stream["type"] == "sse"
    return str(stream["endpoint"]["requestUri"])


def _next_event(lines: Iterator[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if name in ("id", "event", "data"):
            found[name] = json.loads(value) if name == "data" else value
        if not line and "data" in found:
            return found
    raise AssertionError("the stream ended")


def test_a_stream_says_when_flags_change_and_goes_on_where_it_was_left(server: Ofrep, http: httpx.Client) -> None:
    address = _stream_of(http)
    with httpx.Client(base_url=server.url, timeout=10) as browser:
        with browser.stream("GET", address) as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            lines = stream.iter_lines()
            first = _next_event(lines)
            assert (first["event"], first["data"]["type"]) == ("message", "refetchEvaluation")
            server.set("plain", Change(is_enabled=False))
            second = _next_event(lines)
            assert second["id"] != first["id"]
            fresh = http.post(FLAGS, params={"flagConfigEtag": second["data"]["etag"]}, json=ALICE)
            assert {item["key"]: item["value"] for item in fresh.json()["flags"]}["plain"] is False
        server.set("plain", Change(is_enabled=True))
        with browser.stream("GET", address, headers={"Last-Event-ID": second["id"]}) as stream:
            third = _next_event(stream.iter_lines())
            assert third["id"] not in (first["id"], second["id"])
        with browser.stream("GET", address, headers={"Last-Event-ID": third["id"]}) as stream:
            lines = stream.iter_lines()
            server.set("theirs", Change(is_enabled=False), organization_id="other")
            server.set("model", Change(killed=True), organization_id="acme")
            assert _next_event(lines)["id"] not in (first["id"], second["id"], third["id"])


def test_a_stream_needs_the_address_that_was_given(server: Ofrep) -> None:
    for query in ("", "?token=", "?token=nonsense", "?token=WyJhY21lIiw5OTk5OTk5OTk5XQ.AAAA"):
        assert httpx.get(f"{server.url}/ofrep/v1/stream{query}").status_code == 401


def test_the_address_of_a_stream_is_for_one_organization_and_some_hours() -> None:
    now = datetime(2026, 11, 25, 12, 30, tzinfo=timezone.utc)
    text = token("secret", "acme", now, "k")

    assert ticket_of("secret", text, now) == ("acme", int(now.timestamp()) + 5400, "k")
    assert ticket_of("secret", text, now + timedelta(minutes=89)) is not None
    assert ticket_of("secret", text, now + timedelta(minutes=90)) is None
    assert ticket_of("other", text, now) is None
    assert token("secret", "acme", now + timedelta(minutes=29), "k") == text


def test_a_stream_ends_soon_after_its_key_was_revoked_and_its_address_opens_no_other(
    server: Ofrep, http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "HEARTBEAT_S", 0.2)
    key = server.key()
    with httpx.Client(base_url=server.url, headers={"x-api-key": key}, timeout=60) as holder:
        address = _stream_of(holder)
    with httpx.Client(base_url=server.url, timeout=60) as browser:
        with browser.stream("GET", address) as stream:
            lines = stream.iter_lines()
            _next_event(lines)
            with psycopg.connect(conninfo(server.database)) as connection:
                keys.revoke(connection, key.split("_")[1], now=datetime.now(tz=timezone.utc))
            # It ends; with a key that holds it would go on for an hour or two.
            assert all(not line.startswith("data") for line in lines)
        assert browser.get(address).status_code == 401
        with browser.stream("GET", _stream_of(http)) as other:
            assert other.status_code == 200


def test_a_server_that_has_not_heard_of_a_change_asks_before_it_answers(server: Ofrep, http: httpx.Client) -> None:
    """The notification came from another server."""
    with psycopg.connect(conninfo(server.database), autocommit=True) as connection:
        connection.execute("ALTER TABLE feature_flags DISABLE TRIGGER USER")
        connection.execute("UPDATE feature_flags SET is_enabled = false, version = 2 WHERE flag_name = 'plain'")
        connection.execute("UPDATE flag_set SET version = version + 1")

    response = http.post(FLAGS, params={"flagConfigEtag": '"newer"'}, json=ALICE)

    assert {item["key"]: item["value"] for item in response.json()["flags"]}["plain"] is False


def test_a_server_that_has_never_reached_its_database_says_come_again() -> None:
    snapshot = Snapshot(command.NO_SERVER)
    app = Starlette(routes=ofrep.routes(snapshot, ofrep.anyone("default")))
    with TestClient(app) as http:
        for response in (http.post(FLAGS, json=ALICE), http.get("/ofrep/v1/stream?token=x")):
            assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    snapshot.close()


def test_without_keys_the_organization_is_the_default_or_the_one_that_is_named(ofrep_server: Ofrep) -> None:
    ofrep_server.set("theirs", ON, organization_id="other")
    app = Starlette(routes=ofrep.routes(ofrep_server.snapshot, ofrep.anyone("default")))

    with TestClient(app) as http:
        assert http.post(f"{FLAGS}/theirs", json=ALICE).status_code == 404
        assert http.post(f"{FLAGS}/theirs?organization_id=other", json=ALICE).json()["value"] is True


def test_asking_for_one_flag_counts_as_its_use_and_asking_for_all_does_not(
    server: Ofrep, http: httpx.Client, connection: psycopg.Connection
) -> None:
    bulk(http)
    http.post(f"{FLAGS}/plain", json=ALICE)
    http.post(f"{FLAGS}/theirs", json=ALICE)

    server.snapshot.close()

    assert connection.execute("SELECT organization_id, flag_name FROM flag_usage").fetchall() == [("acme", "plain")]


def test_the_python_client_of_openfeature_understands_every_answer(server: Ofrep) -> None:
    key = server.key()
    api.set_provider_and_wait(OFREPProvider(server.url, headers_factory=lambda: {"Authorization": f"Bearer {key}"}))
    client = api.get_client()
    alice = EvaluationContext("alice")
    try:
        model = client.get_string_details("model", "none", alice)
        assert (model.value, model.variant, model.reason) == ("gpt-4o", "large", "SPLIT")
        assert client.get_boolean_value("plain", default_value=False, evaluation_context=alice) is True
        assert client.get_boolean_value("off", default_value=True, evaluation_context=alice) is False
        theirs = client.get_boolean_details("theirs", default_value=True, evaluation_context=alice)
        assert (theirs.value, theirs.error_code) == (True, ErrorCode.FLAG_NOT_FOUND)
        nobody = client.get_boolean_details("plain", default_value=False)
        assert nobody.error_code == ErrorCode.TARGETING_KEY_MISSING
        assert client.get_integer_details("model", 7, alice).error_code == ErrorCode.TYPE_MISMATCH
        key = "wrong"
        assert client.get_boolean_details("plain", default_value=False, evaluation_context=alice).error_code
    finally:
        api.shutdown()


@pytest.fixture(scope="session")
def javascript(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with the JavaScript clients, as the lock file pins them."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed here")
    folder = tmp_path_factory.mktemp("js")
    for file in CLIENTS.iterdir():
        if file.is_file():
            shutil.copy(file, folder)
    done = subprocess.run(
        ["npm", "ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"],
        cwd=folder, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"npm cannot install the clients: {done.stderr[-200:]}")
    return folder


def test_the_javascript_provider_for_servers_understands_every_answer(server: Ofrep, javascript: Path) -> None:
    server.set("limit", Change(is_enabled=True, variants={"on": 2.5, "off": 0}))
    server.set("shape", Change(is_enabled=True, variants={"on": {"sides": 3}}))

    done = subprocess.run(
        ["node", "server.mjs", server.url, server.key()],
        cwd=javascript, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip

    found = json.loads(done.stdout)
    assert {name: answer["value"] for name, answer in found.items()} == {
        "plain": True, "model": "gpt-4o", "limit": 2.5, "shape": {"sides": 3}, "off": False, "theirs": True,
        "mismatch": 7, "nobody": False,
    }  # fmt: skip
    assert (found["model"]["variant"], found["model"]["reason"]) == ("large", "SPLIT")
    assert found["model"]["flagMetadata"] == {"version": 1, "scope": "organization"}
    assert {name: answer.get("errorCode") for name, answer in found.items() if answer.get("errorCode")} == {
        "theirs": "FLAG_NOT_FOUND", "mismatch": "TYPE_MISMATCH", "nobody": "TARGETING_KEY_MISSING",
    }  # fmt: skip


def test_the_javascript_provider_for_browsers_hears_of_a_change_and_of_another_user(
    server: Ofrep, javascript: Path
) -> None:
    with subprocess.Popen(
        ["node", "web.mjs", server.url, server.key()], cwd=javascript, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        before = json.loads(process.stdout.readline())
        server.set("plain", Change(is_enabled=False))
        after = json.loads(process.stdout.readline())
        of_bob = json.loads(process.stdout.readline())
        assert process.wait(30) == 0

    assert {name: before[name]["value"] for name in ("plain", "model", "hers", "theirs")} == {
        "plain": True, "model": "gpt-4o", "hers": True, "theirs": True,
    }  # fmt: skip
    assert before["theirs"]["errorCode"] == "FLAG_NOT_FOUND"
    assert (after["plain"]["value"], after["plain"]["reason"]) == (False, "DISABLED")
    assert (of_bob["hers"]["value"], of_bob["hers"]["errorCode"]) == (False, "FLAG_NOT_FOUND")
    assert before["statuses"] == [200]
    assert set(of_bob["statuses"]) <= {200, 304}
