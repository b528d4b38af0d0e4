"""One table from errors to answers: may the sender try again, and how is it told?

https://opentelemetry.io/docs/specs/otlp/#failures and #failures-1
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from http import HTTPStatus

from otel_obs.errors import (
    DecodeError,
    ObsError,
    PermissionDeniedError,
    RateLimitedError,
    RequestTooLargeError,
    TooManyAttemptsError,
    UnauthenticatedError,
    UnsupportedMediaTypeError,
)

_log = logging.getLogger(__name__)

RETRY_AFTER_S = 1
"""The Python SDK gives up at once if it is told to wait long."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How a failure is told."""

    http: HTTPStatus
    grpc: int
    """https://grpc.io/docs/guides/status-codes/"""
    message: str
    retry_after_s: int | None = None


def answer_to(error: Exception) -> Answer:
    """Return how *error* is told; what is not one of ours is logged, and told without its content."""
    match error:
        case RateLimitedError():
            return Answer(HTTPStatus.TOO_MANY_REQUESTS, 14, str(error), error.retry_after_s)
        case ObsError(retryable=True):
            return Answer(HTTPStatus.SERVICE_UNAVAILABLE, 14, str(error), RETRY_AFTER_S)
        case UnauthenticatedError() | TooManyAttemptsError():
            # No 429: an exporter would send the same again, with the same key.
            return Answer(HTTPStatus.UNAUTHORIZED, 16, str(error))
        case PermissionDeniedError():
            return Answer(HTTPStatus.FORBIDDEN, 7, str(error))
        case DecodeError():
            return Answer(HTTPStatus.BAD_REQUEST, 3, str(error))
        case RequestTooLargeError():
            return Answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, 8, str(error))
        case UnsupportedMediaTypeError():
            return Answer(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, 3, str(error))
        case ObsError():
            return Answer(HTTPStatus.INTERNAL_SERVER_ERROR, 13, str(error))
        case _:
            _log.error("a request failed: %s", type(error).__name__, exc_info=error)
            return Answer(HTTPStatus.INTERNAL_SERVER_ERROR, 13, "internal error")
