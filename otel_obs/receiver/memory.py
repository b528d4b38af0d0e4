"""Is there memory for another request?  Asked before its body is read, and again while the body comes.

What a body becomes takes several times its size until it is committed. So bodies in hand are counted, and so is what
the process holds as a whole: at four fifths of the limit senders are told to come again.
"""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from otel_obs.errors import QueueFullError

REFUSE_AT = 0.8
TIMES_ITS_SIZE = 8
"""What a body becomes, decoded and as rows, against its size (measured: 5 to 8)."""
LOOK_EVERY_S = 0.05
TRIM_EVERY_S = 1.0
_CGROUP = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


class OutOfMemoryError(QueueFullError):
    """As much memory is in use as may be; send it again later."""


@dataclass(slots=True)
class Reserved:
    """What one request holds."""

    _memory: Memory
    size: int = 0

    def grow(self, size: int) -> None:
        """Note that *size* more bytes of its body are here.

        Raises:
            OutOfMemoryError: that is too much beside all other requests.
        """
        self._memory._grow(self, size)  # noqa: SLF001  # one thing in two classes


class Memory:
    """What requests hold, and what the process holds; *limit_bytes* 0: half of what there is."""

    def __init__(self, limit_bytes: int = 0, *, held: Callable[[], int] | None = None) -> None:
        self.limit_bytes = limit_bytes or available_bytes() // 2
        self._held = held or resident_bytes
        self._lock = Lock()
        self._in_hand = 0
        self._seen = 0
        self._look_at = self._trim_at = 0.0

    @property
    def held_bytes(self) -> int:
        """Return how much the process holds, as of a moment ago."""
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_EVERY_S
            self._seen = self._held()
            if self._is_much(self._seen) and now >= self._trim_at:
                self._trim_at = now + TRIM_EVERY_S
                _give_back()
                self._seen = self._held()
        return self._seen

    @contextmanager
    def request(self) -> Iterator[Reserved]:
        """Give what a request may hold until it is answered.

        Raises:
            OutOfMemoryError: there is no memory for any.
        """
        if self._is_much(self.held_bytes) or self._is_much(self._in_hand):
            raise OutOfMemoryError
        reserved = Reserved(self)
        try:
            yield reserved
        finally:
            with self._lock:
                self._in_hand -= reserved.size

    def _grow(self, reserved: Reserved, size: int) -> None:
        size *= TIMES_ITS_SIZE
        with self._lock:
            others = self._in_hand - reserved.size
            # One alone is always let through: the largest request is bounded by itself.
            if others and self._is_much(self._in_hand + size):
                raise OutOfMemoryError
            reserved.size += size
            self._in_hand += size

    def _is_much(self, size: int) -> bool:
        return size > self.limit_bytes * REFUSE_AT


def available_bytes() -> int:
    """Return how much memory this machine has, or its container may use."""
    found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in _CGROUP:
        with suppress(OSError, ValueError):
            found = min(found, int(path.read_text()))
    return found


def resident_bytes() -> int:
    """Return how much memory this process holds now; where that cannot be known, the most it ever held."""
    try:
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123  # many times a second
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024


def _give_back() -> None:
    """Return to the system what is not in use, as far as the allocator does that."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
