"""OTLP over real sockets: what is answered to good, bad and hostile requests."""

from __future__ import annotations

import gzip
import http.client
import json
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_obs.errors import ConfigurationError, ObsError, StorageUnavailableError
from otel_obs.model import Decoded
from otel_obs.receiver.export import Outcome, Sent
from otel_obs.receiver.grpc import GrpcReceiver
from otel_obs.receiver.http import HttpReceiver
from otel_obs.tenancy import Sender

LIMIT = 64 * 1024
PROTOBUF = {"content-type": "application/x-protobuf"}
JSON = {"content-type": "application/json"}
TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
METRICS = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"


@dataclass
class Backend:
    """Takes what was decoded, and answers as it was told to."""

    requests: list[tuple[Decoded, Sender]] = field(default_factory=list)
    outcome: Outcome = field(default_factory=Outcome)
    errors: list[Exception] = field(default_factory=list)

    def export(self, decoded: Decoded, sent: Sent) -> Outcome:
        if self.errors:
            raise self.errors.pop(0)
        self.requests.append((decoded, sent.sender))
        return self.outcome


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def as_status(self) -> Status:
        return Status.FromString(self.body)


@pytest.fixture
def backend() -> Backend:
    return Backend()


@pytest.fixture
def http_port(backend: Backend) -> Iterator[int]:
    receiver = HttpReceiver(backend.export, "127.0.0.1:0", max_request_bytes=LIMIT)
    yield receiver.start()
    receiver.stop(1)


@pytest.fixture
def grpc_port(backend: Backend) -> Iterator[int]:
    receiver = GrpcReceiver(backend.export, "127.0.0.1:0", max_request_bytes=LIMIT)
    yield receiver.start()
    receiver.stop(1)


def ask(port: int, path: str, body: bytes, headers: dict[str, str], method: str = "POST") -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return Answer(response.status, {key.lower(): value for key, value in response.getheaders()}, response.read())
    finally:
        connection.close()


def trailers_of(error: Any) -> dict[str, Any]:
    return dict(error.trailing_metadata() or ())


def body_of(count: int = 1, padding: int = 0) -> bytes:
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for number in range(count):
        span = scope.spans.add(trace_id=b"\x01" * 16, span_id=number.to_bytes(8, "big", signed=False) or b"", name="x")
        span.span_id = (number + 1).to_bytes(8, "big")
        span.name = "x" * padding
    return request.SerializeToString()


@pytest.fixture(scope="module")
def spans() -> list[ReadableSpan]:
    exported = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exported))
    with provider.get_tracer("t").start_as_current_span("one"):
        pass
    return list(exported.get_finished_spans())


def test_the_exporters_of_the_sdk_are_understood(
    backend: Backend, http_port: int, grpc_port: int, spans: list[ReadableSpan]
) -> None:
    over_http = HttpExporter(endpoint=f"http://127.0.0.1:{http_port}/v1/traces", compression=None)
    over_grpc = GrpcExporter(endpoint=f"127.0.0.1:{grpc_port}", insecure=True, compression=grpc.Compression.Gzip)

    results = [over_http.export(spans), over_grpc.export(spans)]
    over_http.shutdown()  # type: ignore[no-untyped-call]
    over_grpc.shutdown()

    assert results == [SpanExportResult.SUCCESS] * 2
    assert [decoded.spans[0].name for decoded, _ in backend.requests] == ["one", "one"]


def test_the_grpc_exporter_comes_again_when_it_is_told_to(
    backend: Backend, grpc_port: int, spans: list[ReadableSpan]
) -> None:
    backend.errors = [StorageUnavailableError()]
    exporter = GrpcExporter(endpoint=f"127.0.0.1:{grpc_port}", insecure=True)

    result = exporter.export(spans)
    exporter.shutdown()

    assert result == SpanExportResult.SUCCESS
    assert len(backend.requests) == 1


def all_errors() -> list[type[ObsError]]:
    return sorted(ObsError.__subclasses__(), key=lambda error: error.__name__)


@pytest.mark.parametrize("error", all_errors(), ids=lambda error: error.__name__)
def test_a_client_over_http_retries_exactly_what_may_succeed_later(
    error: type[ObsError], backend: Backend, http_port: int
) -> None:
    backend.errors = [error("why")]

    answer = ask(http_port, "/v1/traces", body_of(), PROTOBUF)

    assert (answer.status in {429, 502, 503, 504}) == error.retryable
    assert answer.status >= 400
    assert answer.as_status.message == "why"
    assert ("retry-after" in answer.headers) == error.retryable


@pytest.mark.parametrize("error", all_errors(), ids=lambda error: error.__name__)
def test_a_client_over_grpc_retries_exactly_what_may_succeed_later(
    error: type[ObsError], backend: Backend, grpc_port: int
) -> None:
    backend.errors = [error("why")]

    with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel, pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary(TRACES, None, None)(body_of(), timeout=10)

    trailers = trailers_of(refused.value)
    assert (refused.value.code() == grpc.StatusCode.UNAVAILABLE) == error.retryable
    assert refused.value.details() == "why"
    assert Status.FromString(trailers["grpc-status-details-bin"]).message == "why"
    if error.retryable:
        assert 1 <= RetryInfo.FromString(trailers["google.rpc.retryinfo-bin"]).retry_delay.seconds <= 2


