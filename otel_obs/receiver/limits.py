"""How fast may an organization send?  A bucket of spans and one of bytes for each, which fill up again with time.

A request is taken while there is anything in both, however large it is: it takes what it needs, and the bucket is in
debt until that is paid. So a large request gets in sooner or later, and no more gets in over time than the rate. Who is
in debt is told to come again before anything of a request is read.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock

from otel_obs.errors import ObsError, RateLimitedError
from otel_obs.receiver.auth import Principal
from otel_obs.tenancy import DEFAULT, Limits

BURST_S = 2.0
"""A full bucket holds what the rate gives in so many seconds."""
SPANS, BYTES = "spans", "bytes"
MAX_BUCKETS = 20_000
LONGEST_WAIT_S = 2
"""The Python SDK gives up at once if it is told to wait long."""


@dataclass(slots=True)
class _Bucket:
    rate: float
    level: float
    at: float

    def fill(self, rate: float, now: float) -> None:
        """Let it hold what came in since, at most what a full one does."""
        self.level = min(rate * BURST_S, self.level + (now - self.at) * rate)
        self.rate, self.at = rate, now

    @property
    def wait_s(self) -> int:
        """Return when it holds something again, as senders are told."""
        return max(1, min(LONGEST_WAIT_S, math.ceil(-self.level / self.rate)))


@dataclass(slots=True)
class RateLimits:
    """Tells senders that are too fast to come again."""

    limits: Callable[[str], Limits] = lambda _: Limits()
    """Returns the limits of an organization."""
    organization_id: str = DEFAULT
    """Whose requests are that nobody showed a key for."""
    parts: int = 1
    """Processes that share the limits of this gateway."""
    refused: Callable[[ObsError], None] = lambda _: None
    now: Callable[[], float] = time.monotonic
    _buckets: dict[tuple[str, str], _Bucket] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def admit(self, principal: Principal | None) -> None:
        """See to it that the sender is not too fast already: before a request is read.

        Raises:
            RateLimitedError: it is.
        """
        organization_id = self.organization_id if principal is None else principal.organization_id
        self.take(organization_id, spans=0, size=0)

    def read(self, principal: Principal | None, size: int) -> None:
        """Take the *size* (bytes) of a request that was read; whose it is without a key, its spans tell.

        Raises:
            RateLimitedError: others took what there was meanwhile.
        """
        if principal is not None:
            self.take(principal.organization_id, spans=0, size=size)

    def take(self, organization_id: str, *, spans: int, size: int) -> None:
        """Take so many spans and bytes of an organization.

        Raises:
            RateLimitedError: it has none left, and nothing was taken.
        """
        limits = self.limits(organization_id)
        rates = ((SPANS, limits.max_spans_per_second, spans), (BYTES, limits.max_bytes_per_second, size))
        if not limits.max_spans_per_second and not limits.max_bytes_per_second:
            return
        with self._lock:
            now = self.now()
            found = [(self._bucket(organization_id, kind, rate / self.parts, now), kind, rate, amount)
                     for kind, rate, amount in rates if rate]  # fmt: skip
            for bucket, kind, rate, _ in found:
                if bucket.level <= 0:
                    error = RateLimitedError(
                        f"more than the {rate} {kind} a second of this organization; send it again later",
                        reason=kind,
                        retry_after_s=bucket.wait_s,
                    )
                    break
            else:
                for bucket, _, _, amount in found:
                    bucket.level -= amount
                return
        self.refused(error)
        raise error

    def _bucket(self, organization_id: str, kind: str, rate: float, now: float) -> _Bucket:
        found = self._buckets.get((organization_id, kind))
        if found is None:
            if len(self._buckets) >= MAX_BUCKETS:
                self._forget(now)
            found = self._buckets[organization_id, kind] = _Bucket(rate, rate * BURST_S, now)
        found.fill(rate, now)
        return found

    def _forget(self, now: float) -> None:
        """Forget buckets that are full by now: a new one is as full."""
        for key, bucket in list(self._buckets.items()):
            if bucket.level + (now - bucket.at) * bucket.rate >= bucket.rate * BURST_S:
                del self._buckets[key]
