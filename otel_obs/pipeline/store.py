"""What the pipeline asks of a store."""

from __future__ import annotations

from typing import Protocol

from otel_obs.rows.batch import Batch, Settling, Written


class Store(Protocol):
    """Keeps rows; every call is one transaction."""

    def write(self, batch: Batch) -> Written:
        """Store *batch* in one transaction, durable when this returns.

        An event that is stored already changes nothing, except that a finished span replaces an
        unfinished one.

        Raises:
            StorageUnavailableError: nothing was stored; the same batch may be sent again.
            StorageRejectedError: nothing was stored; sending it again will not help.
        """
        ...

    def settle(self, settling: Settling, *, limit: int, all_now: bool = False) -> int:
        """Bring up to *limit* quiet traces (*all_now*: any) into their final form; return how many.

        Raises:
            StorageUnavailableError: nothing was changed.
        """
        ...
