"""Spans of the OpenTelemetry SDK, in process: the same values as if they had come by OTLP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from otel_obs.model import AttributeValue, Link, Resource, Scope, Span, SpanEvent
from otel_obs.otlp.values import MAX_DEPTH, MAX_ITEMS, TRUNCATED, Flags, collected, flattened, number, text

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

_T = TypeVar("_T")
_OTLP_KIND = {"INTERNAL": 1, "SERVER": 2, "CLIENT": 3, "PRODUCER": 4, "CONSUMER": 5}


def read_span(span: ReadableSpan) -> Span:
    """Return *span* as OTLP would carry it.

    Raises:
        ValueError: it has no context, so nobody could refer to it.
    """
    context = span.get_span_context()
    if context is None or not context.is_valid:
        raise ValueError("the span has no context")
    flags = Flags()
    return Span(
        trace_id=f"{context.trace_id:032x}",
        span_id=f"{context.span_id:016x}",
        parent_span_id=None if span.parent is None else f"{span.parent.span_id:016x}",
        name=text(span.name, flags),
        kind=_OTLP_KIND.get(span.kind.name, 0),
        start_time_unix_nano=span.start_time or 0,
        end_time_unix_nano=span.end_time or 0,
        attributes=_attributes(span.attributes, flags),
        events=[
            SpanEvent(text(event.name, flags), event.timestamp or 0, _attributes(event.attributes, flags))
            for event in _first(span.events, flags)
        ],
        links=[
            Link(f"{link.context.trace_id:032x}", f"{link.context.span_id:016x}", _attributes(link.attributes, flags))
            for link in _first(span.links, flags)
        ],
        status_code=span.status.status_code.value,
        status_message=text(span.status.description or "", flags),
        trace_state=text(context.trace_state.to_header(), flags) if context.trace_state else "",
        dropped_attributes_count=span.dropped_attributes,
        dropped_events_count=span.dropped_events,
        dropped_links_count=span.dropped_links,
        scope=_scope(span, flags),
        resource=Resource(_attributes(span.resource.attributes, flags)),
        flags=flags.all,
    )


def _scope(span: ReadableSpan, flags: Flags) -> Scope:
    scope = span.instrumentation_scope
    if scope is None:
        return Scope()
    return Scope(text(scope.name, flags), text(scope.version or "", flags), _attributes(scope.attributes, flags))


def _first(items: Sequence[_T], flags: Flags) -> Sequence[_T]:
    if len(items) > MAX_ITEMS:
        flags.add(TRUNCATED)
    return items[:MAX_ITEMS]


def _attributes(attributes: Mapping[str, object] | None, flags: Flags) -> dict[str, AttributeValue]:
    return collected(((text(key, flags), _value(value, flags)) for key, value in (attributes or {}).items()), flags)


def _value(value: object, flags: Flags, depth: int = 0) -> AttributeValue:
    if isinstance(value, str):
        return text(value, flags)
    if value is None or isinstance(value, bool | int | bytes):
        return value
    if isinstance(value, float):
        return number(value)
    if isinstance(value, Mapping):
        pairs = collected(
            ((text(str(key), flags), _value(item, flags, depth + 1)) for key, item in value.items()), flags
        )
        return flattened(pairs) if depth == MAX_DEPTH else pairs
    if isinstance(value, Sequence):
        items = [_value(item, flags, depth + 1) for item in value]
        return flattened(items) if depth == MAX_DEPTH else items
    return text(str(value), flags)
