"""A span of the SDK is what OTLP would have carried."""

from __future__ import annotations

from typing import Any

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
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

from otel_obs.otlp.decode import decode_traces
from otel_obs.otlp.sdk import SpanReader


def test_reading_a_span_equals_encoding_and_decoding_it() -> None:
    exported = InMemorySpanExporter()
    limits = SpanLimits(max_span_attributes=6, max_events=1, max_links=1)
    provider = TracerProvider(
        resource=Resource.create({"service.name": "x"}), shutdown_on_exit=False, span_limits=limits
    )
    provider.add_span_processor(SimpleSpanProcessor(exported))
    tracer = provider.get_tracer("scope", "1.0", attributes={"a": 1})

    state = TraceState([("ot", "th:8"), ("vendor", "x")])
    remote = SpanContext(1, 1, is_remote=True, trace_flags=TraceFlags(1), trace_state=state)
    parent = set_span_in_context(NonRecordingSpan(remote))

    with tracer.start_as_current_span("outer", parent, kind=SpanKind.SERVER) as outer:
        links = [Link(outer.get_span_context(), {"why": "because"})] * 3
        attributes: dict[str, Any] = {
            "text": "ü",
            "number": 5,
            "float": 1.5,
            "yes": True,
            "list": ["a", "b"],
            "numbers": [1, 2],
            "one more": True,
        }
        with tracer.start_as_current_span("inner", kind=SpanKind.CLIENT, attributes=attributes, links=links) as inner:
            inner.add_event("event", {"key": "value"})
            inner.add_event("another")
            inner.set_status(Status(StatusCode.ERROR, "broken"))

    spans = exported.get_finished_spans()
    assert SpanReader().decode(spans) == decode_traces(encode_spans(spans).SerializeToString())
    found = SpanReader().decode(spans[:1]).spans[0]
    assert found.trace_state == "ot=th:8,vendor=x"
    assert (found.dropped_attributes_count, found.dropped_events_count, found.dropped_links_count) == (1, 1, 2)


def test_more_than_anybody_reads_is_cut_and_counted_as_on_the_wire() -> None:
    exported = InMemorySpanExporter()
    limits = SpanLimits(max_span_attributes=2000, max_events=2000, max_links=2000)
    provider = TracerProvider(shutdown_on_exit=False, span_limits=limits)
    provider.add_span_processor(SimpleSpanProcessor(exported))
    with provider.get_tracer("scope").start_as_current_span("many") as span:
        span.set_attributes({f"attribute {number}": number for number in range(1030)})
        for _ in range(1026):
            span.add_event("event")

    spans = exported.get_finished_spans()
    found = SpanReader().decode(spans)

    assert found == decode_traces(encode_spans(spans).SerializeToString())
    (read,) = found.spans
    assert (read.dropped_attributes_count, read.dropped_events_count, read.dropped_links_count) == (6, 2, 0)
