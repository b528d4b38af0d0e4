"""OTLP/protobuf and OTLP/JSON say the same; whatever is wrong with one span costs no other anything."""

from __future__ import annotations

import contextlib
import json
import math
from typing import Any

import pytest
from google.protobuf.message import DecodeError as ProtobufError
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan

from otel_obs.errors import DecodeError, RequestTooLargeError
from otel_obs.otlp import values
from otel_obs.otlp.attributes import attributes_of
from otel_obs.otlp.decode import decode_logs, decode_traces
from otel_obs.otlp.decode_json import decode_logs_json, decode_traces_json
from otel_obs.otlp.values import Flags
from tests.corpus import NAMES, capture
from tests.otlp_json import as_json

TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def proto(**fields: Any) -> ProtoSpan:
    known = {"trace_id": bytes.fromhex(TRACE_ID), "span_id": bytes.fromhex(SPAN_ID), "name": "x", **fields}
    return ProtoSpan(**known)


def request(*spans: ProtoSpan) -> ExportTraceServiceRequest:
    found = ExportTraceServiceRequest()
    found.resource_spans.add().scope_spans.add().spans.extend(spans)
    return found


def attribute(key: str, value: AnyValue) -> KeyValue:
    return KeyValue(key=key, value=value)


def in_json(**fields: Any) -> dict[str, Any]:
    return {"traceId": TRACE_ID, "spanId": SPAN_ID, "name": "x", **fields}


def body(*spans: Any) -> bytes:
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": list(spans)}]}]}).encode()


any_values = st.recursive(
    st.one_of(
        st.builds(AnyValue, string_value=st.text()),
        st.builds(AnyValue, bool_value=st.booleans()),
        st.builds(AnyValue, int_value=st.integers(-(2**63), 2**63 - 1)),
        st.builds(AnyValue, double_value=st.floats()),
        st.builds(AnyValue, bytes_value=st.binary(max_size=20)),
        st.just(AnyValue()),
    ),
    lambda inner: st.one_of(
        st.builds(lambda items: AnyValue(array_value=ArrayValue(values=items)), st.lists(inner, max_size=3)),
        st.builds(
            lambda pairs: AnyValue(kvlist_value=KeyValueList(values=pairs)),
            st.lists(st.builds(attribute, st.text(max_size=5), inner), max_size=3),
        ),
    ),
    max_leaves=8,
)
spans = st.builds(
    proto,
    trace_id=st.binary(max_size=17),
    span_id=st.one_of(st.binary(min_size=8, max_size=8), st.binary(max_size=9)),
    parent_span_id=st.one_of(st.just(b""), st.binary(min_size=8, max_size=8)),
    name=st.text(),
    kind=st.integers(0, 5),
    start_time_unix_nano=st.integers(0, 2**64 - 1),
    end_time_unix_nano=st.integers(0, 2**64 - 1),
    attributes=st.lists(st.builds(attribute, st.text(max_size=8), any_values), max_size=4),
    trace_state=st.text(),
    dropped_attributes_count=st.integers(0, 2**32 - 1),
    dropped_events_count=st.integers(0, 2**32 - 1),
    dropped_links_count=st.integers(0, 2**32 - 1),
)


@given(st.lists(spans, max_size=4))
@settings(max_examples=150, deadline=None)
def test_protobuf_and_json_of_the_same_spans_are_the_same(found: list[ProtoSpan]) -> None:
    sent = request(*found)

    by_protobuf = decode_traces(sent.SerializeToString())
    by_json = decode_traces_json(as_json(sent))

    assert by_json.spans == by_protobuf.spans
    assert [item.reason for item in by_json.rejected] == [item.reason for item in by_protobuf.rejected]


attributes = st.builds(attribute, st.text(max_size=3), any_values)


