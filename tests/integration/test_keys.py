"""API keys over real gRPC, HTTP and PostgreSQL: who gets in, until when, and what holds while the keys are away."""

from __future__ import annotations

import http.client
import json
import re
import select
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import grpc
import psycopg
import pytest
from click.testing import CliRunner, Result
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from otel_obs.cli.keys import keys as command
from otel_obs.errors import ConfigurationError
from otel_obs.postgres import audit
from otel_obs.postgres import keys as stored
from otel_obs.postgres.keys import PostgresKeys, new_key
from otel_obs.postgres.pool import conninfo, open_pool
from otel_obs.server import Gateway, Listening
from otel_obs.settings import Settings
from tests.builders import MS, START_NS
from tests.folders import files
from tests.waiting import until

TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
PROTOBUF = {"content-type": "application/x-protobuf"}
WAYS = ("http", "grpc")
MIB = 1024 * 1024
LIMIT = 4 * MIB
NOW = datetime(2026, 5, 4, 3, 2, 1, tzinfo=timezone.utc)
SCANNER = re.compile(r"\boo_[0-9a-z]{16}_[0-9A-Za-z]{49}\b")


@dataclass(frozen=True)
class Answer:
    """What a sender is told, in words of gRPC whichever way it went."""

    code: int
    message: str
    headers: Mapping[str, Any] = field(default_factory=dict)
    body: bytes = b""


OK, DENIED, UNAVAILABLE, NOBODY = 0, 7, 14, 16
CODES = {200: OK, 401: NOBODY, 403: DENIED, 503: UNAVAILABLE}


@dataclass(frozen=True)
class Running:
    """A gateway that asks for keys, and the database behind it."""

    gateway: Gateway
    listening: Listening
    connection: psycopg.Connection

    def key(self, organization: str = "acme", workspace: str | None = None, *scopes: str, **more: Any) -> str:
        return stored.create(
            self.connection,
            organization_id=organization,
            workspace_id=workspace,
            scopes=scopes or ("ingest",),
            now=more.pop("now", NOW),
            **more,
        )

    def ask(self, way: str, headers: Mapping[str, str] | None = None, body: bytes | None = None) -> Answer:
        """Send spans, and return the answer."""
        content = a_request() if body is None else body
        if way == "http":
            return self.post(content, {**PROTOBUF, **(headers or {})})
        with grpc.insecure_channel(_reachable(self.listening.grpc)) as channel:
            try:
                metadata = tuple((headers or {}).items())
                found = channel.unary_unary(TRACES, None, None)(content, timeout=20, metadata=metadata)
            except grpc.RpcError as error:
                told: Any = error
                return Answer(told.code().value[0], told.details() or "", dict(told.trailing_metadata() or ()))
        return Answer(OK, "", body=found)

    def post(self, content: bytes, headers: Mapping[str, str]) -> Answer:
        connection = http.client.HTTPConnection(_reachable(self.listening.http), timeout=20)
        try:
            connection.request("POST", "/v1/traces", content, dict(headers))
            response = connection.getresponse()
            body = response.read()
            found = {name.lower(): value for name, value in response.getheaders()}
        finally:
            connection.close()
        if response.status == 200:
            return Answer(OK, "", found, body)
        is_json = found["content-type"] == "application/json"
        message = json.loads(body)["message"] if is_json else Status.FromString(body).message
        return Answer(CODES[response.status], message, found, body)

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(_reachable(self.listening.http), timeout=20)
        try:
            connection.request("GET", path, headers=dict(headers or {}))
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def spans(self) -> set[tuple[str, str]]:
        return set(self.connection.execute("SELECT organization_id, workspace_id FROM event_logs").fetchall())


def _reachable(endpoint: str) -> str:
    return endpoint.replace("0.0.0.0", "127.0.0.1")  # noqa: S104


