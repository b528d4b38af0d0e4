"""Attributes in OTLP/protobuf, read once however often they come.

Most of a span's attributes are said by other spans too, in the very same bytes: the model, the agent, the host. What
such bytes say is remembered, so that only what is new (a token count, a prompt) costs the time of a parser.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from sys import intern
from typing import Any, TypeVar

from google.protobuf.message import DecodeError as ProtobufError
from google.protobuf.message import Message

from otel_obs.errors import DecodeError
from otel_obs.model import AttributeValue
from otel_obs.otlp.messages import KeyValue
from otel_obs.otlp.values import (
    DUPLICATE_ATTRIBUTE,
    MAX_DEPTH,
    MAX_ITEMS,
    SANITIZED,
    TRUNCATED,
    Flags,
    collected,
    flattened,
    number,
    text,
)

_MAX_BYTES = 128
"""Longer attributes are not remembered: they rarely come again ..."""
_MAX_REMEMBERED = 16_384
"""... and when there are so many all are forgotten, so that those of today find room."""

_Pair = tuple[str, AttributeValue]
_M = TypeVar("_M", bound=Message)


class _MendedError(ValueError):
    """Something in an attribute had to be mended, which its span is to say."""


class _Remembered(dict[bytes, _Pair]):
    """Attributes by the bytes that say them; nobody changes a value, so spans may share it."""

    def __missing__(self, sent: bytes) -> _Pair:
        pair = _only_text(sent) or _whole(sent)
        if len(sent) <= _MAX_BYTES and _is_flat(pair[1]):
            if len(self) >= _MAX_REMEMBERED:
                self.clear()
            self[sent] = pair
        return pair


_pair_of = _Remembered().__getitem__


def attributes_of(sent: Sequence[bytes], flags: Flags) -> dict[str, AttributeValue]:
    """Return attributes by their names: of equal names the first, and at most 1,024.

    Raises:
        DecodeError: one of them is no ``KeyValue``.
    """
    count = len(sent)
    if not count:
        return {}
    if count <= MAX_ITEMS:
        try:
            found = dict(map(_pair_of, sent))
        except _MendedError:
            return _one_by_one(sent, flags)
        if len(found) == count:
            return found
    return _one_by_one(sent, flags)


def _one_by_one(sent: Sequence[bytes], flags: Flags) -> dict[str, AttributeValue]:
    found: dict[str, AttributeValue] = {}
    for item in sent:
        pair = parsed(KeyValue, item)
        key = text_of(pair.key, flags)
        if key in found:
            flags.add(DUPLICATE_ATTRIBUTE)
            continue
        if len(found) >= MAX_ITEMS:
            flags.add(TRUNCATED)
            break
        found[key] = value_of(pair.value, flags)
    return found


def _only_text(sent: bytes) -> _Pair | None:
    """Return the attribute that is a text and is written as SDKs write it, name first; None for any other."""
    if len(sent) < 2 or sent[0] != 0x0A or sent[1] > 127:
        return None
    start = sent[1] + 2
    head = _head_of_text(len(sent) - start)
    if head is None or not sent.startswith(head, start):
        return None
    name, value = sent[2:start], sent[start + len(head) :]
    if b"\x00" in value:
        return None
    try:
        return _KEYS.get(name) or _key(name), value.decode()
    except UnicodeDecodeError:
        return None


@lru_cache(maxsize=16_384)
def _head_of_text(size: int) -> bytes | None:
    """Return how the value of a ``KeyValue`` begins that takes up *size* bytes and is a text; None if none is so long.

    What follows this beginning is the text, to the last byte: its length stands in the beginning.
    """
    for width in range(1, 6):
        inner = size - 1 - width
        for inner_width in range(1, 6):
            text_size = inner - 1 - inner_width
            if text_size >= 0 and (len(_varint(inner)), len(_varint(text_size))) == (width, inner_width):
                return b"\x12" + _varint(inner) + b"\x0a" + _varint(text_size)
    return None


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])


def _whole(sent: bytes) -> _Pair:
    pair = parsed(KeyValue, sent)
    key = _KEYS.get(pair.key) or _key(pair.key)
    value = pair.value
    if value.WhichOneof("value") == "int_value":
        return key, value.int_value
    flags = Flags()
    found = value_of(value, flags)
    if flags.found:
        raise _MendedError
    return key, found


def _is_flat(value: AttributeValue) -> bool:
    """Tell whether nothing in *value* could be changed by one who gets it, or is a list of texts."""
    if type(value) is list:
        return all(type(item) is str for item in value)
    return type(value) is not dict


_KEYS: dict[bytes, str] = {}
"""Names of attributes that need no mending, each once in memory, so that looking them up costs no comparison."""
_MAX_KEYS = 10_000


def _key(sent: bytes) -> str:
    flags = Flags()
    key = text_of(sent, flags)
    if flags.found:
        raise _MendedError
    if len(key) <= 128 and len(_KEYS) < _MAX_KEYS:
        _KEYS[sent] = key = intern(key)
    return key


def parsed(kind: type[_M], sent: bytes) -> Any:
    """Return the message of this *kind*.

    Raises:
        DecodeError: *sent* is none.
    """
    try:
        return kind.FromString(sent)
    except (ProtobufError, RecursionError):
        raise DecodeError("the body is not a valid OTLP protobuf message") from None


def text_of(value: bytes, flags: Flags) -> str:
    """Return a text; U+FFFD stands for what is not UTF-8."""
    try:
        return text(value.decode(), flags)
    except UnicodeDecodeError:
        flags.add(SANITIZED)
        return text(value.decode(errors="replace"), flags)


def value_of(value: Any, flags: Flags, depth: int = 0) -> AttributeValue:
    """Return an ``AnyValue`` as Python has it."""
    kind = value.WhichOneof("value")
    if kind == "string_value":
        return text_of(value.string_value, flags)
    if kind == "bool_value":
        return bool(value.bool_value)
    if kind == "int_value":
        return int(value.int_value)
    if kind == "double_value":
        return number(value.double_value)
    if kind == "array_value":
        items = [value_of(item, flags, depth + 1) for item in value.array_value.values]
        return flattened(items) if depth == MAX_DEPTH else items
    if kind == "kvlist_value":
        pairs = collected(map(partial(_pair, flags=flags, depth=depth + 1), value.kvlist_value.values), flags)
        return flattened(pairs) if depth == MAX_DEPTH else pairs
    if kind == "bytes_value":
        return bytes(value.bytes_value)
    return None


def _pair(pair: Any, flags: Flags, depth: int) -> _Pair:
    return text_of(pair.key, flags), value_of(pair.value, flags, depth)
