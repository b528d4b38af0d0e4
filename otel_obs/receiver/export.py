"""What both transports share: the signals, and what is done with a request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from otel_obs.errors import DecodeError
from otel_obs.model import Decoded
from otel_obs.otlp import response
from otel_obs.otlp.decode import decode_logs, decode_traces
from otel_obs.otlp.decode_json import count_data_points_json, decode_logs_json, decode_traces_json
from otel_obs.receiver.auth import Principal
from otel_obs.semconv import WORKSPACE_HEADER
from otel_obs.settings import MAX_ID_BYTES, is_identifier
from otel_obs.tenancy import Sender


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is told to the sender of a request that was stored."""

    rejected: int = 0
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A request as it came."""

    signal: str
    body: bytes
    """Decompressed."""
    is_json: bool
    sender: Sender


Export = Callable[[Decoded, Sent], Outcome]
"""Store what was decoded; return once it is durable, or raise an ``ObsError``."""

Count = Callable[[int, str], None]
"""Count data points of metrics that are not stored."""

METRICS_MESSAGE = "metrics are not stored"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """One of OTLP's signals."""

    name: str
    path: str
    service: str
    rejected_field: str
    body: Callable[[int, str], bytes]
    decode: Callable[[bytes], Decoded] | None = None
    decode_json: Callable[[bytes], Decoded] | None = None

    def handle(self, request: bytes, sender: Sender, export: Export, *, json: bool) -> Outcome:
        """Return the outcome of *request*, in JSON or protobuf.

        Raises:
            ObsError: nothing was stored.
        """
        if self.decode is None or self.decode_json is None:
            points = count_data_points_json(request) if json else response.count_data_points(request)
            return Outcome(points, METRICS_MESSAGE)
        decoded = self.decode_json(request) if json else self.decode(request)
        return export(decoded, Sent(signal=self.name, body=request, is_json=json, sender=sender))

    def answer(self, outcome: Outcome, *, json: bool) -> bytes:
        """Return the body of the answer."""
        if json:
            return response.as_json(self.rejected_field, outcome.rejected, outcome.message)
        return self.body(outcome.rejected, outcome.message)


TRACES = Signal(
    name="traces",
    path="/v1/traces",
    service="opentelemetry.proto.collector.trace.v1.TraceService",
    rejected_field="rejectedSpans",
    body=response.traces,
    decode=decode_traces,
    decode_json=decode_traces_json,
)
LOGS = Signal(
    name="logs",
    path="/v1/logs",
    service="opentelemetry.proto.collector.logs.v1.LogsService",
    rejected_field="rejectedLogRecords",
    body=response.logs,
    decode=decode_logs,
    decode_json=decode_logs_json,
)
METRICS = Signal(
    name="metrics",
    path="/v1/metrics",
    service="opentelemetry.proto.collector.metrics.v1.MetricsService",
    rejected_field="rejectedDataPoints",
    body=response.metrics,
)
SIGNALS = (TRACES, LOGS, METRICS)


def sender_of(headers: Mapping[str, str], principal: Principal | None = None) -> Sender:
    """Return who sent a request, as its credential and its *headers* (names in lower case) say.

    Raises:
        DecodeError: a header cannot be what it claims.
    """
    workspace = headers.get(WORKSPACE_HEADER) or None
    if workspace is not None and not is_identifier(workspace):
        raise DecodeError(f"{WORKSPACE_HEADER} is not an id: at most {MAX_ID_BYTES} bytes without control characters")
    if principal is None:
        return Sender(workspace_id=workspace)
    return Sender(
        organization_id=principal.organization_id,
        workspace_id=workspace,
        bound_workspace_id=principal.workspace_id,
        key_id=principal.key_id,
    )