@contextmanager
def running(database: str, url: str | None = None, host: str = "127.0.0.1", **options: str) -> Iterator[Running]:
    """Run a gateway that reaches *database* by *url*."""
    settings = Settings.from_env(
        {},
        {
            "GRPC_ENDPOINT": f"{host}:0", "HTTP_ENDPOINT": f"{host}:0", "AUTH": "keys",
            "MAX_REQUEST_BYTES": str(LIMIT), **options,
        },
    )  # fmt: skip
    gateway = Gateway(settings, url or database)
    try:
        listening = gateway.start()
        with psycopg.connect(conninfo(database), autocommit=True) as connection:
            yield Running(gateway, listening, connection)
    finally:
        gateway.stop()


@pytest.fixture
def gateway(database: str) -> Iterator[Running]:
    with running(database) as found:
        yield found


def a_request(attributes: Mapping[str, str] | None = None, padding: int = 0) -> bytes:
    request = ExportTraceServiceRequest()
    request.resource_spans.add().scope_spans.add().spans.add(
        trace_id=b"\x01" * 16,
        span_id=b"\x02" * 8,
        name="x" * padding or "a span",
        start_time_unix_nano=START_NS,
        end_time_unix_nano=START_NS + MS,
        attributes=[KeyValue(key=key, value=AnyValue(string_value=value)) for key, value in (attributes or {}).items()],
    )
    return request.SerializeToString()


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


class Proxy:
    """Stands between a gateway and PostgreSQL, and cuts the wire when it is told to."""

    def __init__(self, database: str) -> None:
        given = conninfo_to_dict(database)
        host, port = str(given.get("host") or "127.0.0.1"), int(given.get("port") or 5432)
        self._target: Any = f"{host}/.s.PGSQL.{port}" if host.startswith("/") else (host, port)
        self._family = socket.AF_UNIX if host.startswith("/") else socket.AF_INET
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self.is_cut = False
        self.url = make_conninfo(database, host="127.0.0.1", port=self._listener.getsockname()[1], sslmode="disable")
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.is_cut:
                    client.close()
                    continue
                server = socket.socket(self._family)
                server.connect(self._target)
                self._open |= {client, server}
                threading.Thread(target=self._pump, args=(client, server), daemon=True).start()

    @staticmethod
    def _pump(client: socket.socket, server: socket.socket) -> None:
        with client, server, suppress(OSError, ValueError):
            while True:
                for readable in select.select([client, server], [], [])[0]:
                    data = readable.recv(65536)
                    if not data:
                        return
                    (server if readable is client else client).sendall(data)

    def cut(self) -> None:
        self.is_cut = True
        for one in self._open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()
        self.cut()


@pytest.fixture
def proxy(database: str) -> Iterator[Proxy]:
    found = Proxy(database)
    yield found
    found.close()


@pytest.fixture(scope="module")
def spans() -> list[ReadableSpan]:
    exported = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exported))
    with provider.get_tracer("t").start_as_current_span("one"):
        pass
    return list(exported.get_finished_spans())


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("header", ["authorization", "x-api-key"])
def test_the_exporters_of_the_sdk_get_in_with_a_key(
    header: str, way: str, gateway: Running, spans: list[ReadableSpan], monkeypatch: pytest.MonkeyPatch
) -> None:
    key = gateway.key()
    value = f"Bearer%20{key}" if header == "authorization" else key
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"{header}={value}")
    exporter: Any = (
        HttpExporter(endpoint=f"http://{gateway.listening.http}/v1/traces")
        if way == "http"
        else GrpcExporter(endpoint=gateway.listening.grpc, insecure=True)
    )

    result = exporter.export(spans)
    exporter.shutdown()

    assert result == SpanExportResult.SUCCESS
    assert gateway.spans() == {("acme", "default")}


@pytest.mark.parametrize("way", WAYS)
def test_the_organization_of_the_key_holds_whatever_the_span_says(way: str, gateway: Running) -> None:
    body = a_request({"otel_obs.organization.id": "another", "otel_obs.workspace.id": "w"})

    answer = gateway.ask(way, bearer(gateway.key()), body)

    assert answer.code == OK
    assert gateway.spans() == {("acme", "w")}
    assert gateway.connection.execute("SELECT id FROM organizations").fetchall() == [("acme",)]
    assert gateway.connection.execute("SELECT context->'flags' FROM event_logs").fetchall() == [
        (["organization_ignored"],)
    ]


