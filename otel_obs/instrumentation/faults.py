"""What happens when telemetry fails? The application goes on, and the log says so once."""

from __future__ import annotations

import logging
from contextlib import suppress
from types import TracebackType

_log = logging.getLogger("otel_obs.instrumentation")
_told: set[str] = set()


def warn_once(topic: str, message: str, *values: object, error: BaseException | None = None) -> None:
    """Log *message* the first time that something is to be said about *topic*."""
    if topic not in _told:
        _told.add(topic)
        with suppress(Exception):  # handlers and filters are the application's
            _log.warning(message, *values, exc_info=error)


def forget() -> None:
    """Say everything once more, as a new process would."""
    _told.clear()


class Guarded:
    """A block that may fail without anybody noticing but the log.

    Only ``Exception`` is held back: who interrupts or cancels the application is not to be stopped.
    """

    __slots__ = ("_topic",)

    def __init__(self, topic: str) -> None:
        self._topic = topic

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if error is None or not isinstance(error, Exception):
            return False
        warn_once(self._topic, "otel_obs cannot do this, and leaves it out: %s", self._topic, error=error)
        return True
