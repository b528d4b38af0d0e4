"""OTLP/HTTP (https://opentelemetry.io/docs/specs/otlp/#otlphttp).

Paths are exact: a trailing slash is 404, as it is in the Collector. A request that is refused before its body was
read is answered at once, and the connection is closed.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from functools import partial
from http import HTTPStatus
from threading import Thread
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from otel_obs.errors import ConfigurationError, QueueFullError, RequestTooLargeError
from otel_obs.otlp import response
from otel_obs.receiver import body
from otel_obs.receiver.auth import INGEST, Authenticator, Principal
from otel_obs.receiver.export import SIGNALS, Export, Signal, sender_of
from otel_obs.receiver.limits import RateLimits
from otel_obs.receiver.memory import Memory
from otel_obs.receiver.status import Answer, answer_to
from otel_obs.receiver.tls import Certificates
from otel_obs.settings import host_and_port

THREADS = 32
"""Requests that are decoded and stored at the same time ..."""
WAIT_FOR_THREAD_S = 1.0
"""... and how long another waits for one of them to finish."""
LOOKUPS = 32
"""Requests that wait at the same time until an unknown key is looked up."""
LINGER_S = 2.0
"""How long the body of a refused request is read and thrown away, so that the sender gets to read the answer."""
HEAD_WITHIN_S = 10.0
"""A request whose head takes longer to come is not waited for."""
LAST_ANSWERS_S = 1.0
"""How long open connections are served and closed by an answer before the rest of them is closed."""

_T = TypeVar("_T")


class HttpReceiver:
    """Serves OTLP, and whatever else is routed, on one address."""

    def __init__(
        self,
        export: Export,
        endpoint: str,
        *,
        max_request_bytes: int,
        authenticator: Authenticator | None = None,
        memory: Memory | None = None,
        limits: RateLimits | None = None,
        share_port: bool = False,
        certificates: Certificates | None = None,
        trusted_proxies: Sequence[str] = (),
        extra_routes: Sequence[BaseRoute] = (),
    ) -> None:
        self._endpoint = endpoint
        self._share_port = share_port
        self._handler = handler = _Handler(
            export, max_request_bytes, authenticator, memory or Memory(), limits or RateLimits()
        )
        routes = [Route(signal.path, partial(handler.export, signal), methods=["POST"]) for signal in SIGNALS]
        app = Starlette(routes=[*routes, *extra_routes])
        app.router.redirect_slashes = False
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            timeout_keep_alive=65,
            h11_max_incomplete_event_size=64 * 1024,
            http=_Impatient,
            ws="none",
            **behind(trusted_proxies),
        )
        self._server = uvicorn.Server(encrypted(config, certificates))
        self._thread: Thread | None = None

    def start(self) -> int:
        """Listen, and return the port.

        Raises:
            ConfigurationError: the address cannot be listened on.
        """
        listener = listen(self._endpoint, share=self._share_port)
        port: int = listener.getsockname()[1]
        self._thread = Thread(target=self._run, args=(listener,), name="otel-obs-http", daemon=True)
        self._thread.start()
        return port

    def _run(self, listener: socket.socket) -> None:
        with closing(listener):
            anyio.run(partial(self._server.serve, sockets=[listener]))

    def stop(self, grace_s: float) -> None:
        """Accept nothing more, and let what is under way finish within *grace_s* seconds."""
        self._handler.is_stopping = True
        until = time.monotonic() + min(LAST_ANSWERS_S, grace_s)
        while self._server.server_state.connections and time.monotonic() < until:
            time.sleep(0.02)
        self._server.config.timeout_graceful_shutdown = max(1, int(grace_s))
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(grace_s + 2)


def encrypted(config: uvicorn.Config, certificates: Certificates | None) -> uvicorn.Config:
    """Return *config*, made to encrypt connections where there are certificates."""
    config.load()
    config.ssl = None if certificates is None else certificates.context()
    return config


class _Impatient(H11Protocol):
    """HTTP/1.1 that does not wait for ever for the head of a request; bodies have a time of their own."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._late = self.loop.call_later(HEAD_WITHIN_S, transport.close)

    def data_received(self, data: bytes) -> None:
        """Wait for the rest of a head that has begun."""
        if self._late is None and self._is_idle():
            self._late = self.loop.call_later(HEAD_WITHIN_S, self.transport.close)
        super().data_received(data)
        if self._late is not None and not self._is_idle():
            self._forget()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing."""
        self._forget()
        super().connection_lost(exc)

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _forget(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


def listen(endpoint: str, *, share: bool = False) -> socket.socket:
    """Return a socket that listens on *endpoint*; *share*: beside other processes.

    Raises:
        ConfigurationError: it cannot.
    """
    host, port = host_and_port(endpoint)
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if share:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
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

    def __init__(
        self,
        export: Export,
        max_request_bytes: int,
        authenticator: Authenticator | None,
        memory: Memory,
        limits: RateLimits,
    ) -> None:
        self._limits = limits
        self.is_stopping = False
        self._memory = memory
        self._export = export
        self._limit = max_request_bytes
        self._authenticator = authenticator
        self._threads = _Threads(THREADS)
        self._lookups = _Threads(LOOKUPS)

    async def export(self, signal: Signal, request: Request) -> Response:
        """Answer *request*; while the server stops, as the last of its connection."""
        found = await self._export_once(signal, request)
        if self.is_stopping:
            found.headers["connection"] = "close"
        return found

    async def _export_once(self, signal: Signal, request: Request) -> Response:
        json = request.headers.get("content-type", "").lower().startswith("application/json")
        is_read = False
        try:
            principal = await self._principal(request)
            self._limits.admit(principal)
            json = body.is_json(request.headers.get("content-type"))
            wbits = body.window_bits(_encoding(request))
            sender = sender_of(request.headers, principal)
            if int(request.headers.get("content-length", "0")) > self._limit:
                raise RequestTooLargeError(f"the request is larger than {self._limit} bytes")  # noqa: TRY301
            with self._memory.request() as held:
                data = await body.read(request.stream(), self._limit, held.grow)
                is_read = True
                self._limits.read(principal, len(data))

                def work() -> bytes:
                    found = body.decompressed(data, wbits, self._limit)
                    if wbits is not None:
                        held.grow(len(found))
                    return signal.answer(signal.handle(found, sender, self._export, json=json), json=json)

                return Response(await self._threads.run(work), media_type=_media_type(json=json))
        except body.SlowBodyError:
            return _closed(Response(status_code=HTTPStatus.REQUEST_TIMEOUT))
        except ClientDisconnect:
            return Response(status_code=HTTPStatus.BAD_REQUEST)
        except Exception as error:  # noqa: BLE001  # each failure has its answer
            found = refusal(answer_to(error), json=json)
            return found if is_read else _closed(found)

    async def _principal(self, request: Request) -> Principal | None:
        if self._authenticator is None:
            return None
        headers, address = request.headers.items(), address_of(request)
        found = self._authenticator.at_once(headers, INGEST, address=address)
        if found is not None:
            return found
        return await self._lookups.run(partial(self._authenticator.authenticate, headers, INGEST, address=address))


class _Threads:
    """Runs what blocks in so many threads; what finds none within a second is sent away."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._limiter: anyio.CapacityLimiter | None = None

    async def run(self, work: Callable[[], _T]) -> _T:
        """Return what *work* returns."""
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(self._count)
        with anyio.move_on_after(WAIT_FOR_THREAD_S) as waiting:
            await self._limiter.acquire_on_behalf_of(work)
        if waiting.cancelled_caught:
            raise QueueFullError
        try:
            return await anyio.to_thread.run_sync(work, limiter=anyio.CapacityLimiter(1))
        finally:
            self._limiter.release_on_behalf_of(work)