@pytest.mark.parametrize("way", WAYS)
def test_a_key_of_a_workspace_writes_there_and_nowhere_else(way: str, gateway: Running) -> None:
    key = gateway.key("acme", "bound")

    allowed = gateway.ask(way, {**bearer(key), "x-otel-obs-workspace": "bound"})
    refused = gateway.ask(way, bearer(key), a_request({"otel_obs.workspace.id": "another"}))

    told = ExportTraceServiceResponse.FromString(refused.body).partial_success
    assert (allowed.code, allowed.body) == (OK, b"")
    assert told.rejected_spans == 1
    assert "workspace_not_allowed" in told.error_message
    assert gateway.spans() == {("acme", "bound")}
    noted = "SELECT organization_id, actor, subject FROM audit_log WHERE action = 'ingest.refuse'"
    gateway.ask(way, bearer(key), a_request({"otel_obs.workspace.id": "another"}))
    until(lambda: gateway.connection.execute(noted).fetchall() != [])
    assert gateway.connection.execute(noted).fetchall() == [
        ("acme", f"key:{key.split('_')[1]}", "workspace_not_allowed")
    ]


def unknown(_: Running) -> str:
    return new_key()[0]


def with_a_wrong_secret(running: Running) -> str:
    right, made = running.key(), new_key()
    running.connection.execute(
        "UPDATE api_keys SET id = %s WHERE id = %s", (made[1].id, right.split("_")[1])
    )  # as if the hash were another key's
    return made[0]


def revoked(running: Running) -> str:
    key = running.key()
    stored.revoke(running.connection, key.split("_")[1], now=NOW)
    return key


def expired(running: Running) -> str:
    return running.key(expires_at=NOW + timedelta(seconds=1))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", [None, unknown, with_a_wrong_secret, revoked, expired])
def test_who_has_no_valid_key_is_nobody(kind: Callable[[Running], str] | None, way: str, gateway: Running) -> None:
    answer = gateway.ask(way, bearer(kind(gateway)) if kind else None)

    assert answer.code == NOBODY
    assert gateway.spans() == set()
    if way == "http":
        assert (answer.headers["www-authenticate"], answer.headers["connection"]) == ("Bearer", "close")
        assert Status.FromString(answer.body).code == NOBODY
    else:
        assert Status.FromString(answer.headers["grpc-status-details-bin"]).code == NOBODY


def test_a_sender_of_json_is_refused_in_json(gateway: Running) -> None:
    answer = gateway.post(b"{}", {"content-type": "application/json"})

    assert json.loads(answer.body)["code"] == NOBODY
    assert (answer.code, answer.headers["content-type"]) == (NOBODY, "application/json")


@pytest.mark.parametrize("way", WAYS)
def test_a_key_without_the_scope_may_not_write(way: str, gateway: Running) -> None:
    answer = gateway.ask(way, bearer(gateway.key("acme", None, "read", "flags", "admin")))

    assert answer.code == DENIED
    assert "ingest" in answer.message


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("workspace", [None, "bound"])
def test_keys_of_a_deleted_organization_are_denied_also_when_it_is_set_again(
    workspace: str | None, way: str, gateway: Running
) -> None:
    key = gateway.key("acme", workspace, name="of acme")

    gateway.connection.execute("DELETE FROM organizations WHERE id = 'acme'")
    deleted = gateway.ask(way, bearer(key))
    gateway.connection.execute("INSERT INTO organizations (id) VALUES ('acme')")
    again = gateway.ask(way, bearer(key))

    assert (deleted.code, again.code) == (DENIED, DENIED)
    assert "organization" in deleted.message
    kept = gateway.connection.execute("SELECT organization_id, workspace_id, name, is_bound FROM api_keys").fetchall()
    assert kept == [(None, None, "", workspace is not None)]


