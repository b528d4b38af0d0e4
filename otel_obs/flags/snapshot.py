"""The flags in this process: as of the last change that PostgreSQL told of, or of the last time it answered.

One thread has one connection, past any pooler. It listens for ``otel_obs_flags``, and asks for the version every few
seconds: a notification is a hint, the version is the truth. While the database is away the last flags go on, marked
stale; nobody who asks for a flag waits for the database or hears of its errors.
"""

from __future__ import annotations

import logging
import os
import selectors
import socket
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Literal

import psycopg

from otel_obs.flags.evaluate import FlagSet
from otel_obs.flags.store import load_flags
from otel_obs.postgres.arrays import arrays
from otel_obs.postgres.pool import conninfo
from otel_obs.postgres.queries import load

_log = logging.getLogger(__name__)
_FLAGS = load("flags")

POLL_S = 5.0
"""How often the version is asked for, were no notification to come."""
STALE_AFTER_S = 15.0
"""Flags count as stale once the database has not answered for so long, and at once when it fails."""
RETRY_S = 1.0
TOUCH_S = 60.0
"""How often the times of last use are written, and lookups asked to tell of them again."""
WARN_EVERY_S = 60.0

Event = Literal["changed", "stale", "fresh", "touched", "closed"]


@dataclass(frozen=True, slots=True)
class State:
    """The flags as of one version; only *marks* remembers, what it was asked before."""

    flags: FlagSet = field(default_factory=FlagSet)
    version: int = -1
    """Of ``flag_set``; -1: nothing was loaded yet."""
    changed_at: datetime | None = None
    secret: str = ""
    """Signs the addresses of notification streams."""
    marks: dict[str | None, tuple[str, datetime | None]] = field(default_factory=dict)

    @property
    def is_loaded(self) -> bool:
        """Tell whether the database has answered at least once."""
        return self.version >= 0

    def mark(self, organization_id: str | None, now: datetime) -> str:
        """Return the mark of an organization's flags (``FlagSet.mark``), worked out once while no flag's time comes."""
        found = self.marks.get(organization_id)
        if found is not None and (found[1] is None or now < found[1]):
            return found[0]
        mark = self.flags.mark(organization_id, now)
        if len(self.marks) > 10_000:
            self.marks.clear()
        self.marks[organization_id] = (mark, self.flags.next_change(now))
        return mark


