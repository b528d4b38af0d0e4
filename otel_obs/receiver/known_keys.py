"""Which keys are there?  An answer from memory, kept true by one thread that asks the store.

- A key that is known is believed for 15 seconds after the store said so; the thread asks again for all of them every
  five. So a revocation counts within 15 seconds, and requests do not wait for the store.
- Ids that are not known wait together for one question to the store, however many they are. That an id is not there
  is believed for five seconds. Guesses cannot push known keys out: both are bounded, each on its own.
- While the store cannot be asked (it failed, or takes longer than a second), what was known goes on, and an unknown
  id is neither right nor wrong: its sender is told to come again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from otel_obs.errors import KeyStoreUnavailableError
from otel_obs.postgres.keys import StoredKey

_log = logging.getLogger(__name__)

REFRESH_S = 5.0
"""All known keys are asked for again this often ..."""
FRESH_S = 15.0
"""... and believed for so long after the question that they answered, while the store answers."""
MISSING_FRESH_S = 5.0
ANSWER_WITHIN_S = 1.0
"""A request waits for the store no longer, and the store counts as down while a question takes longer."""
RETRY_S = 1.0
"""Between questions to a store that failed."""
TOUCH_S = 60.0
"""How often the times of last use are written."""
MAX_KNOWN, MAX_MISSING, MAX_WAITING = 10_000, 10_000, 1_000


class KeyStore(Protocol):
    """Where keys are kept; both raise whatever they like when they cannot be asked."""

    def find(self, ids: Collection[str]) -> Mapping[str, StoredKey]:
        """Return those of *ids* that are there."""
        ...

    def touch(self, used_at: Mapping[str, datetime]) -> None:
        """Remember when keys were last used."""
        ...


@dataclass(frozen=True, slots=True)
class Known:
    """What the store said of an id."""

    key: StoredKey | None
    """None: there is no such key."""
    asked_at: float
    """When it was asked (monotonic, seconds)."""


class KnownKeys:
    """Keys by id, as of some seconds ago at most; or older, while the store is down."""

    def __init__(
        self,
        store: KeyStore,
        *,
        clock: Callable[[], float] = time.monotonic,
        beside: Callable[[], None] = lambda: None,
    ) -> None:
        """Make it; *beside* is what else is written now and then, and may fail."""
        self._store = store
        self._beside = beside
        self._clock = clock
        self._changed = threading.Condition()
        self._known: OrderedDict[str, Known] = OrderedDict()
        self._missing: OrderedDict[str, Known] = OrderedDict()
        self._waiting: dict[str, Future[None]] = {}
        self._used_at: dict[str, datetime] = {}
        self._asking_since: float | None = None
        self._failed = False
        self._closed = False
        self._refreshed_at = self._touched_at = clock()
        self._thread = threading.Thread(target=self._run, name="otel-obs-keys", daemon=True)

    def start(self) -> None:
        """Begin to ask the store."""
        self._thread.start()

    def close(self, grace_s: float = 2.0) -> None:
        """Write what is to be written, and stop."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(grace_s)

    def remembered(self, key_id: str) -> Known | None:
        """Return what is known of *key_id* at once; None if the store must be asked."""
        with self._changed:
            now = self._clock()
            is_down = self._is_down(now)
            known = self._known.get(key_id)
            if known is not None and (is_down or now - known.asked_at <= FRESH_S):
                self._known.move_to_end(key_id)
                return known
            missing = self._missing.get(key_id)
            if missing is not None and not is_down and now - missing.asked_at <= MISSING_FRESH_S:
                return missing
        return None

    def look_up(self, key_id: str) -> Known:
        """Return what is known of *key_id*, asking the store if need be: blocks for a second at most.

        Raises:
            KeyStoreUnavailableError: nothing is known of it, and the store cannot be asked now.
        """
        found = self.remembered(key_id)
        if found is None:
            self._wait_for(key_id)
            found = self.remembered(key_id)
        if found is None:
            raise KeyStoreUnavailableError
        return found

    def used(self, key_id: str, at: datetime) -> None:
        """Remember that a key was used."""
        with self._changed:
            self._used_at[key_id] = at

    def _is_down(self, now: float) -> bool:
        asking = self._asking_since
        return self._failed or (asking is not None and now - asking > ANSWER_WITHIN_S)

    def _wait_for(self, key_id: str) -> None:
        """Return once the store was asked for *key_id*, or cannot be."""
        with self._changed:
            if self._closed or self._is_down(self._clock()) or len(self._waiting) >= MAX_WAITING:
                return
            waiting = self._waiting.setdefault(key_id, Future())
            self._changed.notify()
        try:
            waiting.result(ANSWER_WITHIN_S)
        except FutureTimeoutError:
            return

    def _run(self) -> None:
        while self._until_due():
            self._ask()
            self._touch()
            self._write_beside()
        self._touch(at_once=True)
        self._write_beside()

    def _until_due(self) -> bool:
        """Wait until the store is to be asked; return False once there is nothing more to do."""
        with self._changed:
            while not self._closed:
                wait_s = self._refreshed_at + (RETRY_S if self._failed else REFRESH_S) - self._clock()
                if wait_s <= 0 or (self._waiting and not self._failed):
                    return True
                self._changed.wait(wait_s)
            self._release(self._waiting)
            return False

    def _ask(self) -> None:
        """Ask for all ids that somebody waits for, and for those known if it is time to."""
        with self._changed:
            asked, self._waiting = self._waiting, {}
            began = self._asking_since = self._clock()
            is_due = self._failed or began - self._refreshed_at >= REFRESH_S
            ids = {*asked, *self._known} if is_due else set(asked)
        found: Mapping[str, StoredKey] | None = None
        try:
            found = self._store.find(ids)
        except Exception as error:  # noqa: BLE001  # whatever it is, what is known goes on
            if not self._failed:
                _log.warning("API keys cannot be looked up, those that are known go on: %s", type(error).__name__)
        with self._changed:
            if found is not None and self._failed:
                _log.warning("API keys can be looked up again")
            self._asking_since = None
            self._failed = found is None
            if is_due or found is None:
                self._refreshed_at = began
            if found is not None:
                self._remember(ids, asked, found, began)
            else:
                asked, self._waiting = {**self._waiting, **asked}, {}
            self._release(asked)

    def _remember(
        self, ids: Iterable[str], asked: Collection[str], found: Mapping[str, StoredKey], began: float
    ) -> None:
        for key_id in ids:
            key = found.get(key_id)
            if key is not None:
                self._known[key_id] = Known(key, began)
                self._missing.pop(key_id, None)
                continue
            self._known.pop(key_id, None)
            if key_id in asked:
                self._missing.pop(key_id, None)
                self._missing[key_id] = Known(None, began)
        for kept, most in ((self._known, MAX_KNOWN), (self._missing, MAX_MISSING)):
            while len(kept) > most:
                kept.popitem(last=False)

    @staticmethod
    def _release(waiting: Mapping[str, Future[None]]) -> None:
        for future in waiting.values():
            future.set_result(None)

    def _write_beside(self) -> None:
        if self._failed:
            return
        try:
            self._beside()
        except Exception as error:  # noqa: BLE001  # whatever it is, keys are looked up
            _log.warning("what is noted beside API keys cannot be written: %s", type(error).__name__)

    def _touch(self, *, at_once: bool = False) -> None:
        """Write when keys were last used; what cannot be written is written later."""
        with self._changed:
            now = self._clock()
            if self._failed or not (at_once or now - self._touched_at >= TOUCH_S):
                return
            self._touched_at = now
            used_at, self._used_at = self._used_at, {}
        if not used_at:
            return
        try:
            self._store.touch(used_at)
        except Exception as error:  # noqa: BLE001  # a time of use is worth no request
            _log.warning("the times when API keys were used cannot be written: %s", type(error).__name__)
            with self._changed:
                self._used_at = {**used_at, **self._used_at}
