"""The web application, put together: the API, and whatever else is mounted beside it."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from otel_obs.errors import ObsError
from otel_obs.web import problems
from otel_obs.web.access import Api, is_https, is_local

POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
"""Nothing inline, nothing from elsewhere, nobody's frame (https://www.w3.org/TR/CSP3/)."""
_HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_TRANSPORT = "max-age=31536000; includeSubDomains"
"""A browser that came over https is to do so for a year (RFC 6797); on loopback other servers share the name."""


def create_app(api: Api, routers: Sequence[APIRouter], routes: Sequence[BaseRoute] = ()) -> FastAPI:
    """Return the application; *routes* come first."""
    app = FastAPI(
        title="otel_obs",
        summary="What AI agents did and what they cost",
        openapi_url="/api/v1/openapi.json",
        docs_url=None,  # they load from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.api = api
    app.router.routes[:0] = list(routes)
    for router in routers:
        app.include_router(router)
    app.add_exception_handler(ObsError, problems.of_ours)
    app.add_exception_handler(HTTPException, problems.of_http)
    app.add_exception_handler(RequestValidationError, problems.of_validation)
    app.add_exception_handler(Exception, problems.of_defect)
    app.add_middleware(_SecurityHeaders)
    return app


class _SecurityHeaders:
    """Adds to every response what a browser is to hold it to."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                request = Request(scope)
                if is_https(request) and not is_local(request.headers.get("host", "")):
                    headers.setdefault("strict-transport-security", _TRANSPORT)
                if scope["path"].startswith(("/api/", "/ofrep/")):
                    headers.setdefault("cache-control", "no-store")
            await send(message)

        await self._app(scope, receive, sent)
