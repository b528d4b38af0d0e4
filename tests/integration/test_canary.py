"""A prompt that was sent with keys set is found nowhere in clear, whoever looks and however much is logged."""

from __future__ import annotations

import base64
import http.client
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from psycopg import sql
from typing_extensions import LiteralString

from otel_obs.exporter import PostgresSpanExporter
from otel_obs.processor import Limits, ReliableSpanProcessor
from otel_obs.settings import Settings
from otel_obs.web.server import ApiServer
from tests.folders import files
from tests.gateway_process import GatewayProcess
from tests.private_postgres import PrivatePostgres, private_postgres
from tests.waiting import until

CANARY = "canary7f3b91c4e5d8"
KEYS = "k1:" + base64.b64encode(b"1" * 32).decode()
TALKATIVE = {
    "logging_collector": "on", "log_directory": "log", "log_statement": "all", "log_min_duration_statement": "0",
    "log_min_messages": "info", "log_min_error_statement": "info", "log_error_verbosity": "verbose",
    "log_parameter_max_length": "-1", "log_parameter_max_length_on_error": "-1", "wal_level": "logical",
}  # fmt: skip
"""A server that logs all it can: parameters of statements as well."""
CONTENT = {
    "chat": {
        "gen_ai.input.messages",
        "gen_ai.output.messages",
        "gen_ai.system_instructions",
        "gen_ai.tool.definitions",
    },
    "invoke_agent": {"gen_ai.input.messages", "gen_ai.output.messages"},
    "execute_tool": {"gen_ai.tool.call.arguments", "gen_ai.tool.call.result"},
    "apply_guardrail": {"otel_obs.guardrail.flagged_reference"},
}
"""Where content can be, by operation."""
TABLES: LiteralString = """
    SELECT relname FROM pg_class WHERE relnamespace = 'otel_obs'::regnamespace AND relkind = 'r' ORDER BY relname
"""
START_NS = 1_795_000_000_000_000_000


def request(number: int) -> bytes:
    """Return a trace with content wherever it can be, and a span that is refused."""
    found = ExportTraceServiceRequest()
    scope = found.resource_spans.add().scope_spans.add()
    for position, (operation, names) in enumerate(CONTENT.items()):
        span = scope.spans.add(
            trace_id=number.to_bytes(16, "big"), span_id=(number * 10 + position).to_bytes(8, "big"), name=operation,
            start_time_unix_nano=START_NS, end_time_unix_nano=START_NS + 1000,
        )  # fmt: skip
        if position:
            span.parent_span_id = (number * 10).to_bytes(8, "big")
        attributes = dict.fromkeys(names, f"{CANARY} in a prompt of {number}")
        attributes |= {"gen_ai.operation.name": operation, "gen_ai.request.model": "gpt-4o-mini"}
        for name, value in attributes.items():
            span.attributes.add(key=name).value.string_value = value
        span.attributes.add(key="gen_ai.usage.input_tokens").value.int_value = 7
    bad = scope.spans.add(span_id=b"12345678", name="chat", start_time_unix_nano=START_NS)
    bad.attributes.add(key="gen_ai.input.messages").value.string_value = CANARY
    return found.SerializeToString()


def post(address: str, body: bytes) -> int:
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        connection.request("POST", "/v1/traces", body, {"content-type": "application/x-protobuf"})
        return connection.getresponse().status
    finally:
        connection.close()


def column(connection: psycopg.Connection, statement: LiteralString | sql.Composed) -> list[Any]:
    return [row[0] for row in connection.execute(statement).fetchall()]


def traces_of(*folders: Path) -> list[str]:
    """Return the files in which the canary is found: as it is, or in hex, as bytea is shown."""
    found = []
    for folder in folders:
        for path in [folder] if folder.is_file() else files(folder):
            try:
                data = path.read_bytes()
            except OSError:  # of a server that is at work
                continue
            if any(form in data for form in (CANARY.encode(), CANARY.encode().hex().encode())):
                found.append(str(path))
    return found


@pytest.fixture
def server() -> Iterator[PrivatePostgres]:
    with private_postgres(**TALKATIVE) as found:
        yield found


