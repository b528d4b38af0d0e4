"""What was accepted while the database was away: who brings it there, and in which order?

One thread, oldest first, many requests in one transaction. Requests that come meanwhile do not wait for it, and it
does not wait for them: between two of its commits there is no pause, so it is as fast as the database is.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from threading import Condition, Thread

from otel_obs.errors import ObsError
from otel_obs.pipeline.accepted import Accepted, accepted_of
from otel_obs.pipeline.committing import Committer
from otel_obs.pipeline.ingest import Mapping, Received
from otel_obs.pipeline.sealing import Sealer
from otel_obs.pipeline.segment import Record
from otel_obs.pipeline.spool import Spool, Ticket
from otel_obs.sealing import SealedError

_log = logging.getLogger(__name__)

ADOPT_EVERY_S = 5.0
"""How often folders of dead processes are looked for."""
PEEK_RECORDS = 256
PEEK_BYTES = 8 * 1024 * 1024
MAX_ROWS = 5000
"""Spans and log records in one transaction; fewer after one that took too long, down to a single one."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 2.0
LOOK_EVERY_S = 0.5
DELETED = frozenset({"organization_deleted", "workspace_deleted", "user_deleted"})


@dataclass(slots=True)
class DrainCounts:
    """What became of what was on disk."""

    drained: int = 0
    """Spans and log records that left the disk, whatever became of them."""
    deleted: int = 0
    """Of those: dropped, because their organization, workspace or user was deleted meanwhile."""
    unreadable: int = 0
    """Requests whose key is not here; their files are kept."""


@dataclass(slots=True)
class _Taken:
    """One request from disk."""

    ticket: Ticket
    size: int
    received: Received = field(default_factory=Received)


class Drain:
    """Keeps requests on disk while the database is away, and brings them there when it is back."""

    def __init__(
        self, spool: Spool, sealer: Sealer, mapping: Mapping, committer: Committer, can_write: Callable[[], bool]
    ) -> None:
        self.counts = DrainCounts()
        self._spool = spool
        self._sealer = sealer
        self._mapping = mapping
        self._committer = committer
        self._can_write = can_write
        self._rows = MAX_ROWS
        self._pause_s = 0.0
        self._adopt_at = 0.0
        self._oldest_at: datetime | None = None
        self._closed = False
        self._wake = Condition()
        self._thread = Thread(target=self._run, name="otel-obs-drain", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self, grace_s: float = 5.0) -> None:
        """Stop after the commit that is under way; what is left is for the next process."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        if self._thread.ident is not None:
            self._thread.join(grace_s)
        self._spool.close()

    def keep(self, accepted: Accepted) -> None:
        """Return once *accepted* is on disk.

        Raises:
            QueueFullError: there is no more room.
            StorageUnavailableError: the disk refuses.
        """
        self._spool.append([self._sealer.seal(accepted.record())])
        if self._oldest_at is None:
            self._oldest_at = accepted.received_at

    @property
    def size_bytes(self) -> int:
        """Return how much is on disk."""
        return self._spool.size_bytes

    @property
    def lag_s(self) -> float:
        """Return for how long the oldest request on disk has waited (seconds); 0 where there is none."""
        oldest = self._oldest_at
        return 0.0 if oldest is None else max(0.0, (datetime.now(tz=timezone.utc) - oldest).total_seconds())

    def _run(self) -> None:
        while not self._closed:
            try:
                wait_s = self._turn()
            except Exception as error:  # noqa: BLE001  # the next turn may succeed, and must come
                _log.error("draining failed: %s", type(error).__name__)
                wait_s = LONGEST_PAUSE_S
            if wait_s:
                with self._wake:
                    if not self._closed:
                        self._wake.wait(wait_s)

    def _turn(self) -> float:
        """Bring some of what is on disk to the database; return how long to wait until there is more to do."""
        if time.monotonic() >= self._adopt_at:
            self._adopt_at = time.monotonic() + ADOPT_EVERY_S
            self._spool.adopt()
        found = self._spool.peek(PEEK_RECORDS, PEEK_BYTES)
        self._oldest_at = self._time_of(found[0][1]) if found else None
        if not found or not self._can_write():
            return LOOK_EVERY_S
        taken: list[_Taken] = []
        rows = 0
        for ticket, record in found:
            entry = self._read(ticket, record)
            if entry is None:
                break
            taken.append(entry)
            rows += len(entry.received.records)
            if rows >= self._rows:
                break
        if not taken:
            # The unreadable one was first, and is passed over now.
            return 0.0
        try:
            self._commit(taken)
        except ObsError as error:
            self._rows = max(1, self._rows // 4)
            self._pause_s = min(LONGEST_PAUSE_S, max(FIRST_PAUSE_S, self._pause_s * 2))
            _log.debug("draining waits: %s", error)
            return self._pause_s
        self._rows, self._pause_s = min(MAX_ROWS, self._rows * 2), 0.0
        return 0.0

    def _read(self, ticket: Ticket, record: Record) -> _Taken | None:
        """Return a request with its rows; None for one that cannot be read here, once nothing is before it."""
        try:
            accepted = accepted_of(self._sealer.open(record))
        except (SealedError, ValueError, KeyError, TypeError) as error:
            if self._spool.peek(1, 1)[0][0] == ticket:
                _log.error("a request in the spool cannot be read, its file is kept: %s", error)
                self._spool.done(ticket, unreadable=True)
                self.counts.unreadable += 1
            return None
        return _Taken(ticket, accepted.records, accepted.received(self._mapping))

    def _commit(self, taken: list[_Taken]) -> None:
        """Write what was *taken*, and forget it; a large request in parts, for writing one twice changes nothing."""
        records = [record for entry in taken for record in entry.received.records]
        quarantined = [item for entry in taken for item in entry.received.quarantined]
        refused: dict[tuple[str, str, str], str] = {}
        for start in range(0, max(1, len(records)), self._rows):
            part = Received(records=records[start : start + self._rows], quarantined=quarantined if not start else ())
            refused.update(self._committer.commit([part]).refused)
        for entry in taken:
            self._spool.done(entry.ticket)
            self.counts.drained += entry.size
        self.counts.deleted += sum(reason in DELETED for reason in refused.values())

    @staticmethod
    def _time_of(record: Record) -> datetime | None:
        try:
            return datetime.fromisoformat(str(record.header["received_at"]))
        except (KeyError, ValueError):
            return None
