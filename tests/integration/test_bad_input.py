"""What no sender should send, on every way in: an answer of the contract, and everybody else's spans are stored.

The table of cases is numbered as our list of bad inputs; what depends on meaning is in ``test_gateway_edges``.
"""

from __future__ import annotations

import gzip
import http.client
import json
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from google.protobuf.internal.encoder import _VarintBytes  # type: ignore[attr-defined]
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.builders import START_NS
from tests.fix_postgres import new_database
from tests.integration.test_gateway_edges import Running, a_request, a_span, running
from tests.ledger import EXPORT

WAYS = ("protobuf", "json", "grpc")
OK, BAD, TOO_LARGE, AGAIN = "ok", "bad", "too large", "again"
HTTP = {200: OK, 400: BAD, 413: TOO_LARGE, 503: AGAIN}
GRPC = {
    grpc.StatusCode.OK: OK,
    grpc.StatusCode.INVALID_ARGUMENT: BAD,
    grpc.StatusCode.RESOURCE_EXHAUSTED: TOO_LARGE,
    grpc.StatusCode.UNAVAILABLE: AGAIN,
}
TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture(scope="module")
def shared(server_dsn: str, template_database: str) -> Iterator[Running]:
    with (
        new_database(server_dsn, template_database) as database,
        running(database, MAX_REQUEST_BYTES=str(8 * 1024 * 1024)) as found,
    ):
        yield found


@pytest.fixture
def gateway(shared: Running) -> Running:
    return shared.emptied()


@dataclass(frozen=True)
class Told:
    answer: str
    rejected: int = 0
    message: str = ""


def ask(gateway: Running, way: str, body: bytes, path: str = "/v1/traces", **headers: str) -> Told:
    """Send *body* as it is; the answer must be one of the contract's."""
    if way == "grpc":
        with grpc.insecure_channel(gateway.listening.grpc) as channel:
            try:
                answer = channel.unary_unary(EXPORT, None, None)(body, timeout=30)
            except grpc.RpcError as error:
                told: Any = error
                return Told(GRPC[told.code()], 0, told.details())
        partial = ExportTraceServiceResponse.FromString(answer).partial_success
        return Told(OK, partial.rejected_spans, partial.error_message)
    kind = "application/json" if way == "json" else "application/x-protobuf"
    status, answer = gateway.post(path, body, kind, headers)
    if status != 200:
        return Told(HTTP[status], 0, answer.decode(errors="replace"))
    if way == "json":
        said = json.loads(answer).get("partialSuccess", {})
        return Told(OK, int(said.get("rejectedSpans", 0)), said.get("errorMessage", ""))
    partial = ExportTraceServiceResponse.FromString(answer).partial_success
    return Told(OK, partial.rejected_spans, partial.error_message)


def in_json(**fields: Any) -> bytes:
    span = {"traceId": TRACE_ID, "spanId": SPAN_ID, "name": "a span", "startTimeUnixNano": str(START_NS), **fields}
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).encode()


def with_value(text: bytes) -> bytes:
    return in_json(attributes=[{"key": "k", "value": "PLACE"}]).replace(b'"PLACE"', text)


def nested(depth: int) -> bytes:
    """Return a request with a list in a list ..., on the wire: the library refuses to build it."""
    value = one_field(1, b"deepest")
    for _ in range(depth):
        value = one_field(5, one_field(1, value))
    attribute = one_field(1, b"k") + one_field(2, value)
    return one_field(1, one_field(2, one_field(2, a_span(1).SerializeToString() + one_field(9, attribute))))


def nested_in_json(depth: int) -> bytes:
    return with_value(b'{"arrayValue":{"values":[' * depth + b'{"stringValue":"x"}' + b"]}}" * depth)


def many_envelopes(count: int) -> bytes:
    return b"\x0a\x00" * count


