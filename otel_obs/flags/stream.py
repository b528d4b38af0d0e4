"""Who watches?  A stream that says when flags may have changed, and what gives access to it.

Server-sent events by OFREP's ADR 8: notifications only. A browser's EventSource sends no headers, so the address
itself is the credential: signed, for one key of one organization, good for two hours at most and as long as the key
is. It is the same within an hour, so that clients keep their connection when they fetch flags again.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timezone
from typing import Any, NamedTuple

from itsdangerous import BadData, URLSafeSerializer

from otel_obs.flags.snapshot import Event, Snapshot

HEARTBEAT_S = 15.0
HOUR_S = 3600
MAX_STREAMS = 1000
"""Streams of one process; whoever comes later is told to poll."""
_SALT = "otel_obs.ofrep.stream"


class Ticket(NamedTuple):
    """What gives access to a stream."""

    organization_id: str
    expires: int
    """Unix seconds."""
    key_id: str | None
    """Key that it was given to; None where no keys are asked for."""


def token(secret: str, organization_id: str, now: datetime, key_id: str | None = None) -> str:
    """Return what gives the holder of a key access to the stream of an organization."""
    expires = (int(now.timestamp()) // HOUR_S + 2) * HOUR_S
    return str(URLSafeSerializer(secret, salt=_SALT).dumps([organization_id, expires, key_id]))


def ticket_of(secret: str, text: str, now: datetime) -> Ticket | None:
    """Return what *text* gives access to; None if to nothing."""
    try:
        organization_id, expires, key_id = URLSafeSerializer(secret, salt=_SALT).loads(text)
    except (BadData, ValueError, TypeError):
        return None
    return Ticket(organization_id, expires, key_id) if secret and now.timestamp() < expires else None


async def events(
    snapshot: Snapshot,
    organization_id: str,
    *,
    last_id: str | None,
    until: float,
    still_may: Callable[[], bool] = lambda: True,
    heartbeat_s: float | None = None,
) -> AsyncIterator[str]:
    """Yield an event whenever the flags are no longer those of *last_id*; without one, also at once.

    Several changes may be one event: whoever hears of it asks for all flags again. *still_may* is asked each time, and
    at each heartbeat; it may block.
    """
    loop, changed, closed = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()

    def told(event: Event) -> None:
        if event == "closed":
            loop.call_soon_threadsafe(closed.set)
        loop.call_soon_threadsafe(changed.set)

    unsubscribe = snapshot.subscribe(told)
    try:
        yield "retry: 3000\n\n"
        while not closed.is_set() and datetime.now(tz=timezone.utc).timestamp() < until:
            changed.clear()
            if not await asyncio.to_thread(still_may):
                return
            now = datetime.now(tz=timezone.utc)
            mark = mark_of(snapshot, organization_id, now)
            if mark != last_id:
                yield _frame(mark, snapshot.state.changed_at or now)
                last_id = mark
            try:
                await asyncio.wait_for(changed.wait(), heartbeat_s or HEARTBEAT_S)
            except asyncio.TimeoutError:
                yield ": still here\n\n"
    finally:
        unsubscribe()


def mark_of(snapshot: Snapshot, organization_id: str, now: datetime) -> str:
    """Return what names the flags of an organization as they are now."""
    return snapshot.state.mark(organization_id, now)[:32]


def _frame(mark: str, changed_at: datetime) -> str:
    data: dict[str, Any] = {
        "type": "refetchEvaluation",
        "etag": f'"{mark}"',
        "lastModified": int(changed_at.timestamp()),
    }
    return f"id: {mark}\nevent: message\ndata: {json.dumps(data)}\n\n"
