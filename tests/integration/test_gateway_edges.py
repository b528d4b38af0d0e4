"""A whole gateway on a real database: what becomes of odd, hostile and partly bad requests, on every way in."""

from __future__ import annotations

import hashlib
import http.client
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import grpc
import psycopg
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from psycopg import sql

from otel_obs.postgres.partitions import HOT_TABLES
from otel_obs.postgres.pool import conninfo
from otel_obs.server import Gateway, Listening
from otel_obs.settings import Settings
from tests.builders import MS, START_NS, chat
from tests.fix_postgres import new_database
from tests.otlp_json import as_json

WAYS = ("protobuf", "json", "grpc")
CANARY = "canary-of-a-prompt"
MIB = 1024 * 1024
Request = ExportTraceServiceRequest | ExportLogsServiceRequest


@dataclass(frozen=True)
class Answer:
    """What the sender was told of a request that was taken."""

    rejected: int
    message: str


@dataclass(frozen=True)
class Running:
    """A gateway, and the database behind it."""

    gateway: Gateway
    listening: Listening
    connection: psycopg.Connection
    counted: Mapping[str, float]
    """What its counters showed when the test began."""

    def send(self, request: Request, way: str = "protobuf", headers: Mapping[str, str] | None = None) -> Answer:
        """Send *request* and return the answer, which must be a success."""
        traces = isinstance(request, ExportTraceServiceRequest)
        kind = ExportTraceServiceResponse if traces else ExportLogsServiceResponse
        if way == "grpc":
            service = "trace.v1.TraceService" if traces else "logs.v1.LogsService"
            with grpc.insecure_channel(self.listening.grpc) as channel:
                export = channel.unary_unary(f"/opentelemetry.proto.collector.{service}/Export", None, None)
                metadata = tuple((headers or {}).items())
                return _answer(kind.FromString(export(request.SerializeToString(), timeout=30, metadata=metadata)))
        path = "/v1/traces" if traces else "/v1/logs"
        if way == "json":
            status, body = self.post(path, as_json(request), "application/json", headers)
            assert status == 200, body
            told = json.loads(body).get("partialSuccess", {})
            rejected = told.get("rejectedSpans" if traces else "rejectedLogRecords", 0)
            return Answer(int(rejected), told.get("errorMessage", ""))
        status, body = self.post(path, request.SerializeToString(), "application/x-protobuf", headers)
        assert status == 200, body
        return _answer(kind.FromString(body))

    def post(
        self, path: str, body: bytes, content_type: str, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        return self._ask("POST", path, body, {"content-type": content_type, **(headers or {})})

    def _ask(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self.listening.http, timeout=30)
        try:
            connection.request(method, path, body, dict(headers))
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def counters(self) -> dict[str, float]:
        """Return what ``/metrics`` shows of each counter, summed over its labels."""
        status, body = self._ask("GET", "/metrics", b"", {})
        assert status == 200
        found: dict[str, float] = {}
        for name, value in re.findall(r"^(\w+)_total(?:\{[^}]*\})? (\S+)$", body.decode(), re.MULTILINE):
            found[name] = found.get(name, 0) + float(value)
        return found

    def metric(self, name: str) -> float:
        """Return how much was added to the counter ``otel_obs_records_...`` since the test began."""
        name = f"otel_obs_records_{name}"
        return self.counters().get(name, 0) - self.counted.get(name, 0)

    def emptied(self) -> Running:
        """Return it without rows; of tenants and resources it knows that they are there."""
        self.gateway.settle_all()
        for table in ("unsettled_traces", "call_reports", "call_registry", "quarantine", *HOT_TABLES):
            self.connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))
        return replace(self, counted=self.counters())

    def rows(self, table: str, columns: str) -> list[tuple[Any, ...]]:
        query = sql.SQL("SELECT {} FROM {}").format(
            sql.SQL(", ").join(map(sql.Identifier, columns.split())), sql.Identifier(table)
        )
        return self.connection.execute(query).fetchall()

    def event(self, name: str = "a span") -> tuple[list[str], dict[str, Any]]:
        """Return flags and context of the only event of that name."""
        ((context,),) = self.connection.execute("SELECT context FROM event_logs WHERE name = %s", (name,)).fetchall()
        return context.get("flags", []), context

    def names(self) -> list[str]:
        return sorted(row[0] for row in self.rows("event_logs", "name"))

    def places_of(self, text: str) -> set[str]:
        """Return the tables that hold *text* anywhere, as text or as bytes."""
        found = set()
        for (table,) in self.connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'otel_obs'::regnamespace "
            "AND relkind IN ('r', 'p') AND NOT relispartition"
        ).fetchall():
            whole = sql.SQL("SELECT coalesce(string_agg(t::text, ' '), '') FROM {} AS t").format(sql.Identifier(table))
            row = self.connection.execute(whole).fetchone()
            if row is not None and (text in row[0] or text.encode().hex() in row[0]):
                found.add(table)
        return found


