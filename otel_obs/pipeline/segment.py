"""What does a segment of the spool look like, and what of it can still be read when it is damaged?

A record is

    marker (8 bytes) | header length (u32) | body length (u32) | CRC-32 of all the rest (u32) | header | body

with numbers in network order and the header as JSON. The marker is random, and stands in the name of the segment's
file rather than in it: after damage, reading goes on at the next marker, and nothing that a sender put into a body
can pass for a record.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

_FRAME = struct.Struct("!8sIII")

Header: TypeAlias = Mapping[str, "str | int | float | bool | None"]


@dataclass(frozen=True, slots=True)
class Record:
    """One thing that was accepted."""

    header: Header
    """What is needed to know what the body is, and whose; small, and never a credential."""
    body: bytes


@dataclass(frozen=True, slots=True)
class Found:
    """A piece of a segment: a record, or damage where ``record`` is None."""

    record: Record | None
    start: int
    end: int
    torn: bool = False
    """True for a record that ends with the file: its writer died while it wrote, and never acknowledged it."""


def framed(record: Record, marker: bytes) -> bytes:
    """Return *record* as it stands in the segment of *marker*."""
    header = json.dumps(record.header, separators=(",", ":")).encode()
    lengths = struct.pack("!II", len(header), len(record.body))
    return _FRAME.pack(marker, len(header), len(record.body), _checksum(marker, lengths, header, record.body)) + (
        header + record.body
    )


def records_in(data: bytes, marker: bytes, start: int = 0) -> Iterator[Found]:
    """Return the records of a segment from *start* on, and what is damaged between them."""
    at = start
    while at < len(data):
        found = _record_at(data, marker, at)
        if found is None:
            after = _next_record(data, marker, at + 1)
            torn = after == len(data) and _is_torn(data, marker, at)
            yield Found(None, at, after, torn)
            at = after
        else:
            yield found
            at = found.end


def _record_at(data: bytes, marker: bytes, at: int) -> Found | None:
    if len(data) - at < _FRAME.size:
        return None
    found, header_length, body_length, checksum = _FRAME.unpack_from(data, at)
    body_at = at + _FRAME.size + header_length
    end = body_at + body_length
    if found != marker or end > len(data):
        return None
    header, body = data[at + _FRAME.size : body_at], data[body_at:end]
    if _checksum(marker, struct.pack("!II", header_length, body_length), header, body) != checksum:
        return None
    return Found(Record(json.loads(header), body), at, end)


def _next_record(data: bytes, marker: bytes, at: int) -> int:
    while (at := data.find(marker, at)) != -1:
        if _record_at(data, marker, at) is not None:
            return at
        at += 1
    return len(data)


def _is_torn(data: bytes, marker: bytes, at: int) -> bool:
    left = len(data) - at
    if left < _FRAME.size:
        return data[at : at + len(marker)] == marker[:left]
    found, header_length, body_length, _ = _FRAME.unpack_from(data, at)
    return bool(found == marker and _FRAME.size + header_length + body_length > left)


def _checksum(*parts: bytes) -> int:
    found = 0
    for part in parts:
        found = zlib.crc32(part, found)
    return found
