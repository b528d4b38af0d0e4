"""What a tenant decides about its content, how much it may send, and guessed keys: as a whole gateway does it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import grpc
import httpx
import psycopg
import pytest
from google.rpc import error_details_pb2
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from otel_obs.exporter import PostgresSpanExporter
from otel_obs.model import Decoded
from otel_obs.pipeline.standing import Standing
from otel_obs.postgres import audit, keys
from otel_obs.postgres.policies import add_usage, read_policies, read_usage
from otel_obs.postgres.pool import conninfo, fingerprint
from otel_obs.receiver.attempts import AT_ONCE
from otel_obs.receiver.export import Sent
from otel_obs.rows.policy import KEEP, Policies
from otel_obs.server import Gateway, Listening
from otel_obs.settings import Settings
from otel_obs.tenancy import Limits, Sender
from otel_obs.web.server import ApiServer
from tests.builders import agent, make_span
from tests.command import NO_SERVER, inside
from tests.folders import files

CANARY = "canary-of-a-prompt-that-nobody-may-read"
KNOWN_WITHIN_S = 30
GUESS = keys.new_key()[0]


def body(count: int = 1, *, workspace: str = "red", text: str = CANARY, first: int = 1) -> bytes:
    """Return a request with so many spans, which say *text*."""
    at = time.time_ns()
    spans = [
        {"traceId": f"{first:032x}", "spanId": f"{first + number:016x}", "name": "s", "startTimeUnixNano": str(at),
         "endTimeUnixNano": str(at + 1000), "attributes": [
             {"key": "gen_ai.operation.name", "value": {"stringValue": "invoke_agent"}},
             {"key": "otel_obs.workspace.id", "value": {"stringValue": workspace}},
             {"key": "gen_ai.input.messages", "value": {"stringValue": text}}]}
        for number in range(count)
    ]  # fmt: skip
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).encode()


@dataclass(frozen=True)
class World:
    listening: Listening
    gateway: Gateway
    api: str
    url: str
    held: dict[str, str]

    def send(self, organization: str, sent: bytes, **headers: str) -> httpx.Response:
        key = {"authorization": f"Bearer {self.held.get(organization, organization)}"}
        return httpx.post(
            f"http://{self.listening.http}/v1/traces", content=sent, timeout=30,
            headers={"content-type": "application/json", **key, **headers},
        )  # fmt: skip

    def call(self, organization: str, count: int = 1) -> grpc.RpcError | None:
        """Send *count* empty spans over gRPC; return how it failed."""
        request = ExportTraceServiceRequest()
        spans = request.resource_spans.add().scope_spans.add().spans
        for number in range(count):
            spans.add(
                trace_id=b"t" * 16, span_id=f"{number:08}".encode(), name="s", start_time_unix_nano=time.time_ns()
            )
        method = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
        key = self.held.get(organization, organization)
        with grpc.insecure_channel(self.listening.grpc) as channel:
            try:
                channel.unary_unary(method, None, None)(
                    request.SerializeToString(), timeout=20, metadata=(("authorization", f"Bearer {key}"),)
                )
            except grpc.RpcError as error:
                return error
        return None

    def rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(conninfo(self.url), autocommit=True) as connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def metric(self, line: str) -> float:
        found = httpx.get(f"http://{self.listening.http}/metrics").text
        return sum(float(row.rpartition(" ")[2]) for row in found.splitlines() if row.startswith(line))


def soon(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + KNOWN_WITHIN_S
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.2)


@pytest.fixture(scope="module")
def world(module_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    organizations = ("acme", "others", "fast", "full", "guessed")
    with psycopg.connect(conninfo(module_database), autocommit=True) as connection:
        held = {
            name: keys.create(
                connection, organization_id=name, workspace_id=None, scopes=("ingest", "read", "admin"),
                now=datetime.now(tz=timezone.utc),
            )
            for name in organizations
        }  # fmt: skip
        connection.execute("UPDATE organizations SET max_spans_per_second = 50 WHERE id = 'fast'")
        connection.execute("UPDATE organizations SET max_bytes_per_day = 4000 WHERE id = 'full'")
    settings = Settings.from_env(
        {}, {**{f"{name}_ENDPOINT": "127.0.0.1:0" for name in ("GRPC", "HTTP", "API")}, "AUTH": "keys",
             "DATA_DIR": str(tmp_path_factory.mktemp("data"))},
    )  # fmt: skip
    gateway, api = Gateway(settings, module_database), ApiServer(settings, module_database)
    try:
        yield World(gateway.start(), gateway, f"http://{api.start()}", module_database, held)
    finally:
        api.stop()
        gateway.stop()


def contents(world: World, organization: str) -> dict[str, str]:
    rows = world.rows("SELECT workspace_id, body FROM span_contents WHERE organization_id = %s", organization)
    return {row[0]: row[1] for row in rows}


def test_what_is_decided_by_command_over_http_or_in_sql_holds_within_seconds(world: World) -> None:
    assert world.send("acme", body(workspace="before")).status_code == 200

    done = inside(
        "workspace", "set", "green", "--org", "acme", "--content", "mask", "--database-url", world.url, "--json"
    )
    assert json.loads(done.stdout)["content"] == "mask"
    admin = {"x-api-key": world.held["acme"]}
    assert httpx.put(f"{world.api}/api/v1/workspaces/blue", json={"content": "drop"}, headers=admin).status_code == 204
    assert (
        httpx.put(f"{world.api}/api/v1/organization", json={"content": "sample:100"}, headers=admin).status_code == 204
    )
    assert httpx.put(f"{world.api}/api/v1/organization", json={"content": "perhaps"}, headers=admin).status_code == 400
    assert (
        httpx.put(f"{world.api}/api/v1/organization", json={"max_bytes_per_day": 0}, headers=admin).status_code == 400
    )
    world.rows("INSERT INTO workspaces (organization_id, id, content) VALUES ('acme', 'grey', 'sample:0')")
    soon(lambda: not world.gateway._standing.rules().of("acme", "grey").keeps_all)
    for number, workspace in enumerate(("red", "green", "blue", "grey")):
        assert world.send("acme", body(workspace=workspace, first=100 * number + 100)).status_code == 200
    assert world.send("others", body(workspace="blue")).status_code == 200

    found = contents(world, "acme")
    assert found == {"before": CANARY, "red": CANARY, "green": found["green"]}
    assert found["green"].startswith(f"[masked: {len(CANARY)} characters")
    assert contents(world, "others") == {"blue": CANARY}
    listed = httpx.get(f"{world.api}/api/v1/workspaces", headers=admin).json()["items"]
    assert {row["id"]: row["content"] for row in listed}["green"] == "mask"
    assert httpx.get(f"{world.api}/api/v1/organization", headers=admin).json()["content"] == "sample:100"
    told = world.rows("SELECT action, subject, after FROM audit_log WHERE action LIKE '%%.content' ORDER BY id")
    assert told == [
        ("workspace.content", "green", {"content": "mask"}), ("workspace.content", "blue", {"content": "drop"}),
        ("org.content", "acme", {"content": "sample:100"}),
    ]  # fmt: skip


def test_the_exporter_in_a_program_asks_before_it_writes(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    inside("org", "set", "acme", "--content", "drop", "--database-url", database)
    monkeypatch.setenv("OTEL_OBS_ORGANIZATION_ID", "acme")
    exporter = PostgresSpanExporter(database)
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    with provider.get_tracer("t").start_as_current_span(
        "s", attributes=agent("a", **{"gen_ai.input.messages": CANARY})
    ):
        pass
    provider.shutdown()

    with psycopg.connect(conninfo(database)) as connection:
        rows = connection.execute("SELECT e::text FROM event_logs AS e").fetchall()
        said = connection.execute("SELECT count(*) FROM span_contents").fetchone()
    assert len(rows) == 1
    assert CANARY not in str(rows)
    assert said == (0,)


def test_a_gateway_that_starts_without_its_database_remembers_what_holds(tmp_path: Path) -> None:
    file = tmp_path / f"tenants-{fingerprint(NO_SERVER)}.json"
    Standing(KEEP, Limits(), file).learn(Policies({"acme": "drop"}))
    settings = Settings.from_env({}, {"DATA_DIR": str(tmp_path), "GRPC_ENDPOINT": "127.0.0.1:0",
                                      "HTTP_ENDPOINT": "127.0.0.1:0"})  # fmt: skip
    gateway = Gateway(settings, NO_SERVER)
    gateway.start()
    try:
        for organization, text in (("acme", CANARY), ("others", "what others say")):
            span = make_span(agent("a", **{"gen_ai.input.messages": text}))
            sent = Sent(signal="traces", is_json=True, body=text.encode(), sender=Sender(organization_id=organization))
            gateway.export(Decoded(spans=[span]), sent)
    finally:
        gateway.stop()

    kept = b"".join(path.read_bytes() for path in files(tmp_path / "spool"))
    assert file.stat().st_mode & 0o777 == 0o600
    assert CANARY.encode() not in kept
    assert b"what others say" in kept


def test_who_sends_too_fast_is_told_to_come_again_and_others_are_not(world: World) -> None:
    world.gateway._standing.learn(_policies(world))
    assert world.send("fast", body(300, first=1000)).status_code == 200, "a large request gets in"

    refused = world.send("fast", body(first=9000))
    failed = world.call("fast")

    assert refused.status_code == 429
    assert 1 <= int(refused.headers["retry-after"]) <= 2
    assert failed is not None
    assert failed.code() == grpc.StatusCode.UNAVAILABLE
    trailers = {item.key: item.value for item in failed.trailing_metadata() or ()}
    info = error_details_pb2.RetryInfo.FromString(trailers["google.rpc.retryinfo-bin"])
    assert 1 <= info.retry_delay.seconds <= 2
    assert "grpc-status-details-bin" in trailers
    assert world.send("others", body(300, first=1000)).status_code == 200
    assert world.call("others", 300) is None
    assert world.metric('otel_obs_requests_limited_total{reason="spans"}') >= 2
    assert world.metric('otel_obs_requests_refused_total{error="RateLimited"}') >= 2
    soon(lambda: world.send("fast", body(first=9000)).status_code == 200)


def _policies(world: World) -> Policies:
    with psycopg.connect(conninfo(world.url)) as connection:
        return read_policies(connection)


def test_a_quota_that_is_used_up_leaves_out_says_so_and_keeps_nothing(world: World) -> None:
    world.gateway._standing.learn(_policies(world))
    assert world.send("full", body(3)).json() == {}

    refused = world.send("full", body(2, first=50)).json()["partialSuccess"]

    assert int(refused["rejectedSpans"]) == 2
    assert "4000 bytes a day is used up until 00:00 UTC" in refused["errorMessage"]
    assert world.call("full", 5) is None, "nobody is to send it again"
    assert world.rows("SELECT count(*) FROM event_logs WHERE organization_id = 'full'") == [(3,)]
    assert world.rows("SELECT count(*) FROM quarantine WHERE organization_id = 'full'") == [(0,)]
    assert world.metric('otel_obs_records_dropped_total{reason="quota"}') == 7
    soon(lambda: world.rows("SELECT sum(dropped) FROM tenant_usage WHERE organization_id = 'full'") == [(7,)])
    with httpx.Client(base_url=world.api, headers={"x-api-key": world.held["full"]}) as client:
        for page in ("/", "/settings"):
            assert "Not everything is stored" in client.get(page).text
    with httpx.Client(base_url=world.api, headers={"x-api-key": world.held["others"]}) as client:
        assert "Not everything is stored" not in client.get("/").text
    done = inside("org", "set", "full", "--max-bytes-per-day", "0", "--database-url", world.url, "--json")
    assert json.loads(done.stdout)["max_bytes_per_day"] == 0
    soon(lambda: world.send("full", body(first=70)).json() == {})


def test_what_a_plan_no_longer_keeps_and_what_a_deleted_workspace_had_is_not_stored(
    connection: psycopg.Connection,
) -> None:
    today = datetime(2026, 11, 20, tzinfo=timezone.utc).date()
    connection.execute("INSERT INTO organizations (id, plan) VALUES ('acme', 'free')")
    connection.execute("INSERT INTO workspaces (organization_id, id) VALUES ('acme', 'blue'), ('acme', 'red')")
    for day, workspace, size in (("2026-11-20", "blue", 1), ("2026-11-20", "red", 20), ("2026-08-22", "red", 300),
                                 ("2026-08-21", "red", 4000)):  # fmt: skip
        for _ in range(2):
            add_usage(connection, [("acme", day, workspace, 1, size, 0)])  # type: ignore[list-item]

    before = read_usage(connection, ["acme"], today)["acme"]
    connection.execute("DELETE FROM workspaces WHERE id = 'red'")
    after = read_usage(connection, ["acme"], today)["acme"]

    assert (before.bytes_today, before.stored_bytes) == (42, 642)
    assert (after.bytes_today, after.stored_bytes) == (2, 2)


def test_guessing_is_limited_and_noted_and_locks_nobody_out(world: World) -> None:
    held = world.held["guessed"]
    wrong = held[:25] + GUESS[25:]
    key_id = held.split("_")[1]
    guesses = [wrong, GUESS, "nonsense", *(keys.new_key()[0] for _ in range(AT_ONCE))]
    told = [
        world.send(guess, b"{}", **{"x-forwarded-for": f"192.0.2.{number}"}) for number, guess in enumerate(guesses)
    ]

    assert {answer.status_code for answer in told} == {401}
    assert "Too many" not in told[0].text
    assert "Too many" in told[-1].text, "a header that anybody can send is not believed"
    assert world.send("guessed", body()).status_code == 200
    assert world.call("guessed") is None
    failed = world.call(GUESS)
    assert failed is not None
    assert failed.code() == grpc.StatusCode.UNAUTHENTICATED
    assert "Too many" in (failed.details() or "")
    for _ in range(AT_ONCE + 1):
        world.send(_with_checksum(held), b"{}")
    assert world.send("guessed", body()).status_code == 200
    soon(lambda: len(world.rows("SELECT 1 FROM audit_log WHERE action = 'keys.guessed'")) >= 2)
    noted = world.rows("SELECT subject, organization_id, after->>'by' FROM audit_log WHERE action = 'keys.guessed'")
    assert sorted(noted) == sorted([("127.0.0.1", None, "address"), (key_id, "guessed", "key")])
    with psycopg.connect(conninfo(world.url)) as connection:
        assert audit.first_bad(connection) is None


def _with_checksum(held: str) -> str:
    """Return a key of the same id with another secret, as a guesser would make it."""
    key_id, secret = held.split("_")[1], "0" * 43
    return f"oo_{key_id}_{secret}{keys._checksum(key_id, secret)}"


def test_guessing_is_limited_where_people_sign_in_and_over_the_api(world: World) -> None:
    with httpx.Client(base_url=world.api) as client:
        page = client.get("/sign-in").text
        token = page.partition('name="form_token" value="')[2].partition('"')[0]

        def sign_in(key: str) -> int:
            fields = {"form_token": token, "key": key}
            return client.post("/sign-in", data=fields, headers={"origin": world.api}).status_code

        told = [sign_in(keys.new_key()[0]) for _ in range(AT_ONCE + 2)]

        assert told[:AT_ONCE] == [401] * AT_ONCE
        assert told[-1] == 429
        assert client.get("/api/v1/costs", headers={"x-api-key": GUESS}).status_code == 429
        assert sign_in(world.held["guessed"]) == 303