def test_what_is_not_an_error_of_ours_is_told_without_its_content(backend: Backend, http_port: int) -> None:
    backend.errors = [RuntimeError("a secret prompt")]

    answer = ask(http_port, "/v1/traces", body_of(), PROTOBUF)

    assert (answer.status, answer.as_status.message) == (500, "internal error")


@pytest.mark.parametrize("body", [b"\xff" * 50, b"\x0a\x05hello"], ids=["noise", "cut off"])
def test_a_malformed_message_is_the_clients_mistake(body: bytes, http_port: int, grpc_port: int) -> None:
    answer = ask(http_port, "/v1/traces", body, PROTOBUF)
    with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel, pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary(TRACES, None, None)(body, timeout=10)

    assert (answer.status, answer.as_status.code) == (400, 3)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/v1/traces", ExportTraceServiceResponse),
        ("/v1/logs", ExportLogsServiceResponse),
        ("/v1/metrics", ExportMetricsServiceResponse),
    ],
)
def test_an_empty_protobuf_message_is_a_success(path: str, kind: Any, http_port: int) -> None:
    answer = ask(http_port, path, b"", PROTOBUF)

    assert answer.status == 200
    assert answer.headers["content-type"] == "application/x-protobuf"
    kind.FromString(answer.body)


@pytest.mark.parametrize(("body", "status"), [(b"", 400), (b"{}", 200), (b'{"resourceSpans":[]}', 200), (b"{", 400)])
def test_json_is_answered_in_json(body: bytes, status: int, http_port: int) -> None:
    answer = ask(http_port, "/v1/traces", body, JSON)

    assert answer.status == status
    assert answer.headers["content-type"] == "application/json"
    assert json.loads(answer.body) == {} or json.loads(answer.body)["code"] == 3


def test_rejected_spans_are_told_in_a_success(backend: Backend, http_port: int, grpc_port: int) -> None:
    backend.outcome = Outcome(3, "why")

    in_protobuf = ask(http_port, "/v1/traces", body_of(), PROTOBUF)
    in_json = ask(http_port, "/v1/traces", b"{}", JSON)
    with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
        by_grpc = channel.unary_unary(TRACES, None, None)(body_of(), timeout=10)

    for answer in (in_protobuf.body, by_grpc):
        partial = ExportTraceServiceResponse.FromString(answer).partial_success
        assert (partial.rejected_spans, partial.error_message) == (3, "why")
    assert json.loads(in_json.body) == {"partialSuccess": {"rejectedSpans": "3", "errorMessage": "why"}}


def test_metrics_are_a_success_of_which_nothing_is_stored(backend: Backend, http_port: int, grpc_port: int) -> None:
    request = ExportMetricsServiceRequest()
    metrics = request.resource_metrics.add().scope_metrics.add().metrics
    metrics.add(name="a").sum.data_points.add()
    gauge = metrics.add(name="b").gauge
    gauge.data_points.add()
    gauge.data_points.add()

    over_http = ask(http_port, "/v1/metrics", request.SerializeToString(), PROTOBUF)
    with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
        over_grpc = channel.unary_unary(METRICS, None, None)(request.SerializeToString(), timeout=10)

    for answer in (over_http.body, over_grpc):
        partial = ExportMetricsServiceResponse.FromString(answer).partial_success
        assert (partial.rejected_data_points, partial.error_message) == (3, "metrics are not stored")
    assert backend.requests == []


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "application/grpc", "application/json; charset=latin-1", "application"],
)
def test_other_content_types_are_refused(content_type: str, http_port: int) -> None:
    assert ask(http_port, "/v1/traces", b"{}", {"content-type": content_type} if content_type else {}).status == 415


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/json ; charset=UTF-8"]
)
def test_content_types_are_read_as_http_writes_them(content_type: str, http_port: int) -> None:
    assert ask(http_port, "/v1/traces", b"{}", {"content-type": content_type}).status == 200


@pytest.mark.parametrize("encoding", ["br", "gzip, gzip", "zstd"])
def test_other_content_encodings_are_refused(encoding: str, http_port: int) -> None:
    assert ask(http_port, "/v1/traces", b"", {**PROTOBUF, "content-encoding": encoding}).status == 415


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("identity", body_of()),
        ("gzip", gzip.compress(body_of())),
        ("gzip", gzip.compress(body_of()[:20]) + gzip.compress(body_of()[20:])),
        ("deflate", zlib.compress(body_of())),
    ],
    ids=["identity", "gzip", "two members", "deflate"],
)
def test_compressed_bodies_are_read_whole(encoding: str, body: bytes, backend: Backend, http_port: int) -> None:
    answer = ask(http_port, "/v1/traces", body, {**PROTOBUF, "content-encoding": encoding})

    assert answer.status == 200
    assert len(backend.requests[0][0].spans) == 1


