"""What an auditor wants to know of that nobody did on purpose: noted beside the work, written when there is time.

The same incident is written once an hour, for a sender repeats his mistake with each request. What is not written yet
when the process dies is lost to the audit log only: the rows in quarantine, the metrics and the log tell of it as well.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock

from psycopg_pool import ConnectionPool

from otel_obs.frozen import dataclass
from otel_obs.postgres import audit
from otel_obs.postgres.pool import translated

EVERY_S = 3600.0
MOST = 1000
"""So many different ones are known at a time; of more the oldest are forgotten, and may be written again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """What happened, and who did it."""

    action: str
    subject: str
    actor: str
    organization_id: str | None = None


class Incidents:
    """Incidents that wait to be written; thread-safe."""

    def __init__(self, pool: ConnectionPool, clock: Callable[[], float] = time.monotonic) -> None:
        self._pool = pool
        self._clock = clock
        self._lock = Lock()
        self._noted: dict[Incident, float] = {}
        self._waiting: list[Incident] = []

    def note(self, incident: Incident) -> None:
        """Remember *incident*, unless it was written within the last hour; waits for nothing."""
        now = self._clock()
        with self._lock:
            if now - self._noted.get(incident, -EVERY_S) < EVERY_S or len(self._waiting) >= MOST:
                return
            self._noted.pop(incident, None)
            self._noted[incident] = now
            self._waiting.append(incident)
            if len(self._noted) > MOST:
                self._noted.pop(next(iter(self._noted)))

    def write(self) -> int:
        """Write what waits, and return how many; what cannot be written goes on waiting.

        Raises:
            StorageUnavailableError: nothing was written.
        """
        with self._lock:
            taken = tuple(self._waiting)
        if not taken:
            return 0
        with translated(), self._pool.connection() as connection, connection.transaction():
            for one in taken:
                audit.append(
                    connection, action=one.action, subject=one.subject, actor=one.actor,
                    organization_id=one.organization_id,
                )  # fmt: skip
        with self._lock:
            del self._waiting[: len(taken)]
        return len(taken)
