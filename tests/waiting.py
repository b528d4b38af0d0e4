"""Waiting for what comes true by itself: a bound so that a test ends, never a claim about how long it takes."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(condition: Callable[[], object], within_s: float = 60.0, *, every_s: float = 0.05) -> None:
    """Return once *condition* gives something true.

    Raises:
        AssertionError: it did not within so many seconds.
    """
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, "that did not come true"
        time.sleep(every_s)
