"""Who may run jobs now? A row with an end and a fence, so that it works behind a transaction pooler.

The holder moves the end on; whoever finds it in the past takes the row over and raises the fence. Each transaction of a
job holds the fence FOR KEY SHARE: one of a former holder fails, and a takeover waits for one that is under way. The
database's clock decides, nobody else's.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from contextlib import suppress
from datetime import timedelta
from types import TracebackType

import psycopg
from psycopg_pool import ConnectionPool
from typing_extensions import Self

from otel_obs.errors import LeaseLostError, ObsError
from otel_obs.postgres.pool import translated
from otel_obs.postgres.queries import load

_MAINTENANCE = load("maintenance")
_log = logging.getLogger(__name__)

NAME = "maintain"
LASTS = timedelta(seconds=10)
RENEW_EVERY_S = 2.0
LOOK_EVERY_S = 0.25


def holder() -> str:
    """Return what names this process to people."""
    return f"{socket.gethostname()} {os.getpid()}"


class Lease:
    """The right to run jobs; inside ``with`` it is renewed until it is let go."""

    def __init__(self, pool: ConnectionPool, *, name: str = NAME, lasts: timedelta = LASTS) -> None:
        self._pool = pool
        self._name = name
        self._lasts = lasts
        self._fence: int | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def take(self) -> bool:
        """Take the lease unless somebody has it.

        Raises:
            StorageUnavailableError: nobody knows.
        """
        asked = {"name": self._name, "holder": holder(), "ttl": self._lasts}
        with translated(), self._pool.connection() as connection:
            connection.execute(_MAINTENANCE["make_lease"], asked)
            row = connection.execute(_MAINTENANCE["take_lease"], asked).fetchone()
        self._fence = None if row is None else row[0]
        return row is not None

    def take_from_the_dead(self) -> bool:
        """Take the lease, also from a holder that ended without letting go of it; not from one that is at work.

        One that is at work renews it, or lets go of it: that is waited for, at most as long as a lease lasts.
        """
        if self.take():
            return True
        found = self._row()
        while self._row() == found:
            if self.take():
                return True
            time.sleep(LOOK_EVERY_S)
        return False

    def _row(self) -> tuple[object, ...] | None:
        with translated(), self._pool.connection() as connection:
            return connection.execute(_MAINTENANCE["lease"], {"name": self._name}).fetchone()

    def fence(self, connection: psycopg.Connection) -> None:
        """See to it that the transaction of *connection* commits only if nobody takes the lease over before.

        Raises:
            LeaseLostError: somebody did.
        """
        asked = {"name": self._name, "fence": self._fence}
        if connection.execute(_MAINTENANCE["hold_fence"], asked).fetchone() is None:
            raise LeaseLostError

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._renew, name="otel-obs-lease", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        # Who cannot be reached now finds it expired later.
        with suppress(ObsError), translated(), self._pool.connection() as connection:
            connection.execute(_MAINTENANCE["release_lease"], {"name": self._name, "fence": self._fence})

    def _renew(self) -> None:
        while not self._stop.wait(RENEW_EVERY_S):
            try:
                with translated(), self._pool.connection() as connection:
                    asked = {"name": self._name, "fence": self._fence, "ttl": self._lasts}
                    if not connection.execute(_MAINTENANCE["renew_lease"], asked).rowcount:
                        return
            except ObsError as error:  # noqa: PERF203  # the next round may do better
                _log.warning("the lease could not be renewed: %s", error)
