"""Spans of the SDK as the bytes of one ``ExportTraceServiceRequest``, without a message object for each value.

https://protobuf.dev/programming-guides/encoding/,
https://github.com/open-telemetry/opentelemetry-proto/blob/v1.11.0/opentelemetry/proto/trace/v1/trace.proto

What most spans are made of is written here: ids, times, and attributes that are texts, numbers or lists of texts. A
span with anything else (events, links, values within values) is encoded by OpenTelemetry.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

_RESOURCE_SPANS, _SCOPE_SPANS, _SPAN = b"\x0a", b"\x12", b"\x12"
_PARENT, _NAME, _ATTRIBUTE = b"\x22\x08", b"\x2a", b"\x4a"
_VALUE, _TEXT, _ARRAY, _ARRAY_ITEM = b"\x12", b"\x0a", b"\x2a", b"\x0a"
_BOOLS = (b"\x10\x00", b"\x10\x01")
_STATUSES = (b"\x7a\x00", b"\x7a\x02\x18\x01", b"\x7a\x02\x18\x02")
_IDS_KIND_TIMES_FLAGS: Final = struct.Struct("<2s16s2s8sBBBQBQ2sI")
_IS_REMOTE_KNOWN, _IS_REMOTE = 0x100, 0x200
_MAX_INT: Final = 2**63
_MAX_NAMES, _MAX_TEXTS, _MAX_CHARACTERS = 512, 64, 64
"""So many names of attributes are remembered, so many texts of each, and no longer ones: some 10 MB at most."""


class _Unusual(Exception):  # noqa: N818  # no error: somebody else encodes it
    """Something that is not written here."""


def encode(spans: Sequence[ReadableSpan]) -> bytes:
    """Return *spans* as one request.

    Raises:
        Exception: one of them has a name that OTLP cannot carry, with half a character in it.
    """
    groups: dict[tuple[int, int], list[ReadableSpan]] = {}
    resources: dict[int, dict[InstrumentationScope | None, list[ReadableSpan]]] = {}
    for span in spans:
        resource, scope = span.resource, span.instrumentation_scope
        # A scope is slow to compare; nearly always it is the very same object.
        group = groups.get((id(resource), id(scope)))
        if group is None:
            group = resources.setdefault(id(resource), {}).setdefault(scope, [])
            groups[id(resource), id(scope)] = group
        group.append(span)
    written: list[bytes] = []
    for scopes in resources.values():
        written += _within(_RESOURCE_SPANS, _resource_spans(scopes.values()))
    return b"".join(written)


def _resource_spans(scopes: Iterable[Sequence[ReadableSpan]]) -> list[bytes]:
    written: list[bytes] = []
    for spans in scopes:
        about = encode_spans(spans[:1]).resource_spans[0]
        scope = about.scope_spans[0]
        scope.ClearField("spans")
        written += _within(_SCOPE_SPANS, [scope.SerializeToString(), *map(_span_field, spans)])
        about.ClearField("scope_spans")
    return [about.SerializeToString(), *written]


def _within(tag: bytes, parts: list[bytes]) -> list[bytes]:
    """Return *parts* as one field; they are put together once, at the end, for they may be megabytes."""
    return [tag, _varint(sum(map(len, parts))), *parts]


def _span_field(span: ReadableSpan) -> bytes:
    try:
        return _usual(span)
    except Exception:  # noqa: BLE001  # what to leave out of a span that cannot be written is OpenTelemetry's decision
        return _field(_SPAN, encode_spans([span]).resource_spans[0].scope_spans[0].spans[0].SerializeToString())


def _field(tag: bytes, body: bytes) -> bytes:
    return b"".join((tag, _varint(len(body)), body))


def _usual(span: Any) -> bytes:
    # Public properties are calls, some copy or wrap: a seventh of the time.
    context, parent, status, attributes = span._context, span._parent, span._status, span._attributes  # noqa: SLF001
    if (
        len(span._events) or len(span._links)  # noqa: SLF001
        or context.trace_state or status.description
        or span.dropped_attributes or span.dropped_events or span.dropped_links
    ):  # fmt: skip
        raise _Unusual
    flags = _IS_REMOTE_KNOWN
    written = [b"", b"", b"", _field(_NAME, span._name.encode())]  # noqa: SLF001
    if parent is not None:
        written += (_PARENT, parent.span_id.to_bytes(8, "big"))
        if parent.is_remote:
            flags |= _IS_REMOTE
    written[2] = _IDS_KIND_TIMES_FLAGS.pack(
        b"\x0a\x10", context.trace_id.to_bytes(16, "big"), b"\x12\x08", context.span_id.to_bytes(8, "big"),
        0x30, span._kind._value_ + 1, 0x39, span._start_time, 0x41, span._end_time, b"\x85\x01", flags,  # noqa: SLF001
    )  # fmt: skip
    if attributes:
        _add_attributes(written, attributes)
    written.append(_STATUSES[status.status_code._value_])
    written[0], written[1] = _SPAN, _varint(sum(map(len, written)))
    return b"".join(written)


class _Name:
    """An attribute's name, and what it was written as with short texts that came before: most of them come again."""

    def __init__(self, key: str) -> None:
        name = key.encode()
        self.field = b"".join((_field(b"\x0a", name) if name else b"", _VALUE))
        self.texts: dict[str, bytes] = {}

    def with_text(self, text: str) -> bytes:
        """Return the attribute whose value is *text*."""
        value = text.encode()
        size = _varint(len(value))
        value_size = 1 + len(size) + len(value)
        outer = _varint(value_size)
        total = _varint(len(self.field) + len(outer) + value_size)
        found = b"".join((_ATTRIBUTE, total, self.field, outer, _TEXT, size, value))
        if len(text) <= _MAX_CHARACTERS:
            if len(self.texts) >= _MAX_TEXTS:
                self.texts.clear()
            self.texts[text] = found
        return found

    def with_value(self, value: bytes) -> bytes:
        """Return the attribute whose value is written as *value*."""
        outer = _varint(len(value))
        return b"".join((_ATTRIBUTE, _varint(len(self.field) + len(outer) + len(value)), self.field, outer, value))


_NAMES: dict[str, _Name] = {}


def _name(key: str) -> _Name:
    found = _Name(key)
    if len(key) <= _MAX_CHARACTERS:
        if len(_NAMES) >= _MAX_NAMES:
            _NAMES.clear()
        _NAMES[key] = found
    return found


def _add_attributes(written: list[bytes], attributes: Mapping[str, Any]) -> None:
    copy = getattr(attributes, "copy", None)
    items: dict[str, Any] = dict(attributes) if copy is None else copy()
    for key, value in items.items():
        name = _NAMES.get(key)
        if name is None:
            name = _name(key)
        if type(value) is str:
            found = name.texts.get(value)
            written.append(name.with_text(value) if found is None else found)
        else:
            written.append(name.with_value(_number_or_texts(value)))


def _number_or_texts(value: Any) -> bytes:
    kind = type(value)
    if kind is int and -_MAX_INT <= value < _MAX_INT:
        return b"\x18" + _varint(value if value >= 0 else value + 2 * _MAX_INT)
    if kind is bool:
        return _BOOLS[value]
    if kind is float:
        return b"\x21" + struct.pack("<d", value)
    if kind is tuple:
        return _texts(value)
    raise _Unusual


def _texts(values: tuple[Any, ...]) -> bytes:
    written: list[bytes] = []
    for value in values:
        if type(value) is not str:
            raise _Unusual
        written.append(_field(_ARRAY_ITEM, _field(_TEXT, value.encode())))
    return _field(_ARRAY, b"".join(written))


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
