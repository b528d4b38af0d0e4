"""OTLP/gRPC (https://opentelemetry.io/docs/specs/otlp/#otlpgrpc).

The handlers take raw bytes: a message that cannot be parsed is the client's mistake (INVALID_ARGUMENT), while
grpcio's own parsing would call it ours (INTERNAL).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from otel_obs.errors import ConfigurationError
from otel_obs.otlp import response
from otel_obs.receiver.export import SIGNALS, Export, Signal, sender_of
from otel_obs.receiver.status import Answer, answer_to

THREADS = 16
_CODES = {code.value[0]: code for code in grpc.StatusCode}


class GrpcReceiver:
    """Serves the OTLP services on one address."""

    def __init__(self, export: Export, endpoint: str, *, max_request_bytes: int) -> None:
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
            self._server.add_generic_rpc_handlers((_handler(signal, export),))

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


def _handler(signal: Signal, export: Export) -> grpc.GenericRpcHandler[bytes, bytes]:
    method = grpc.unary_unary_rpc_method_handler(_export(signal, export))
    return grpc.method_handlers_generic_handler(signal.service, {"Export": method})


def _export(signal: Signal, export: Export) -> Callable[[bytes, grpc.ServicerContext], bytes]:
    def handle(request: bytes, context: grpc.ServicerContext) -> bytes:
        try:
            metadata = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
            return signal.answer(signal.handle(request, sender_of(metadata), export, json=False), json=False)
        except Exception as error:  # noqa: BLE001  # each failure has its answer
            return _refuse(context, answer_to(error))

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