class Snapshot:
    """Keeps the flags of all organizations, or of one, up to date."""

    def __init__(
        self,
        database_url: str | Callable[[], str | None],
        *,
        organization_id: str | None = None,
        poll_s: float = POLL_S,
    ) -> None:
        self._database_url = database_url
        self._organization_id = organization_id
        self._poll_s = poll_s
        self.state = State()
        self._due: datetime | None = None
        self._subscribers: list[Callable[[Event], None]] = []
        self._warned_at = -WARN_EVERY_S
        self._begin()
        _SNAPSHOTS.add(self)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._answered = threading.Condition()
        self._answers = 0
        self._used: dict[tuple[str, str], datetime] = {}
        self._answered_at: float | None = None
        self._touched_at = time.monotonic()
        self._failing = False
        self._was_stale = False
        self._closed = False
        self._thread: threading.Thread | None = None
        self._waker, self._woken = socket.socketpair()
        self._waker.setblocking(False)
        self._woken.setblocking(False)

    def start(self) -> None:
        """Begin to keep up, in a thread of its own; a second time nothing happens."""
        with self._lock:
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="otel-obs-flags", daemon=True)
                self._thread.start()

    def wait(self, timeout_s: float) -> bool:
        """Return once the flags are there; False if that takes longer, or the database cannot be asked now."""
        self.start()
        with self._answered:
            self._answered.wait_for(lambda: self.state.is_loaded or self._failing or self._closed, timeout_s)
        return self.state.is_loaded

    def refresh(self, timeout_s: float = 1.0) -> bool:
        """Ask the database now; return whether it answered in time."""
        self.start()
        with self._answered:
            # The answer that is under way may be to a question from before.
            wanted = self._answers + 2
            self._wake()
            until = time.monotonic() + timeout_s
            while self._answers < wanted and not self._failing and not self._closed:
                left = until - time.monotonic()
                if left <= 0:
                    return False
                self._wake()
                self._answered.wait(min(left, 0.05))
            return self._answers >= wanted

    def close(self, grace_s: float = 2.0) -> None:
        """Write what is to be written, and stop; the flags stay as they are."""
        with self._lock:
            self._closed = True
            thread = self._thread
        self._tell("closed")
        self._wake()
        if thread is not None:
            thread.join(grace_s)
        if thread is None or not thread.is_alive():
            self._waker.close()
            self._woken.close()

    @property
    def stale(self) -> bool:
        """Tell whether the database has not answered lately: the flags may have changed meanwhile."""
        return self._failing or self._answered_at is None or time.monotonic() - self._answered_at > STALE_AFTER_S

    def subscribe(self, told: Callable[[Event], None]) -> Callable[[], None]:
        """Call *told* whenever something happens, from the snapshot's thread; return how to stop that."""
        with self._lock:
            self._subscribers.append(told)

        def unsubscribe() -> None:
            with self._lock:
                if told in self._subscribers:
                    self._subscribers.remove(told)

        return unsubscribe

    def used(self, flag_name: str, organization_id: str) -> None:
        """Remember that a flag was asked for."""
        used = self._used
        if len(used) < 100_000:
            used[organization_id, flag_name] = datetime.now(tz=timezone.utc)

    def _wake(self) -> None:
        try:
            self._waker.send(b"x")
        except OSError:
            return  # it is awake already, or closed

    def _tell(self, event: Event) -> None:
        with self._lock:
            subscribers = list(self._subscribers)
        for told in subscribers:
            try:
                told(event)
            except Exception as error:  # noqa: BLE001, PERF203  # whoever listens must not stop the flags
                _log.warning("a listener of flags failed: %s", type(error).__name__)

    def _run(self) -> None:
        while not self._closed:
            try:
                self._keep_up()
            except Exception as error:  # noqa: BLE001  # whatever it is, the last flags go on
                self._failed(error)
                self._tell_due()
            if not self._closed:
                self._pause(None, RETRY_S)

    def _keep_up(self) -> None:
        url = self._database_url() if callable(self._database_url) else self._database_url
        if url is None:
            raise ConnectionError("no database")
        settings = {"statement_timeout": "5s"}
        with psycopg.connect(conninfo(url, settings=settings), autocommit=True, prepare_threshold=None) as connection:
            connection.execute(_FLAGS["listen"])
            while True:
                self._poll(connection)
                self._tell_due()
                if time.monotonic() - self._touched_at >= TOUCH_S or self._closed:
                    self._touch(connection)
                if self._closed:
                    return
                self._pause(connection, min(self._poll_s, self._due_in_s()))

    def _poll(self, connection: psycopg.Connection) -> None:
        row = connection.execute(_FLAGS["version"]).fetchone()
        if row is None:
            raise ConnectionError("no version of flags")
        state = self.state
        is_new = row[0] != state.version
        if is_new:
            now = datetime.now(tz=timezone.utc)
            # Rows may be newer than the version that was read before them: then they are read again.
            self.state = State(FlagSet(load_flags(connection, self._organization_id)), *row)
            self._due = self.state.flags.next_change(now)
        if self._failing:
            _log.warning("flags are up to date again")
        with self._answered:
            self._answered_at = time.monotonic()
            self._failing = False
            self._answers += 1
            self._answered.notify_all()
        if is_new:
            self._tell("changed")
        if self._was_stale:
            self._was_stale = False
            self._tell("fresh")

    def _tell_due(self) -> None:
        """Tell it when a flag has started or expired: that is a change too."""
        now = datetime.now(tz=timezone.utc)
        if self._due is not None and now >= self._due:
            self._due = self.state.flags.next_change(now)
            self._tell("changed")

    def _due_in_s(self) -> float:
        if self._due is None:
            return self._poll_s
        return max(0.0, (self._due - datetime.now(tz=timezone.utc)).total_seconds()) + 0.001

    def _pause(self, connection: psycopg.Connection | None, timeout_s: float) -> None:
        """Wait for a notification, for somebody who asks, or for the time to pass."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._woken, selectors.EVENT_READ)
            if connection is not None:
                selector.register(connection.fileno(), selectors.EVENT_READ)
            selector.select(timeout_s)
        try:
            while self._woken.recv(4096):
                pass
        except OSError:
            pass  # nothing more to read
        if connection is not None:
            for _ in connection.notifies(timeout=0):
                pass

    def _failed(self, error: Exception) -> None:
        now = time.monotonic()
        if now - self._warned_at >= WARN_EVERY_S:
            self._warned_at = now
            _log.warning("flags cannot be read, the last ones go on: %s", type(error).__name__)
        with self._answered:
            self._failing = True
            self._answered.notify_all()
        if not self._was_stale:
            self._was_stale = True
            self._tell("stale")

    def _touch(self, connection: psycopg.Connection) -> None:
        """Write when flags were last used, and have lookups tell again what is used from now on."""
        self._touched_at = time.monotonic()
        used, self._used = self._used, {}
        self._tell("touched")
        if used:
            names = ("organization_ids", "flag_names", "last_evaluated_at")
            connection.execute(_FLAGS["used"], arrays(names, [(*key, at) for key, at in used.items()]))

    def _after_fork(self) -> None:
        """In a child process: keep the flags, and begin anew. The connection is the parent's."""
        was_running = self._thread is not None
        self._begin()
        if was_running:
            self.start()


_SNAPSHOTS: weakref.WeakSet[Snapshot] = weakref.WeakSet()


def _restart() -> None:
    for snapshot in list(_SNAPSHOTS):
        snapshot._after_fork()  # noqa: SLF001  # of this module


os.register_at_fork(after_in_child=_restart)
