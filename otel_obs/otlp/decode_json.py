"""OTLP/JSON: what a request carries.

Our own decoder, for protobuf's reads the hexadecimal ids of OTLP/JSON as base64, without an error
(https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding). As the Collector does, it takes snake_case
names and names of enum values too.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from sys import intern
from typing import Any, NoReturn

import orjson

from otel_obs.errors import DecodeError, RequestTooLargeError
from otel_obs.model import AttributeValue, Decoded, Link, LogRecord, Rejected, Resource, Scope, Span, SpanEvent
from otel_obs.otlp.values import (
    MAX_DEPTH,
    MAX_ITEMS,
    MAX_NESTED,
    MAX_PAYLOAD_BYTES,
    MAX_RECORDS,
    SANITIZED,
    TRUNCATED,
    Flags,
    IdError,
    collected,
    flattened,
    hex_id,
    left_out,
    number,
    optional_id,
    parent_id,
    text,
)

_SPAN_KINDS = {
    f"SPAN_KIND_{name}": code
    for code, name in enumerate(("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"))
}
_STATUS_CODES = {f"STATUS_CODE_{name}": code for code, name in enumerate(("UNSET", "OK", "ERROR"))}
_SEVERITIES = {
    f"SEVERITY_NUMBER_{level}{step or ''}": 1 + 4 * base + max(step - 1, 0)
    for base, level in enumerate(("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"))
    for step in (0, 2, 3, 4)
} | {"SEVERITY_NUMBER_UNSPECIFIED": 0}
_INT64 = range(-(2**63), 2**63)
_UINT64 = range(2**64)
_UINT32 = range(2**32)
_SURELY_64_BITS = 19
"""Shorter numbers that are not negative fit into every type."""
_INTEGER = re.compile(r"^[+-]?\d{1,20}$")
_CAMEL = re.compile(r"(?<=[a-z0-9])([A-Z])")
_PATHS = {"resourceSpans": "/v1/traces", "resourceLogs": "/v1/logs", "resourceMetrics": "/v1/metrics"}

_Object = Mapping[str, Any]


class _MalformedError(ValueError):
    """One span or record has a field of the wrong type."""


def decode_traces_json(body: bytes) -> Decoded:
    """Return the spans of an ``ExportTraceServiceRequest`` in JSON.

    Spans without usable ids, or with fields of a wrong type, are rejected one by one.

    Raises:
        DecodeError: *body* is not such a request.
        RequestTooLargeError: it carries more than 50,000 spans.
    """
    request, replaced = _load(body)
    spans: list[Span] = []
    rejected: list[Rejected] = []
    for resource, scope, found, mended in _items(request, "resourceSpans", "scopeSpans", "spans", replaced):
        try:
            spans.append(_decode_span(found, resource, scope, mended))
        except IdError as error:
            rejected.append(Rejected(str(error), "traces", _payload(found)))
        except _MalformedError:
            rejected.append(Rejected("span:malformed", "traces", _payload(found)))
        _limit(len(spans) + len(rejected))
    return Decoded(spans=spans, rejected=rejected, warning=_warning(request, "resourceSpans"))


def decode_logs_json(body: bytes) -> Decoded:
    """Return the records of an ``ExportLogsServiceRequest`` in JSON.

    Raises:
        DecodeError: *body* is not such a request.
        RequestTooLargeError: it carries more than 50,000 records.
    """
    request, replaced = _load(body)
    logs: list[LogRecord] = []
    rejected: list[Rejected] = []
    for resource, scope, found, mended in _items(request, "resourceLogs", "scopeLogs", "logRecords", replaced):
        try:
            logs.append(_decode_log_record(found, resource, scope, mended))
        except _MalformedError:
            rejected.append(Rejected("log_record:malformed", "logs", _payload(found)))
        _limit(len(logs) + len(rejected))
    return Decoded(logs=logs, rejected=rejected, warning=_warning(request, "resourceLogs"))


def count_data_points_json(body: bytes) -> int:
    """Return how many data points an ``ExportMetricsServiceRequest`` in JSON carries.

    Raises:
        DecodeError: *body* is not such a request.
    """
    request, _ = _load(body)
    count = 0
    for _, _, metric, _ in _items(request, "resourceMetrics", "scopeMetrics", "metrics", ()):
        for data in metric.values() if isinstance(metric, Mapping) else ():
            points = _get(data, "dataPoints") if isinstance(data, Mapping) else None
            count += len(points) if isinstance(points, list) else 0
    return count


def _limit(count: int) -> None:
    if count > MAX_RECORDS:
        raise RequestTooLargeError(f"more than {MAX_RECORDS} records in one request")


def _load(body: bytes) -> tuple[_Object, tuple[str, ...]]:
    """Return the object that *body* is, and a flag if it was not UTF-8."""
    replaced: tuple[str, ...] = ()
    try:
        request = orjson.loads(body)
    except ValueError:
        request, replaced = _load_leniently(body)
    if not isinstance(request, Mapping):
        raise DecodeError("the body is not a JSON object")
    return request, replaced


def _load_leniently(body: bytes) -> tuple[object, tuple[str, ...]]:
    """Return what *body* is, though it may have what orjson refuses: a byte order mark, half a character, bad UTF-8."""
    replaced: tuple[str, ...] = ()
    try:
        decoded = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        decoded, replaced = body.decode("utf-8-sig", errors="replace"), (SANITIZED,)
    try:
        return json.loads(decoded, parse_constant=_refuse, parse_float=_finite), replaced
    except (ValueError, RecursionError):
        raise DecodeError("the body is not valid JSON") from None


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError("a number out of range")
    return value


def _warning(request: _Object, wanted: str) -> str:
    """Return what to tell a sender whose request has none of the fields that are read, but others."""
    if not request or _get(request, wanted) is not None or wanted in request:
        return ""
    for name, path in _PATHS.items():
        if _get(request, name) is not None:
            return f"{name} belongs to {path}; nothing was stored"
    return f"no {wanted} in the request; nothing was stored"


def _get(found: _Object, name: str) -> Any:
    """Return the field *name* (camelCase; snake_case is taken too)."""
    value = found.get(name)
    return found.get(_snake_case(name)) if value is None else value


@cache
def _snake_case(name: str) -> str:
    return _CAMEL.sub(lambda match: "_" + match[1].lower(), name)


def _items(
    request: _Object, outer: str, inner: str, leaf: str, replaced: tuple[str, ...]
) -> Iterator[tuple[Resource, Scope, Any, tuple[str, ...]]]:
    """Yield each span, record or metric with its resource and its scope.

    Raises:
        DecodeError: something above a span is not what it must be.
    """
    for group in _list(request, outer):
        flags = Flags(replaced)
        resource = _structural(_decode_resource, _get(group, "resource") or {}, flags)
        for part in _list(group, inner):
            scope = _structural(_decode_scope, _get(part, "scope") or {}, flags)
            for item in _list(part, leaf, objects=False):
                yield resource, scope, item, flags.all


def _structural(decode: Callable[[Any, Flags], Any], value: Any, flags: Flags) -> Any:
    try:
        return decode(value, flags)
    except _MalformedError as error:
        raise DecodeError(f"not OTLP: {error}") from None


def _list(found: _Object, name: str, *, objects: bool = True) -> list[Any]:
    value = _get(found, name)
    if value is None:
        return []
    if not isinstance(value, list) or (objects and not all(isinstance(item, Mapping) for item in value)):
        raise DecodeError(f"not OTLP: {name} is not a list of objects")
    return value


def _payload(found: object) -> bytes:
    return json.dumps(found).encode()[:MAX_PAYLOAD_BYTES]


def _object(value: object, name: str) -> _Object:
    if type(value) is dict:
        return value
    if value is None:
        return {}
    raise _MalformedError(f"{name} is not an object")


def _objects(found: _Object, name: str) -> list[_Object]:
    value = _get(found, name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise _MalformedError(f"{name} is not a list")
    return [_object(item, name) for item in value]


def _string(found: _Object, name: str, flags: Flags) -> str:
    value = _get(found, name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _MalformedError(f"{name} is not a string")
    return text(value, flags)


def _id(found: _Object, name: str) -> str:
    value = _get(found, name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise IdError(f"{_snake_case(name)}:not_hex")
    return value


def _whole(value: object, allowed: range, name: str) -> int:
    """Return a 64-bit integer, which JSON carries as text.

    Raises:
        DecodeError: the number does not fit its type: the sender's encoder is broken.
    """
    if value is None:
        return 0
    if type(value) is str and value.isascii() and value.isdigit() and len(value) < _SURELY_64_BITS:
        return int(value)
    if (isinstance(value, str) and _INTEGER.match(value.strip())) or (isinstance(value, float) and value.is_integer()):
        value = int(value)
    elif isinstance(value, str) and value.strip().lstrip("+-").isdecimal():
        raise DecodeError(f"{name} is out of range")
    if isinstance(value, bool) or not isinstance(value, int):
        raise _MalformedError(f"{name} is not an integer")
    if value not in allowed:
        raise DecodeError(f"{name} is out of range")
    return value


def _enum(found: _Object, name: str, names: Mapping[str, int]) -> int:
    value = _get(found, name)
    return names[value] if isinstance(value, str) and value in names else _whole(value, _UINT32, name)


def _decode_value(value: object, flags: Flags, depth: int = 0) -> AttributeValue:
    if depth > MAX_NESTED:
        raise DecodeError("a value is nested too deep")
    found = _object(value, "value")
    for name, decode in _VALUES.items():
        inner = _get(found, name)
        if inner is not None:
            return decode(inner, flags, depth)
    return None


def _string_value(value: object, flags: Flags, _: int) -> AttributeValue:
    if not isinstance(value, str):
        raise _MalformedError("stringValue is not a string")
    return text(value, flags)


def _bool_value(value: object, _flags: Flags, _: int) -> AttributeValue:
    if not isinstance(value, bool):
        raise _MalformedError("boolValue is not a boolean")
    return value


def _int_value(value: object, _flags: Flags, _: int) -> AttributeValue:
    return _whole(value, _INT64, "intValue")


def _double_value(value: object, _flags: Flags, _: int) -> AttributeValue:
    if isinstance(value, str):
        try:
            return number(float(value))
        except ValueError:
            raise _MalformedError("doubleValue is not a number") from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _MalformedError("doubleValue is not a number")
    try:
        return number(float(value))
    except OverflowError:
        raise DecodeError("doubleValue is out of range") from None


def _array_value(value: object, flags: Flags, depth: int) -> AttributeValue:
    items = [_decode_value(item, flags, depth + 1) for item in _objects(_object(value, "arrayValue"), "values")]
    return flattened(items) if depth == MAX_DEPTH else items


def _kvlist_value(value: object, flags: Flags, depth: int) -> AttributeValue:
    pairs = _pairs(_object(value, "kvlistValue"), "values", flags, depth + 1)
    return flattened(pairs) if depth == MAX_DEPTH else pairs


def _bytes_value(value: object, _flags: Flags, _: int) -> AttributeValue:
    if not isinstance(value, str):
        raise _MalformedError("bytesValue is not base64")
    try:
        return base64.b64decode(value + "=" * (-len(value) % 4), altchars=None, validate=True)
    except (binascii.Error, ValueError):
        raise _MalformedError("bytesValue is not base64") from None


_VALUES: dict[str, Callable[[object, Flags, int], AttributeValue]] = {
    "stringValue": _string_value,
    "boolValue": _bool_value,
    "intValue": _int_value,
    "doubleValue": _double_value,
    "arrayValue": _array_value,
    "kvlistValue": _kvlist_value,
    "bytesValue": _bytes_value,
}


def _pairs(found: _Object, name: str, flags: Flags, depth: int = 0) -> dict[str, AttributeValue]:
    return collected(map(partial(_pair, flags=flags, depth=depth), _objects(found, name)), flags)


def _pair(found: _Object, flags: Flags, depth: int) -> tuple[str, AttributeValue]:
    """Return an attribute; a text, as most are, without asking what else it might be."""
    key, value = found.get("key"), found.get("value")
    if type(key) is str and type(value) is dict and len(value) == 1:
        key = _KEYS.get(key) or _key(key, flags)
        inner = value.get("stringValue")
        if type(inner) is str:
            return key, text(inner, flags)
        return key, _decode_value(value, flags, depth)
    return _string(found, "key", flags), _decode_value(_get(found, "value"), flags, depth)


_KEYS: dict[str, str] = {}
"""Names of attributes that need no mending, each once in memory, so that looking them up costs no comparison."""
_MAX_KEYS = 10_000


def _key(sent: str, flags: Flags) -> str:
    key = text(sent, flags)
    if key == sent and len(key) <= 128 and len(_KEYS) < _MAX_KEYS:
        _KEYS[key] = key = intern(key)
    return key


def _decode_resource(value: object, flags: Flags) -> Resource:
    return Resource(_pairs(_object(value, "resource"), "attributes", flags))


def _decode_scope(value: object, flags: Flags) -> Scope:
    found = _object(value, "scope")
    return Scope(
        name=_string(found, "name", flags),
        version=_string(found, "version", flags),
        attributes=_pairs(found, "attributes", flags),
    )


def _decode_span(value: object, resource: Resource, scope: Scope, mended: tuple[str, ...]) -> Span:
    found = _object(value, "span")
    flags = Flags(mended)
    status = _object(_get(found, "status"), "status")
    span_id = hex_id("span_id", _id(found, "spanId"), 16)
    attributes, events, links = _pairs(found, "attributes", flags), _objects(found, "events"), _objects(found, "links")
    return Span(
        trace_id=hex_id("trace_id", _id(found, "traceId"), 32),
        span_id=span_id,
        parent_span_id=parent_id(_string(found, "parentSpanId", flags), span_id, flags),
        name=_string(found, "name", flags),
        kind=_enum(found, "kind", _SPAN_KINDS),
        start_time_unix_nano=_whole(_get(found, "startTimeUnixNano"), _UINT64, "startTimeUnixNano"),
        end_time_unix_nano=_whole(_get(found, "endTimeUnixNano"), _UINT64, "endTimeUnixNano"),
        attributes=attributes,
        events=[_decode_event(event, flags) for event in _first(events, flags)],
        links=[_decode_link(link, flags) for link in _first(links, flags)],
        status_code=_enum(status, "code", _STATUS_CODES),
        status_message=_string(status, "message", flags),
        trace_state=_string(found, "traceState", flags),
        dropped_attributes_count=_dropped(found, "Attributes")
        + left_out(len(_objects(found, "attributes")), len(attributes)),
        dropped_events_count=_dropped(found, "Events") + left_out(len(events), MAX_ITEMS),
        dropped_links_count=_dropped(found, "Links") + left_out(len(links), MAX_ITEMS),
        scope=scope,
        resource=resource,
        flags=flags.all,
    )


def _dropped(found: _Object, what: str) -> int:
    name = f"dropped{what}Count"
    return _whole(_get(found, name), _UINT32, name)


def _first(items: list[_Object], flags: Flags) -> list[_Object]:
    if len(items) > MAX_ITEMS:
        flags.add(TRUNCATED)
    return items[:MAX_ITEMS]


def _decode_event(event: _Object, flags: Flags) -> SpanEvent:
    return SpanEvent(
        name=_string(event, "name", flags),
        time_unix_nano=_whole(_get(event, "timeUnixNano"), _UINT64, "timeUnixNano"),
        attributes=_pairs(event, "attributes", flags),
    )


def _decode_link(link: _Object, flags: Flags) -> Link:
    return Link(
        trace_id=_string(link, "traceId", flags).lower(),
        span_id=_string(link, "spanId", flags).lower(),
        attributes=_pairs(link, "attributes", flags),
    )


def _decode_log_record(value: object, resource: Resource, scope: Scope, mended: tuple[str, ...]) -> LogRecord:
    found = _object(value, "logRecord")
    flags = Flags(mended)
    body = _get(found, "body")
    return LogRecord(
        time_unix_nano=_whole(_get(found, "timeUnixNano"), _UINT64, "timeUnixNano"),
        observed_time_unix_nano=_whole(_get(found, "observedTimeUnixNano"), _UINT64, "observedTimeUnixNano"),
        severity_number=_enum(found, "severityNumber", _SEVERITIES),
        severity_text=_string(found, "severityText", flags),
        event_name=_string(found, "eventName", flags),
        body=None if body is None else _decode_value(body, flags),
        attributes=_pairs(found, "attributes", flags),
        trace_id=optional_id(_string(found, "traceId", flags), 32, flags),
        span_id=optional_id(_string(found, "spanId", flags), 16, flags),
        scope=scope,
        resource=resource,
        flags=flags.all,
    )