@given(
    st.lists(
        st.one_of(
            attributes.map(lambda found: found.SerializeToString()),
            attributes.map(lambda found: found.SerializeToString()[::-1]),
            st.builds(lambda found: KeyValue(value=found.value).SerializeToString(), attributes),
            st.builds(lambda key: KeyValue(key=key).SerializeToString(), st.text(max_size=3)),
            st.sampled_from(
                [b"\x0a\x81\x00a", b"\x12\x83\x00\x0a\x01a", b"\x12\x04\x0a\x81\x00a", b"\x20\x05", b"\x12\x00"]
            ),
            st.binary(max_size=4),
        ),
        min_size=1,
        max_size=3,
    )
)
@settings(max_examples=500, deadline=None)
def test_an_attribute_is_read_as_the_parser_reads_it_however_it_is_written(pieces: list[bytes]) -> None:
    written = b"".join(pieces)
    try:
        expected = attributes_of([KeyValue.FromString(written).SerializeToString()], Flags())
    except ProtobufError:
        # What is not UTF-8 is mended, where the parser refuses it.
        with contextlib.suppress(DecodeError):
            attributes_of([written], Flags())
        return

    assert [attributes_of([written], Flags()) for _ in range(2)] == [expected, expected]


@given(st.integers(0, 40_000), st.sampled_from(["a", "é", "a\x00"]))
@settings(max_examples=100, deadline=None)
def test_texts_of_any_length_are_whole(length: int, what: str) -> None:
    sent = request(proto(attributes=[attribute("x", AnyValue(string_value=what * length))])).SerializeToString()

    assert decode_traces(sent).spans[0].attributes == {"x": what.replace("\x00", "\ufffd") * length}


def test_what_is_remembered_of_attributes_has_a_bound_and_forgetting_changes_nothing() -> None:
    sent = [attribute("n", AnyValue(int_value=number)).SerializeToString() for number in range(40_000)]

    assert [attributes_of([item], Flags())["n"] for item in sent] == list(range(40_000))


def test_a_mended_attribute_is_flagged_each_time() -> None:
    sent = request(proto(attributes=[attribute("x", AnyValue(string_value="a\x00"))])).SerializeToString()

    assert [decode_traces(sent).spans[0].flags for _ in range(2)] == [("sanitized",)] * 2


@pytest.mark.parametrize("name", NAMES)
def test_protobuf_and_json_of_a_capture_are_the_same(name: str) -> None:
    for found in capture(name).bodies:
        sent: Any = ExportTraceServiceRequest() if found.signal == "traces" else ExportLogsServiceRequest()
        sent.ParseFromString(found.data)
        if found.signal == "traces":
            assert decode_traces_json(as_json(sent)).spans == decode_traces(found.data).spans
        else:
            assert decode_logs_json(as_json(sent)).logs == decode_logs(found.data).logs


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
@pytest.mark.parametrize("decode", [decode_traces, decode_logs, decode_traces_json, decode_logs_json])
def test_any_bytes_are_decoded_or_refused(decode: Any, data: bytes) -> None:
    with contextlib.suppress(DecodeError, RequestTooLargeError):
        decode(data)


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_a_damaged_capture_is_decoded_or_refused(data: st.DataObject) -> None:
    whole = bytearray(capture("litellm-otel").bodies[0].data)
    for _ in range(data.draw(st.integers(1, 5))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))

    with contextlib.suppress(DecodeError, RequestTooLargeError):
        decode_traces(bytes(whole[: data.draw(st.integers(0, len(whole)))]))


@pytest.mark.parametrize(
    ("trace_id", "span_id", "reason"),
    [
        (b"", bytes.fromhex(SPAN_ID), "trace_id:absent"),
        (b"\x01" * 8, bytes.fromhex(SPAN_ID), "trace_id:wrong_length"),
        (b"\x00" * 16, bytes.fromhex(SPAN_ID), "trace_id:zero"),
        (bytes.fromhex(TRACE_ID), b"", "span_id:absent"),
        (bytes.fromhex(TRACE_ID), b"\x01" * 16, "span_id:wrong_length"),
        (bytes.fromhex(TRACE_ID), b"\x00" * 8, "span_id:zero"),
    ],
)
def test_a_span_without_usable_ids_is_rejected_and_its_neighbours_are_not(
    trace_id: bytes, span_id: bytes, reason: str
) -> None:
    found = decode_traces(request(proto(trace_id=trace_id, span_id=span_id), proto()).SerializeToString())

    assert [item.reason for item in found.rejected] == [reason]
    assert len(found.spans) == 1
    assert ProtoSpan.FromString(found.rejected[0].payload).name == "x"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"traceId": TRACE_ID.upper()}, None),
        ({"traceId": "CvdlGRbNQ92ESOshHIAxnA=="}, "trace_id:wrong_length"),
        ({"traceId": "z" * 32}, "trace_id:not_hex"),
        ({"spanId": TRACE_ID}, "span_id:wrong_length"),
        ({"spanId": 5}, "span_id:not_hex"),
    ],
    ids=["upper case", "base64", "not hexadecimal", "too long", "a number"],
)
def test_ids_in_json_are_hexadecimal(fields: dict[str, Any], reason: str | None) -> None:
    found = decode_traces_json(body(in_json(**fields)))

    assert [item.reason for item in found.rejected] == ([] if reason is None else [reason])