@pytest.mark.parametrize("way", WAYS)
def test_a_key_of_a_deleted_workspace_opens_no_other(way: str, gateway: Running) -> None:
    key = gateway.key("acme", "bound")

    gateway.connection.execute("DELETE FROM workspaces WHERE id = 'bound'")

    answer = gateway.ask(way, bearer(key))
    assert answer.code == DENIED
    assert "workspace" in answer.message


def test_over_grpc_nobody_is_refused_before_a_message_is_received(gateway: Running) -> None:
    may_send = threading.Event()

    def messages() -> Iterator[bytes]:
        may_send.wait(20)
        yield a_request()

    with grpc.insecure_channel(gateway.listening.grpc) as channel:
        with pytest.raises(grpc.RpcError) as refused:
            channel.stream_unary(TRACES, None, None)(messages(), timeout=10)
        may_send.set()
    too_large = gateway.ask("grpc", body=a_request(padding=2 * LIMIT))
    with_a_key = gateway.ask("grpc", bearer(gateway.key()), a_request(padding=2 * LIMIT))

    told: Any = refused.value
    assert told.code() == grpc.StatusCode.UNAUTHENTICATED
    assert too_large.code == NOBODY
    assert with_a_key.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]


def test_over_http_nobody_is_refused_before_the_body_is_sent(gateway: Running) -> None:
    connection = http.client.HTTPConnection(gateway.listening.http, timeout=20)
    try:
        connection.putrequest("POST", "/v1/traces")
        for name, value in {**PROTOBUF, "content-length": str(LIMIT)}.items():
            connection.putheader(name, value)
        connection.endheaders()

        response = connection.getresponse()

        assert response.status == 401
    finally:
        connection.close()


def test_over_http_who_sends_a_large_body_without_a_key_gets_to_read_why(gateway: Running) -> None:
    answer = gateway.ask("http", body=a_request(padding=2 * LIMIT))

    assert (answer.code, answer.headers["connection"]) == (NOBODY, "close")


def test_a_refused_sender_that_never_stops_is_cut_off(gateway: Running) -> None:
    connection = http.client.HTTPConnection(gateway.listening.http, timeout=20)

    def endless() -> Iterator[bytes]:
        while True:
            yield bytes(64 * 1024)

    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        connection.request("POST", "/v1/traces", endless(), PROTOBUF, encode_chunked=True)
    connection.close()


@pytest.mark.parametrize("way", WAYS)
def test_a_malformed_message_with_a_key_is_the_clients_mistake(way: str, gateway: Running) -> None:
    key = gateway.key()
    if way == "http":
        headers = {**PROTOBUF, **bearer(key)}
        connection = http.client.HTTPConnection(gateway.listening.http, timeout=20)
        connection.request("POST", "/v1/traces", b"\xff" * 50, headers)
        assert connection.getresponse().status == 400
        connection.close()
    else:
        assert gateway.ask(way, bearer(key), b"\xff" * 50).code == grpc.StatusCode.INVALID_ARGUMENT.value[0]


def test_two_keys_hold_while_one_replaces_the_other(gateway: Running) -> None:
    first, second = gateway.key(), gateway.key()
    both = [gateway.ask("http", bearer(key)).code for key in (first, second)]

    stored.revoke(gateway.connection, first.split("_")[1], now=NOW)

    assert both == [OK, OK]
    until(lambda: gateway.ask("http", bearer(first)).code == NOBODY, within_s=30)
    assert gateway.ask("http", bearer(second)).code == OK