def _answer(response: Any) -> Answer:
    told = response.partial_success
    rejected = told.rejected_spans if hasattr(told, "rejected_spans") else told.rejected_log_records
    return Answer(rejected, told.error_message)


@contextmanager
def running(database: str, **options: str) -> Iterator[Running]:
    settings = Settings.from_env(
        {}, {"DATABASE_URL": database, "GRPC_ENDPOINT": "127.0.0.1:0", "HTTP_ENDPOINT": "127.0.0.1:0", **options}
    )
    gateway = Gateway(settings, database)
    try:
        listening = gateway.start()
        with psycopg.connect(conninfo(database), autocommit=True) as connection:
            yield Running(gateway, listening, connection, {})
    finally:
        gateway.stop()


@pytest.fixture(scope="module")
def default_gateway(server_dsn: str, template_database: str) -> Iterator[Running]:
    with new_database(server_dsn, template_database) as database, running(database) as found:
        yield found


@pytest.fixture
def gateway(default_gateway: Running) -> Running:
    return default_gateway.emptied()


def any_value(value: Any) -> AnyValue:
    match value:
        case None:
            return AnyValue()
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case str():
            return AnyValue(string_value=value)
        case bytes():
            return AnyValue(bytes_value=value)
        case dict():
            return AnyValue(kvlist_value=KeyValueList(values=attributes_of(value)))
        case _:
            return AnyValue(array_value=ArrayValue(values=[any_value(item) for item in value]))


def attributes_of(values: Mapping[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=key, value=any_value(value)) for key, value in values.items()]


def a_span(number: int = 1, attributes: Mapping[str, Any] | None = None, **fields: Any) -> Span:
    found: dict[str, Any] = {
        "trace_id": (1).to_bytes(16, "big"),
        "span_id": number.to_bytes(8, "big"),
        "name": "a span",
        "start_time_unix_nano": START_NS,
        "end_time_unix_nano": START_NS + MS,
        "attributes": attributes_of(attributes or {}),
        **fields,
    }
    return Span(**found)


def a_request(
    spans: Sequence[Span], resource: Mapping[str, Any] | None = None, scope: str = "tests"
) -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add()
    group.resource.attributes.extend(attributes_of(resource or {"service.name": "tests"}))
    part = group.scope_spans.add()
    part.scope.name = scope
    part.spans.extend(spans)
    return request


def a_log_request(attributes: Mapping[str, Any] | None = None, **fields: Any) -> ExportLogsServiceRequest:
    request = ExportLogsServiceRequest()
    part = request.resource_logs.add().scope_logs.add()
    part.log_records.add(attributes=attributes_of(attributes or {}), **fields)
    return request


def size_of(context: object) -> int:
    return len(json.dumps(context, ensure_ascii=False, separators=(",", ":")).encode())


