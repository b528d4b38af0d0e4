"""What a process that serves says on standard error: one line of ``key=value`` each, seldom, and never what was sent.

Of an exception its type and the places in the code are told; its message may quote a prompt, and is not.
"""

from __future__ import annotations

import json
import logging
import time
import traceback
from collections.abc import Callable
from datetime import datetime, timezone

EVERY_S = 10.0
"""The same message is not said more often; how often it was left out is said with the next one."""
PLACES = 4
"""Of a traceback the innermost ones are told."""
MAX_KNOWN = 1000


class Logfmt(logging.Formatter):
    """Lines that people read and machines parse: https://brandur.org/logfmt."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        at = datetime.fromtimestamp(record.created, tz=timezone.utc).isoformat(timespec="milliseconds")
        found: dict[str, object] = {
            "time": at.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "msg": record.getMessage(),
        }
        if record.exc_info and record.exc_info[0] is not None:
            found["error"] = record.exc_info[0].__name__
            places = traceback.extract_tb(record.exc_info[2])[-PLACES:]
            found["at"] = " < ".join(f"{place.name}:{place.lineno}" for place in reversed(places))
        left_out = getattr(record, "left_out", 0)
        if left_out:
            found["left_out"] = left_out
        return " ".join(f"{key}={_quoted(value)}" for key, value in found.items())


class Seldom(logging.Filter):
    """Lets the same message through once in a while."""

    def __init__(self, *, every_s: float = EVERY_S, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._every_s = every_s
        self._clock = clock
        self._said: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether *record* is said."""
        key, now = (record.name, str(record.msg)), self._clock()
        said_at, left_out = self._said.get(key, (-self._every_s, 0))
        if now - said_at < self._every_s:
            self._said[key] = (said_at, left_out + 1)
            return False
        if len(self._said) > MAX_KNOWN:
            self._said.clear()
        self._said[key] = (now, 0)
        record.left_out = left_out
        return True


def log_to_stderr() -> None:
    """Say warnings and worse on standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(Logfmt())
    handler.addFilter(Seldom())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    # It tells of each try to connect; whoever waits for the database says so once in a while.
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)


def _quoted(value: object) -> str:
    text = str(value)
    is_plain = text and all(char.isprintable() and char not in ' "=\\' for char in text)
    return text if is_plain else json.dumps(text)