def test_while_the_database_is_away_known_keys_go_on_and_no_key_is_called_wrong(
    database: str, proxy: Proxy, tmp_path: Path
) -> None:
    with running(database, proxy.url, DATA_DIR=str(tmp_path)) as gateway:
        known, new = gateway.key(), gateway.key()
        assert [gateway.ask(way, bearer(known)).code for way in WAYS] == [OK, OK]

        proxy.cut()

        assert gateway.gateway.authenticator is not None
        principal = gateway.gateway.authenticator.authenticate([("x-api-key", known)], "ingest")
        assert principal.organization_id == "acme"
        for way in WAYS:
            assert gateway.ask(way, bearer(known)).code == OK
            for key in (new, new_key()[0]):
                answer = gateway.ask(way, bearer(key))
                assert answer.code == UNAVAILABLE, (way, answer)
                if way == "http":
                    assert 1 <= int(answer.headers["retry-after"]) <= 2
                else:
                    assert RetryInfo.FromString(answer.headers["google.rpc.retryinfo-bin"]).retry_delay.seconds >= 1
            assert gateway.ask(way).code == NOBODY
        kept = b"".join(path.read_bytes() for path in files(tmp_path, "*.spool"))
        assert known.split("_")[1].encode() in kept
        assert known.encode() not in kept
        assert known.split("_")[2].encode() not in kept

        proxy.is_cut = False

        until(lambda: gateway.ask("grpc", bearer(new)).code == OK)
        until(lambda: gateway.ask("http", bearer(new_key()[0])).code == NOBODY)


def test_a_gateway_that_starts_without_its_database_tells_senders_to_come_again(database: str, proxy: Proxy) -> None:
    proxy.cut()
    with running(database, proxy.url) as gateway:
        key = gateway.key()
        assert gateway.ask("http", bearer(key)).code == UNAVAILABLE

        proxy.is_cut = False

        until(lambda: gateway.ask("http", bearer(key)).code == OK)


def test_the_time_of_use_is_written_once_a_minute(database: str, connection: psycopg.Connection) -> None:
    key = stored.create(connection, organization_id="acme", workspace_id=None, scopes=["ingest"], now=NOW)
    key_id = key.split("_")[1]
    pool = open_pool(database)
    try:
        keys = PostgresKeys(pool)
        written = []
        for seconds in (0, 59, 60, 30):
            keys.touch({key_id: NOW + timedelta(seconds=seconds), "gone": NOW})
            (row,) = stored.listed(connection, key_id=key_id, limit=1)
            assert row.last_used_at is not None
            written.append((row.last_used_at - NOW).total_seconds())
    finally:
        pool.close(2.0)

    assert written == [0, 0, 60, 60]


def test_a_time_of_use_that_somebody_is_writing_is_left_to_them(database: str, connection: psycopg.Connection) -> None:
    key = stored.create(connection, organization_id="acme", workspace_id=None, scopes=["ingest"], now=NOW)
    key_id = key.split("_")[1]
    pool = open_pool(database)
    try:
        with connection.transaction():
            connection.execute("SELECT FROM api_keys FOR UPDATE")
            PostgresKeys(pool).touch({key_id: NOW})
    finally:
        pool.close(2.0)

    (row,) = stored.listed(connection, key_id=key_id, limit=1)
    assert row.last_used_at is None


def test_a_gateway_that_stops_writes_when_keys_were_used(database: str) -> None:
    with running(database) as gateway:
        key = gateway.key()
        gateway.ask("http", bearer(key))

    with psycopg.connect(conninfo(database)) as connection:
        (row,) = stored.listed(connection, limit=1)
    assert row.last_used_at is not None


def test_refusals_are_counted_and_no_key_is_anywhere_but_with_its_holder(
    gateway: Running, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    good, wrong = gateway.key(), new_key()[0]
    told = [
        gateway.ask(way, headers, body)
        for way in WAYS
        for headers in (bearer(good), bearer(wrong), {"x-api-key": wrong[:-1]}, {"x-api-key": good})
        for body in (a_request(), b"\xff")
        if way == "grpc" or body != b"\xff"
    ]
    stored.revoke(gateway.connection, good.split("_")[1], now=NOW)

    metrics = gateway.get("/metrics")[1].decode()
    rows = " ".join(
        str(row)
        for (table,) in gateway.connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'otel_obs'::regnamespace AND relkind IN ('r', 'p')"
        ).fetchall()
        for row in gateway.connection.execute(sql.SQL("SELECT t::text FROM {} AS t").format(sql.Identifier(table)))
    )
    assert re.search(r'otel_obs_requests_refused_total\{error="Unauthenticated"\} [1-9]', metrics)
    for key in (good, wrong):
        for place in (metrics, rows, caplog.text, str(told)):
            assert key.split("_")[2][:20] not in place


