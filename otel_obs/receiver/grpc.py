"""OTLP/gRPC (https://opentelemetry.io/docs/specs/otlp/#otlpgrpc).

The handlers take raw bytes: a message that cannot be parsed is the client's mistake (INVALID_ARGUMENT), while
grpcio's own parsing would call it ours (INTERNAL).

Where keys are asked for, the handlers are those of a stream of requests, which is the same on the wire: only such a
handler runs before the request's message is received.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from otel_obs.errors import ConfigurationError, DecodeError
from otel_obs.otlp import response
from otel_obs.receiver.auth import INGEST, Authenticator, Principal
from otel_obs.receiver.export import SIGNALS, Export, Signal, sender_of
from otel_obs.receiver.status import Answer, answer_to

THREADS = 16
_CODES = {code.value[0]: code for code in grpc.StatusCode}


class GrpcReceiver:
    """Serves the OTLP services on one address."""

    def __init__(
        self, export: Export, endpoint: str, *, max_request_bytes: int, authenticator: Authenticator | None = None
    ) -> None:
        self._endpoint = endpoint
        self._server = grpc.server(
            ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="otel-obs-grpc"),
            options=[
                ("grpc.max_receive_message_length", max_request_bytes),
                ("grpc.so_reuseport", 0),
                ("grpc.max_metadata_size", 64 * 1024),
            ],
        )
        for signal in SIGNALS:
            self._server.add_generic_rpc_handlers((_handler(signal, export, authenticator),))

    def start(self) -> int:
        """Listen, and return the port.

        Raises:
            ConfigurationError: the address cannot be listened on.
        """
        try:
            port: int = self._server.add_insecure_port(self._endpoint)
        except RuntimeError:
            port = 0
        if port == 0:
            raise ConfigurationError(f"cannot listen on {self._endpoint} (gRPC): is it in use?")
        self._server.start()
        return port

    def stop(self, grace_s: float) -> None:
        """Accept nothing more, and let what is under way finish within *grace_s* seconds."""
        self._server.stop(grace_s).wait(grace_s + 1)


def _handler(
    signal: Signal, export: Export, authenticator: Authenticator | None
) -> grpc.GenericRpcHandler[bytes, bytes]:
    answer = _answer(signal, export)
    method = (
        grpc.unary_unary_rpc_method_handler(answer)
        if authenticator is None
        else grpc.stream_unary_rpc_method_handler(_authenticated(authenticator, answer))
    )
    return grpc.method_handlers_generic_handler(signal.service, {"Export": method})


def _answer(signal: Signal, export: Export) -> Callable[..., bytes]:
    def handle(request: bytes, context: grpc.ServicerContext, principal: Principal | None = None) -> bytes:
        try:
            metadata = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
            sender = sender_of(metadata, principal)
            return signal.answer(signal.handle(request, sender, export, json=False), json=False)
        except Exception as error:  # noqa: BLE001  # each failure has its answer
            return _refuse(context, answer_to(error))

    return handle


def _authenticated(
    authenticator: Authenticator, answer: Callable[..., bytes]
) -> Callable[[Iterator[bytes], grpc.ServicerContext], bytes]:
    def handle(requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        try:
            principal = authenticator.authenticate(context.invocation_metadata(), INGEST)
        except Exception as error:  # noqa: BLE001  # each failure has its answer
            return _refuse(context, answer_to(error))
        request = next(requests, None)
        if request is None:
            return _refuse(context, answer_to(DecodeError("the request has no message")))
        return answer(request, context, principal)

    return handle


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
