"""OTLP/gRPC (https://opentelemetry.io/docs/specs/otlp/#otlpgrpc).

The handlers take raw bytes: a message that cannot be parsed is the client's mistake (INVALID_ARGUMENT), while
grpcio's own parsing would call it ours (INTERNAL).

The handlers are those of a stream of requests, which is the same on the wire: only such a handler runs before the
request's message is received, and can refuse it unread.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

import grpc

from otel_obs.errors import ConfigurationError, DecodeError
from otel_obs.otlp import response
from otel_obs.receiver.attempts import address_of
from otel_obs.receiver.auth import INGEST, Authenticator, Principal
from otel_obs.receiver.export import SIGNALS, Export, Signal, sender_of
from otel_obs.receiver.limits import RateLimits
from otel_obs.receiver.memory import Memory
from otel_obs.receiver.status import Answer, answer_to
from otel_obs.receiver.tls import Certificates

THREADS = 64
"""Calls at the same time, those included whose message is on its way."""
READ_WITHIN_S = 20.0
"""A message that takes longer to come is not waited for."""
_CODES = {code.value[0]: code for code in grpc.StatusCode}


class GrpcReceiver:
    """Serves the OTLP services on one address."""

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
    ) -> None:
        self._endpoint = endpoint
        self._certificates = certificates
        self._server = grpc.server(
            ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="otel-obs-grpc"),
            options=[
                ("grpc.max_receive_message_length", max_request_bytes),
                ("grpc.so_reuseport", int(share_port)),
                ("grpc.max_metadata_size", 64 * 1024),
            ],
        )
        self._handler = _Handler(export, authenticator, memory or Memory(), limits or RateLimits(), trusted_proxies)
        for signal in SIGNALS:
            self._server.add_generic_rpc_handlers((self._handler.of(signal),))

    def start(self) -> int:
        """Listen, and return the port.

        Raises:
            ConfigurationError: the address cannot be listened on.
        """
        try:
            port = self._listen()
        except RuntimeError:
            port = 0
        if port == 0:
            raise ConfigurationError(f"cannot listen on {self._endpoint} (gRPC): is it in use?")
        self._server.start()
        self._handler.patience.start()
        return port

    def _listen(self) -> int:
        if self._certificates is None:
            return self._server.add_insecure_port(self._endpoint)
        return self._server.add_secure_port(self._endpoint, self._certificates.credentials())

    def stop(self, grace_s: float) -> None:
        """Accept nothing more, and let what is under way finish within *grace_s* seconds."""
        self._server.stop(grace_s).wait(grace_s + 1)
        self._handler.patience.close()


class _Handler:
    """Answers one call after the other."""

    def __init__(
        self,
        export: Export,
        authenticator: Authenticator | None,
        memory: Memory,
        limits: RateLimits,
        trusted_proxies: Sequence[str],
    ) -> None:
        self._trusted_proxies = trusted_proxies
        self._export = export
        self._limits = limits
        self._authenticator = authenticator
        self._memory = memory
        self.patience = Patience()

    def of(self, signal: Signal) -> grpc.GenericRpcHandler[bytes, bytes]:
        """Return what serves *signal*."""

        def handle(requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
            try:
                return self._answer(signal, requests, context)
            except Exception as error:  # noqa: BLE001  # each failure has its answer
                return _refuse(context, answer_to(error))

        return grpc.method_handlers_generic_handler(
            signal.service, {"Export": grpc.stream_unary_rpc_method_handler(handle)}
        )

    def _answer(self, signal: Signal, requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        metadata = context.invocation_metadata()
        principal = None if self._authenticator is None else self._principal(self._authenticator, context)
        self._limits.admit(principal)
        sender = sender_of({key: value for key, value in metadata if isinstance(value, str)}, principal)
        with self._memory.request() as held:
            with self.patience.waiting_for(context):
                request = next(requests, None)
            if request is None:
                raise DecodeError("the request has no message")
            held.grow(len(request))
            self._limits.read(principal, len(request))
            return signal.answer(signal.handle(request, sender, self._export, json=False), json=False)

    def _principal(self, authenticator: Authenticator, context: grpc.ServicerContext) -> Principal:
        metadata = context.invocation_metadata()
        forwarded = [value for name, value in metadata if name == "x-forwarded-for" and isinstance(value, str)]
        address = address_of(context.peer(), forwarded, self._trusted_proxies)
        return authenticator.authenticate(metadata, INGEST, address=address)


class Patience:
    """Ends calls whose message does not come: a thread waits for each of them."""

    def __init__(self, wait_s: float = READ_WITHIN_S) -> None:
        self._wait_s = wait_s
        self._waiting: dict[int, tuple[float, grpc.ServicerContext]] = {}
        self._stop = Event()
        self._thread = Thread(target=self._run, name="otel-obs-grpc-patience", daemon=True)

    def start(self) -> None:
        """Begin to look after the time."""
        self._thread.start()

    def close(self) -> None:
        """Stop."""
        self._stop.set()

    @contextmanager
    def waiting_for(self, context: grpc.ServicerContext) -> Iterator[None]:
        """Wait for a message inside, but not for ever."""
        self._waiting[id(context)] = (time.monotonic() + self._wait_s, context)
        try:
            yield
        finally:
            self._waiting.pop(id(context), None)

    def _run(self) -> None:
        while not self._stop.wait(min(1.0, self._wait_s / 4)):
            now = time.monotonic()
            for until, context in list(self._waiting.values()):
                if now > until:
                    context.cancel()  # type: ignore[no-untyped-call]


def _refuse(context: Any, answer: Answer) -> bytes:
    """Answer with a status; its details say when to come again, where Go looks and where Python looks."""
    status = response.status(answer.grpc, answer.message, retry_after_s=answer.retry_after_s)
    trailers = [("grpc-status-details-bin", status.SerializeToString())]
    if answer.retry_after_s is not None:
        info = response.retry_info(answer.retry_after_s)
        trailers.append(("google.rpc.retryinfo-bin", info.SerializeToString()))
    context.set_trailing_metadata(tuple(trailers))
    context.set_code(_CODES[answer.grpc])
    context.set_details(answer.message)
    return b""