def test_invalid_utf_8_of_one_span_costs_no_other_anything() -> None:
    sent = request(proto(name="broken ABC"), proto(name="fine")).SerializeToString().replace(b"ABC", b"\xff\xfe\xff")

    found = decode_traces(sent)

    assert [(span.name, span.flags) for span in found.spans] == [("broken ���", ("sanitized",)), ("fine", ())]


@pytest.mark.parametrize("text", ["a\x00b", "a\ud800b"], ids=["NUL", "a lone surrogate"])
def test_text_that_cannot_be_stored_is_replaced_and_flagged(text: str) -> None:
    found = decode_traces_json(body(in_json(name=text, attributes=[{"key": text, "value": {"stringValue": text}}])))

    span = found.spans[0]
    assert span.name == "a�b"
    assert span.attributes == {"a�b": "a�b"}
    assert span.flags == ("sanitized",)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf], ids=str)
def test_numbers_that_json_does_not_have_are_kept_as_text(value: float) -> None:
    found = decode_traces(request(proto(attributes=[attribute("x", AnyValue(double_value=value))])).SerializeToString())

    assert found.spans[0].attributes["x"] in {"NaN", "Infinity", "-Infinity"}


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b"nonsense", b'{"a":NaN}', b'{"a":Infinity}', b'{"a":1e999}', b"[" * 100_000, b'{"resourceSpans":5}',
     b'{"resourceSpans":[5]}', b'{"resourceSpans":[{"scopeSpans":{}}]}', b"1" * 5000],
    ids=["empty", "a list", "no JSON", "NaN", "Infinity", "out of range", "deep", "a number", "numbers", "an object",
         "a long number"],
)  # fmt: skip
def test_what_is_not_otlp_in_json_is_refused(text: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_traces_json(text)


@pytest.mark.parametrize("depth", [101, 250, 1000, 3000])
def test_values_nested_deeper_than_protobuf_allows_are_refused_in_json_too(depth: int) -> None:
    nested = b'{"arrayValue": {"values": [' * depth + b'{"intValue": "1"}' + b"]}}" * depth
    text = body(in_json(attributes=[{"key": "k", "value": "HERE"}])).replace(b'"HERE"', nested)

    with pytest.raises(DecodeError):
        decode_traces_json(text)


@pytest.mark.parametrize("text", [b"{}", b'{"resourceSpans":[]}', b'\xef\xbb\xbf{"resource_spans":[]}'])
def test_a_request_without_spans_is_fine(text: bytes) -> None:
    assert decode_traces_json(text).warning == ""


def test_logs_sent_to_the_path_of_traces_are_told_where_they_belong() -> None:
    assert "/v1/logs" in decode_traces_json(b'{"resourceLogs":[]}').warning
    assert decode_traces_json(b'{"resorceSpans":[]}').warning == "no resourceSpans in the request; nothing was stored"


def test_names_in_snake_case_and_names_of_enums_are_taken() -> None:
    span = {
        "trace_id": TRACE_ID, "span_id": SPAN_ID, "kind": "SPAN_KIND_CLIENT", "start_time_unix_nano": "5",
        "status": {"code": "STATUS_CODE_ERROR"}, "attributes": [{"key": "n", "value": {"int_value": "7"}}],
    }  # fmt: skip
    sent = json.dumps({"resource_spans": [{"scope_spans": [{"spans": [span]}]}]}).encode()

    found = decode_traces_json(sent).spans[0]

    assert (found.kind, found.status_code, found.start_time_unix_nano, found.attributes) == (3, 2, 5, {"n": 7})


@pytest.mark.parametrize("number", ["9223372036854775808", "-9223372036854775809", "9" * 5000, 2**63])
def test_an_integer_that_does_not_fit_is_refused(number: object) -> None:
    sent = body(in_json(attributes=[{"key": "n", "value": {"intValue": number}}]))

    with pytest.raises(DecodeError):
        decode_traces_json(sent)


@pytest.mark.parametrize(
    "fields",
    [{"attributes": 5}, {"attributes": [5]}, {"name": 5}, {"status": []}, {"kind": "NO_KIND"},
     {"attributes": [{"key": "x", "value": {"boolValue": "yes"}}]}],
    ids=["attributes", "an attribute", "name", "status", "kind", "a boolean"],
)  # fmt: skip
def test_a_field_of_a_wrong_type_rejects_its_span_only(fields: dict[str, Any]) -> None:
    found = decode_traces_json(body(in_json(**fields), in_json(), 5))

    assert len(found.spans) == 1
    assert {item.reason for item in found.rejected} == {"span:malformed"}


def test_of_attributes_with_one_name_the_first_is_kept() -> None:
    pairs = [attribute("x", AnyValue(int_value=1)), attribute("x", AnyValue(int_value=2))]

    span = decode_traces(request(proto(attributes=pairs)).SerializeToString()).spans[0]

    assert (span.attributes, span.flags) == ({"x": 1}, ("duplicate_attribute",))


@pytest.mark.parametrize("is_json", [False, True], ids=["protobuf", "json"])
def test_more_attributes_events_and_links_than_anybody_reads_are_cut_and_counted(is_json: bool) -> None:
    pairs = [attribute(f"a{n}", AnyValue(int_value=n)) for n in range(5000)]
    events = [ProtoSpan.Event(name="e")] * 5000
    sent = proto(attributes=pairs, events=events, links=[ProtoSpan.Link()] * values.MAX_ITEMS, dropped_events_count=2)

    traces = request(sent)
    found = decode_traces_json(as_json(traces)) if is_json else decode_traces(traces.SerializeToString())
    span = found.spans[0]

    assert (len(span.attributes), len(span.events), len(span.links)) == (values.MAX_ITEMS,) * 3
    dropped = (span.dropped_attributes_count, span.dropped_events_count, span.dropped_links_count)
    assert dropped == (5000 - values.MAX_ITEMS, 5002 - values.MAX_ITEMS, 0)
    assert span.flags == ("truncated",)


def test_values_nested_deeper_than_anybody_reads_become_text() -> None:
    value = AnyValue(string_value="deep")
    for _ in range(40):
        value = AnyValue(array_value=ArrayValue(values=[value]))

    found: Any = decode_traces(request(proto(attributes=[attribute("x", value)])).SerializeToString()).spans[0]

    depth, inner = 0, found.attributes["x"]
    while isinstance(inner, list):
        depth, inner = depth + 1, inner[0]
    assert depth == values.MAX_DEPTH
    assert "deep" in inner


@pytest.mark.parametrize(
    ("parent", "flags"),
    [(b"", ()), (b"\x00" * 8, ()), (bytes.fromhex(SPAN_ID), ("self_parent",)), (b"\x01" * 4, ("parent_malformed",))],
    ids=["none", "zero", "itself", "too short"],
)
def test_a_span_whose_parent_cannot_be_is_a_root(parent: bytes, flags: tuple[str, ...]) -> None:
    span = decode_traces(request(proto(parent_span_id=parent)).SerializeToString()).spans[0]

    assert (span.parent_span_id, span.flags) == (None, flags)


def test_a_request_with_more_spans_than_a_writer_can_take_is_too_large() -> None:
    sent = ExportTraceServiceRequest()
    sent.resource_spans.add().scope_spans.add().spans.extend([proto()] * (values.MAX_RECORDS + 1))

    with pytest.raises(RequestTooLargeError):
        decode_traces(sent.SerializeToString())


def test_enums_that_nobody_knows_are_kept_as_numbers() -> None:
    assert decode_traces_json(body(in_json(kind=99, status={"code": 7}))).spans[0].kind == 99


def test_a_log_record_outside_a_trace_belongs_to_none() -> None:
    sent = {"resourceLogs": [{"scopeLogs": [{"logRecords": [
        {"timeUnixNano": "5", "severityNumber": "SEVERITY_NUMBER_ERROR", "eventName": "e",
         "body": {"stringValue": "b"}},
        {"traceId": "12"},
    ]}]}]}  # fmt: skip

    first, second = decode_logs_json(json.dumps(sent).encode()).logs

    assert (first.trace_id, first.severity_number, first.event_name, first.body) == ("", 17, "e", "b")
    assert (second.trace_id, second.flags) == ("", ("trace_id_malformed",))
