"""OTLP/protobuf: what a request carries.

One function for each message of
https://github.com/open-telemetry/opentelemetry-proto/tree/v1.11.0/opentelemetry/proto, in its order.
Text that is not UTF-8 makes the parser refuse the whole request, and some senders do not check theirs; then
the same bytes are read again with descriptors whose strings are bytes, so that nobody else's span is lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from sys import intern
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError as ProtobufError
from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.logs.v1 import logs_pb2
from opentelemetry.proto.resource.v1 import resource_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

from otel_obs.errors import DecodeError, RequestTooLargeError
from otel_obs.model import AttributeValue, Decoded, Link, LogRecord, Rejected, Resource, Scope, Span, SpanEvent
from otel_obs.otlp.values import (
    DUPLICATE_ATTRIBUTE,
    MAX_DEPTH,
    MAX_ITEMS,
    MAX_PAYLOAD_BYTES,
    MAX_RECORDS,
    SANITIZED,
    TRUNCATED,
    Flags,
    IdError,
    collected,
    flattened,
    hex_id,
    number,
    optional_id,
    parent_id,
    text,
)


def decode_traces(body: bytes) -> Decoded:
    """Return the spans of an ``ExportTraceServiceRequest``; spans without usable ids are rejected one by one.

    Raises:
        DecodeError: *body* is not such a message.
        RequestTooLargeError: it carries more than 50,000 spans.
    """
    request = _parse(trace_service_pb2.ExportTraceServiceRequest, body)
    _limit(len(request.resource_spans) + sum(len(resource.scope_spans) for resource in request.resource_spans))
    _limit_records(sum(len(scope.spans) for resource in request.resource_spans for scope in resource.scope_spans))
    spans: list[Span] = []
    rejected: list[Rejected] = []
    for resource_spans in request.resource_spans:
        resource, mended = _decode_resource(resource_spans.resource)
        for scope_spans in resource_spans.scope_spans:
            scope, also = _decode_scope(scope_spans.scope)
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
    request = _parse(logs_service_pb2.ExportLogsServiceRequest, body)
    _limit(len(request.resource_logs) + sum(len(resource.scope_logs) for resource in request.resource_logs))
    _limit_records(sum(len(scope.log_records) for resource in request.resource_logs for scope in resource.scope_logs))
    logs: list[LogRecord] = []
    for resource_logs in request.resource_logs:
        resource, mended = _decode_resource(resource_logs.resource)
        for scope_logs in resource_logs.scope_logs:
            scope, also = _decode_scope(scope_logs.scope)
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


def _parse(kind: type[Message], body: bytes) -> Any:
    request = kind()
    try:
        request.ParseFromString(body)
    except (ProtobufError, RecursionError):
        pass
    else:
        return request
    request = _lenient(kind.DESCRIPTOR.full_name)()
    try:
        request.ParseFromString(body)
    except (ProtobufError, RecursionError):
        raise DecodeError("the body is not a valid OTLP protobuf message") from None
    return request


@cache
def _lenient(name: str) -> type[Message]:
    """Return the message *name* with bytes in place of strings: on the wire they are the same."""
    pool = descriptor_pool.DescriptorPool()
    for module in (common_pb2, resource_pb2, trace_pb2, logs_pb2, trace_service_pb2, logs_service_pb2):
        file = descriptor_pb2.FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        for message in _messages(file.message_type):
            for field in message.field:
                if field.type == descriptor_pb2.FieldDescriptorProto.TYPE_STRING:
                    field.type = descriptor_pb2.FieldDescriptorProto.TYPE_BYTES
        pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


def _messages(found: Sequence[Any]) -> Iterator[Any]:
    for message in found:
        yield message
        yield from _messages(message.nested_type)


def _text(value: str | bytes, flags: Flags) -> str:
    if isinstance(value, str):
        return text(value, flags)
    try:
        return text(value.decode(), flags)
    except UnicodeDecodeError:
        flags.add(SANITIZED)
        return text(value.decode(errors="replace"), flags)


def _decode_value(value: Any, flags: Flags, depth: int = 0) -> AttributeValue:
    kind = value.WhichOneof("value")
    if kind == "string_value":
        return _text(value.string_value, flags)
    if kind == "bool_value":
        return bool(value.bool_value)
    if kind == "int_value":
        return int(value.int_value)
    if kind == "double_value":
        return number(value.double_value)
    if kind == "array_value":
        items = [_decode_value(item, flags, depth + 1) for item in value.array_value.values]
        return flattened(items) if depth == MAX_DEPTH else items
    if kind == "kvlist_value":
        pairs = collected(
            (
                (_text(pair.key, flags), _decode_value(pair.value, flags, depth + 1))
                for pair in value.kvlist_value.values
            ),
            flags,
        )
        return flattened(pairs) if depth == MAX_DEPTH else pairs
    if kind == "bytes_value":
        return bytes(value.bytes_value)
    return None


def _decode_attributes(attributes: Any, flags: Flags) -> dict[str, AttributeValue]:
    """Return attributes by their names; written out, because nine tenths of decoding are spent here."""
    found: dict[str, AttributeValue] = {}
    for pair in attributes:
        sent = pair.key
        key = _KEYS.get(sent) or _key(sent, flags)
        if key in found:
            flags.add(DUPLICATE_ATTRIBUTE)
            continue
        if len(found) >= MAX_ITEMS:
            flags.add(TRUNCATED)
            break
        value = pair.value
        kind = value.WhichOneof("value")
        if kind == "string_value":
            content = value.string_value
            plain = content.isascii() and "\x00" not in content if type(content) is str else False
            found[key] = content if plain else _text(content, flags)
        elif kind == "int_value":
            found[key] = value.int_value
        else:
            found[key] = _decode_value(value, flags)
    return found


_KEYS: dict[str | bytes, str] = {}
"""Names of attributes that need no mending, each once in memory, so that looking them up costs no comparison."""
_MAX_KEYS = 10_000


def _key(sent: str | bytes, flags: Flags) -> str:
    key = _text(sent, flags)
    if key == sent and len(key) <= 128 and len(_KEYS) < _MAX_KEYS:
        _KEYS[key] = intern(key)
    return key


def _decode_resource(resource: Any) -> tuple[Resource, tuple[str, ...]]:
    flags = Flags()
    return Resource(_decode_attributes(resource.attributes, flags)), flags.all


def _decode_scope(scope: Any) -> tuple[Scope, tuple[str, ...]]:
    flags = Flags()
    found = Scope(
        name=_text(scope.name, flags),
        version=_text(scope.version, flags),
        attributes=_decode_attributes(scope.attributes, flags),
    )
    return found, flags.all


def _decode_span(span: Any, resource: Resource, scope: Scope, mended: tuple[str, ...]) -> Span:
    flags = Flags()
    for flag in mended:
        flags.add(flag)
    span_id = hex_id("span_id", span.span_id.hex(), 16)
    return Span(
        trace_id=hex_id("trace_id", span.trace_id.hex(), 32),
        span_id=span_id,
        parent_span_id=parent_id(span.parent_span_id.hex(), span_id, flags),
        name=_text(span.name, flags),
        kind=span.kind,
        start_time_unix_nano=span.start_time_unix_nano,
        end_time_unix_nano=span.end_time_unix_nano,
        attributes=_decode_attributes(span.attributes, flags),
        events=[_decode_event(event, flags) for event in _first(span.events, flags)],
        links=[_decode_link(link, flags) for link in _first(span.links, flags)],
        status_code=span.status.code,
        status_message=_text(span.status.message, flags),
        scope=scope,
        resource=resource,
        flags=flags.all,
    )


def _first(items: Any, flags: Flags) -> Any:
    if len(items) <= MAX_ITEMS:
        return items
    flags.add(TRUNCATED)
    return items[:MAX_ITEMS]


def _decode_event(event: Any, flags: Flags) -> SpanEvent:
    return SpanEvent(
        name=_text(event.name, flags),
        time_unix_nano=event.time_unix_nano,
        attributes=_decode_attributes(event.attributes, flags),
    )


def _decode_link(link: Any, flags: Flags) -> Link:
    return Link(
        trace_id=link.trace_id.hex(),
        span_id=link.span_id.hex(),
        attributes=_decode_attributes(link.attributes, flags),
    )


def _decode_log_record(record: Any, resource: Resource, scope: Scope, mended: tuple[str, ...]) -> LogRecord:
    flags = Flags()
    for flag in mended:
        flags.add(flag)
    return LogRecord(
        time_unix_nano=record.time_unix_nano,
        observed_time_unix_nano=record.observed_time_unix_nano,
        severity_number=record.severity_number,
        severity_text=_text(record.severity_text, flags),
        event_name=_text(record.event_name, flags),
        body=_decode_value(record.body, flags),
        attributes=_decode_attributes(record.attributes, flags),
        trace_id=optional_id(record.trace_id.hex(), 32, flags),
        span_id=optional_id(record.span_id.hex(), 16, flags),
        scope=scope,
        resource=resource,
        flags=flags.all,
    )
