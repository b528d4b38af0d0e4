"""Several requests in one transaction, and down to the record that the database refuses where it refuses them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from otel_obs.errors import ObsError, StorageRejectedError, StorageUnavailableError
from otel_obs.pipeline import recorded
from otel_obs.pipeline.batching import batch_of
from otel_obs.pipeline.ingest import Price, Received
from otel_obs.pipeline.store import Store
from otel_obs.rows.batch import Quarantined, Written
from otel_obs.rows.build import RecordRows

_log = logging.getLogger(__name__)

MAX_PAYLOAD_BYTES = 4 * 1024 * 1024
"""A record that the database refuses is kept whole up to this size, so that it can be taken in later."""


Committed = Callable[[Written, Sequence[Quarantined], float], None]
"""Count what was committed: records, what was noted in quarantine, and how many seconds that took."""


class Committer:
    """Writes requests; one record that cannot be stored costs no other anything."""

    def __init__(
        self,
        store: Store,
        price: Price,
        committed: Committed = lambda *_: None,
        *,
        from_spool: bool = False,
    ) -> None:
        self._store = store
        self._price = price
        self._committed = committed
        self._from_spool = from_spool

    def commit(self, requests: Sequence[Received]) -> Written:
        """Return what became of all *requests* once they are committed.

        Raises:
            ObsError: some or all of them are not committed; they may be sent again.
        """
        whole = Received(
            records=[record for request in requests for record in request.records],
            quarantined=[item for request in requests for item in request.quarantined],
        )
        try:
            return self._write(whole)
        except StorageRejectedError as error:
            return self._apart(whole, str(error))

    def _write(self, received: Received) -> Written:
        began = time.monotonic()
        try:
            written = self._store.write(batch_of([received], self._price, from_spool=self._from_spool))
        except ObsError:
            raise
        except Exception as error:
            _log.exception("writing %s records failed", len(received.records), exc_info=_without_content(error))
            if not received.records:
                raise StorageUnavailableError(f"writing failed: {type(error).__name__}") from error
            raise StorageRejectedError(f"writing failed: {type(error).__name__}") from error
        self._committed(written, received.quarantined, time.monotonic() - began)
        return written

    def _apart(self, received: Received, why: str) -> Written:
        """Commit *received*, of which something is refused: half of what may be bad is tried at a time.

        What was not tried on the way is written together with the note of the record that was found.
        """
        done: list[Written] = []
        suspects: list[RecordRows] = list(received.records)
        untried: list[RecordRows] = []
        while len(suspects) > 1:
            middle = len(suspects) // 2
            first, second = suspects[:middle], suspects[middle:]
            try:
                done.append(self._write(Received(records=first)))
                suspects = second
            except StorageRejectedError as error:
                why = str(error)
                suspects, untried = first, second + untried
        done.append(self._set_aside(suspects, why))
        rest = Received(records=untried, quarantined=received.quarantined)
        if not untried and not received.quarantined:
            return _sum(done)
        try:
            done.append(self._write(rest))
        except StorageRejectedError as error:
            done += self._split(rest, str(error))
        return _sum(done)

    def _split(self, received: Received, why: str) -> list[Written]:
        """Commit *received* half by half: there is more than one record in it that is refused."""
        records = received.records
        if len(records) <= 1:
            return [self._set_aside(records, why, received.quarantined)]
        middle = len(records) // 2
        found = []
        for half in (
            Received(records=records[:middle], quarantined=received.quarantined),
            Received(records=records[middle:]),
        ):
            try:
                found.append(self._write(half))
            except StorageRejectedError as error:  # noqa: PERF203  # each half stands for itself
                found += self._split(half, str(error))
        return found

    def _set_aside(self, records: Sequence[RecordRows], why: str, quarantined: Sequence[Quarantined] = ()) -> Written:
        """Note *records* in quarantine, with *why* the database refuses them."""
        notes = [*quarantined, *(_refused(record, why) for record in records)]
        try:
            self._write(Received(quarantined=notes))
        except StorageRejectedError as error:
            raise StorageUnavailableError("what was refused cannot be noted") from error
        return Written(refused={record.key: "storage_rejected" for record in records})


def _refused(record: RecordRows, why: str) -> Quarantined:
    try:
        payload = recorded.to_bytes(Received(records=[record]))
    except (TypeError, ValueError):
        payload = b""
    is_whole = 0 < len(payload) <= MAX_PAYLOAD_BYTES
    return Quarantined(
        organization_id=record.event.organization_id,
        workspace_id=record.event.workspace_id,
        received_at=record.event.received_at,
        signal="logs" if record.is_log else "traces",
        reason="storage_rejected",
        detail=why,
        payload=payload if is_whole else b"",
        format="rows" if is_whole else "",
    )


def _without_content(error: BaseException) -> BaseException:
    """Return *error* without its message, which may quote what was sent."""
    return RuntimeError(type(error).__name__).with_traceback(error.__traceback__)


def _sum(parts: Sequence[Written]) -> Written:
    return Written(
        stored=sum(part.stored for part in parts),
        duplicates=sum(part.duplicates for part in parts),
        replaced=sum(part.replaced for part in parts),
        conflicts=sum(part.conflicts for part in parts),
        refused={key: reason for part in parts for key, reason in part.refused.items()},
    )
