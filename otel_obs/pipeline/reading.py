"""A segment's file: what is in it, and how far was it read?

How far is written into a file beside it, so that a successor goes on from there; where that is lost, it begins again,
for a record that comes twice harms nobody.
"""

from __future__ import annotations

import logging
import os
import struct
import zlib
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from otel_obs.pipeline.owned import OwnedFolder
from otel_obs.pipeline.segment import Found, records_in

_log = logging.getLogger(__name__)

SUFFIX = ".spool"
_POSITION = struct.Struct("!QI")


@dataclass(slots=True)
class SegmentFile:
    """A segment, and whose folder it is in."""

    path: Path
    owner: OwnedFolder
    size: int
    begun_ns: int = field(init=False)
    """By its writer's clock, since 1970."""
    marker: bytes = field(init=False)

    def __post_init__(self) -> None:
        begun, _, marker = self.path.stem.partition("-")
        self.begun_ns, self.marker = int(begun), bytes.fromhex(marker)

    @property
    def position_path(self) -> Path:
        """Return the file that says how far it was read."""
        return self.path.with_suffix(".at")


class Reading:
    """A segment that is being read; how far is remembered beside it, so that a successor goes on from there."""

    def __init__(self, segment: SegmentFile) -> None:
        self.segment = segment
        self.torn = 0
        self.corrupt = 0
        try:
            data = segment.path.read_bytes()
        except OSError:
            data, self.corrupt = b"", 1
        self.unreadable = False
        """True if a record of it cannot be read here: its file is kept."""
        self._found = records_in(data, segment.marker, _position(segment.position_path, len(data)))
        self._ahead: deque[Found] = deque()

    def current(self) -> Found | None:
        """Return the record at hand; None at the end."""
        return next(self.ahead(), None)

    def ahead(self) -> Iterator[Found]:
        """Return the record at hand and those after it; this does not go on to them."""
        yield from tuple(self._ahead)
        while (found := self._next()) is not None:
            self._ahead.append(found)
            yield found

    def advance(self) -> None:
        """Go on to the next record."""
        current = self.current()
        if current is not None:
            at = struct.pack("!Q", current.end)
            with suppress(OSError):
                _replace(self.segment.position_path, _POSITION.pack(current.end, zlib.crc32(at)))
            self._ahead.popleft()

    def _next(self) -> Found | None:
        for found in self._found:
            if found.record is not None:
                return found
            self.torn += found.torn
            self.corrupt += not found.torn
        return None


def segments_of(owner: OwnedFolder) -> list[SegmentFile]:
    """Return the segments in a folder, in no order."""
    found = []
    for path in owner.path.glob(f"*{SUFFIX}"):
        try:
            found.append(SegmentFile(path, owner, path.stat().st_size))
        except (OSError, ValueError):  # noqa: PERF203  # one strange file hides no other
            _log.warning("%s is no segment of a spool", path.name)
    return found


def _position(path: Path, size: int) -> int:
    """Return how far a segment was read; 0 where that is not certain, for reading twice harms nobody."""
    try:
        at, checksum = _POSITION.unpack(path.read_bytes())
    except (OSError, struct.error):
        return 0
    return int(at) if checksum == zlib.crc32(struct.pack("!Q", at)) and at <= size else 0


def _replace(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        os.pwrite(descriptor, data, 0)
    finally:
        os.close(descriptor)