def one_field(number: int, content: bytes) -> bytes:
    size: bytes = _VarintBytes(len(content))
    return bytes([number << 3 | 2]) + size + content


GOOD = a_request([a_span(1)]).SerializeToString()


@dataclass(frozen=True)
class Case:
    """What is sent on each way, and what must be told; a way that is not named is not tried."""

    bodies: Mapping[str, bytes | Callable[[], bytes]]
    answer: str = OK
    rejected: int = 0
    stored: int = 0
    message: str = ""
    answers: Mapping[str, str] = field(default_factory=dict)
    """Where a way is answered otherwise."""


def binary(body: bytes | Callable[[], bytes]) -> dict[str, bytes | Callable[[], bytes]]:
    return {"protobuf": body, "grpc": body}


CASES: dict[str, Case] = {
    "B-01 noise": Case({**binary(b"\xff" * 50), "json": b"\xff" * 50}, BAD),
    "B-01 cut off": Case({**binary(GOOD[:-3]), "json": in_json()[:-3]}, BAD),
    "B-02 nothing": Case({**binary(b""), "json": b""}, answers={"json": BAD}),
    "B-03 an empty object": Case({"json": b"{}"}),
    "B-03 no spans": Case({"json": b'{"resourceSpans":[]}'}),
    "B-03 no object": Case({"json": b"[]"}, BAD),
    "B-13 half a character": Case({"json": in_json(name="PLACE").replace(b"PLACE", b"\\ud800")}, stored=1),
    "B-14 NaN": Case({"json": with_value(b'{"doubleValue":NaN}')}, BAD),
    "B-14 Infinity": Case({"json": with_value(b'{"doubleValue":-Infinity}')}, BAD),
    "B-14 1e999": Case({"json": with_value(b'{"doubleValue":1e999}')}, BAD),
    "B-14 NaN as text": Case({"json": with_value(b'{"doubleValue":"NaN"}')}, stored=1),
    "B-16 a key twice": Case({"json": in_json().replace(b'"name"', b'"name": "first", "name"')}, stored=1),
    "B-18 2^63": Case({"json": with_value(b'{"intValue":"9223372036854775808"}')}, BAD),
    "B-18 5,000 digits": Case({"json": with_value(b'{"intValue":' + b"9" * 5000 + b"}")}, BAD),
    "B-21 a short trace id": Case({"json": in_json(traceId="0af7")}, rejected=1, message="trace_id:wrong_length"),
    "B-21 a long span id": Case({"json": in_json(spanId=TRACE_ID)}, rejected=1, message="span_id:wrong_length"),
    "B-21 zeros": Case({"json": in_json(traceId="0" * 32)}, rejected=1, message="trace_id:zero"),
    "B-21 no hexadecimal": Case({"json": in_json(spanId="zzzzzzzzzzzzzzzz")}, rejected=1, message="span_id:"),
    "B-21 base64": Case({"json": in_json(traceId="CvdlGRbNQ92ESOshHIAxnA==")}, rejected=1, message="trace_id:"),
    "B-21 upper case": Case({"json": in_json(traceId=TRACE_ID.upper())}, stored=1),
    "B-25 60 deep": Case({**binary(lambda: nested(60)), "json": lambda: nested_in_json(60)}, stored=1,
                         answers={"protobuf": BAD, "grpc": BAD}),
    "B-25 2,000 deep": Case({**binary(lambda: nested(2000)), "json": b"[" * 100_000}, BAD),
    "B-27 names in snake case": Case({"json": json.dumps({"resource_spans": [{"scope_spans": [{"spans": [
        {"trace_id": TRACE_ID, "span_id": SPAN_ID, "name": "x", "kind": "SPAN_KIND_CLIENT"}]}]}]}).encode()}, stored=1),
    "B-28 unknown fields": Case(
        {**binary(one_field(15, b"new") + GOOD), "json": in_json(somethingNew={"a": [1]})}, stored=1),
    "B-28 a slip in the only key": Case({"json": b'{"resourceSpan":[{}]}'}, message="resourceSpan"),
    "B-33 a million envelopes": Case(binary(lambda: many_envelopes(1_000_000)), TOO_LARGE),
    "B-33 60,000 resources": Case(binary(lambda: GOOD * 60_000), TOO_LARGE),
    "B-34 a hundred thousand keys": Case(
        {"json": lambda: with_value(b'{"stringValue":"x"}').replace(b'"name"', b",".join(
            b'"k%d":1' % number for number in range(100_000)) + b',"name"')}, stored=1),
}  # fmt: skip