class _LastResponse(Response):
    """A response before the body was read: it is sent whole, then what still comes is thrown away for a while.

    A connection that is closed while the sender writes is reset, and the answer is lost on its way.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        # Who asks before sending a body sends none after a refusal.
        if all(name != b"expect" for name, _ in scope["headers"]):
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(_thrown_away(receive), LINGER_S)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _thrown_away(receive: Receive) -> None:
    more = True
    while more:
        message = await receive()
        more = message["type"] == "http.request" and message.get("more_body", False)


def address_of(request: Request) -> str:
    """Return the address that *request* came from; of a proxy's that is trusted, whom it names."""
    return "" if request.client is None else request.client.host


def behind(proxies: Sequence[str]) -> dict[str, Any]:
    """Return how a server takes requests from *proxies*: nobody else is believed whose requests it brings."""
    return {"proxy_headers": bool(proxies), "forwarded_allow_ips": ",".join(proxies)}


def _encoding(request: Request) -> str | None:
    return ",".join(request.headers.getlist("content-encoding")) or None


def _media_type(*, json: bool) -> str:
    return "application/json" if json else "application/x-protobuf"


def refusal(answer: Answer, *, json: bool) -> Response:
    """Return *answer* as OTLP/HTTP tells failures: a ``google.rpc.Status``."""
    if json:
        content = response.status_json(answer.grpc, answer.message, retry_after_s=answer.retry_after_s)
    else:
        status = response.status(answer.grpc, answer.message, retry_after_s=answer.retry_after_s)
        content = status.SerializeToString()
    found = Response(content, status_code=answer.http, media_type=_media_type(json=json))
    if answer.retry_after_s is not None:
        found.headers["retry-after"] = str(answer.retry_after_s)
    if answer.http == HTTPStatus.UNAUTHORIZED:
        found.headers["www-authenticate"] = "Bearer"
    return found


def _closed(found: Response) -> Response:
    """Return *found* as the last answer of its connection: the rest of the body is not read."""
    found.headers["connection"] = "close"
    return _LastResponse(found.body, found.status_code, dict(found.headers))
