"""Bytes of an ``ExportTraceServiceRequest`` as what an exporter takes, and spans of which some have no bytes.

https://github.com/open-telemetry/opentelemetry-proto/blob/v1.11.0/opentelemetry/proto/trace/v1/trace.proto
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from otel_obs.processor.wire import encode

_REMOTE = trace_pb2.SpanFlags.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK


def encode_each(spans: Iterable[ReadableSpan]) -> list[bytes]:
    """Return each of *spans* as a request, without those that OTLP cannot carry."""
    found = []
    for span in spans:
        try:
            found.append(encode([span]))
        except Exception:  # noqa: BLE001, PERF203, S112  # the caller counts what is missing
            continue
    return found


def decode(body: bytes) -> list[ReadableSpan]:
    """Return the spans that ``encode`` was given, equal in all that OTLP carries.

    Raises:
        google.protobuf.message.DecodeError: *body* is no such request.
    """
    request = ExportTraceServiceRequest.FromString(body)
    found = []
    for resource_spans in request.resource_spans:
        resource = Resource(_attributes(resource_spans.resource.attributes), resource_spans.schema_url)
        for scope_spans in resource_spans.scope_spans:
            scope = _scope(scope_spans)
            found += [_span(span, resource, scope) for span in scope_spans.spans]
    return found


def _span(span: trace_pb2.Span, resource: Resource, scope: InstrumentationScope) -> ReadableSpan:
    trace_id = int.from_bytes(span.trace_id, "big")
    state = TraceState.from_header([span.trace_state]) if span.trace_state else None
    parent = None
    if span.parent_span_id:
        parent = _context(trace_id, span.parent_span_id, remote=bool(span.flags & _REMOTE))
    return ReadableSpan(
        name=span.name,
        context=_context(trace_id, span.span_id, remote=False, state=state),
        parent=parent,
        resource=resource,
        attributes=_bounded(span.attributes, span.dropped_attributes_count),
        events=_list(
            [
                Event(event.name, _bounded(event.attributes, event.dropped_attributes_count), event.time_unix_nano)
                for event in span.events
            ],
            span.dropped_events_count,
        ),
        links=_list([_link(link) for link in span.links], span.dropped_links_count),
        kind=SpanKind(max(span.kind - 1, 0)),
        status=_status(span.status),
        start_time=span.start_time_unix_nano,
        end_time=span.end_time_unix_nano,
        instrumentation_scope=scope,
    )


def _status(status: trace_pb2.Status) -> Status:
    code = StatusCode(status.code)
    return Status(code, (status.message or None) if code is StatusCode.ERROR else None)


def _context(trace_id: int, span_id: bytes, *, remote: bool, state: TraceState | None = None) -> SpanContext:
    return SpanContext(trace_id, int.from_bytes(span_id, "big"), remote, TraceFlags(TraceFlags.SAMPLED), state)


def _link(link: trace_pb2.Span.Link) -> Link:
    state = TraceState.from_header([link.trace_state]) if link.trace_state else None
    context = _context(
        int.from_bytes(link.trace_id, "big"), link.span_id, remote=bool(link.flags & _REMOTE), state=state
    )
    return Link(context, _bounded(link.attributes, link.dropped_attributes_count))


def _scope(scope_spans: trace_pb2.ScopeSpans) -> InstrumentationScope:
    scope = scope_spans.scope
    return InstrumentationScope(
        scope.name, scope.version, scope_spans.schema_url, _attributes(scope.attributes) or None
    )


def _bounded(items: Iterable[common_pb2.KeyValue], dropped: int) -> BoundedAttributes:
    found = BoundedAttributes(attributes=_attributes(items), immutable=False)
    found.dropped = dropped
    return found


def _list(items: Sequence[Any], dropped: int) -> BoundedList[Any]:
    found = BoundedList.from_seq(len(items), items)
    found.dropped = dropped
    return found


def _attributes(items: Iterable[common_pb2.KeyValue]) -> dict[str, Any]:
    return {item.key: _value(item.value) for item in items}


def _value(value: common_pb2.AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return tuple(_value(item) for item in value.array_value.values)
    if kind == "kvlist_value":
        return _attributes(value.kvlist_value.values)
    return None if kind is None else getattr(value, kind)
