"""Bodies of answers: https://opentelemetry.io/docs/specs/otlp/#otlpgrpc-response and #failures."""

from __future__ import annotations

import json

from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from otel_obs.errors import DecodeError

_TYPE = "type.googleapis.com/"


def traces(rejected: int, message: str) -> bytes:
    """Return an ``ExportTraceServiceResponse``; ``partial_success`` is there only if it says something."""
    response = trace_service_pb2.ExportTraceServiceResponse()
    if rejected or message:
        response.partial_success.rejected_spans = rejected
        response.partial_success.error_message = message
    return response.SerializeToString()


def logs(rejected: int, message: str) -> bytes:
    """Return an ``ExportLogsServiceResponse``."""
    response = logs_service_pb2.ExportLogsServiceResponse()
    if rejected or message:
        response.partial_success.rejected_log_records = rejected
        response.partial_success.error_message = message
    return response.SerializeToString()


def metrics(rejected: int, message: str) -> bytes:
    """Return an ``ExportMetricsServiceResponse``."""
    response = metrics_service_pb2.ExportMetricsServiceResponse()
    if rejected or message:
        response.partial_success.rejected_data_points = rejected
        response.partial_success.error_message = message
    return response.SerializeToString()


def as_json(field: str, rejected: int, message: str) -> bytes:
    """Return the same in JSON; *field* is ``rejectedSpans`` or its like, and 64-bit numbers are text."""
    if not rejected and not message:
        return b"{}"
    return json.dumps({"partialSuccess": {field: str(rejected), "errorMessage": message}}).encode()


def status(code: int, message: str, *, retry_after_s: int | None = None) -> Status:
    """Return what went wrong: a gRPC *code*, and when to come again, or what was wrong with the request."""
    found = Status(code=code, message=message)
    if retry_after_s is not None:
        found.details.add().Pack(retry_info(retry_after_s))
    elif code == 3:
        violation = BadRequest.FieldViolation(description=message)
        found.details.add().Pack(BadRequest(field_violations=[violation]))
    return found


def retry_info(seconds: int) -> RetryInfo:
    """Return when to come again."""
    return RetryInfo(retry_delay=Duration(seconds=seconds))


def status_json(code: int, message: str, *, retry_after_s: int | None = None) -> bytes:
    """Return ``status`` in JSON."""
    details: list[dict[str, object]] = []
    if retry_after_s is not None:
        details.append({"@type": _TYPE + "google.rpc.RetryInfo", "retryDelay": f"{retry_after_s}s"})
    elif code == 3:
        details.append({"@type": _TYPE + "google.rpc.BadRequest", "fieldViolations": [{"description": message}]})
    return json.dumps({"code": code, "message": message, "details": details}).encode()


def count_data_points(body: bytes) -> int:
    """Return how many data points an ``ExportMetricsServiceRequest`` carries.

    Raises:
        DecodeError: *body* is not such a message.
    """
    request = metrics_service_pb2.ExportMetricsServiceRequest()
    try:
        request.ParseFromString(body)
    except Exception:  # noqa: BLE001  # the parser has several ways of saying no
        raise DecodeError("the body is not a valid OTLP protobuf message") from None
    return sum(
        len(getattr(metric, kind).data_points)
        for resource in request.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if (kind := metric.WhichOneof("data")) is not None
    )
