"""A span of the SDK is what OTLP would have carried."""

from __future__ import annotations

from typing import Any

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanKind, Status, StatusCode

from otel_obs.otlp.decode import decode_traces
from otel_obs.otlp.sdk import SpanReader


def test_reading_a_span_equals_encoding_and_decoding_it() -> None:
    exported = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource.create({"service.name": "x"}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exported))
    tracer = provider.get_tracer("scope", "1.0", attributes={"a": 1})

    with tracer.start_as_current_span("outer", kind=SpanKind.SERVER) as outer:
        links = [Link(outer.get_span_context(), {"why": "because"})]
        attributes: dict[str, Any] = {
            "text": "ü",
            "number": 5,
            "float": 1.5,
            "yes": True,
            "list": ["a", "b"],
            "numbers": [1, 2],
        }
        with tracer.start_as_current_span("inner", kind=SpanKind.CLIENT, attributes=attributes, links=links) as inner:
            inner.add_event("event", {"key": "value"})
            inner.set_status(Status(StatusCode.ERROR, "broken"))

    spans = exported.get_finished_spans()
    assert SpanReader().decode(spans) == decode_traces(encode_spans(spans).SerializeToString())