def test_health_is_open_and_metrics_are_on_loopback(gateway: Running) -> None:
    assert [gateway.get(path)[0] for path in ("/healthz", "/readyz", "/metrics")] == [200, 200, 200]


def test_metrics_ask_for_a_key_where_other_machines_can_read_them(database: str) -> None:
    with running(database, host="0.0.0.0", INSECURE="on") as gateway:  # noqa: S104
        by_scope = {scope: gateway.get("/metrics", bearer(gateway.key("acme", None, scope)))[0] for scope in
                    ("ingest", "read", "flags", "admin")}  # fmt: skip

        assert gateway.get("/metrics")[0] == 401
        assert by_scope == {"ingest": 403, "read": 200, "flags": 403, "admin": 200}
        assert [gateway.get(path)[0] for path in ("/healthz", "/readyz")] == [200, 200]
        assert gateway.ask("grpc", bearer(gateway.key())).code == OK


@pytest.mark.parametrize(
    ("endpoint", "auth", "expected"),
    [
        ("127.0.0.1:0", None, "off"), ("[::1]:0", None, "off"), ("0.0.0.0:0", None, "keys"),
        ("10.0.0.1:1", None, "keys"), ("127.0.0.1:0", "keys", "keys"), ("0.0.0.0:0", "off", "off"),
    ],
)  # fmt: skip
def test_keys_are_asked_for_unless_only_this_machine_can_send(endpoint: str, auth: str | None, expected: str) -> None:
    for name, other in (("GRPC_ENDPOINT", "HTTP_ENDPOINT"), ("HTTP_ENDPOINT", "GRPC_ENDPOINT")):
        settings = Settings.from_env({}, {name: endpoint, other: "127.0.0.1:0", "AUTH": auth})

        assert settings.auth == expected


@pytest.mark.parametrize(
    ("options", "told"),
    [({"AUTH": "off", "INSECURE": "on"}, "OTEL_OBS_AUTH"), ({}, "OTEL_OBS_INSECURE"), ({"AUTH": "keys"}, "INSECURE")],
)
@pytest.mark.parametrize("name", ["GRPC_ENDPOINT", "HTTP_ENDPOINT"])
def test_other_machines_are_not_served_without_keys_nor_unencrypted_by_accident(
    name: str, options: dict[str, str], told: str
) -> None:
    settings = Settings.from_env({}, {name: "0.0.0.0:0", **options})

    with pytest.raises(ConfigurationError, match=told):
        Gateway(settings, "postgresql://nobody@127.0.0.1:1/none")


@pytest.fixture
def run(database: str) -> Callable[..., Result]:
    def run(*arguments: str) -> Result:
        return CliRunner().invoke(command, [*arguments, "--database-url", database])

    return run


def test_the_command_prints_the_key_and_nothing_else_on_standard_output(
    run: Callable[..., Result], connection: psycopg.Connection
) -> None:
    done = run("create", "--org", "acme", "--scope", "ingest,read", "--scope", "read", "--name", "collector")

    key = done.stdout.strip()
    assert SCANNER.fullmatch(key)
    assert key not in done.stderr
    (row,) = stored.listed(connection, limit=10)
    assert (row.id, row.organization_id, row.scopes, row.name) == (
        key.split("_")[1], "acme", ["ingest", "read"], "collector",
    )  # fmt: skip


def test_the_command_answers_scripts_with_one_object(run: Callable[..., Result]) -> None:
    made = json.loads(
        run("create", "--org", "acme", "--workspace", "w", "--scope", "ingest", "--days", "30", "--json").stdout
    )

    assert SCANNER.fullmatch(made["key"])
    assert made["id"] == made["key"].split("_")[1]
    assert (made["organization_id"], made["workspace_id"], made["scopes"]) == ("acme", "w", ["ingest"])
    lasts = datetime.fromisoformat(made["expires_at"][:-1]) - datetime.fromisoformat(made["created_at"][:-1])
    assert (made["state"], lasts) == ("active", timedelta(days=30))


