"""OFREP 0.3: flags over HTTP, for programs of any language and for browsers.

https://github.com/open-feature/protocol/blob/main/service/openapi.yaml; answers come from memory.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Awaitable, Callable
from datetime import datetime, timezone
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from otel_obs.errors import ObsError, PermissionDeniedError, TooManyAttemptsError, UnauthenticatedError
from otel_obs.flags.asked import Asked, Authenticate, BadRequestError, Caller, anyone, asked, by_key
from otel_obs.flags.evaluate import evaluate
from otel_obs.flags.limits import RateLimit
from otel_obs.flags.model import Evaluation
from otel_obs.flags.snapshot import Snapshot, State
from otel_obs.flags.stream import MAX_STREAMS, events, mark_of, ticket_of, token

__all__ = ["Authenticate", "Caller", "anyone", "by_key", "routes"]

_log = logging.getLogger(__name__)

MAX_BODY_BYTES = 256 * 1024
FLAGS = "/ofrep/v1/evaluate/flags"
STREAM = "/ofrep/v1/stream"
INACTIVITY_S = 120
REFRESH_PER_S = 2.0
"""How often a caller who has heard of newer flags may make the database be asked."""

_UNKNOWN = "the flags cannot be read now"

_Handler = Callable[[Request, Caller], Awaitable[Response]]


def routes(
    snapshot: Snapshot,
    authenticate: Authenticate,
    *,
    limit: RateLimit | None = None,
    max_body_bytes: int = MAX_BODY_BYTES,
    still_may: Callable[[str], bool] = lambda _: True,
) -> list[Route]:
    """Return the routes; whoever mounts them starts and closes *snapshot*.

    *still_may* tells of the id of a key whether its holder may go on listening; it may block.
    """
    server = _Server(snapshot, authenticate, limit or RateLimit(), max_body_bytes, still_may)
    return [
        Route(FLAGS, server.answering(server.bulk), methods=["POST"]),
        Route(FLAGS + "/{key:path}", server.answering(server.single), methods=["POST"]),
        Route(STREAM, server.stream, methods=["GET"]),
    ]


class _Server:
    def __init__(
        self,
        snapshot: Snapshot,
        authenticate: Authenticate,
        limit: RateLimit,
        max_body_bytes: int,
        still_may: Callable[[str], bool],
    ) -> None:
        self._snapshot = snapshot
        self._authenticate = authenticate
        self._limit = limit
        self._max_body_bytes = max_body_bytes
        self._still_may = still_may
        self._refreshes = RateLimit(REFRESH_PER_S, 2)
        self._streams = 0

    def answering(self, handler: _Handler) -> Callable[[Request], Awaitable[Response]]:
        """Return *handler*, told who is asking before the body is read; errors are answered as OFREP has them."""

        async def answer(request: Request) -> Response:
            try:
                caller = await run_in_threadpool(self._authenticate, request)
                wait_s = self._limit.wait_s(caller.key_id or caller.organization_id)
                if wait_s:
                    return Response(status_code=429, headers={"Retry-After": str(math.ceil(wait_s))})
                if not self._snapshot.state.is_loaded and not await run_in_threadpool(self._snapshot.wait, 1.0):
                    return _unavailable(_UNKNOWN)
                return await handler(request, caller)
            except UnauthenticatedError:
                return Response(status_code=401, headers={"WWW-Authenticate": "Bearer"})
            except TooManyAttemptsError:
                return Response(status_code=429)
            except PermissionDeniedError:
                return Response(status_code=403)
            except ObsError as error:
                return _unavailable(str(error)) if error.retryable else _failed(str(error))
            except ClientDisconnect:
                raise
            except Exception as error:  # noqa: BLE001  # OFREP names what a server says that failed
                _log.error("a flag request failed: %s", type(error).__name__)
                return _failed("internal error")

        return answer

    async def single(self, request: Request, caller: Caller) -> Response:
        """Answer for one flag."""
        key = request.path_params["key"]
        try:
            wanted = asked(await self._body(request), caller)
        except BadRequestError as error:
            return JSONResponse({"key": key, "errorCode": error.code, "errorDetails": error.details}, status_code=400)
        except _TooLargeError:
            return _too_large()
        found = evaluate(self._snapshot.state.flags, key, wanted.who, datetime.now(tz=timezone.utc))
        if found.scope == "default":
            return JSONResponse(_not_found(key), status_code=404)
        self._snapshot.used(key, caller.organization_id)
        item = _item(found)
        if self._snapshot.stale:
            item.setdefault("metadata", {})["stale"] = True
        return JSONResponse(item, status_code=400 if found.error_code else 200)

    async def bulk(self, request: Request, caller: Caller) -> Response:
        """Answer for all flags that somebody can see, or that nothing has changed."""
        try:
            wanted = asked(await self._body(request), caller)
        except BadRequestError as error:
            return JSONResponse({"errorCode": error.code, "errorDetails": error.details}, status_code=400)
        except _TooLargeError:
            return _too_large()
        now = datetime.now(tz=timezone.utc)
        await self._catch_up(request, caller, now)
        state = self._snapshot.state
        items = _items(state, wanted, now)
        etag = _etag(state.mark(caller.organization_id, now), caller, wanted, items)
        headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
        if _matches(request.headers.get("if-none-match"), etag):
            return Response(status_code=304, headers=headers)
        ticket = token(state.secret, caller.organization_id, now, caller.key_id)
        address = f"{request.scope.get('root_path', '')}{STREAM}?token={ticket}"
        answer = {
            "flags": items,
            "eventStreams": [
                {"type": "sse", "endpoint": {"requestUri": address}, "inactivityDelaySec": INACTIVITY_S},
            ],
            "metadata": {"version": state.version, "stale": self._snapshot.stale},
        }
        return JSONResponse(answer, headers=headers)

    async def _catch_up(self, request: Request, caller: Caller, now: datetime) -> None:
        """Ask the database first if the caller has heard of flags that this server has not: from another server."""
        heard = request.query_params.get("flagConfigEtag")
        if heard is None or heard.strip('"') == mark_of(self._snapshot, caller.organization_id, now):
            return
        if not self._refreshes.wait_s(caller.key_id or caller.organization_id):
            await run_in_threadpool(self._snapshot.refresh, 1.0)

    async def stream(self, request: Request) -> Response:
        """Tell when flags may have changed."""
        if not self._snapshot.state.is_loaded and not await run_in_threadpool(self._snapshot.wait, 1.0):
            return _unavailable(_UNKNOWN)
        now = datetime.now(tz=timezone.utc)
        found = ticket_of(self._snapshot.state.secret, request.query_params.get("token", ""), now)
        if found is None:
            return Response(status_code=401)
        key_id = found.key_id

        def still_may() -> bool:
            return key_id is None or self._still_may(key_id)

        if not await run_in_threadpool(still_may):
            return Response(status_code=401)
        if self._streams >= MAX_STREAMS:
            return Response(status_code=503, headers={"Retry-After": "60"})

        async def counted() -> Any:
            self._streams += 1
            try:
                last_id = request.headers.get("last-event-id")
                told = events(
                    self._snapshot, found.organization_id, last_id=last_id, until=found.expires, still_may=still_may
                )
                async for event in told:
                    yield event
            finally:
                self._streams -= 1

        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(counted(), media_type="text/event-stream", headers=headers)

    async def _body(self, request: Request) -> bytes:
        length = request.headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self._max_body_bytes:
            raise _TooLargeError
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > self._max_body_bytes:
                raise _TooLargeError
        return bytes(body)


class _TooLargeError(Exception):
    pass


def _items(state: State, wanted: Asked, now: datetime) -> list[dict[str, Any]]:
    names = state.flags.names(wanted.who.organization_id)
    found = (evaluate(state.flags, name, wanted.who, now) for name in names)
    return [_item(evaluation) for evaluation in found if evaluation.scope != "default"]


def _item(found: Evaluation) -> dict[str, Any]:
    if found.error_code is not None:
        return {"key": found.flag_name, "errorCode": found.error_code, "errorDetails": found.message or ""}
    item: dict[str, Any] = {"key": found.flag_name}
    if found.value is not None:
        item["value"] = found.value
    metadata: dict[str, Any] = {"version": found.version, "scope": found.scope}
    if found.owner is not None:
        metadata["owner"] = found.owner
    return {**item, "reason": found.reason, "variant": found.variant, "metadata": metadata}


def _not_found(key: str) -> dict[str, Any]:
    """Return the same for a flag that nobody has and for one that only others have."""
    return {"key": key, "errorCode": "FLAG_NOT_FOUND", "errorDetails": f"Flag '{key}' was not found"}


def _etag(mark: str, caller: Caller, wanted: Asked, items: list[dict[str, Any]]) -> str:
    """Return what names an answer: the flags, whose they are, the whole context, and what came of it.

    Whether the answer is stale, and the address of the stream, are not in it.
    """
    who = wanted.who
    parts = [mark, caller.organization_id, caller.workspace_id, who.workspace_id, wanted.context, items]
    return f'"{hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]}"'


def _matches(sent: str | None, etag: str) -> bool:
    if sent is None:
        return False
    return any(one.strip().removeprefix("W/") in (etag, "*") for one in sent.split(","))


def _unavailable(details: str) -> Response:
    return JSONResponse({"errorDetails": details}, status_code=503, headers={"Retry-After": "1"})


def _failed(details: str) -> Response:
    return JSONResponse({"errorDetails": details}, status_code=500)


def _too_large() -> Response:
    return JSONResponse({"errorDetails": "request body too large"}, status_code=413)
