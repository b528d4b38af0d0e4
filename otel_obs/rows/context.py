"""What of a span's attributes goes into ``event_logs.context``, and how long values are cut."""

from __future__ import annotations

import base64
import hashlib
import json
import marshal
import re
from collections.abc import Mapping, Sequence
from typing import Any

from otel_obs.model import AttributeValue
from otel_obs.settings import MAX_ID_BYTES, NO_IDENTIFIER

MAX_VALUE_BYTES = 256 * 1024
"""An ordinary attribute value longer than this is cut, on a character boundary."""
MAX_CONTEXT_BYTES = 64 * 1024
"""A context longer than this has its largest values cut."""
MAX_INDEXED_BYTES = 1024
"""A btree refuses entries above about 2.7 KB, so indexed columns stay well below."""

_SHORT = 64
"""Text this short holds no media."""

_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)?(?:;[\w=.+-]+)*;base64,([A-Za-z0-9+/=_-]{64,})")
_BASE64_BYTES = 2048
_BASE64 = re.compile(r"(?<![A-Za-z0-9+/=_-])[A-Za-z0-9+/_-]{2048,}={0,2}(?![A-Za-z0-9+/=_-])")
_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/_-]")
_PLAIN = frozenset({int, float, bool, type(None)})


def cut(text: str, limit: int) -> str:
    """Return *text* in at most *limit* bytes of UTF-8, cut between characters."""
    if len(text) * 4 <= limit:
        return text
    data = text.encode()
    return text if len(data) <= limit else data[:limit].decode(errors="ignore")


def text(value: object) -> str | None:
    """Return *value* if it is text, and not empty."""
    return value if isinstance(value, str) and value else None


def indexed(value: object) -> str | None:
    """Return *value*, if it is text, short enough for an index."""
    found = text(value)
    return cut(found, MAX_INDEXED_BYTES) if found else None


def identifier(text: str | None) -> str | None:
    """Return *text* as an id: no control characters, at most 200 bytes; None for an empty one."""
    if not text:
        return None
    if len(text) <= MAX_ID_BYTES and text.isascii() and text.isprintable() and text[0] != " " != text[-1]:
        return text
    text = NO_IDENTIFIER.sub("", text)
    return cut(text, MAX_ID_BYTES).strip() or None


def without_media(text: str) -> str:
    """Replace ``data:`` URLs and long base64 by their media type, size and hash."""
    if len(text) < _SHORT:
        return text
    if ";base64," in text:
        text = _DATA_URL.sub(lambda found: _described(found[1] or "application/octet-stream", found[2]), text)
    if len(text) >= _BASE64_BYTES and _may_hold_base64(text):
        text = _BASE64.sub(lambda found: _described("application/octet-stream", found[0]), text)
    return text


def _may_hold_base64(text: str) -> bool:
    """Tell whether base64 fills any block of half the size that counts, as it must where it is that long.

    To find what else is in each block takes a hundredth of the time of looking for base64 from every character on.
    """
    size = _BASE64_BYTES // 2
    return any(_NOT_BASE64.search(text, start, start + size) is None for start in range(0, len(text) - size + 1, size))


def _described(media_type: str, encoded: str) -> str:
    digest = hashlib.sha256(encoded.encode()).hexdigest()
    return f"[{media_type}; {len(encoded.rstrip('=')) * 3 // 4} bytes; sha256 {digest}]"


def jsonable(value: AttributeValue) -> Any:
    """Return *value* as JSON has it; bytes become ``{"base64": ...}``, a long text is cut."""
    if isinstance(value, str):
        is_plain = len(value) < _BASE64_BYTES and "base64," not in value
        return value if is_plain else cut(without_media(value), MAX_VALUE_BYTES)
    if type(value) is list:
        return [jsonable(item) for item in value]
    if value is None or isinstance(value, _NUMBERS):
        return value
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value[:MAX_VALUE_BYTES]).decode()}
    if isinstance(value, Mapping):
        return {key: jsonable(item) for key, item in value.items()}
    return [jsonable(item) for item in value]


_NUMBERS = (bool, int, float)


def attributes_without(attributes: Mapping[str, AttributeValue], content_keys: frozenset[str]) -> dict[str, Any]:
    """Return *attributes* as JSON without those named in *content_keys*."""
    return {
        key: value if type(value) in _PLAIN or (type(value) is str and len(value) < _SHORT) else jsonable(value)
        for key, value in attributes.items()
        if key not in content_keys
    }


def bounded(context: dict[str, Any]) -> dict[str, Any]:
    """Return *context* in at most 64 KiB of JSON: its largest values are cut, and it says so."""
    if _at_most(context) <= MAX_CONTEXT_BYTES or _size(context) <= MAX_CONTEXT_BYTES:
        return context
    flags = list(context.get("flags", ()))
    if "truncated" not in flags:
        flags.append("truncated")
    # Settling tells instrumentations apart by their scope, so it is cut alike whatever stands beside it.
    kept = {"scope": _shortened(context["scope"], MAX_INDEXED_BYTES, 2)} if "scope" in context else {}
    if "trace_state" in context:
        kept["trace_state"] = context["trace_state"]
    for limit, count in ((4096, 1024), (512, 1024), (64, 1024), (512, 128), (64, 64), (16, 16)):
        small = {key: _shortened(value, limit, count) for key, value in context.items()} | kept
        small["flags"] = flags
        if _size(small) <= MAX_CONTEXT_BYTES:
            return small
    return {**kept, "flags": flags}


def _at_most(value: Any) -> int:
    """Return an upper bound of the size of *value*, which costs a tenth of its size.

    Marshalled, everything takes up at least a sixth of what it does in JSON: a character that JSON has to spell out
    becomes six.
    """
    try:
        return 6 * len(marshal.dumps(value, _MARSHAL_WITHOUT_REFERENCES))
    except ValueError:
        return _size(value)


_MARSHAL_WITHOUT_REFERENCES = 2
"""The last version that writes each text out as often as it occurs."""


def _size(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


def _shortened(value: Any, limit: int, count: int) -> Any:
    if isinstance(value, str):
        return cut(value, limit)
    if isinstance(value, Mapping):
        kept = list(value.items())[:count]
        return {cut(key, 256): _shortened(item, limit, count) for key, item in kept}
    if isinstance(value, Sequence):
        return [_shortened(item, limit, count) for item in value[:count]]
    return value
