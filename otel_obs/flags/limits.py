"""How many flag requests may somebody make?  A bucket of tokens for each credential."""

from __future__ import annotations

import time
from collections.abc import Callable


class RateLimit:
    """Lets *per_s* requests a second through for each caller, and *burst* at once after a pause."""

    def __init__(self, per_s: float = 200.0, burst: int = 1000, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_s
        self._burst = burst
        self._clock = clock
        self._left: dict[str, tuple[float, float]] = {}

    def wait_s(self, caller: str) -> float:
        """Count a request of *caller*: return 0, or after how many seconds the next one may come."""
        now = self._clock()
        left, at = self._left.get(caller, (float(self._burst), now))
        left = min(float(self._burst), left + (now - at) * self._per_s)
        if left < 1:
            self._left[caller] = (left, now)
            return (1 - left) / self._per_s
        if len(self._left) > 10_000:
            self._left.clear()
        self._left[caller] = (left - 1, now)
        return 0.0