def test_lists_show_what_keys_allow_and_never_what_they_are(run: Callable[..., Result]) -> None:
    made = [json.loads(run("create", "--org", org, "--scope", "read", "--json").stdout) for org in ("a", "b", "b")]

    pages, cursor = [], None
    while True:
        page = json.loads(run("list", "--json", "--limit", "2", *(("--cursor", cursor) if cursor else ())).stdout)
        pages.append([item["id"] for item in page["items"]])
        cursor = page["next_cursor"]
        if cursor is None:
            break
    of_one = run("list", "--org", "b", "--json")

    assert pages == [[made[0]["id"], made[1]["id"]], [made[2]["id"]]]
    assert [item["id"] for item in json.loads(of_one.stdout)["items"]] == [made[1]["id"], made[2]["id"]]
    for said in (of_one.output, run("list").output):
        assert not SCANNER.search(said)
        assert "hash" not in said


def test_what_was_made_and_revoked_is_in_the_audit_log(
    run: Callable[..., Result], connection: psycopg.Connection
) -> None:
    made = json.loads(run("create", "--org", "acme", "--scope", "admin", "--why", "new", "--json").stdout)

    first = json.loads(run("revoke", made["id"], "--why", "leaked", "--json").stdout)
    again = json.loads(run("revoke", made["id"], "--json").stdout)

    entries = [entry for entry, _ in audit.entries(connection)]
    assert [(entry.action, entry.subject, entry.organization_id, entry.why) for entry in entries] == [
        ("keys.create", made["id"], "acme", "new"), ("keys.revoke", made["id"], "acme", "leaked"),
    ]  # fmt: skip
    assert entries[0].after == {
        "organization_id": "acme", "workspace_id": None, "scopes": ["admin"], "name": "", "expires_at": None,
        "is_operator": False,
    }  # fmt: skip
    assert first["state"] == "revoked"
    assert again["revoked_at"] == first["revoked_at"]
    assert audit.first_bad(connection) is None
    assert made["key"].split("_")[2] not in str(entries)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("create", "--org", "acme", "--scope", "everything"), "'everything' is none of"),
        (("create", "--org", "acme"), "--scope"),
        (("create", "--scope", "read"), "--org"),
        (("create", "--org", "a\nb", "--scope", "read"), "--org"),
        (("create", "--org", "acme", "--scope", "read", "--expires", "2020-01-01"), "past"),
        (("create", "--org", "acme", "--scope", "read", "--expires", "2120-01-01", "--days", "1"), "or --days"),
        (("list", "--cursor", "x"), "cursor"),
        (("revoke", new_key()[0]), "between the two underscores"),
    ],
    ids=["scope", "no scope", "no organization", "no id", "past", "two ends", "cursor", "a key for an id"],
)
def test_what_cannot_be_is_told(arguments: tuple[str, ...], told: str, run: Callable[..., Result]) -> None:
    done = run(*arguments)

    assert done.exit_code == 2
    assert told in done.output
    assert not SCANNER.search(done.output)


def test_an_id_of_no_key_is_told(run: Callable[..., Result]) -> None:
    assert run("revoke", "nothing").exit_code == 1


@pytest.mark.parametrize("workspace", [None, "w"])
def test_no_key_is_made_for_what_was_deleted(
    workspace: str | None, run: Callable[..., Result], connection: psycopg.Connection
) -> None:
    bound = ("--workspace", workspace) if workspace else ()
    before = run("create", "--org", "acme", *bound, "--scope", "read")
    table = "workspaces" if workspace else "organizations"
    connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))

    done = run("create", "--org", "acme", *bound, "--scope", "read")

    assert before.exit_code == 0
    assert isinstance(done.exception, ConfigurationError)
    assert [row.state(NOW) for row in stored.listed(connection, limit=10)] == ["deleted"]
