"""Spans of the SDK as the bytes of one ``ExportTraceServiceRequest``, without a message object for each value.

https://protobuf.dev/programming-guides/encoding/,
https://github.com/open-telemetry/opentelemetry-proto/blob/v1.11.0/opentelemetry/proto/trace/v1/trace.proto

What most spans are made of is written here: ids, times, and attributes that are texts, numbers or lists of texts. A
span with anything else (events, links, values within values) is encoded by OpenTelemetry.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

_RESOURCE_SPANS, _SCOPE_SPANS, _SPAN = b"\x0a", b"\x12", b"\x12"
_ATTRIBUTE, _STATUS = b"\x4a", b"\x7a"
_VALUE, _TEXT, _ARRAY, _ARRAY_ITEM = b"\x12", b"\x0a", b"\x2a", b"\x0a"
_BOOLS = (b"\x10\x00", b"\x10\x01")
_IDS = struct.Struct(">2sQQ2sQ")
_TIMES = struct.Struct("<BBBQBQ")
_FLAGS = struct.Struct("<2sI")
_IS_REMOTE_KNOWN, _IS_REMOTE = 0x100, 0x200
_MAX_INT = 2**63


class _Unusual(Exception):  # noqa: N818  # no error: somebody else encodes it
    """Something that is not written here."""


def encode(spans: Sequence[ReadableSpan]) -> bytes:
    """Return *spans* as one request.

    Raises:
        Exception: one of them has a name that OTLP cannot carry, with half a character in it.
    """
    resources: dict[int, dict[InstrumentationScope | None, list[ReadableSpan]]] = {}
    for span in spans:
        resources.setdefault(id(span.resource), {}).setdefault(span.instrumentation_scope, []).append(span)
    return b"".join([_field(_RESOURCE_SPANS, _resource_spans(scopes.values())) for scopes in resources.values()])


def _resource_spans(scopes: Iterable[Sequence[ReadableSpan]]) -> bytes:
    written = []
    for spans in scopes:
        about = encode_spans(spans[:1]).resource_spans[0]
        scope = about.scope_spans[0]
        scope.ClearField("spans")
        written.append(_field(_SCOPE_SPANS, b"".join((scope.SerializeToString(), *map(_span_field, spans)))))
        about.ClearField("scope_spans")
    return b"".join((about.SerializeToString(), *written))


def _span_field(span: ReadableSpan) -> bytes:
    return _field(_SPAN, _span(span))


def _field(tag: bytes, body: bytes) -> bytes:
    return b"".join((tag, _varint(len(body)), body))


def _span(span: ReadableSpan) -> bytes:
    try:
        return _usual(span)
    except Exception:  # noqa: BLE001  # what to leave out of a span that cannot be written is OpenTelemetry's decision
        return encode_spans([span]).resource_spans[0].scope_spans[0].spans[0].SerializeToString()


def _usual(span: ReadableSpan) -> bytes:
    context, parent, status = span.context, span.parent, span.status
    if (
        context is None or len(span._events) or len(span._links)  # noqa: SLF001  # the public properties copy
        or context.trace_state or status.description
        or span.dropped_attributes or span.dropped_events or span.dropped_links
        or span.start_time is None or span.end_time is None
    ):  # fmt: skip
        raise _Unusual
    written = [_ids(context.trace_id, context.span_id)]
    flags = _IS_REMOTE_KNOWN
    if parent is not None:
        written += (b"\x22\x08", parent.span_id.to_bytes(8, "big"))
        if parent.is_remote:
            flags |= _IS_REMOTE
    written.append(_field(b"\x2a", span.name.encode()))
    written.append(_TIMES.pack(0x30, span.kind.value + 1, 0x39, span.start_time, 0x41, span.end_time))
    if span.attributes:
        _add_attributes(written, span.attributes)
    code = status.status_code.value
    written += (_STATUS, b"\x02\x18" + bytes((code,)) if code else b"\x00", _FLAGS.pack(b"\x85\x01", flags))
    return b"".join(written)


def _ids(trace_id: int, span_id: int) -> bytes:
    return _IDS.pack(b"\x0a\x10", trace_id >> 64, trace_id & 0xFFFFFFFFFFFFFFFF, b"\x12\x08", span_id)


def _add_attributes(written: list[bytes], attributes: Mapping[str, Any]) -> None:
    copy = getattr(attributes, "copy", None)
    for key, value in (attributes if copy is None else copy()).items():
        kind = value.__class__
        if kind is str:
            found = _field(_TEXT, value.encode())
        elif kind is int and -_MAX_INT <= value < _MAX_INT:
            found = b"\x18" + _varint(value if value >= 0 else value + 2 * _MAX_INT)
        elif kind is bool:
            found = _BOOLS[value]
        elif kind is float:
            found = b"\x21" + struct.pack("<d", value)
        elif kind is tuple:
            found = _texts(value)
        else:
            raise _Unusual
        name, size = _key(key), _varint(len(found))
        written += (_ATTRIBUTE, _varint(len(name) + 1 + len(size) + len(found)), name, _VALUE, size, found)


def _texts(values: tuple[Any, ...]) -> bytes:
    written: list[bytes] = []
    for value in values:
        if value.__class__ is not str:
            raise _Unusual
        written.append(_field(_ARRAY_ITEM, _field(_TEXT, value.encode())))
    return _field(_ARRAY, b"".join(written))


@lru_cache(maxsize=4096)
def _key(key: str) -> bytes:
    name = key.encode()
    return _field(b"\x0a", name) if name else b""


_ONE_BYTE = tuple(bytes((number,)) for number in range(128))


def _varint(number: int) -> bytes:
    if number < 128:
        return _ONE_BYTE[number]
    if number < 16384:
        return bytes((number & 127 | 128, number >> 7))
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    found.append(number)
    return bytes(found)
