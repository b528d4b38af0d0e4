"""Rows on their way to a store, written behind the program's back: it never waits, and what is lost is counted."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import Callable, Sequence

from otel_obs.errors import ObsError
from otel_obs.rows import EventRow

_log = logging.getLogger(__name__)

MAX_WAITING = 10_000
"""Rows that wait for the store; of more, the new ones are dropped."""
AT_ONCE = 500
RETRY_FOR_S = 20.0
"""A batch that the store cannot take is offered again for so long."""
WARN_EVERY_S = 20.0


class Outbox:
    """Writes what is put into it, several rows at once, from a thread of its own."""

    def __init__(self, write: Callable[[Sequence[EventRow]], None], *, retry_for_s: float = RETRY_FOR_S) -> None:
        self._write = write
        self._retry_for_s = retry_for_s
        self.dropped: Counter[str] = Counter()
        """Rows that are not stored, by reason."""
        self._warned_at = -WARN_EVERY_S
        self._begin()
        _OUTBOXES.add(self)
        atexit.register(self.close, 3.0)

    def _begin(self) -> None:
        """Begin with nothing: what waits at a fork is written by the parent."""
        self._changed = threading.Condition()
        self._waiting: deque[EventRow] = deque()
        self._writing = 0
        self._closed = False
        self._thread: threading.Thread | None = None

    def put(self, row: EventRow) -> bool:
        """Take *row*; return False where it is dropped."""
        with self._changed:
            if self._closed or len(self._waiting) >= MAX_WAITING:
                self.drop("closed" if self._closed else "queue_full", 1)
                return False
            self._waiting.append(row)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="otel-obs-outbox", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        return True

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Return whether nothing waits any more within *timeout_s*; what was dropped is in ``dropped``."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._writing, timeout_s)

    def close(self, timeout_s: float = 10.0) -> None:
        """Write what waits, and take nothing more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(timeout_s)
        atexit.unregister(self.close)

    def drop(self, reason: str, count: int) -> None:
        """Count rows that are not stored."""
        self.dropped[reason] += count
        if time.monotonic() - self._warned_at >= WARN_EVERY_S:
            self._warned_at = time.monotonic()
            _log.warning("events are not stored: %s (%s so far)", reason, dict(self.dropped))

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return
                taken = [self._waiting.popleft() for _ in range(min(AT_ONCE, len(self._waiting)))]
                self._writing = len(taken)
            self._store(taken)
            with self._changed:
                self._writing = 0
                self._changed.notify_all()

    def _store(self, rows: Sequence[EventRow]) -> None:
        until = time.monotonic() + self._retry_for_s
        while not self._tried(rows):
            with self._changed:
                if self._closed or time.monotonic() >= until:
                    self.drop("storage_unavailable", len(rows))
                    return
                self._changed.wait(0.5)

    def _tried(self, rows: Sequence[EventRow]) -> bool:
        """Offer *rows* to the store; return False if the same ones are to be offered again."""
        try:
            self._write(rows)
        except ObsError as error:
            if error.retryable:
                return False
            self._store_apart(rows, type(error).__name__)
        except Exception as error:  # noqa: BLE001  # telemetry never breaks the application
            self._store_apart(rows, type(error).__name__)
        return True

    def _store_apart(self, rows: Sequence[EventRow], reason: str) -> None:
        """Store halves on their own, down to the row that the store refuses."""
        if len(rows) == 1:
            self.drop(reason, 1)
            return
        middle = len(rows) // 2
        self._store(rows[:middle])
        self._store(rows[middle:])


_OUTBOXES: weakref.WeakSet[Outbox] = weakref.WeakSet()


def _begin_again() -> None:
    for outbox in list(_OUTBOXES):
        outbox._begin()  # noqa: SLF001  # of this module


os.register_at_fork(after_in_child=_begin_again)
