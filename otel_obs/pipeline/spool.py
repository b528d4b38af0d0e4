"""What was accepted and is not stored yet: how does it survive on disk, and who brings it on its way?

A spool is a folder. Each process that writes to it has a folder of its own in there, and holds a lock on it that
the kernel releases when the process dies; then any other process of the spool adopts the folder and drains it.
Its files are segments (see ``segment``), ``{unix time in ns:020d}-{marker:16 hex}.spool``, read oldest first; a
file of the same name that ends in ``.at`` says how far a segment was read.
"""

from __future__ import annotations

import logging
import os
import secrets
import time
import weakref
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import RLock

from otel_obs.errors import QueueFullError, StorageUnavailableError
from otel_obs.pipeline.owned import OwnedFolder, adopt_folders
from otel_obs.pipeline.reading import SUFFIX, Reading, SegmentFile, segments_of
from otel_obs.pipeline.segment import Record, framed

_log = logging.getLogger(__name__)

MAX_BYTES = 256 * 1024 * 1024
"""How much one process keeps on disk before it refuses."""
SEGMENT_BYTES = 8 * 1024 * 1024
"""A segment that is this long gets a successor."""
KEPT_CORRUPT = 4
"""How many damaged segments are kept for somebody to look at."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """Where a record is."""

    segment: str
    start: int
    end: int


@dataclass(slots=True)
class SpoolCounts:
    """What happened to records."""

    appended: int = 0
    taken: int = 0
    """Records that were done with, adopted ones included."""
    torn: int = 0
    corrupt: int = 0
    """Places where segments are damaged; what stood there is lost."""


class Spool:
    """Records on disk, in the order in which they came; thread-safe, and each process its own after a fork.

    One thread at a time takes records out: ``oldest``, then ``done``.
    """

    def __init__(self, folder: Path, *, max_bytes: int = MAX_BYTES, segment_bytes: int = SEGMENT_BYTES) -> None:
        self.counts = SpoolCounts()
        self._folder = folder
        self._max_bytes = max_bytes
        self._segment_bytes = segment_bytes
        self._begin()
        after_fork = weakref.WeakMethod(self._begin_in_child)
        os.register_at_fork(after_in_child=lambda: (again := after_fork()) and again())

    def _begin(self) -> None:
        self._lock = RLock()
        self._own: OwnedFolder | None = None
        self._adopted: dict[str, OwnedFolder] = {}
        self._segments: list[SegmentFile] = []
        self._descriptor: int | None = None
        self._reading: Reading | None = None
        self._early: set[tuple[str, int]] = set()
        self._last_ns = 0

    def _begin_in_child(self) -> None:
        """Leave the parent's files to the parent; closing its lock here does not release it there."""
        if self._descriptor is not None:
            os.close(self._descriptor)
        for owner in (self._own, *self._adopted.values()):
            if owner is not None:
                owner.forget()
        self.counts = SpoolCounts()
        self._begin()

    @property
    def size_bytes(self) -> int:
        """Return how much is on disk, of this process and of the dead ones whose folders it has adopted."""
        return sum(segment.size for segment in tuple(self._segments))

    def append(self, records: Sequence[Record]) -> list[Ticket]:
        """Return once *records* are on disk (``fsync``); the tickets say where.

        Raises:
            QueueFullError: the spool is as large as it may be; nothing was kept.
            StorageUnavailableError: the disk refuses; whether anything was kept is unknown, and it may come twice.
        """
        with self._lock:
            try:
                return self._append(records)
            except OSError as error:
                if self._own is not None and not self._own.exists():
                    self._seal()
                    self._own = None
                raise StorageUnavailableError(f"the spool cannot be written: {error.strerror}") from error

    def _append(self, records: Sequence[Record]) -> list[Ticket]:
        if self._descriptor is not None and self._segments[-1].size >= self._segment_bytes:
            self._seal()
        descriptor, segment = self._writable()
        frames = [framed(record, segment.marker) for record in records]
        data = b"".join(frames)
        if self.size_bytes + len(data) > self._max_bytes:
            raise QueueFullError("the spool is full")
        start = segment.size
        try:
            _write(descriptor, data)
        except OSError:
            self._undo(descriptor, start)
            raise
        segment.size += len(data)
        self._sync(descriptor, segment, new=start == 0)
        self.counts.appended += len(records)
        tickets = []
        for frame in frames:
            tickets.append(Ticket(segment.path.name, start, start + len(frame)))
            start += len(frame)
        return tickets

    def _undo(self, descriptor: int, start: int) -> None:
        """Leave no part of a record behind; where that fails too, nothing more is written to that segment."""
        try:
            os.ftruncate(descriptor, start)
        except OSError:
            self._seal()

    def _sync(self, descriptor: int, segment: SegmentFile, *, new: bool) -> None:
        """Bring a segment to disk.

        After a failure nobody knows what is there, and asking again would say that all is well
        (https://wiki.postgresql.org/wiki/Fsync_Errors): the segment is not written to again.
        """
        try:
            os.fsync(descriptor)
            if new:
                segment.owner.sync()
        except OSError:
            self._seal()
            raise

    def _writable(self) -> tuple[int, SegmentFile]:
        if self._descriptor is None:
            if self._own is None:
                self._own = OwnedFolder.new(self._folder)
            self._last_ns = max(self._last_ns + 1, time.time_ns())
            path = self._own.path / f"{self._last_ns:020d}-{secrets.token_hex(8)}{SUFFIX}"
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
            self._segments.append(SegmentFile(path, self._own, 0))
        return self._descriptor, self._segments[-1]

    def _seal(self) -> None:
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            with suppress(OSError):
                os.close(descriptor)

    def oldest(self) -> tuple[Ticket, Record] | None:
        """Return the oldest record, the same one until it is done with; None when there is none."""
        with self._lock:
            while self._segments:
                segment = self._segments[0]
                if self._reading is None or self._reading.segment is not segment:
                    if len(self._segments) == 1:
                        self._seal()
                    self._reading = Reading(segment)
                found = self._reading.current()
                while found is not None and (segment.path.name, found.start) in self._early:
                    self._early.discard((segment.path.name, found.start))
                    self._reading.advance()
                    found = self._reading.current()
                if found is not None and found.record is not None:
                    return Ticket(segment.path.name, found.start, found.end), found.record
                self._finish(segment, self._reading)
        return None

    def peek(self, max_records: int, max_bytes: int) -> list[tuple[Ticket, Record]]:
        """Return the oldest records, at least one if there is any, all of one segment; they stay."""
        found: list[tuple[Ticket, Record]] = []
        with self._lock:
            if self.oldest() is None or self._reading is None:
                return found
            name, size = self._reading.segment.path.name, 0
            for piece in self._reading.ahead():
                size += piece.end - piece.start
                if found and (len(found) == max_records or size > max_bytes):
                    break
                if piece.record is not None and (name, piece.start) not in self._early:
                    found.append((Ticket(name, piece.start, piece.end), piece.record))
        return found

    def done(self, ticket: Ticket, *, unreadable: bool = False) -> None:
        """Forget a record; one that is not the oldest is passed over when its turn comes.

        The file of one that is *unreadable* (its key is not here) is kept beside the spool.
        """
        with self._lock:
            if unreadable and self._reading is not None and self._reading.segment.path.name == ticket.segment:
                self._reading.unreadable = True
            reading = self._reading
            current = None if reading is None else reading.current()
            if (
                reading is None
                or current is None
                or (reading.segment.path.name, current.start)
                != (
                    ticket.segment,
                    ticket.start,
                )
            ):
                self._early.add((ticket.segment, ticket.start))
            else:
                reading.advance()
            self.counts.taken += 1

    def _finish(self, segment: SegmentFile, reading: Reading) -> None:
        self._segments.pop(0)
        self._reading = None
        if self._descriptor is not None and not self._segments:
            self._seal()
        self.counts.torn += reading.torn
        self.counts.corrupt += reading.corrupt
        with suppress(OSError):
            segment.position_path.unlink(missing_ok=True)
        with suppress(OSError):
            if reading.corrupt:
                _log.warning("%s is damaged in %s places; the rest of it was read", segment.path.name, reading.corrupt)
                self._keep_corrupt(segment.path)
            elif reading.unreadable:
                segment.path.rename(self._folder / f"{segment.path.name}.unreadable")
            else:
                segment.path.unlink(missing_ok=True)
        if segment.owner is not self._own and all(other.owner is not segment.owner for other in self._segments):
            self._adopted.pop(segment.owner.path.name, None)
            segment.owner.remove()

    def _keep_corrupt(self, path: Path) -> None:
        path.rename(self._folder / f"{path.name}.corrupt")
        for old in sorted(self._folder.glob("*.corrupt"))[:-KEPT_CORRUPT]:
            old.unlink(missing_ok=True)

    def adopt(self) -> int:
        """Take over the folders of processes that are no more; return how many segments they held."""
        with self._lock:
            found: list[SegmentFile] = []
            for owner in adopt_folders(self._folder):
                segments = segments_of(owner)
                if segments:
                    self._adopted[owner.path.name] = owner
                    found += segments
                else:
                    owner.remove()
            if found:
                self._seal()
                self._segments = sorted([*self._segments, *found], key=lambda segment: segment.path.name)
                # What comes now is younger, also where the clock went back meanwhile.
                self._last_ns = max(self._last_ns, *(segment.begun_ns for segment in found))
                self._reading = None
            return len(found)

    def close(self) -> None:
        """Let go of the folders; what is in them is for the next process."""
        with self._lock:
            self._seal()
            for owner in (self._own, *self._adopted.values()):
                if owner is None:
                    continue
                if any(segment.owner is owner for segment in self._segments):
                    owner.forget()
                else:
                    owner.remove()
            self._own, self._adopted, self._segments, self._reading = None, {}, [], None


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
