"""How is a failure answered? ``application/problem+json`` (https://www.rfc-editor.org/rfc/rfc9457)."""

from __future__ import annotations

import logging
from http import HTTPStatus

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from otel_obs.errors import (
    BudgetConflictError,
    ConfigurationError,
    FlagConflictError,
    InvalidQueryError,
    LegalHoldError,
    NotFoundError,
    ObsError,
    SearchTooLongError,
    TooManyAttemptsError,
    UnknownTenantError,
)
from otel_obs.receiver.status import answer_to

_log = logging.getLogger(__name__)


def problem(status: int, detail: str, *, retry_after_s: int | None = None) -> Response:
    """Return the answer for a failure."""
    headers = {} if retry_after_s is None else {"retry-after": str(retry_after_s)}
    if status == HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return JSONResponse(body, status_code=status, headers=headers, media_type="application/problem+json")


def of_ours(_: Request, error: Exception) -> Response:
    """Return the answer for an ``ObsError``."""
    match error:
        case NotFoundError() | UnknownTenantError():
            return problem(HTTPStatus.NOT_FOUND, str(error))
        case InvalidQueryError() | ConfigurationError():
            return problem(HTTPStatus.BAD_REQUEST, str(error))
        case FlagConflictError() | BudgetConflictError() | LegalHoldError():
            return problem(HTTPStatus.CONFLICT, str(error))
        case TooManyAttemptsError():
            return problem(HTTPStatus.TOO_MANY_REQUESTS, str(error))
        case SearchTooLongError():
            return problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
        case ObsError():
            answer = answer_to(error)
            return problem(answer.http, answer.message, retry_after_s=answer.retry_after_s)
    raise error


def of_http(_: Request, error: Exception) -> Response:
    """Return the answer for what the framework refuses."""
    if not isinstance(error, HTTPException):
        raise error
    found = problem(error.status_code, str(error.detail))
    found.headers.update(error.headers or {})
    return found


def of_validation(_: Request, error: Exception) -> Response:
    """Return the answer for parameters that are no such thing; what was sent is not repeated."""
    if not isinstance(error, RequestValidationError):
        raise error
    said = "; ".join(f"{'.'.join(str(part) for part in item['loc'][1:])}: {item['msg']}" for item in error.errors())
    return problem(HTTPStatus.BAD_REQUEST, said or "the request makes no sense")


def of_defect(_: Request, error: Exception) -> Response:
    """Return the answer for a mistake of ours, which says nothing of what was asked."""
    _log.error("a request failed: %s", type(error).__name__, exc_info=error)
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "this is a defect of otel_obs; its log says more")
