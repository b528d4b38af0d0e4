"""OTLP/HTTP (https://opentelemetry.io/docs/specs/otlp/#otlphttp).

Paths are exact: a trailing slash is 404, as it is in the Collector.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from http import HTTPStatus
from threading import Thread

import anyio
import anyio.to_thread
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from otel_obs.errors import ConfigurationError, QueueFullError
from otel_obs.otlp import response
from otel_obs.receiver import body
from otel_obs.receiver.export import SIGNALS, Export, Signal, sender_of
from otel_obs.receiver.status import Answer, answer_to
from otel_obs.settings import host_and_port

THREADS = 32
"""Requests that are decoded and stored at the same time ..."""
WAIT_FOR_THREAD_S = 1.0
"""... and how long another waits for one of them to finish."""


class HttpReceiver:
    """Serves OTLP, and whatever else is routed, on one address."""

    def __init__(
        self,
        export: Export,
        endpoint: str,
        *,
        max_request_bytes: int,
        extra_routes: Sequence[BaseRoute] = (),
    ) -> None:
        self._endpoint = endpoint
        handler = _Handler(export, max_request_bytes)
        routes = [Route(signal.path, partial(handler.export, signal), methods=["POST"]) for signal in SIGNALS]
        app = Starlette(routes=[*routes, *extra_routes])
        app.router.redirect_slashes = False
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                lifespan="off",
                timeout_keep_alive=65,
                h11_max_incomplete_event_size=64 * 1024,
                http="h11",
                ws="none",
            )
        )
        self._thread: Thread | None = None

    def start(self) -> int:
        """Listen, and return the port.

        Raises:
            ConfigurationError: the address cannot be listened on.
        """
        listener = _listen(self._endpoint)
        port: int = listener.getsockname()[1]
        self._thread = Thread(target=self._run, args=(listener,), name="otel-obs-http", daemon=True)
        self._thread.start()
        return port

    def _run(self, listener: socket.socket) -> None:
        with closing(listener):
            anyio.run(partial(self._server.serve, sockets=[listener]))

    def stop(self, grace_s: float) -> None:
        """Accept nothing more, and let what is under way finish within *grace_s* seconds."""
        self._server.config.timeout_graceful_shutdown = max(1, int(grace_s))
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(grace_s + 2)


def _listen(endpoint: str) -> socket.socket:
    host, port = host_and_port(endpoint)
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(1024)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise ConfigurationError(f"cannot listen on {endpoint} (HTTP): {error.strerror}") from None
    return listener


class _Handler:
    """Answers one POST after the other."""

    def __init__(self, export: Export, max_request_bytes: int) -> None:
        self._export = export
        self._limit = max_request_bytes
        self._threads: anyio.CapacityLimiter | None = None

    async def export(self, signal: Signal, request: Request) -> Response:
        """Answer *request*."""
        json = request.headers.get("content-type", "").lower().startswith("application/json")
        try:
            json = body.is_json(request.headers.get("content-type"))
            wbits = body.window_bits(_encoding(request))
            sender = sender_of(request.headers)
            data = await body.read(request.stream(), self._limit)

            def work() -> bytes:
                found = body.decompressed(data, wbits, self._limit)
                return signal.answer(signal.handle(found, sender, self._export, json=json), json=json)

            return Response(await self._in_thread(work), media_type=_media_type(json=json))
        except body.SlowBodyError:
            return _closed(Response(status_code=HTTPStatus.REQUEST_TIMEOUT))
        except ClientDisconnect:
            return Response(status_code=HTTPStatus.BAD_REQUEST)
        except Exception as error:  # noqa: BLE001  # each failure has its answer
            return _refusal(answer_to(error), json=json)

    async def _in_thread(self, work: Callable[[], bytes]) -> bytes:
        if self._threads is None:
            self._threads = anyio.CapacityLimiter(THREADS)
        with anyio.move_on_after(WAIT_FOR_THREAD_S) as waiting:
            await self._threads.acquire_on_behalf_of(work)
        if waiting.cancelled_caught:
            raise QueueFullError
        try:
            return await anyio.to_thread.run_sync(work, limiter=anyio.CapacityLimiter(1))
        finally:
            self._threads.release_on_behalf_of(work)


def _encoding(request: Request) -> str | None:
    return ",".join(request.headers.getlist("content-encoding")) or None


def _media_type(*, json: bool) -> str:
    return "application/json" if json else "application/x-protobuf"


def _refusal(answer: Answer, *, json: bool) -> Response:
    if json:
        content = response.status_json(answer.grpc, answer.message, retry_after_s=answer.retry_after_s)
    else:
        status = response.status(answer.grpc, answer.message, retry_after_s=answer.retry_after_s)
        content = status.SerializeToString()
    found = Response(content, status_code=answer.http, media_type=_media_type(json=json))
    if answer.retry_after_s is not None:
        found.headers["retry-after"] = str(answer.retry_after_s)
    if answer.http in {HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNSUPPORTED_MEDIA_TYPE}:
        return _closed(found)
    return found


def _closed(found: Response) -> Response:
    """Return *found* so that the connection is closed after it: the rest of the body is not read."""
    found.headers["connection"] = "close"
    return found