PROSE = "What was said, at length. "
TOO_MUCH: dict[str, Callable[[], Span]] = {
    "an attribute of 1 MB": lambda: a_span(1, {"large": (PROSE * 40_000)[:1_000_000]}),
    "an attribute of 30 MB": lambda: a_span(1, {"large": PROSE * 1_200_000}),
    "10,000 attributes": lambda: a_span(1, {f"key.{number}": number for number in range(10_000)}),
    "10,000 events": lambda: a_span(1, events=[Span.Event(name="e", time_unix_nano=START_NS)] * 10_000),
    "10,000 links": lambda: a_span(1, links=[Span.Link(trace_id=b"\x01" * 16, span_id=b"\x02" * 8)] * 10_000),
    "a list of 100,000 numbers": lambda: a_span(1, {"list": list(range(100_000))}),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("what", TOO_MUCH)
def test_a_span_with_more_than_anybody_reads_is_cut_and_stored(what: str, way: str, gateway: Running) -> None:
    neighbour = a_span(2, {"small": "kept"}, name="its neighbour")

    answer = gateway.send(a_request([TOO_MUCH[what](), neighbour]), way)

    flags, context = gateway.event()
    assert answer == Answer(0, "")
    assert "truncated" in flags
    assert size_of(context) <= 64 * 1024
    assert gateway.event("its neighbour")[1] == {"attributes": {"small": "kept"}, "scope": {"name": "tests"}}


@pytest.mark.parametrize("way", WAYS)
def test_a_long_prompt_is_cut_and_keeps_size_and_hash_of_the_whole(way: str, gateway: Running) -> None:
    prompt = PROSE * (30 * MIB // len(PROSE)) + "é"

    answer = gateway.send(a_request([a_span(1, chat(more={"gen_ai.input.messages": prompt}))]), way)

    ((body, size, digest, truncated),) = gateway.rows("span_contents", "body bytes sha256 truncated")
    assert answer == Answer(0, "")
    assert (body, truncated) == (prompt[: 4 * MIB], True)
    assert (size, digest) == (len(prompt.encode()), hashlib.sha256(prompt.encode()).hexdigest())


def test_a_span_above_16_mib_is_rejected_and_its_neighbours_are_stored(gateway: Running) -> None:
    names = ("gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.system_instructions",
             "gen_ai.tool.definitions", "gen_ai.tool.call.arguments")  # fmt: skip
    prompt = (PROSE * (4 * MIB))[: 4 * MIB]
    large = a_span(2, chat(more=dict.fromkeys(names, prompt)), name="large")

    answer = gateway.send(a_request([a_span(1), large, a_span(3)]))

    assert answer.rejected == 1
    assert "span_too_large" in answer.message
    assert gateway.names() == ["a span", "a span"]
    assert gateway.rows("quarantine", "signal reason") == [("traces", "span_too_large")]


LONG = " ".join(hashlib.sha256(bytes([number])).hexdigest() for number in range(250))
INDEXED = (
    "gen_ai.response.id", "gen_ai.response.model", "gen_ai.request.model", "gen_ai.provider.name", "gen_ai.agent.name",
    "gen_ai.agent.id", "user.id", "session.id", "gen_ai.conversation.id", "otel_obs.workflow.id",
    "otel_obs.workflow.run.id", "error.type", "server.address",
)  # fmt: skip


@pytest.mark.parametrize("name", INDEXED)
def test_a_long_text_in_an_indexed_column_is_cut_and_sent_again_changes_nothing(name: str, gateway: Running) -> None:
    span = a_span(1, chat(more={name: LONG}))

    answers = [gateway.send(a_request([span])) for _ in range(2)]
    gateway.gateway.settle_all()

    assert answers == [Answer(0, "")] * 2
    assert gateway.names() == ["a span"]
    assert len(gateway.rows("model_cost_logs", "response_id")) == 1


@pytest.mark.parametrize("way", WAYS)
def test_long_names_and_resources_are_cut(way: str, gateway: Running) -> None:
    resource = {"service.name": LONG, "service.version": LONG, "deployment.environment.name": LONG}

    answer = gateway.send(a_request([a_span(1, name=LONG)], resource, scope=LONG), way)

    assert answer == Answer(0, "")
    assert gateway.rows("event_logs", "name service_name service_version environment") == [(LONG[:1024],) * 4]


HOSTILE = {
    "SQL": "'; DROP TABLE event_logs; --",
    "placeholders": "%s %(name)s %% $1 {0} :name ?",
    "COPY": "\\copy \\N \\. \\\\ \t \r\n",
    "a formula": "=cmd|' /C calc'!A0",
    "JavaScript": "__proto__ constructor </script><script>alert(1)</script>",
    "a template": "{{7*7}} ${7*7} #{7*7}",
    "bidirectional": "abc\u202edef\u2066ghi",
    "emoji": "👩\u200d💻🏳️\u200d🌈😀",
    "combining": "Z" + "\u0301\u0316" * 40,
    "quotes": "\"'`´“”‘’",  # noqa: RUF001
    "noncharacters": "\ufeff\ufffe\uffff\U0010ffff",
    "controls": "\x01\x02\x1b[31m\x7f\x85",
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_text_is_stored_as_it_was_sent_wherever_it_stands(what: str, way: str, gateway: Running) -> None:
    text = HOSTILE[what]
    said = {text: text, "nested": {text: [text]}, "gen_ai.input.messages": text}
    event = Span.Event(name=text, time_unix_nano=START_NS, attributes=attributes_of({text: text}))

    answer = gateway.send(
        a_request([a_span(1, chat(more=said), name=text, events=[event])], {"service.name": text}, scope=text), way
    )

    _, context = gateway.event(text)
    assert answer == Answer(0, "")
    assert (context["attributes"][text], context["attributes"]["nested"]) == (text, {text: [text]})
    assert (context["events"][0]["name"], context["events"][0]["attributes"]) == (text, {text: text})
    assert context["scope"]["name"] == text
    assert gateway.rows("event_logs", "name service_name") == [(text, text)]
    assert gateway.rows("span_contents", "part body") == [("input", text)]
    assert ({"service.name": text},) in gateway.rows("resources", "attributes")


@pytest.mark.parametrize("way", WAYS)
def test_what_postgresql_cannot_store_is_replaced_everywhere_and_flagged(way: str, gateway: Running) -> None:
    said = {"a\x00b": "c\x00d", "gen_ai.input.messages": "e\x00f", "user.id": "g\x00h"}

    answer = gateway.send(
        a_request([a_span(1, chat(more=said), name="i\x00j")], {"service.name": "k\x00l"}, scope="m\x00n"), way
    )

    flags, context = gateway.event("i\ufffdj")
    assert answer == Answer(0, "")
    assert "sanitized" in flags
    assert context["attributes"]["a\ufffdb"] == "c\ufffdd"
    assert gateway.rows("span_contents", "body") == [("e\ufffdf",)]
    assert gateway.rows("event_logs", "service_name") == [("k\ufffdl",)]


def test_a_lone_surrogate_in_json_is_replaced(gateway: Running) -> None:
    body = as_json(a_request([a_span(1, {"key": "PLACE"}, name="PLACE")])).replace(b"PLACE", b"a\\ud800b")

    status, _ = gateway.post("/v1/traces", body, "application/json")

    flags, context = gateway.event("a\ufffdb")
    assert status == 200
    assert flags == ["sanitized"]
    assert context["attributes"] == {"key": "a\ufffdb"}


def test_text_that_is_not_utf_8_costs_no_other_span_anything(gateway: Running) -> None:
    body = a_request([a_span(1, name="PLACE"), a_span(2, name="é")]).SerializeToString().replace(b"PLACE", b"ab\xffcd")

    status, answer = gateway.post("/v1/traces", body, "application/x-protobuf")

    assert (status, answer) == (200, b"")
    assert gateway.names() == ["ab\ufffdcd", "é"]
    assert gateway.event("ab\ufffdcd")[0] == ["sanitized"]


def nested(depth: int) -> Any:
    value: Any = "deepest"
    for _ in range(depth):
        value = [value]
    return value


ODD = {
    "not a number": (float("nan"), "NaN"),
    "infinite": (float("-inf"), "-Infinity"),
    "the largest integer": (2**63 - 1, 2**63 - 1),
    "nothing": (None, None),
    "bytes": (b"\x00\xff", {"base64": "AP8="}),
    "mixed": ([1, "a", True, 2.5, {"b": [None]}], [1, "a", True, 2.5, {"b": [None]}]),
    "as deep as is kept": (nested(32), nested(32)),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("what", ODD)
def test_an_odd_value_is_kept_as_json_has_it(what: str, way: str, gateway: Running) -> None:
    sent, kept = ODD[what]

    answer = gateway.send(a_request([a_span(1, {"odd": sent, "even": 1})]), way)

    assert answer == Answer(0, "")
    assert gateway.event()[1]["attributes"] == {"odd": kept, "even": 1}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("sent", "stored"),
    [(0, 0), (2**31, 2**31), (-5, None), ("123", 123), ("12abc", None), (12.0, 12), (12.5, None), (1e30, None),
     (True, None), ([1], None), ("", None), ("9223372036854775808", None)],
    ids=str,
)  # fmt: skip
def test_a_token_count_is_a_count_or_not_known(sent: Any, stored: int | None, way: str, gateway: Running) -> None:
    answer = gateway.send(a_request([a_span(1, chat(100, sent, response_id="r"))]), way)

    assert answer == Answer(0, "")
    assert gateway.rows("model_cost_logs", "input_tokens output_tokens") == [(100, stored)]
    kept = gateway.event()[1]["attributes"]["gen_ai.usage.output_tokens"]
    assert (float(kept) if isinstance(sent, float) else kept) == sent


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("sent", "cents"),
    [(0.01, "1"), ("0.01", "1"), (float("nan"), None), (float("inf"), None), (-1.0, None), (1e12, None)],
    ids=str,
)
def test_a_reported_cost_is_an_amount_or_not_known(sent: Any, cents: str | None, way: str, gateway: Running) -> None:
    span = a_span(1, chat(model="nobody-knows-it", response_id="r", more={"gen_ai.usage.cost": sent}))

    answer = gateway.send(a_request([span]), way)

    ((reported, cost, source),) = gateway.rows("model_cost_logs", "reported_cost_cents cost_usd cost_source")
    assert answer == Answer(0, "")
    assert (reported, cost) == ((None, None) if cents is None else (float(cents), float(cents)))
    assert source == ("unpriced" if cents is None else "reported")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("position", [0, 1, 250, 498, 499])
def test_one_bad_span_of_500_is_rejected_and_the_others_are_stored(position: int, way: str, gateway: Running) -> None:
    spans = [a_span(number + 1) for number in range(500)]
    spans[position].trace_id = b""
    spans[position].name = "the bad one"

    answer = gateway.send(a_request(spans), way)

    assert answer.rejected == 1
    assert "1 x trace_id:absent" in answer.message
    assert gateway.names() == ["a span"] * 499
    assert gateway.rows("quarantine", "organization_id workspace_id signal reason") == [
        ("default", "default", "traces", "trace_id:absent")
    ]


BAD: dict[str, tuple[str, Span]] = {
    "no trace id": ("trace_id:absent", a_span(1, trace_id=b"")),
    "a short trace id": ("trace_id:wrong_length", a_span(1, trace_id=b"\x01" * 8)),
    "a trace id of zeros": ("trace_id:zero", a_span(1, trace_id=bytes(16))),
    "no span id": ("span_id:absent", a_span(1, span_id=b"")),
    "a long span id": ("span_id:wrong_length", a_span(1, span_id=b"\x01" * 16)),
    "a span id of zeros": ("span_id:zero", a_span(1, span_id=bytes(8))),
    "an organization that is none": ("tenant_id_malformed", a_span(1, {"otel_obs.organization.id": "a\nb"})),
    "a workspace that is none": ("tenant_id_malformed", a_span(1, {"otel_obs.workspace.id": "w" * 201})),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("what", BAD)
def test_a_rejected_span_is_told_kept_and_counted_with_its_reason(what: str, way: str, gateway: Running) -> None:
    reason, bad = BAD[what]
    bad = Span.FromString(bad.SerializeToString())
    bad.name = "the bad one"

    answer = gateway.send(a_request([a_span(2), bad, a_span(3)]), way)

    ((stored_reason, payload, digest),) = gateway.rows("quarantine", "reason payload sha256")
    assert answer.rejected == 1
    assert f"1 x {reason}" in answer.message
    assert gateway.names() == ["a span", "a span"]
    assert stored_reason == reason
    assert digest == hashlib.sha256(payload).hexdigest()
    assert b"the bad one" in payload
    assert gateway.metric("rejected") == 1


def test_spans_that_are_bad_for_several_reasons_are_told_by_reason(gateway: Running) -> None:
    bad = [a_span(1, trace_id=b""), a_span(2, trace_id=b""), a_span(3, {"otel_obs.workspace.id": "\n"}), a_span(4)]

    answer = gateway.send(a_request(bad))

    assert answer.rejected == 3
    assert "2 x trace_id:absent" in answer.message
    assert "1 x tenant_id_malformed" in answer.message
    assert gateway.names() == ["a span"]
    assert sorted(gateway.rows("quarantine", "reason")) == [
        ("tenant_id_malformed",),
        ("trace_id:absent",),
        ("trace_id:absent",),
    ]


def test_a_request_of_which_everything_is_bad_is_a_success_that_stores_nothing_else(gateway: Running) -> None:
    answer = gateway.send(a_request([a_span(1, trace_id=b"")]))

    assert answer.rejected == 1
    assert gateway.names() == []
    assert len(gateway.rows("quarantine", "reason")) == 1


@pytest.mark.parametrize("way", WAYS)
def test_a_bad_log_record_is_rejected_and_its_neighbours_are_stored(way: str, gateway: Running) -> None:
    request = a_log_request(event_name="good", time_unix_nano=START_NS)
    request.resource_logs[0].scope_logs[0].log_records.add(
        event_name="bad", time_unix_nano=START_NS, attributes=attributes_of({"otel_obs.workspace.id": "a\nb"})
    )

    answer = gateway.send(request, way)

    assert answer.rejected == 1
    assert gateway.names() == ["good"]
    assert gateway.rows("quarantine", "signal reason") == [("logs", "tenant_id_malformed")]


def test_log_records_on_the_path_of_traces_are_rejected_one_by_one(gateway: Running) -> None:
    body = a_log_request(time_unix_nano=START_NS, body=any_value("x")).SerializeToString()

    status, answer = gateway.post("/v1/traces", body, "application/x-protobuf")

    told = ExportTraceServiceResponse.FromString(answer).partial_success
    assert (status, told.rejected_spans, gateway.names()) == (200, 1, [])
    assert gateway.rows("quarantine", "reason") == [("span_id:absent",)]


def test_a_span_of_a_deleted_workspace_is_rejected_and_its_neighbours_are_stored(gateway: Running) -> None:
    gateway.send(a_request([a_span(1, {"otel_obs.workspace.id": "gone"})]))
    gateway.connection.execute("DELETE FROM workspaces WHERE id = 'gone'")

    answer = gateway.send(a_request([a_span(2, {"otel_obs.workspace.id": "gone"}, name="late"), a_span(3)]))

    assert (answer.rejected, gateway.names()) == (1, ["a span"])
    assert "1 x workspace_deleted" in answer.message
    assert gateway.rows("quarantine", "workspace_id reason") == [("gone", "workspace_deleted")]


@pytest.mark.parametrize(
    ("times", "flags", "latency_ms"),
    [
        ((START_NS, START_NS - MS), ["negative_duration"], None),
        ((START_NS, 0), ["unfinished"], None),
        ((0, START_NS), ["clock_skew"], START_NS / MS),
        ((0, 0), ["unfinished", "clock_skew"], None),
        ((2**64 - 1, 2**64 - 1), ["clock_skew"], 0),
    ],
    ids=["ends before it starts", "without an end", "without a start", "without times", "in the year 2554"],
)
@pytest.mark.parametrize("way", WAYS)
def test_odd_times_are_kept_and_flagged(
    times: tuple[int, int], flags: list[str], latency_ms: float | None, way: str, gateway: Running
) -> None:
    span = a_span(1, start_time_unix_nano=times[0], end_time_unix_nano=times[1])

    answers = [gateway.send(a_request([span]), way) for _ in range(2)]

    assert answers == [Answer(0, "")] * 2
    assert gateway.rows("event_logs", "latency_ms") == [(latency_ms,)]
    assert gateway.event()[0] == flags


@pytest.mark.parametrize("fields", [{"time_unix_nano": START_NS}, {"observed_time_unix_nano": START_NS}, {}], ids=str)
def test_a_log_record_that_is_sent_again_changes_nothing(fields: dict[str, int], gateway: Running) -> None:
    request = a_log_request({"key": "value"}, event_name="an event", **fields)

    for _ in range(2):
        assert gateway.send(request) == Answer(0, "")

    assert gateway.names() == ["an event"]


def test_only_spans_about_genai_are_stored_where_only_those_are_wanted_and_the_others_are_counted(
    database: str,
) -> None:
    spans = [a_span(1), a_span(2, chat(), name="a call"), a_span(3, {"http.request.method": "GET"})]

    with running(database, SPANS="genai") as gateway:
        answer = gateway.send(a_request(spans))
        only_others = gateway.send(a_request([a_span(4)]))

        assert (answer, only_others) == (Answer(0, ""), Answer(0, ""))
        assert gateway.names() == ["a call"]
        assert gateway.metric("dropped") == 3
        assert gateway.rows("quarantine", "reason") == []


def test_a_bad_span_is_rejected_also_where_only_spans_about_genai_are_wanted(database: str) -> None:
    with running(database, SPANS="genai") as gateway:
        answer = gateway.send(a_request([a_span(1), a_span(2, chat(), trace_id=b"")]))

        assert answer.rejected == 1
        assert gateway.names() == []
        assert gateway.rows("quarantine", "reason") == [("trace_id:absent",)]


SAID = {
    "gen_ai.input.messages": CANARY,
    "gen_ai.output.messages": CANARY,
    "gen_ai.system_instructions": CANARY,
    "gen_ai.tool.definitions": CANARY,
}
TOLD = Span.Event(name="gen_ai.user.message", attributes=attributes_of({"content": CANARY}))


def everything_said() -> list[Span]:
    tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.call.arguments": CANARY}
    run = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "writer", **SAID}
    return [
        a_span(1, run),
        a_span(2, chat(response_id="r1", more=SAID), events=[TOLD], parent_span_id=(1).to_bytes(8, "big")),
        a_span(3, {**tool, "gen_ai.tool.call.result": CANARY}, parent_span_id=(1).to_bytes(8, "big")),
        a_span(4, {"openinference.span.kind": "LLM", "input.value": CANARY, "llm.model_name": "gpt-4o-mini"}),
    ]


def test_what_was_said_is_in_its_own_table_and_in_what_a_run_was_asked_and_answered(gateway: Running) -> None:
    gateway.send(a_request(everything_said()))
    gateway.send(a_log_request(event_name="gen_ai.user.message", body=any_value(CANARY), time_unix_nano=START_NS))
    gateway.gateway.settle_all()

    assert gateway.places_of(CANARY) == {"span_contents", "agent_trace_history"}


@pytest.mark.parametrize("way", WAYS)
def test_what_was_said_is_nowhere_where_it_is_to_be_dropped(way: str, database: str) -> None:
    with running(database, CONTENT="drop") as gateway:
        gateway.send(a_request(everything_said()), way)
        gateway.send(
            a_log_request(event_name="gen_ai.user.message", body=any_value(CANARY), time_unix_nano=START_NS), way
        )
        gateway.gateway.settle_all()

        assert gateway.places_of(CANARY) == set()
        assert len(gateway.names()) == 5
        assert gateway.rows("model_cost_logs", "input_tokens output_tokens") == [(100, 20)]


@pytest.mark.parametrize("way", WAYS)
def test_what_was_said_is_not_in_quarantine_either_where_it_is_to_be_dropped(way: str, database: str) -> None:
    with running(database, CONTENT="drop") as gateway:
        answer = gateway.send(a_request([a_span(1, chat(more=SAID), trace_id=b"")]), way)

        assert answer.rejected == 1
        assert gateway.rows("quarantine", "reason") == [("trace_id:absent",)]
        assert gateway.places_of(CANARY) == set()


@pytest.mark.parametrize("way", WAYS)
def test_the_header_names_the_workspace_of_spans_that_name_none(way: str, gateway: Running) -> None:
    header = {"x-otel-obs-workspace": "of the header"}
    named = a_span(2, {"otel_obs.workspace.id": "of the span"}, name="names one")

    gateway.send(a_request([a_span(1), named]), way, header)
    gateway.send(
        a_request([a_span(3, name="has a resource")], {"otel_obs.workspace.id": "of the resource"}), way, header
    )
    gateway.send(a_request([a_span(4, name="has nothing", trace_id=b"\x02" * 16)]), way)
    gateway.gateway.settle_all()

    assert dict(gateway.rows("event_logs", "name workspace_id")) == {
        "a span": "of the header",
        "names one": "of the span",
        "has a resource": "of the resource",
        "has nothing": "default",
    }
    assert {row[0] for row in gateway.rows("workspaces", "id")} >= {"of the header", "of the span", "of the resource"}


def test_what_is_rejected_is_kept_for_the_workspace_of_the_header(gateway: Running) -> None:
    gateway.send(a_request([a_span(1, trace_id=b"")]), headers={"x-otel-obs-workspace": "of the header"})

    assert gateway.rows("quarantine", "organization_id workspace_id") == [("default", "of the header")]


COUNTED: dict[str, list[Span]] = {
    "good": [a_span(1), a_span(2)],
    "one without an id": [a_span(1), a_span(2, trace_id=b"")],
    "one of nobody": [a_span(1), a_span(2, {"otel_obs.workspace.id": "\n"})],
    "one twice": [a_span(1), a_span(1)],
    "one that evaluates a flag": [
        a_span(1, events=[Span.Event(name="feature_flag.evaluation", attributes=attributes_of({"a": "b"}))])
    ],
}


@pytest.mark.parametrize("what", COUNTED)
def test_each_record_that_is_received_is_counted_as_what_became_of_it(what: str, gateway: Running) -> None:
    for _ in range(2):
        gateway.send(a_request(COUNTED[what]))

    received = gateway.metric("received")
    became = {name: gateway.metric(name) for name in ("stored", "duplicate", "replaced", "rejected", "dropped")}
    assert received >= 2 * len(COUNTED[what])
    assert sum(became.values()) == received, became
