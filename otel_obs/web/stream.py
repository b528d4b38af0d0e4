"""What is new, as server-sent events: ``GET /api/v1/stream``.

https://html.spec.whatwg.org/multipage/server-sent-events.html
``event: event`` is an event of a trace, ``event: metrics`` figures of the last five minutes, ``event: gap`` says that
some were left out. Who comes back with ``Last-Event-ID`` is told what came meanwhile, up to fifteen minutes of it.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta, timezone
from typing import Annotated

from fastapi import APIRouter, Header, Request
from fastapi.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from otel_obs.analytics.filters import Filters, cursor, moment, place, word
from otel_obs.analytics.live import LiveEvent, events_since
from otel_obs.analytics.metrics import Figures
from otel_obs.errors import InvalidQueryError, QueueFullError
from otel_obs.receiver.auth import READ, is_still_allowed
from otel_obs.web.access import Api, Caller
from otel_obs.web.asked import Asked, Asking
from otel_obs.web.live import Live, Watcher
from otel_obs.web.shapes import as_json

HEARTBEAT_S = 15.0
MAX_STREAMS = 1000
"""Of one process; whoever comes later is told to come again."""
REPLAY = timedelta(minutes=15)
REPLAYED = 500

router = APIRouter(prefix="/api/v1")
_open = 0


@router.get("/stream", summary="What is new, as server-sent events", response_class=StreamingResponse)
async def stream(
    request: Request,
    caller: Asking,
    filters: Asked,
    last_event_id: Annotated[str | None, Header(max_length=5000)] = None,
) -> Response:
    """Tell what is new for as long as somebody listens; the filters are those of ``events``."""
    if _open >= MAX_STREAMS:
        raise QueueFullError("too many streams are open; try again later")
    api: Api = request.app.state.api
    live: Live = request.app.state.live
    missed = await run_in_threadpool(_missed, api, caller, last_event_id)
    headers = {"x-accel-buffering": "no"}
    told = _told(live, caller, filters, missed, lambda: _still_may(api, request))
    return StreamingResponse(told, media_type="text/event-stream", headers=headers)


def _still_may(api: Api, request: Request) -> bool:
    """Tell whether whoever listens still may: a key that is revoked, or a session that ends, ends the stream."""
    return is_still_allowed(lambda: api.authenticate(request, READ))


def _missed(api: Api, caller: Caller, last_event_id: str | None) -> list[LiveEvent] | None:
    """Return what came after the event *last_event_id*; None where that is not asked for or no longer known."""
    try:
        received_at, trace_id, event_id = place(last_event_id, moment, word, word)
    except InvalidQueryError:
        return None
    if received_at is None or received_at < datetime.now(tz=timezone.utc) - REPLAY:
        return None
    with api.read(caller) as connection:
        after = (received_at, trace_id, event_id)
        return events_since(connection, caller.reader.organization_id, after, limit=REPLAYED)


async def _told(
    live: Live, caller: Caller, filters: Filters, missed: list[LiveEvent] | None, still_may: Callable[[], bool]
) -> AsyncIterator[str]:
    global _open  # noqa: PLW0603  # how many are open in this process
    _open += 1
    watcher = live.watch(caller)
    try:
        yield "retry: 3000\n\n"
        told = set()
        for event in missed or ():
            told.add((event.trace_id, event.event_id))
            if passes(event, filters):
                yield _frame(event)
        if missed is not None and len(missed) == REPLAYED:
            yield "event: gap\ndata: {}\n\n"
        async for frame in _news(watcher, filters, told, still_may):
            yield frame
    finally:
        live.leave(watcher)
        _open -= 1


async def _news(
    watcher: Watcher, filters: Filters, told: set[tuple[str, str]], still_may: Callable[[], bool]
) -> AsyncIterator[str]:
    reported = 0
    asked_at = time.monotonic()
    while True:
        if time.monotonic() - asked_at >= HEARTBEAT_S:
            asked_at = time.monotonic()
            if not await run_in_threadpool(still_may):
                return
        try:
            item = await asyncio.wait_for(watcher.queue.get(), HEARTBEAT_S)
        except asyncio.TimeoutError:
            yield ": still here\n\n"
            continue
        if watcher.missed > reported:
            yield f"event: gap\ndata: {json.dumps({'events': watcher.missed - reported})}\n\n"
            reported = watcher.missed
        if isinstance(item, Figures):
            yield f"event: metrics\ndata: {json.dumps(as_json(item))}\n\n"
        elif (item.trace_id, item.event_id) not in told and passes(item, filters):
            yield _frame(item)


def passes(event: LiveEvent, filters: Filters) -> bool:
    """Tell whether *event* is one that *filters* ask for; their period does not count."""
    asked = (
        (filters.workspace_id, event.workspace_id),
        (filters.user_id, event.user_id),
        (filters.environment, event.environment),
        (filters.agent_id, event.agent_id),
        (filters.flow_id, event.flow_id),
        (filters.run_id, event.run_id),
        (filters.conversation_id, event.conversation_id),
        (filters.model, event.model_name),
        (filters.status, event.status),
        (filters.event_type, event.event_type),
        (filters.error_type, event.error_type),
    )
    if any(wanted is not None and wanted != found for wanted, found in asked):
        return False
    return filters.text is None or filters.text.lower() in event.name.lower()


def _frame(event: LiveEvent) -> str:
    name = cursor(event.received_at, event.trace_id, event.event_id)
    return f"id: {name}\nevent: event\ndata: {json.dumps(as_json(event))}\n\n"
