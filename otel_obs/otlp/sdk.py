"""Spans of the OpenTelemetry SDK, in process: the same values as if they had come by OTLP."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from otel_obs.model import AttributeValue, Decoded, Link, Rejected, Resource, Scope, Span, SpanEvent
from otel_obs.otlp.values import MAX_DEPTH, MAX_ITEMS, TRUNCATED, Flags, collected, flattened, left_out, number, text

if TYPE_CHECKING:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import Event, ReadableSpan

_T = TypeVar("_T")
_OTLP_KIND = {"INTERNAL": 1, "SERVER": 2, "CLIENT": 3, "PRODUCER": 4, "CONSUMER": 5}


class SpanReader:
    """Reads spans of one process: what they have in common is read once.

    It keeps what it knows alive, so it is for one export.
    """

    def __init__(self) -> None:
        self._resources: dict[int, tuple[Any, Resource, tuple[str, ...]]] = {}
        self._scopes: dict[int, tuple[Any, Scope, tuple[str, ...]]] = {}

    def decode(self, spans: Iterable[ReadableSpan]) -> Decoded:
        """Return *spans* as OTLP would carry them; one without a context, to which nobody could refer, is rejected."""
        found: list[Span] = []
        rejected: list[Rejected] = []
        for span in spans:
            context = span.context
            if context is None or not context.is_valid:
                rejected.append(Rejected("trace_id:absent"))
            else:
                found.append(self._read(span, context))
        return Decoded(spans=found, rejected=rejected)

    def _read(self, span: ReadableSpan, context: trace.SpanContext) -> Span:
        flags = Flags()
        status = span.status
        attributes, events, links = _attributes(span.attributes, flags), span.events, span.links
        return Span(
            trace_id=f"{context.trace_id:032x}",
            span_id=f"{context.span_id:016x}",
            parent_span_id=None if span.parent is None else f"{span.parent.span_id:016x}",
            name=text(span.name, flags),
            kind=_OTLP_KIND.get(span.kind.name, 0),
            start_time_unix_nano=span.start_time or 0,
            end_time_unix_nano=span.end_time or 0,
            attributes=attributes,
            events=_events(events, flags) if events else [],
            links=_links(links, flags) if links else [],
            status_code=status.status_code.value,
            status_message=text(status.description, flags) if status.description else "",
            trace_state=text(context.trace_state.to_header(), flags) if context.trace_state else "",
            dropped_attributes_count=span.dropped_attributes + left_out(len(span.attributes or ()), len(attributes)),
            dropped_events_count=span.dropped_events + left_out(len(events), MAX_ITEMS),
            dropped_links_count=span.dropped_links + left_out(len(links), MAX_ITEMS),
            scope=self._scope(span, flags),
            resource=self._resource(span, flags),
            flags=flags.all,
        )

    def _resource(self, span: ReadableSpan, flags: Flags) -> Resource:
        resource = span.resource
        found = self._resources.get(id(resource))
        if found is None:
            own = Flags()
            found = (resource, Resource(_attributes(resource.attributes, own)), own.all)
            self._resources[id(resource)] = found
        for flag in found[2]:
            flags.add(flag)
        return found[1]

    def _scope(self, span: ReadableSpan, flags: Flags) -> Scope:
        scope = span.instrumentation_scope
        found = self._scopes.get(id(scope))
        if found is None:
            own = Flags()
            read = Scope()
            if scope is not None:
                attributes = _attributes(scope.attributes, own)
                read = Scope(text(scope.name, own), text(scope.version or "", own), attributes)
            found = self._scopes[id(scope)] = (scope, read, own.all)
        for flag in found[2]:
            flags.add(flag)
        return found[1]


def _events(events: Sequence[Event], flags: Flags) -> list[SpanEvent]:
    return [
        SpanEvent(text(event.name, flags), event.timestamp or 0, _attributes(event.attributes, flags))
        for event in _first(events, flags)
    ]


def _links(links: Sequence[trace.Link], flags: Flags) -> list[Link]:
    return [
        Link(f"{link.context.trace_id:032x}", f"{link.context.span_id:016x}", _attributes(link.attributes, flags))
        for link in _first(links, flags)
    ]


def _first(items: Sequence[_T], flags: Flags) -> Sequence[_T]:
    if len(items) > MAX_ITEMS:
        flags.add(TRUNCATED)
    return items[:MAX_ITEMS]


def _attributes(attributes: Mapping[str, object] | None, flags: Flags) -> dict[str, AttributeValue]:
    if not attributes:
        return {}
    try:
        items: Mapping[str, Any] = attributes.copy()  # type: ignore[attr-defined]
    except AttributeError:
        items = attributes
    names = "".join(items)
    if len(items) > MAX_ITEMS or not names.isascii() or "\x00" in names:
        return collected(((text(key, flags), _value(value, flags)) for key, value in items.items()), flags)
    return {name: value if value.__class__ is int else _value(value, flags) for name, value in items.items()}


def _value(value: object, flags: Flags, depth: int = 0) -> AttributeValue:
    if isinstance(value, str):
        return text(value, flags)
    if value is None or isinstance(value, (bool, int, bytes)):
        return value
    if isinstance(value, float):
        return number(value)
    if not isinstance(value, (tuple, list)) and isinstance(value, Mapping):
        pairs = collected(
            ((text(str(key), flags), _value(item, flags, depth + 1)) for key, item in value.items()), flags
        )
        return flattened(pairs) if depth == MAX_DEPTH else pairs
    if isinstance(value, Sequence):
        items = [_value(item, flags, depth + 1) for item in value]
        return flattened(items) if depth == MAX_DEPTH else items
    return text(str(value), flags)
