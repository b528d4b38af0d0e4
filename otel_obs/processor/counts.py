"""What became of the spans that were handed over?

At every moment ``accepted = exported + spooled + waiting`` and what was dropped in memory.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

_log = logging.getLogger("otel_obs.processor")

WARN_EVERY_S = 20.0
"""How often a log line of one kind is written."""


@dataclass(slots=True)
class Counts:
    """Spans since this process began (or was forked)."""

    accepted: int = 0
    """Taken into the queue."""
    exported: int = 0
    """Taken by the destination without a detour."""
    spooled: int = 0
    """Written to disk, to be sent later."""
    drained: int = 0
    """Sent from disk, those that other processes left there included."""
    failed: int = 0
    """Exports that failed; a batch may fail many times before it succeeds, so this counts attempts."""
    dropped: dict[str, int] = field(default_factory=dict)
    """Lost, by reason.

    On the way in: ``queue_full``, ``after_shutdown``, ``internal_error``; in memory: ``retry_exhausted`` (neither the
    destination nor the disk took them), ``not_encodable``; from disk, so counted in ``spooled`` too: ``refused`` (the
    destination takes others, and not these), ``not_decodable``.
    """

    @property
    def lost(self) -> int:
        """Return how many spans were dropped, for whatever reason."""
        return sum(tuple(self.dropped.values()))

    def drop(self, reason: str, count: int) -> None:
        """Count dropped spans."""
        self.dropped[reason] = self.dropped.get(reason, 0) + count


@dataclass(frozen=True, slots=True, kw_only=True)
class FlushResult:
    """What a flush achieved; the numbers are spans since this process began (or was forked)."""

    complete: bool
    """True if each span that was handed over before the call is at its destination or on disk."""
    lost: int
    """Spans dropped since the flush before; with any of them a flush is not complete."""
    waiting: int
    """Spans that are still in memory only."""
    accepted: int
    exported: int
    spooled: int
    drained: int
    failed: int
    dropped: dict[str, int]


class Announcer:
    """Writes a line to the log, and not the same one again for a while."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said: dict[str, float] = {}

    def warn(self, message: str, *arguments: object) -> None:
        """Write *message*, unless it was written a short time ago."""
        now = self._clock()
        last = self._said.get(message)
        if last is None or now - last >= WARN_EVERY_S:
            self._said[message] = now
            _log.warning(message, *arguments)
