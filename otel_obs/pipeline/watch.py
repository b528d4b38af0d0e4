"""Can rows be written now?  One thread asks, so that no request waits for an answer that does not come."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from threading import Condition, Thread

from otel_obs.errors import ObsError, SchemaTooNewError, StorageBrokenError, StorageUnavailableError

_log = logging.getLogger(__name__)

EVERY_S = 5.0
"""How often it is asked while rows can be written ..."""
AWAY_EVERY_S = 0.5
"""... and while they cannot."""
ANSWER_WITHIN_S = 2.0
"""The database counts as away while an answer takes longer."""
FIRST_ANSWER_WITHIN_S = 1.0
"""How long a request waits for the first answer after the start."""
SAY_EVERY_S = 10.0


class Watch:
    """What is known of the database: it can be written to, or why not."""

    def __init__(self, ask: Callable[[], None], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._ask = ask
        self._clock = clock
        self._changed = Condition()
        self._error: ObsError | None = None
        self._is_known = False
        self._was_fit = False
        self._suspected = False
        self._asking_since: float | None = None
        self._ask_at = 0.0
        self._said_at: dict[type[ObsError], float] = {}
        self._closed = False
        self._thread = Thread(target=self._run, name="otel-obs-watch", daemon=True)

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def close(self, grace_s: float = 5.0) -> None:
        """Stop asking."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join(grace_s)

    def check(self) -> None:
        """Return if rows can be written, as far as is known; waits for the first answer only.

        Raises:
            ObsError: they cannot; the message says why.
        """
        with self._changed:
            if not self._is_known:
                self._changed.wait_for(lambda: self._is_known, FIRST_ANSWER_WITHIN_S)
            if not self._is_known:
                raise StorageUnavailableError("PostgreSQL has not answered yet")
            if self._error is not None:
                raise self._error
            since = self._asking_since
            if since is not None and self._clock() - since > ANSWER_WITHIN_S:
                raise StorageUnavailableError("PostgreSQL does not answer")

    @property
    def is_fit(self) -> bool:
        """Tell whether rows can be written, as far as is known."""
        with self._changed:
            since = self._asking_since
            late = since is not None and self._clock() - since > ANSWER_WITHIN_S
            return self._is_known and self._error is None and not late

    def suspect(self, error: ObsError) -> None:
        """Believe *error*, which a writer got, until the database was asked again."""
        with self._changed:
            self._error = error
            self._suspected = True
            self._ask_at = self._clock()
            self._say(error)
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._closed and (wait_s := self._ask_at - self._clock()) > 0:
                    self._changed.wait(wait_s)
                if self._closed:
                    return
                self._asking_since = self._clock()
                self._suspected = False
            error = self._asked()
            with self._changed:
                self._asking_since = None
                self._is_known = True
                self._was_fit = self._was_fit or error is None
                if not self._suspected:
                    # Else a writer failed after the question, and it is asked again at once.
                    self._error = error
                    self._ask_at = self._clock() + (EVERY_S if error is None else AWAY_EVERY_S)
                if error is not None:
                    self._say(error)
                self._changed.notify_all()

    def _asked(self) -> ObsError | None:
        try:
            self._ask()
        except SchemaTooNewError as error:
            if not self._was_fit:
                return error
            # Migrations only add: what was written before is written still, until this process is replaced.
            with self._changed:
                self._say(error)
            return None
        except ObsError as error:
            return error
        except Exception as error:  # noqa: BLE001  # the next answer may be better, and must come
            return StorageUnavailableError(f"PostgreSQL cannot be asked: {type(error).__name__}")
        return None

    def _say(self, error: ObsError) -> None:
        now = self._clock()
        if now - self._said_at.get(type(error), -SAY_EVERY_S) >= SAY_EVERY_S:
            self._said_at[type(error)] = now
            level = logging.CRITICAL if isinstance(error, StorageBrokenError) else logging.WARNING
            _log.log(level, "rows cannot be written: %s", error)
