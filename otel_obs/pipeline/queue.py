"""Requests wait here for the next commit: a writer or two, and each commit takes all that is queued."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from concurrent.futures import TimeoutError as FutureTimeoutError
from threading import Condition, Thread

from otel_obs.errors import ObsError, QueueFullError, StorageUnavailableError
from otel_obs.pipeline.committing import Committed, Committer
from otel_obs.pipeline.ingest import Price, Received
from otel_obs.pipeline.store import Store
from otel_obs.rows.batch import Written

_log = logging.getLogger(__name__)

MAX_RECORDS_IN_COMMIT = 5000
"""Enough for a commit to cost little a row, few enough for it to be answered at once."""

_Entry = tuple[Received, "Future[Written]"]


class CommitQueue:
    """Writes what is submitted, several requests in one transaction; an answer follows its commit."""

    def __init__(
        self,
        store: Store,
        price: Price,
        *,
        max_bytes: int = 256 * 1024 * 1024,
        answer_within_s: float = 3.0,
        committed: Committed = lambda *_: None,
        writers: int = 1,
    ) -> None:
        self._committer = Committer(store, price, committed)
        self._max_bytes = max_bytes
        self._answer_within_s = answer_within_s
        self._waiting: list[_Entry] = []
        self._bytes = 0
        self._writing_since: dict[int, float] = {}
        self._closed = False
        self._wake = Condition()
        self._writers = [
            Thread(target=self._run, args=(number,), name=f"otel-obs-writer-{number}", daemon=True)
            for number in range(writers)
        ]
        for writer in self._writers:
            writer.start()

    def submit(self, received: Received, *, within_s: float | None = None) -> Written:
        """Return once *received* is committed; what is not, *within_s* seconds, is not waited for.

        Raises:
            QueueFullError: too much is waiting; send it again later.
            StorageUnavailableError: it was not committed in time; sending it again changes nothing
                if it was committed after all.
            StorageBrokenError: the database refuses it, whatever it is.
        """
        entry: _Entry = (received, Future())
        with self._wake:
            if self._closed or self._bytes + received.size_bytes > self._max_bytes:
                raise QueueFullError
            self._bytes += received.size_bytes
            self._waiting.append(entry)
            self._wake.notify()
        try:
            return entry[1].result(timeout=self._answer_within_s if within_s is None else within_s)
        except FutureTimeoutError:
            self._withdraw(entry)
            raise StorageUnavailableError("PostgreSQL did not commit in time") from None

    @property
    def size_bytes(self) -> int:
        """Return about how much memory the waiting rows take."""
        return self._bytes

    @property
    def is_stalled(self) -> bool:
        """Tell whether every writer has been at its commit for longer than anybody waits for an answer."""
        since = self._writing_since.copy()
        return len(since) == len(self._writers) and time.monotonic() - max(since.values()) > self._answer_within_s

    def close(self, timeout_s: float = 10.0) -> None:
        """Commit what is waiting, then stop; nothing is accepted any more."""
        with self._wake:
            self._closed = True
            self._wake.notify_all()
        until = time.monotonic() + timeout_s
        for writer in self._writers:
            writer.join(max(0.0, until - time.monotonic()))

    def _withdraw(self, entry: _Entry) -> None:
        """Forget what nobody waits for any more, unless it is being written."""
        with self._wake:
            kept = [other for other in self._waiting if other is not entry]
            if len(kept) < len(self._waiting):
                self._waiting = kept
                self._bytes -= entry[0].size_bytes

    def _run(self, number: int) -> None:
        while True:
            with self._wake:
                while not self._waiting and not self._closed:
                    self._wake.wait()
                if not self._waiting:
                    return
                taken = self._take()
                self._writing_since[number] = time.monotonic()
            self._commit(taken)
            with self._wake:
                del self._writing_since[number]
                self._bytes -= sum(entry[0].size_bytes for entry in taken)

    def _take(self) -> list[_Entry]:
        count, records = 0, 0
        for received, _ in self._waiting:
            count += 1
            records += len(received.records)
            if records >= MAX_RECORDS_IN_COMMIT:
                break
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        return taken

    def _commit(self, entries: Sequence[_Entry]) -> None:
        try:
            written = self._committer.commit([received for received, _ in entries])
        except ObsError as error:
            _answer(entries, error)
        except Exception as error:  # noqa: BLE001  # the writer must outlive whatever one request does to it
            _log.error("writing %s requests failed: %s", len(entries), type(error).__name__)
            _answer(entries, StorageUnavailableError(f"writing failed: {type(error).__name__}"))
        else:
            _answer(entries, written)


def _answer(entries: Sequence[_Entry], outcome: Written | ObsError) -> None:
    for _, answer in entries:
        _set(answer, outcome)


def _set(answer: Future[Written], outcome: Written | ObsError) -> None:
    try:
        if isinstance(outcome, ObsError):
            answer.set_exception(outcome)
        else:
            answer.set_result(outcome)
    except InvalidStateError:
        _log.debug("nobody waits for this answer any more")


class Settler:
    """Settles traces in the background, soon after they have become quiet."""

    def __init__(self, settle_some: Callable[[], int], *, every_s: float = 0.5) -> None:
        self._settle_some = settle_some
        self._every_s = every_s
        self._stopped = False
        self._wake = Condition()
        self._thread = Thread(target=self._run, name="otel-obs-settler", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self, timeout_s: float = 5.0) -> None:
        """Stop after the round that is under way."""
        with self._wake:
            self._stopped = True
            self._wake.notify()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        failed_at = 0.0
        while True:
            count = 0
            try:
                count = self._settle_some()
            except ObsError as error:
                if time.monotonic() - failed_at > 10:
                    failed_at = time.monotonic()
                    _log.warning("settling waits: %s", error)
            except Exception as error:  # noqa: BLE001  # the next round may succeed, and must come
                _log.error("settling failed: %s", type(error).__name__)
            with self._wake:
                if not count and not self._stopped:
                    self._wake.wait(self._every_s)
                if self._stopped:
                    return
