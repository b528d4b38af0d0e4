"""OTLP/protobuf: what a request carries.

One function for each message of
https://github.com/open-telemetry/opentelemetry-proto/tree/v1.11.0/opentelemetry/proto, in its order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, TypeVar

from otel_obs.errors import RequestTooLargeError
from otel_obs.model import Decoded, Link, LogRecord, Rejected, Resource, Scope, Span, SpanEvent
from otel_obs.otlp.attributes import attributes_of, parsed, text_of, value_of
from otel_obs.otlp.messages import Logs, ResourceMessage, ScopeMessage, Traces
from otel_obs.otlp.values import (
    MAX_ITEMS,
    MAX_PAYLOAD_BYTES,
    MAX_RECORDS,
    TRUNCATED,
    Flags,
    IdError,
    hex_id,
    left_out,
    optional_id,
    parent_id,
)

_T = TypeVar("_T")


def decode_traces(body: bytes) -> Decoded:
    """Return the spans of an ``ExportTraceServiceRequest``; spans without usable ids are rejected one by one.

    Raises:
        DecodeError: *body* is not such a message.
        RequestTooLargeError: it carries more than 50,000 spans.
    """
    request = parsed(Traces, body)
    _limit(len(request.resource_spans) + sum(len(resource.scope_spans) for resource in request.resource_spans))
    _limit_records(sum(len(scope.spans) for resource in request.resource_spans for scope in resource.scope_spans))
    spans: list[Span] = []
    rejected: list[Rejected] = []
    for resource_spans in request.resource_spans:
        resource, mended = _resource(resource_spans.resource)
        for scope_spans in resource_spans.scope_spans:
            scope, also = _scope(scope_spans.scope)
            for message in scope_spans.spans:
                try:
                    spans.append(_decode_span(message, resource, scope, (*mended, *also)))
                except IdError as error:  # noqa: PERF203  # each span stands for itself
                    rejected.append(Rejected(str(error), "traces", _payload(message)))
    return Decoded(spans=spans, rejected=rejected)


def decode_logs(body: bytes) -> Decoded:
    """Return the records of an ``ExportLogsServiceRequest``.

    Raises:
        DecodeError: *body* is not such a message.
        RequestTooLargeError: it carries more than 50,000 records.
    """
    request = parsed(Logs, body)
    _limit(len(request.resource_logs) + sum(len(resource.scope_logs) for resource in request.resource_logs))
    _limit_records(sum(len(scope.log_records) for resource in request.resource_logs for scope in resource.scope_logs))
    logs: list[LogRecord] = []
    for resource_logs in request.resource_logs:
        resource, mended = _resource(resource_logs.resource)
        for scope_logs in resource_logs.scope_logs:
            scope, also = _scope(scope_logs.scope)
            logs.extend(
                _decode_log_record(message, resource, scope, (*mended, *also)) for message in scope_logs.log_records
            )
    return Decoded(logs=logs)


def _limit(count: int) -> None:
    """Refuse what is too much, envelopes or what is in them: empty ones cost time as well."""
    if count > 2 * MAX_RECORDS:
        raise RequestTooLargeError(f"more than {2 * MAX_RECORDS} resources and scopes in one request")


def _limit_records(count: int) -> None:
    if count > MAX_RECORDS:
        raise RequestTooLargeError(f"{count} records in one request, at most {MAX_RECORDS} are accepted")


def _payload(message: Any) -> bytes:
    data: bytes = message.SerializeToString()
    return data[:MAX_PAYLOAD_BYTES]


def _resource(pieces: Sequence[bytes]) -> tuple[Resource, tuple[str, ...]]:
    sent = b"".join(pieces)
    return _remembered_resource(sent) if len(sent) <= _MAX_REMEMBERED_BYTES else _decode_resource(sent)


def _scope(pieces: Sequence[bytes]) -> tuple[Scope, tuple[str, ...]]:
    sent = b"".join(pieces)
    return _remembered_scope(sent) if len(sent) <= _MAX_REMEMBERED_BYTES else _decode_scope(sent)


def _decode_resource(sent: bytes) -> tuple[Resource, tuple[str, ...]]:
    flags = Flags()
    return Resource(attributes_of(parsed(ResourceMessage, sent).attributes, flags)), flags.all


def _decode_scope(sent: bytes) -> tuple[Scope, tuple[str, ...]]:
    flags = Flags()
    scope = parsed(ScopeMessage, sent)
    found = Scope(
        name=text_of(scope.name, flags),
        version=text_of(scope.version, flags),
        attributes=attributes_of(scope.attributes, flags),
    )
    return found, flags.all


_MAX_REMEMBERED_BYTES = 4096
_remembered_resource = lru_cache(maxsize=1024)(_decode_resource)
_remembered_scope = lru_cache(maxsize=1024)(_decode_scope)
"""A process sends the same resource and the same scopes with each of its requests."""


def _decode_span(span: Any, resource: Resource, scope: Scope, mended: tuple[str, ...]) -> Span:
    flags = Flags(mended)
    span_id = _id("span_id", span.span_id, 8)
    attributes = attributes_of(span.attributes, flags)
    return Span(
        trace_id=_id("trace_id", span.trace_id, 16),
        span_id=span_id,
        parent_span_id=_parent_id(span.parent_span_id, span_id, flags),
        name=text_of(span.name, flags),
        kind=span.kind,
        start_time_unix_nano=span.start_time_unix_nano,
        end_time_unix_nano=span.end_time_unix_nano,
        attributes=attributes,
        events=_decoded(span.events, _decode_event, flags),
        links=_decoded(span.links, _decode_link, flags),
        status_code=span.status.code,
        status_message=text_of(span.status.message, flags),
        trace_state=text_of(span.trace_state, flags),
        dropped_attributes_count=span.dropped_attributes_count + left_out(len(span.attributes), len(attributes)),
        dropped_events_count=span.dropped_events_count + left_out(len(span.events), MAX_ITEMS),
        dropped_links_count=span.dropped_links_count + left_out(len(span.links), MAX_ITEMS),
        scope=scope,
        resource=resource,
        flags=flags.all,
    )


def _id(name: str, sent: bytes, size: int) -> str:
    # Most ids are right, and need no look at their digits.
    return sent.hex() if len(sent) == size and any(sent) else hex_id(name, sent.hex(), 2 * size)


def _parent_id(sent: bytes, span_id: str, flags: Flags) -> str | None:
    if not sent:
        return None
    found = sent.hex()
    return found if len(sent) == 8 and any(sent) and found != span_id else parent_id(found, span_id, flags)


def _decoded(items: Any, decode: Callable[[Any, Flags], _T], flags: Flags) -> Sequence[_T]:
    """Return the first 1,024 events or links."""
    if not items:
        return []
    if len(items) > MAX_ITEMS:
        flags.add(TRUNCATED)
        items = items[:MAX_ITEMS]
    return [decode(item, flags) for item in items]


def _decode_event(event: Any, flags: Flags) -> SpanEvent:
    return SpanEvent(
        name=text_of(event.name, flags),
        time_unix_nano=event.time_unix_nano,
        attributes=attributes_of(event.attributes, flags),
    )


def _decode_link(link: Any, flags: Flags) -> Link:
    return Link(
        trace_id=link.trace_id.hex(),
        span_id=link.span_id.hex(),
        attributes=attributes_of(link.attributes, flags),
    )


def _decode_log_record(record: Any, resource: Resource, scope: Scope, mended: tuple[str, ...]) -> LogRecord:
    flags = Flags(mended)
    return LogRecord(
        time_unix_nano=record.time_unix_nano,
        observed_time_unix_nano=record.observed_time_unix_nano,
        severity_number=record.severity_number,
        severity_text=text_of(record.severity_text, flags),
        event_name=text_of(record.event_name, flags),
        body=value_of(record.body, flags),
        attributes=attributes_of(record.attributes, flags),
        trace_id=optional_id(record.trace_id.hex(), 32, flags),
        span_id=optional_id(record.span_id.hex(), 16, flags),
        scope=scope,
        resource=resource,
        flags=flags.all,
    )
