"""Requests wait here for the next commit: one writer, and each commit takes all that is queued."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from concurrent.futures import TimeoutError as FutureTimeoutError
from threading import Condition, Thread

from otel_obs.errors import ObsError, QueueFullError, StorageRejectedError, StorageUnavailableError
from otel_obs.pipeline.ingest import Price, Received, batch_of
from otel_obs.pipeline.store import Store
from otel_obs.rows.batch import Quarantined, Written

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
        committed: Callable[[Written], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._price = price
        self._max_bytes = max_bytes
        self._answer_within_s = answer_within_s
        self._committed = committed
        self._waiting: list[_Entry] = []
        self._bytes = 0
        self._closed = False
        self._wake = Condition()
        self._thread = Thread(target=self._run, name="otel-obs-writer", daemon=True)
        self._thread.start()

    def submit(self, received: Received) -> Written:
        """Return once *received* is committed.

        Raises:
            QueueFullError: too much is waiting; send it again later.
            StorageUnavailableError: it was not committed in time; sending it again changes nothing
                if it was committed after all.
            StorageRejectedError: the database refuses it, and each record of it alone as well.
        """
        entry: _Entry = (received, Future())
        with self._wake:
            if self._closed or self._bytes + received.size_bytes > self._max_bytes:
                raise QueueFullError
            self._bytes += received.size_bytes
            self._waiting.append(entry)
            self._wake.notify()
        try:
            return entry[1].result(timeout=self._answer_within_s)
        except FutureTimeoutError:
            raise StorageUnavailableError("PostgreSQL did not commit in time") from None

    @property
    def size_bytes(self) -> int:
        """Return about how much memory the waiting rows take."""
        return self._bytes

    def close(self, timeout_s: float = 10.0) -> None:
        """Commit what is waiting, then stop; nothing is accepted any more."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._waiting and not self._closed:
                    self._wake.wait()
                if not self._waiting:
                    return
                taken = self._take()
            self._commit(taken)
            with self._wake:
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
            written = self._store.write(batch_of((received for received, _ in entries), self._price))
        except StorageRejectedError as error:
            self._commit_apart(entries, error)
        except ObsError as error:
            _answer(entries, error)
        except Exception as error:  # noqa: BLE001  # the writer must outlive whatever one request does to it
            _log.error("writing %s requests failed: %s", len(entries), type(error).__name__)
            if len(entries) > 1:
                self._commit_apart(entries, StorageRejectedError())
            else:
                _answer(entries, StorageUnavailableError(f"writing failed: {type(error).__name__}"))
        else:
            self._committed(written)
            _answer(entries, written)

    def _commit_apart(self, entries: Sequence[_Entry], error: StorageRejectedError) -> None:
        """Commit halves on their own, down to the record that the database refuses: it goes to quarantine."""
        if len(entries) > 1:
            middle = len(entries) // 2
            self._commit(entries[:middle])
            self._commit(entries[middle:])
            return
        received, answer = entries[0]
        try:
            written = self._write_apart(received, error)
        except ObsError as failure:
            _set(answer, failure)
        else:
            self._committed(written)
            _set(answer, written)

    def _write_apart(self, received: Received, error: StorageRejectedError) -> Written:
        if len(received.records) <= 1:
            return self._quarantine(received, error)
        middle = len(received.records) // 2
        halves = (
            Received(records=received.records[:middle], quarantined=received.quarantined),
            Received(records=received.records[middle:]),
        )
        return _sum([self._write_half(half) for half in halves])

    def _write_half(self, half: Received) -> Written:
        try:
            return self._store.write(batch_of([half], self._price))
        except StorageRejectedError as error:
            return self._write_apart(half, error)

    def _quarantine(self, received: Received, error: StorageRejectedError) -> Written:
        refused = [
            Quarantined(
                organization_id=record.event.organization_id,
                workspace_id=record.event.workspace_id,
                received_at=record.event.received_at,
                signal="logs" if record.is_log else "traces",
                reason="storage_rejected",
                detail=str(error),
            )
            for record in received.records
        ]
        batch = batch_of([Received(quarantined=[*received.quarantined, *refused])], self._price)
        written = self._store.write(batch)
        return _sum([written, Written(refused={record.key: "storage_rejected" for record in received.records})])


def _sum(parts: Sequence[Written]) -> Written:
    return Written(
        stored=sum(part.stored for part in parts),
        duplicates=sum(part.duplicates for part in parts),
        replaced=sum(part.replaced for part in parts),
        conflicts=sum(part.conflicts for part in parts),
        refused={key: reason for part in parts for key, reason in part.refused.items()},
    )


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
