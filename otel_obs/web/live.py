"""Who hears of what is new?  One question a second for each tenant that somebody watches, however many watch it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from threading import Condition, Thread

import psycopg

from otel_obs.analytics.filters import Filters
from otel_obs.analytics.live import LiveEvent, latest_events
from otel_obs.analytics.metrics import Figures, get_system_metrics
from otel_obs.errors import ObsError
from otel_obs.postgres.reading import Reader
from otel_obs.web.access import Caller, Read

_log = logging.getLogger(__name__)

EVERY_S = 1.0
WINDOW = timedelta(seconds=8)
"""Longer than a trace waits to be settled, so that no question misses it."""
AT_ONCE = 1000
"""Events of one question; of more, the newest are told."""
MAX_SEEN = 20_000
FIGURES_EVERY_S = 5.0
FIGURES_OF = timedelta(minutes=5)
MAX_WAITING = 2000
"""Events that wait for a slow watcher; then it is told of a gap."""


@dataclass(eq=False, slots=True)
class Watcher:
    """Somebody who watches a tenant."""

    caller: Caller
    loop: asyncio.AbstractEventLoop
    queue: asyncio.Queue[LiveEvent | Figures] = field(default_factory=lambda: asyncio.Queue(MAX_WAITING))
    missed: int = 0
    """Events that were new while the queue was full."""

    def tell(self, news: Sequence[LiveEvent | Figures]) -> None:
        """Hand *news* over to the watcher's loop."""
        self.loop.call_soon_threadsafe(self._put, news)

    def _put(self, news: Sequence[LiveEvent | Figures]) -> None:
        for item in news:
            if self.queue.full():
                self.missed += 1
            else:
                self.queue.put_nowait(item)


@dataclass(slots=True)
class _Watched:
    """A tenant that is watched."""

    caller: Caller
    watchers: list[Watcher]
    seen: OrderedDict[tuple[str, str], None] | None = None
    """Events that were told; None before the first question."""
    figures_at: float = 0.0


class Live:
    """Asks for what is new while somebody watches."""

    def __init__(self, read: Read, *, every_s: float = EVERY_S, now: Callable[[], datetime] | None = None) -> None:
        self._read = read
        self._every_s = every_s
        self._now = now or (lambda: datetime.now(tz=timezone.utc))
        self._tenants: dict[Reader, _Watched] = {}
        self._changed = Condition()
        self._closed = False
        self._thread: Thread | None = None

    def watch(self, caller: Caller) -> Watcher:
        """Begin to tell a new watcher what is new for *caller*; call from its event loop."""
        watcher = Watcher(caller, asyncio.get_running_loop())
        with self._changed:
            found = self._tenants.setdefault(caller.reader, _Watched(caller, []))
            found.watchers.append(watcher)
            if self._thread is None:
                self._thread = Thread(target=self._run, name="otel-obs-live", daemon=True)
                self._thread.start()
            self._changed.notify()
        return watcher

    def leave(self, watcher: Watcher) -> None:
        """Tell it nothing more."""
        with self._changed:
            found = self._tenants.get(watcher.caller.reader)
            if found is not None and watcher in found.watchers:
                found.watchers.remove(watcher)
                if not found.watchers:
                    del self._tenants[watcher.caller.reader]

    def close(self) -> None:
        """Stop asking."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(5.0)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._tenants and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                tenants = list(self._tenants.values())
            for found in tenants:
                self._ask(found)
            with self._changed:
                if not self._closed:
                    self._changed.wait(self._every_s)

    def _ask(self, found: _Watched) -> None:
        try:
            news = self._news(found)
        except ObsError as error:
            _log.debug("what is new cannot be told now: %s", error)
            return
        except Exception as error:  # noqa: BLE001  # the next question may be answered, and must be asked
            _log.error("asking for what is new failed: %s", type(error).__name__)
            return
        if news:
            with self._changed:
                watchers = list(found.watchers)
            for watcher in watchers:
                watcher.tell(news)

    def _news(self, found: _Watched) -> list[LiveEvent | Figures]:
        organization_id = found.caller.reader.organization_id
        figures_due = time.monotonic() - found.figures_at >= FIGURES_EVERY_S
        with self._read(found.caller) as connection:
            events = latest_events(connection, organization_id, window=WINDOW, limit=AT_ONCE)
            news: list[LiveEvent | Figures] = list(_unseen(found, events))
            if figures_due:
                found.figures_at = time.monotonic()
                news.append(self._figures(connection, found.caller))
        return news

    def _figures(self, connection: psycopg.Connection, caller: Caller) -> Figures:
        until = self._now()
        asked = Filters(
            organization_id=caller.reader.organization_id,
            workspace_id=caller.reader.workspace_id,
            since=until - FIGURES_OF,
            until=until,
        )
        return get_system_metrics(connection, asked, "hour").total


def _unseen(found: _Watched, events: Sequence[LiveEvent]) -> list[LiveEvent]:
    """Return those of *events* that were not told before; what was there before anybody watched is not new."""
    begins = found.seen is None
    seen = found.seen = OrderedDict() if found.seen is None else found.seen
    news = [event for event in events if (event.trace_id, event.event_id) not in seen]
    for event in events:
        seen[event.trace_id, event.event_id] = None
    while len(seen) > MAX_SEEN:
        seen.popitem(last=False)
    return [] if begins else news
