"""To the database, or to disk while it is away: where does a request go, and what is its sender told?"""

from __future__ import annotations

from collections.abc import Callable

from otel_obs.errors import ObsError, QueueFullError, StorageBrokenError, StorageUnavailableError
from otel_obs.pipeline.accepted import Accepted
from otel_obs.pipeline.drain import Drain
from otel_obs.pipeline.ingest import Received
from otel_obs.pipeline.queue import CommitQueue
from otel_obs.pipeline.watch import Watch
from otel_obs.rows.batch import Written

COMMIT_WITHIN_S = 2.4
"""What is not committed by then goes to disk, so that the answer comes within three seconds."""


class Intake:
    """Takes requests in: what it returns from is durable."""

    def __init__(self, queue: CommitQueue, watch: Watch, drain: Drain | None) -> None:
        self._queue = queue
        self._watch = watch
        self._drain = drain

    def take(self, received: Received, accepted: Callable[[], Accepted]) -> Written | None:
        """Return what became of *received* once it is committed; None once it is *accepted* on disk instead.

        Raises:
            ObsError: neither; it may be sent again.
        """
        try:
            self._watch.check()
            return self._submit(received)
        except (StorageUnavailableError, QueueFullError):
            if self._drain is None:
                raise
        except ObsError as error:
            if error.retryable:
                raise
            raise StorageBrokenError(str(error)) from error
        self._drain.keep(accepted())
        return None

    def _submit(self, received: Received) -> Written:
        if self._queue.is_stalled:
            raise StorageUnavailableError("PostgreSQL does not commit in time")
        try:
            return self._queue.submit(received, within_s=COMMIT_WITHIN_S)
        except (StorageUnavailableError, StorageBrokenError) as error:
            self._watch.suspect(error)
            raise