@pytest.mark.parametrize(("name", "way"), [(name, way) for name, case in CASES.items() for way in case.bodies])
def test_bad_input_is_told_in_the_words_of_the_contract(name: str, way: str, gateway: Running) -> None:
    case = CASES[name]
    body = case.bodies[way]
    expected = case.answers.get(way, case.answer)

    told = ask(gateway, way, body if isinstance(body, bytes) else body())

    assert (told.answer, told.rejected) == (expected, case.rejected), told
    assert case.message in told.message
    assert len(gateway.names()) == (case.stored if expected == OK else 0)
    assert len(gateway.rows("quarantine", "reason")) == case.rejected
    assert ask(gateway, way, GOOD if way != "json" else in_json(spanId="00f067aa0ba902b7")).answer == OK


@pytest.mark.parametrize("way", WAYS)
def test_numbers_of_enums_that_nobody_knows_cost_no_span(way: str, gateway: Running) -> None:
    span = Span.FromString(a_span(1).SerializeToString() + b"\x30\x63")
    span.status.CopyFrom(Status.FromString(b"\x18\x07"))

    assert gateway.send(a_request([span]), way).rejected == 0

    assert gateway.rows("event_logs", "name status") == [("a span", "unset")]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("parent", "flags"),
    [((1).to_bytes(8, "big"), True), (bytes(8), False), (b"", False)],
    ids=["itself", "zeros", "nobody"],
)
def test_a_parent_that_cannot_be_is_none(parent: bytes, flags: bool, way: str, gateway: Running) -> None:
    gateway.send(a_request([a_span(1, parent_span_id=parent)]), way)

    assert gateway.rows("event_logs", "parent_span_id") == [(None,)]
    assert bool(gateway.event()[0]) == flags


@pytest.mark.parametrize("way", WAYS)
def test_of_attributes_with_one_name_the_first_is_kept(way: str, gateway: Running) -> None:
    span = a_span(1, {"k": "first"})
    span.attributes.add(key="k").value.string_value = "second"

    gateway.send(a_request([span]), way)

    flags, context = gateway.event()
    assert context["attributes"] == {"k": "first"}
    assert flags


@pytest.mark.parametrize("way", ["protobuf", "grpc"])
def test_text_that_is_not_utf_8_costs_no_other_span_anything(way: str, gateway: Running) -> None:
    body = a_request([a_span(1, name="PLACE"), a_span(2, name="é")]).SerializeToString().replace(b"PLACE", b"ab\xffcd")

    assert ask(gateway, way, body) == Told(OK)

    assert gateway.names() == ["ab\ufffdcd", "é"]


def test_a_bomb_over_grpc_is_refused_without_an_invitation_to_come_again(gateway: Running) -> None:
    request = a_request([a_span(1, {"k": "x" * (20 * 1024 * 1024)})]).SerializeToString()
    with (
        grpc.insecure_channel(gateway.listening.grpc, compression=grpc.Compression.Gzip) as channel,
        pytest.raises(grpc.RpcError) as refused,
    ):
        channel.unary_unary(EXPORT, None, None)(request, timeout=30)

    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "google.rpc.retryinfo-bin" not in str(refused.value.trailing_metadata())
    assert gateway.names() == []


