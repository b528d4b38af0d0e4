"""What is written here of spans is what OpenTelemetry writes of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from otel_obs.processor.wire import _NAMES, _usual, encode

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
INTS = st.integers(-(2**63), 2**63 - 1) | st.integers(-300, 20_000)
VALUES = TEXTS | INTS | st.booleans() | st.floats(allow_nan=False) | st.binary(max_size=20)
ATTRIBUTES = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=140),
    VALUES | st.lists(TEXTS, max_size=3) | st.lists(INTS, max_size=3) | st.dictionaries(TEXTS, VALUES, max_size=2),
    max_size=6,
)
SAMPLED = TraceFlags(TraceFlags.SAMPLED)
ABOVE = st.builds(
    SpanContext,
    st.integers(1, 2**128 - 1),
    st.integers(1, 2**64 - 1),
    st.booleans(),
    st.just(SAMPLED),
    st.sampled_from([TraceState(), TraceState([("a", "1")])]),
)
SPANS = st.fixed_dictionaries(
    {
        "name": TEXTS,
        "kind": st.sampled_from(SpanKind),
        "attributes": ATTRIBUTES,
        "above": st.none() | ABOVE,
        "status": st.sampled_from(StatusCode),
        "description": st.none() | TEXTS,
        "events": st.lists(st.tuples(TEXTS, ATTRIBUTES), max_size=1),
        "links": st.lists(ABOVE, max_size=1),
        "scope": st.sampled_from(["zero", "one", "two"]),
        "times": st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1)),
    }
)


def made(descriptions: list[dict[str, Any]]) -> tuple[ReadableSpan, ...]:
    memory = InMemorySpanExporter()
    provider = TracerProvider(
        resource=Resource({"service.name": "x"}, "https://schema"), shutdown_on_exit=False,
        span_limits=SpanLimits(max_span_attributes=4),
    )  # fmt: skip
    provider.add_span_processor(SimpleSpanProcessor(memory))
    for each in descriptions:
        above = each["above"]
        span = provider.get_tracer(each["scope"], "1").start_span(
            each["name"],
            context=None if above is None else set_span_in_context(NonRecordingSpan(above)),
            kind=each["kind"],
            attributes=each["attributes"],
            links=[Link(link) for link in each["links"]],
            start_time=each["times"][0],
        )
        for name, attributes in each["events"]:
            span.add_event(name, attributes, 5)
        span.set_status(Status(each["status"], each["description"] if each["status"] is StatusCode.ERROR else None))
        span.end(each["times"][1])
    return memory.get_finished_spans()


@given(st.lists(SPANS, min_size=1, max_size=4))
def test_spans_are_written_as_opentelemetry_writes_them(descriptions: list[dict[str, Any]]) -> None:
    spans = made(descriptions)

    assert ExportTraceServiceRequest.FromString(encode(spans)) == encode_spans(spans)


RESOURCE = Resource({})


def a_span(name: str, **attributes: Any) -> ReadableSpan:
    context = SpanContext(1, 2, is_remote=False)
    return ReadableSpan(name, context, resource=RESOURCE, attributes=attributes, start_time=1, end_time=2)


def test_most_spans_are_not_left_to_opentelemetry() -> None:
    memory = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    tracer = provider.get_tracer("a")
    with tracer.start_as_current_span("above"), tracer.start_as_current_span("below") as span:
        span.set_attributes({"text": "one", "number": 1, "share": 0.5, "yes": True, "texts": ["a", "b"]})
        span.set_status(StatusCode.OK)

    for ended in memory.get_finished_spans():
        assert _usual(ended).startswith(b"\x12")


def test_what_is_remembered_of_attributes_has_bounds() -> None:
    spans = [
        a_span("one", **{f"name {number}": "text", "same": f"text {number}", "x" * number: "y" * number})
        for number in range(1, 1000)
    ]

    assert ExportTraceServiceRequest.FromString(encode(spans)) == encode_spans(spans)
    assert len(_NAMES) <= 512
    assert max(map(len, _NAMES)) <= 64
    for name in _NAMES.values():
        assert len(name.texts) <= 64
        assert all(len(text) <= 64 for text in name.texts)


@pytest.mark.parametrize("value", ["\ud800", 2**63, object()], ids=["half a character", "a long number", "an object"])
def test_an_attribute_that_cannot_be_written_is_left_out(value: object) -> None:
    span = a_span("one", odd=value, even=2)

    (written,) = ExportTraceServiceRequest.FromString(encode([span])).resource_spans[0].scope_spans[0].spans

    assert [attribute.key for attribute in written.attributes] == ["even"]


def test_a_name_with_half_a_character_cannot_be_written() -> None:
    with pytest.raises(UnicodeEncodeError):
        encode([a_span("\ud800")])


def test_the_installed_exporter_calls_the_encoder_that_ours_takes_the_place_of() -> None:
    assert "encode_spans" in trace_exporter.OTLPSpanExporter.export.__code__.co_names