@pytest.mark.parametrize(
    "body",
    [gzip.compress(body_of())[:-5], b"no gzip at all", gzip.compress(body_of()) + b"garbage", b""],
    ids=["cut off", "not gzip", "something after it", "nothing"],
)
def test_broken_compression_is_the_clients_mistake(body: bytes, http_port: int) -> None:
    assert ask(http_port, "/v1/traces", body, {**PROTOBUF, "content-encoding": "gzip"}).status == 400


def test_a_body_above_the_limit_is_refused(http_port: int, grpc_port: int) -> None:
    large = body_of(padding=LIMIT + 1)

    answer = ask(http_port, "/v1/traces", large, PROTOBUF)
    with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel, pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary(TRACES, None, None)(large, timeout=10)

    assert (answer.status, answer.headers["connection"]) == (413, "close")
    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "google.rpc.retryinfo-bin" not in trailers_of(refused.value)


def test_a_bomb_is_refused_before_it_goes_off(backend: Backend, http_port: int) -> None:
    bomb = gzip.compress(bytes(200 * 1024 * 1024), compresslevel=1)[:LIMIT]

    answer = ask(http_port, "/v1/traces", bomb, {**PROTOBUF, "content-encoding": "gzip"})

    assert answer.status == 413
    assert backend.requests == []


def test_a_body_that_never_ends_is_refused_at_the_limit(http_port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", http_port, timeout=20)

    def endless() -> Iterator[bytes]:
        while True:
            yield bytes(16 * 1024)

    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        connection.request("POST", "/v1/traces", endless(), PROTOBUF, encode_chunked=True)
    connection.close()
    assert ask(http_port, "/v1/traces", body_of(), PROTOBUF).status == 200


@pytest.mark.parametrize("method", ["GET", "PUT", "OPTIONS", "DELETE"])
def test_other_methods_are_not_allowed(method: str, http_port: int) -> None:
    answer = ask(http_port, "/v1/traces", b"", {}, method)

    assert (answer.status, answer.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize("path", ["/", "/v1/trace", "/v1/traces/", "/v1/traces/x", "/../etc/passwd"])
def test_other_paths_are_not_there(path: str, http_port: int) -> None:
    assert ask(http_port, path, b"", PROTOBUF).status == 404


def test_a_header_names_the_workspace(backend: Backend, http_port: int, grpc_port: int) -> None:
    ask(http_port, "/v1/traces", body_of(), {**PROTOBUF, "X-Otel-Obs-Workspace": "w"})
    with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
        channel.unary_unary(TRACES, None, None)(body_of(), timeout=10, metadata=(("x-otel-obs-workspace", "w"),))

    assert [sender.workspace_id for _, sender in backend.requests] == ["w", "w"]


def test_a_header_that_is_no_id_is_refused(backend: Backend, http_port: int) -> None:
    answer = ask(http_port, "/v1/traces", body_of(), {**PROTOBUF, "X-Otel-Obs-Workspace": "w" * 201})

    assert answer.status == 400
    assert backend.requests == []


def test_a_header_too_large_is_refused_by_the_server(http_port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", http_port, timeout=20)
    try:
        connection.request("POST", "/v1/traces", b"", {**PROTOBUF, "x-large": "x" * 200_000})
        assert connection.getresponse().status in {400, 431}
    finally:
        connection.close()


def test_an_address_in_use_is_told() -> None:
    backend = Backend()
    first = HttpReceiver(backend.export, "127.0.0.1:0", max_request_bytes=LIMIT)
    port = first.start()
    try:
        with pytest.raises(ConfigurationError, match=str(port)):
            HttpReceiver(backend.export, f"127.0.0.1:{port}", max_request_bytes=LIMIT).start()
        with pytest.raises(ConfigurationError, match=str(port)):
            GrpcReceiver(backend.export, f"127.0.0.1:{port}", max_request_bytes=LIMIT).start()
    finally:
        first.stop(1)


def test_what_is_under_way_is_finished_before_the_receivers_stop(backend: Backend) -> None:
    entered, leave = threading.Event(), threading.Event()

    def slow(decoded: Decoded, sent: Sent) -> Outcome:
        entered.set()
        assert leave.wait(10)
        return backend.export(decoded, sent)

    receiver = HttpReceiver(slow, "127.0.0.1:0", max_request_bytes=LIMIT)
    port = receiver.start()
    answers: list[Answer] = []
    client = threading.Thread(target=lambda: answers.append(ask(port, "/v1/traces", body_of(), PROTOBUF)))
    client.start()
    assert entered.wait(10)

    stopping = threading.Thread(target=receiver.stop, args=(10,))
    stopping.start()
    time.sleep(0)
    leave.set()
    stopping.join()
    client.join()

    assert [answer.status for answer in answers] == [200]
