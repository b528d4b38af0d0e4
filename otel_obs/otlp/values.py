"""What every way in does to values, so that each text can be stored and each id can be trusted."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence

from otel_obs.model import AttributeValue

MAX_DEPTH = 32
"""Values nested deeper than this are kept as JSON text."""
MAX_NESTED = 100
"""A request with values nested deeper than this is refused; protobuf's parsers refuse it as well."""
MAX_ITEMS = 1024
"""Attributes, events or links of one span beyond this many are cut."""
MAX_RECORDS = 50_000
"""Spans or log records in one request."""
MAX_PAYLOAD_BYTES = 64 * 1024
"""Of a refused span this much is kept."""

SANITIZED = "sanitized"
TRUNCATED = "truncated"
DUPLICATE_ATTRIBUTE = "duplicate_attribute"
SELF_PARENT = "self_parent"
PARENT_MALFORMED = "parent_malformed"
TRACE_ID_MALFORMED = "trace_id_malformed"

_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")
"""NUL and lone surrogates: PostgreSQL stores neither in text nor in jsonb."""
_REPLACEMENT = "\ufffd"
_HEX = re.compile(r"^[0-9a-f]+$")


class Flags:
    """What had to be mended of one span, in the order in which it was found."""

    __slots__ = ("found",)

    def __init__(self, found: Sequence[str] = ()) -> None:
        self.found: dict[str, None] = dict.fromkeys(found) if found else {}

    def add(self, flag: str) -> None:
        """Remember *flag* once."""
        self.found[flag] = None

    @property
    def all(self) -> tuple[str, ...]:
        """Return the flags."""
        return tuple(self.found)


def text(value: str, flags: Flags) -> str:
    """Return *value* with U+FFFD in place of what PostgreSQL cannot store."""
    if value.isascii() and "\x00" not in value:
        return value
    if _UNSTORABLE.search(value) is None:
        return value
    flags.add(SANITIZED)
    return _UNSTORABLE.sub(_REPLACEMENT, value)


def number(value: float) -> AttributeValue:
    """Return *value*; NaN and the infinities, which JSON does not have, as text."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


def flattened(value: object) -> str:
    """Return as JSON text what is nested too deep."""
    return json.dumps(value, ensure_ascii=False, default=str)


def collected(pairs: Iterable[tuple[str, AttributeValue]], flags: Flags) -> dict[str, AttributeValue]:
    """Return attributes by their names: of equal names the first, and at most 1,024."""
    found: dict[str, AttributeValue] = {}
    for key, value in pairs:
        if key in found:
            flags.add(DUPLICATE_ATTRIBUTE)
        elif len(found) >= MAX_ITEMS:
            flags.add(TRUNCATED)
            break
        else:
            found[key] = value
    return found


def left_out(sent: int, kept: int) -> int:
    """Return how many of *sent* attributes, events or links were too many, where up to 1,024 are *kept*."""
    return sent - kept if sent > kept >= MAX_ITEMS else 0


class IdError(ValueError):
    """An id is not one; the message is the reason, such as ``trace_id:wrong_length``."""


def hex_id(name: str, value: str, length: int) -> str:
    """Return the id *value* in lower case.

    Raises:
        IdError: it is absent, zero, too long or short, or not hexadecimal.
    """
    if not value:
        raise IdError(f"{name}:absent")
    value = value.lower()
    if len(value) != length:
        raise IdError(f"{name}:wrong_length")
    if not _HEX.match(value):
        raise IdError(f"{name}:not_hex")
    if not value.strip("0"):
        raise IdError(f"{name}:zero")
    return value


def parent_id(value: str, span_id: str, flags: Flags) -> str | None:
    """Return the parent's span id; None for a root, which a span is too that names no span or itself."""
    if not value or not value.strip("0"):
        return None
    try:
        found = hex_id("parent_span_id", value, 16)
    except IdError:
        flags.add(PARENT_MALFORMED)
        return None
    if found == span_id:
        flags.add(SELF_PARENT)
        return None
    return found


def optional_id(value: str, length: int, flags: Flags) -> str:
    """Return the id that a log record names; '' where it names none."""
    if not value or not value.strip("0"):
        return ""
    try:
        return hex_id("id", value, length)
    except IdError:
        flags.add(TRACE_ID_MALFORMED)
        return ""
