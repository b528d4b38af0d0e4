"""Does a form come from a page of ours?  Its origin and a token, which another site's page can neither send nor read.

The token is made from the cookie that the browser holds (that of the session, else a random one), so that there is
nothing to store (https://cheatsheetseries.owasp.org/cheatsheets/Cross-Site_Request_Forgery_Prevention_Cheat_Sheet.html).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from otel_obs.errors import InvalidQueryError, PermissionDeniedError, RequestTooLargeError
from otel_obs.web.access import is_https
from otel_obs.web.dashboard.sessions import token_of

FIELD = "form_token"
_COOKIE = "otel_obs_form"
_MAX_BYTES = 256 * 1024


def form_token(request: Request) -> str:
    """Return what a form on a page for *request* must carry."""
    secret = token_of(request) or _seed(request)
    return hmac.new(secret.encode(), b"form", hashlib.sha256).hexdigest()


def keep_seed(request: Request, response: Response) -> None:
    """Let a browser that holds no cookie of ours hold a random one."""
    if token_of(request) is None and request.cookies.get(_COOKIE) != _seed(request):
        response.set_cookie(_COOKIE, _seed(request), httponly=True, samesite="strict", secure=is_https(request))


def _seed(request: Request) -> str:
    """Return what the browser holds, or will hold."""
    if not hasattr(request.state, "form_seed"):
        held = request.cookies.get(_COOKIE, "")
        request.state.form_seed = held if 32 <= len(held) <= 64 and held.isascii() else secrets.token_urlsafe(32)
    return str(request.state.form_seed)


async def own_form(request: Request) -> Mapping[str, str]:
    """Return the fields of a form that was sent from a page of ours.

    Raises:
        PermissionDeniedError: it came from elsewhere, or its page is too old.
        RequestTooLargeError: no form of ours is that long.
    """
    sent = bytearray()
    async for part in request.stream():
        sent += part
        if len(sent) > _MAX_BYTES:
            raise RequestTooLargeError
    try:
        fields = dict(parse_qsl(sent.decode("ascii"), keep_blank_values=True, max_num_fields=200))
    except ValueError:
        raise InvalidQueryError("a form is expected") from None
    origin = request.headers.get("origin", "")
    if not origin or origin.partition("://")[2] != request.headers.get("host"):
        raise PermissionDeniedError("this form was sent from another site")
    if not hmac.compare_digest(fields.get(FIELD, "").encode(), form_token(request).encode()):
        raise PermissionDeniedError("this page is too old: load it again, and repeat what you did")
    request.state.is_own_form = True
    return fields


OwnForm = Annotated[Mapping[str, str], Depends(own_form)]
