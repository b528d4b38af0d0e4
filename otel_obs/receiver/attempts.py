"""Is somebody guessing keys?  Failures are counted for each address and for each key that is named.

Only failures are: a valid key is taken whatever others tried, from the same address or with the same id, so that nobody
can lock a tenant out. Who fails too often is told so instead of why, and that goes to the audit log.
"""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from threading import Lock
from urllib.parse import unquote

from otel_obs.errors import TooManyAttemptsError
from otel_obs.postgres.keys import Attempted

AT_ONCE = 20
"""Failures that are told as what they are ..."""
EVERY_S = 6.0
"""... and one more for each of so many seconds."""
NOTED_EVERY_S = 600.0
"""The same address or key is noted in the audit log no more often ..."""
NOTED_AT_ONCE = 10
"""... and no more of them in a minute, for who has many addresses fills no database."""
MAX_COUNTED = 10_000
_IPV6_SITE = 64
"""Whoever has one address of IPv6 has a network of them."""


@dataclass(slots=True)
class _Failing:
    left: float
    at: float
    failures: int = 0
    since: datetime | None = None
    noted_at: float | None = None


class Attempts:
    """Counts requests whose credentials are wrong."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._failing: OrderedDict[tuple[str, str], _Failing] = OrderedDict()
        self._due: list[Attempted] = []
        self._minute, self._noted = 0, 0

    def failed(self, address: str, key_id: str = "", organization_id: str | None = None) -> None:
        """Count a failure from *address* with the key *key_id* (of *organization_id*, if there is such a key).

        Raises:
            TooManyAttemptsError: it is one of too many.
        """
        place = site_of(address)
        with self._lock:
            kinds = [("address", place), ("key", key_id)]
            is_over = [
                self._count(kind, name, place, organization_id if kind == "key" else None)
                for kind, name in kinds
                if name
            ]
        if any(is_over):
            raise TooManyAttemptsError

    def _count(self, kind: str, name: str, place: str, organization_id: str | None) -> bool:
        now = self._clock()
        found = self._failing.get((kind, name))
        if found is None:
            found = self._failing[kind, name] = _Failing(AT_ONCE, now)
            if len(self._failing) > MAX_COUNTED:
                self._failing.popitem(last=False)
        self._failing.move_to_end((kind, name))
        found.left, found.at = min(AT_ONCE, found.left + (now - found.at) / EVERY_S), now
        found.failures += 1
        found.since = found.since or datetime.now(tz=timezone.utc)
        if found.left >= 1:
            found.left -= 1
            return False
        if (found.noted_at is None or now - found.noted_at >= NOTED_EVERY_S) and self._may_note(now):
            self._due.append(Attempted(kind, name, place, organization_id, found.failures, found.since))
            found.noted_at, found.failures, found.since = now, 0, None
        return True

    def _may_note(self, now: float) -> bool:
        minute = int(now // 60)
        if minute != self._minute:
            self._minute, self._noted = minute, 0
        self._noted += 1
        return self._noted <= NOTED_AT_ONCE

    def write(self, note: Callable[[Sequence[Attempted]], None]) -> None:
        """Let *note* write what is to be written; what it could not write is written the next time."""
        with self._lock:
            due, self._due = self._due, []
        if not due:
            return
        try:
            note(due)
        except Exception:
            with self._lock:
                self._due = [*due, *self._due][: NOTED_AT_ONCE * 10]
            raise


def site_of(address: str) -> str:
    """Return what failures from *address* are counted under: itself, or its network."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:100]
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, _IPV6_SITE), strict=False))
    return str(found)


def address_of(peer: str, forwarded: Sequence[str], trusted: Sequence[str]) -> str:
    """Return who called over gRPC: *peer* as grpcio names it, or whom a proxy that is *trusted* names.

    *forwarded* are values of ``x-forwarded-for``: each proxy adds at the end whom it heard.
    """
    kind, _, rest = unquote(peer).partition(":")
    address = rest.rpartition(":")[0].strip("[]") if kind in ("ipv4", "ipv6") else ""
    names = [part.strip() for value in forwarded for part in value.split(",")]
    while names and _is_in(address, trusted):
        address = names.pop()
    return address


def _is_in(address: str, networks: Sequence[str]) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(found in ipaddress.ip_network(network) for network in networks)