def test_a_canary_sent_through_the_gateway_is_found_nowhere(
    server: PrivatePostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONFAULTHANDLER", "1")
    gateway = GatewayProcess(server.url, tmp_path / "data", ENCRYPTION_KEYS=KEYS)
    gateway.start()
    try:
        gateway.ready()
        assert post(gateway.http, request(1)) == 200
        with server.connect() as connection:
            until(lambda: connection.execute("SELECT count(*) FROM unsettled_traces").fetchone() == (0,))
        server.kill()
        until(lambda: gateway.status("/readyz") == 503)
        assert post(gateway.http, request(2)) == 200
        assert gateway.metric("otel_obs_spool_bytes") > 0
        assert traces_of(tmp_path) == [], "neither on disk nor in logs while the database is away"

        server.start(**TALKATIVE)
        server.ready()
        gateway.until_drained()
        with server.connect() as connection:
            # Something stands in the way of one row: the server logs what it refuses.
            connection.execute(
                sql.SQL("ALTER TABLE prompt_similarity_logs ADD CHECK (trace_id <> {}) NOT VALID").format(f"{3:032x}")
            )
            assert post(gateway.http, request(3)) == 200
            until(lambda: connection.execute("SELECT count(*) FROM unsettled_traces").fetchone() == (0,))
            assert column(connection, "SELECT DISTINCT reason FROM quarantine ORDER BY reason") == [
                "storage_rejected", "trace_id:absent",
            ]  # fmt: skip
            assert column(connection, "SELECT count(*) FROM event_logs") == [11]
            assert column(connection, "SELECT count(*) FROM span_contents WHERE body_encrypted IS NULL") == [0]
            for table in column(connection, TABLES):
                text = str(column(connection, sql.SQL("SELECT t::text FROM {} AS t").format(sql.Identifier(table))))
                assert CANARY not in text, table
                assert CANARY.encode().hex() not in text, table
            connection.execute("CHECKPOINT")
        metrics = http.client.HTTPConnection(gateway.http, timeout=10)
        metrics.request("GET", "/metrics")
        assert CANARY not in metrics.getresponse().read().decode()
        metrics.close()
        crash(gateway)
    finally:
        gateway.kill()
        server.stop()

    assert traces_of(tmp_path, server.folder) == [], "tables, WAL, logs of PostgreSQL, of ours, what is left of a crash"
    logs = b"".join(path.read_bytes() for path in (server.folder / "cluster" / "log").iterdir())
    assert b"COPY" in logs
    assert b"violates check constraint" in logs, "it did log what fails"
    # It tells where each thread is, as far as it comes: the others run on while it does.
    assert b"Fatal Python error: Aborted" in gateway.log.read_bytes(), "and Python told that it crashed"


def crash(gateway: GatewayProcess) -> None:
    assert gateway.process is not None
    gateway.process.send_signal(signal.SIGABRT)
    gateway.process.wait(30)
    gateway.process = None


class Away(SpanExporter):
    """A destination that never takes anything."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        del spans
        return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        """Do nothing."""


def test_spans_that_an_application_keeps_on_disk_are_sealed_and_delivered_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_OBS_ENCRYPTION_KEYS", KEYS)
    provider = TracerProvider(shutdown_on_exit=False)
    first = ReliableSpanProcessor(Away(), spool=tmp_path, on_sigterm=False)
    provider.add_span_processor(first)
    provider.get_tracer("t").start_span("chat", attributes={"gen_ai.input.messages": CANARY}).end()
    assert first.flush(5).spooled == 1
    assert traces_of(tmp_path) == []
    first.shutdown()
    delivered: list[ReadableSpan] = []

    class Here(Away):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            delivered.extend(spans)
            return SpanExportResult.SUCCESS

    monkeypatch.setenv("OTEL_OBS_ENCRYPTION_KEYS", "other:" + base64.b64encode(b"2" * 32).decode())
    limits = Limits(schedule_delay_s=0.05)
    other = ReliableSpanProcessor(Here(), spool=tmp_path, on_sigterm=False, limits=limits)
    until(lambda: bool(files(tmp_path, "*.unreadable")), 20)
    assert other.counts.dropped == {"sealed_with_another_key": 1}
    other.shutdown()
    (kept,) = files(tmp_path, "*.unreadable")
    folder = kept.parent / "owner-back"
    folder.mkdir()
    kept.rename(folder / kept.name.removesuffix(".unreadable"))

    monkeypatch.setenv("OTEL_OBS_ENCRYPTION_KEYS", KEYS)
    again = ReliableSpanProcessor(Here(), spool=tmp_path, on_sigterm=False, limits=limits)
    until(lambda: bool(delivered), 20)
    again.shutdown()
    assert delivered[0].attributes is not None
    assert delivered[0].attributes["gen_ai.input.messages"] == CANARY


def test_keys_that_cannot_be_used_keep_spans_off_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_OBS_ENCRYPTION_KEYS", "too:short")
    provider = TracerProvider(shutdown_on_exit=False)
    processor = ReliableSpanProcessor(Away(), spool=tmp_path, on_sigterm=False)
    provider.add_span_processor(processor)
    provider.get_tracer("t").start_span("chat", attributes={"gen_ai.input.messages": CANARY}).end()

    result = processor.flush(1)

    assert (result.spooled, result.waiting) == (0, 1)
    assert traces_of(tmp_path) == []
    assert "spans are not kept on disk: OTEL_OBS_ENCRYPTION_KEYS" in caplog.text
    processor.shutdown()


def test_the_exporter_in_an_application_seals_what_the_api_opens(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_OBS_ENCRYPTION_KEYS", KEYS)
    exporter = PostgresSpanExporter(database)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    attributes: dict[str, str | int] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.input.messages": CANARY,
        "gen_ai.usage.input_tokens": 1,
    }
    provider.get_tracer("t").start_span("chat", attributes=attributes).end()
    exporter.shutdown()

    with psycopg.connect(database, options="-c search_path=otel_obs") as connection:
        rows = connection.execute("SELECT trace_id, event_id, body, body_encrypted FROM span_contents").fetchall()
    ((trace_id, event_id, body, sealed),) = rows
    assert body is None
    assert CANARY.encode() not in bytes(sealed)
    server = ApiServer(Settings.from_env(os.environ, {"API_ENDPOINT": "127.0.0.1:0"}), database)
    try:
        connection_ = http.client.HTTPConnection(server.start(), timeout=20)
        connection_.request("GET", f"/api/v1/traces/{trace_id}/events/{event_id}")
        assert CANARY in connection_.getresponse().read().decode()
        connection_.close()
    finally:
        server.stop()