@pytest.mark.parametrize(
    "head",
    [
        b"content-length: 5\r\ncontent-length: 7\r\n",
        b"content-length: -1\r\n",
        b"content-length: 99999999999999999999999\r\n",
        b"transfer-encoding: chunked\r\ncontent-length: 5\r\n",
        b"x: a\x00b\r\n",
        b"x: " + b"y" * 100_000 + b"\r\n",
        b"x y: z\r\n",
    ],
    ids=["two lengths", "a negative length", "a length beyond numbers", "two framings", "NUL", "long", "a space"],
)
def test_a_head_that_is_none_is_refused(head: bytes, gateway: Running) -> None:
    host, _, port = gateway.listening.http.partition(":")
    with socket.create_connection((host, int(port)), timeout=20) as sender:
        sender.sendall(
            b"POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n" + head + b"\r\n{}{}{}\r\n\r\n"
        )
        answer = sender.recv(65536)

    assert answer.split(b" ", 2)[1] in {b"400", b"413", b"431"}
    assert ask(gateway, "json", in_json()).answer == OK


def test_a_length_that_promises_too_much_is_refused_before_the_body_comes(gateway: Running) -> None:
    connection = http.client.HTTPConnection(gateway.listening.http, timeout=20)
    try:
        connection.putrequest("POST", "/v1/traces")
        for name, value in (
            ("content-type", "application/json"),
            ("content-length", str(10**12)),
            ("expect", "100-continue"),
        ):
            connection.putheader(name, value)
        connection.endheaders()
        connection.send(b"{")
        response = connection.getresponse()
        assert (response.status, response.getheader("connection")) == (413, "close")
    finally:
        connection.close()


@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("way", WAYS)
def test_whatever_is_sent_is_answered_as_the_contract_says(way: str, data: st.DataObject, shared: Running) -> None:
    body = data.draw(
        st.one_of(st.binary(max_size=200), st.builds(_mixed, st.just(way), st.binary(max_size=20), st.integers(0, 300)))
    )
    says_gzip = data.draw(st.booleans())
    headers = {"content-encoding": "gzip"} if says_gzip and way != "grpc" else {}
    is_gzip = data.draw(st.booleans())
    if headers and is_gzip:
        body = gzip.compress(body)

    told = ask(
        shared,
        way,
        body,
        data.draw(st.sampled_from(["/v1/traces", "/v1/logs"])) if way == "json" else "/v1/traces",
        **headers,
    )

    assert told.answer in {OK, BAD, TOO_LARGE}


def _mixed(way: str, noise: bytes, at: int) -> bytes:
    good = in_json() if way == "json" else GOOD
    return good[:at] + noise + good[at:]


def test_protobuf_and_json_of_the_same_spans_are_the_same_rows(gateway: Running) -> None:
    def rows(way: str, number: int) -> list[Any]:
        span = a_span(1, {"a": [1, True, {"b": 2.5}], "gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o",
                          "gen_ai.usage.input_tokens": 12, "gen_ai.response.id": f"r{number}"})  # fmt: skip
        span.trace_id = number.to_bytes(16, "big")
        span.events.add(name="e", time_unix_nano=START_NS)
        span.links.add(trace_id=b"\x05" * 16, span_id=b"\x06" * 8)
        gateway.send(a_request([span]), way)
        found = gateway.connection.execute(
            "SELECT to_jsonb(e) - '{trace_id,received_at}'::text[], "
            "to_jsonb(c) - '{trace_id,received_at,response_id}'::text[] "
            "FROM event_logs AS e JOIN model_cost_logs AS c USING (trace_id) WHERE trace_id = %s",
            (number.to_bytes(16, "big").hex(),),
        ).fetchall()
        return [json.loads(json.dumps(row).replace(f'"r{number}"', '"r"')) for row in found]

    first, second, third = (rows(way, number + 1) for number, way in enumerate(WAYS))

    assert first == second == third
    assert len(first) == 1
