"""What does an OFREP request ask, and whose flags may it see?

The organization is the credential's. The workspace is the one that the credential is bound to, else the attribute
``workspace_id`` of the context. https://github.com/open-feature/protocol/blob/main/service/openapi.yaml
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

from starlette.requests import Request

from otel_obs.flags.model import Subject


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks, as the credential says."""

    organization_id: str
    workspace_id: str | None = None
    """The only workspace; None: the context may name any."""
    key_id: str | None = None


Authenticate = Callable[[Request], Caller]
"""Tells who asks, by the headers alone; may block.

Raises ``UnauthenticatedError``, ``PermissionDeniedError``, or a retryable error while nobody can tell.
"""


class _Principal(Protocol):
    @property
    def organization_id(self) -> str: ...
    @property
    def workspace_id(self) -> str | None: ...
    @property
    def key_id(self) -> str: ...


def by_key(principal: Callable[[Any, str], _Principal]) -> Authenticate:
    """Return how callers are told by what *principal* says of a request's headers (pairs of name and value).

    It is told the address that the request came from, too.
    """

    def authenticate(request: Request) -> Caller:
        found = principal(request.headers.items(), "" if request.client is None else request.client.host)
        return Caller(organization_id=found.organization_id, workspace_id=found.workspace_id, key_id=found.key_id)

    return authenticate


def anyone(organization_id: str) -> Authenticate:
    """Return how callers are told where there are no keys: by the query ``organization_id``, else it is this one."""

    def authenticate(request: Request) -> Caller:
        return Caller(organization_id=request.query_params.get("organization_id") or organization_id)

    return authenticate


class BadRequestError(Exception):
    """The request cannot be answered; *code* is OFREP's."""

    def __init__(self, code: str, details: str) -> None:
        super().__init__(details)
        self.code = code
        self.details = details


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked: for whom, and the whole context in one spelling."""

    who: Subject
    context: str


def asked(body: bytes, caller: Caller) -> Asked:
    """Return what *body* asks.

    Raises:
        BadRequestError: it is no JSON, has no context, or does not say for whom.
    """
    try:
        request = json.loads(body, parse_constant=_refuse, parse_float=_finite)
        context = request.get("context") if isinstance(request, dict) else None
        canonical = json.dumps(context, sort_keys=True, separators=(",", ":"))
    except (ValueError, RecursionError):
        raise BadRequestError("PARSE_ERROR", "the body is not JSON") from None
    if not isinstance(context, dict):
        raise BadRequestError("INVALID_CONTEXT", "an object `context` is expected")
    key = context.get("targetingKey")
    if key is None or key == "":
        raise BadRequestError("TARGETING_KEY_MISSING", "the context has no `targetingKey`")
    if not isinstance(key, str):
        raise BadRequestError("INVALID_CONTEXT", "`targetingKey` must be a text")
    workspace_id = caller.workspace_id
    if workspace_id is None:
        workspace_id = context.get("workspace_id")
        if workspace_id is not None and not isinstance(workspace_id, str):
            raise BadRequestError("INVALID_CONTEXT", "`workspace_id` must be a text")
    return Asked(Subject(caller.organization_id, workspace_id or None, key), canonical)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(digits)
    return value
