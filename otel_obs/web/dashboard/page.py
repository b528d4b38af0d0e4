"""What do all pages share?  Whose data is shown, of which period, where one can go from here, and the frame."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import quote, urlencode

import psycopg
from fastapi import APIRouter, Depends
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from otel_obs.analytics import upkeep
from otel_obs.analytics.filters import Filters
from otel_obs.analytics.searching import Patience
from otel_obs.errors import (
    BudgetConflictError,
    ConfigurationError,
    FlagConflictError,
    InvalidQueryError,
    NotFoundError,
    ObsError,
    UnauthenticatedError,
)
from otel_obs.postgres.vault import Vault
from otel_obs.receiver.auth import ADMIN
from otel_obs.receiver.status import answer_to
from otel_obs.tenancy import Limits
from otel_obs.web.access import Api, Caller
from otel_obs.web.asked import Asked, Asking
from otel_obs.web.dashboard import figures
from otel_obs.web.dashboard.forms import FIELD, form_token, keep_seed
from otel_obs.web.dashboard.sessions import Sessions, token_of

NAVIGATION = (
    ("", (("/", "Overview"), ("/costs", "Costs"), ("/budgets", "Budgets"), ("/recommendations", "Recommendations"))),
    ("What happened", (("/traces", "Traces"), ("/conversations", "Conversations"), ("/agents", "Agents"),
                       ("/errors", "Errors"), ("/live", "Live"))),
    ("Running it", (("/flags", "Flags"), ("/retention", "Retention"), ("/quarantine", "Quarantine"),
                    ("/audit", "Audit log"), ("/settings", "Settings"))),
)  # fmt: skip
PERIODS = (("1h", "Last hour"), ("24h", "24 hours"), ("7d", "7 days"), ("30d", "30 days"), ("90d", "90 days"))
DEFAULT_PERIOD = "7d"
KEPT = ("organization_id", "workspace_id", "environment", "since", "until")
"""What goes along from page to page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What the dashboard needs beside the API; ``app.state.desk``."""

    own: Callable[[], AbstractContextManager[psycopg.Connection]]
    """Gives a connection that no policy binds: for what is no tenant's rows, and for changes."""
    sessions: Sessions | None
    """None: nobody is asked for keys."""
    otlp: Callable[[], tuple[str, str]]
    """Where OTLP is taken, over gRPC and over HTTP."""
    retention_grace: timedelta
    limits: Limits
    """Of organizations that have none of their own."""
    paths: frozenset[str]
    """Pages that are there: navigation shows no others."""


class Page:
    """A request of a browser, and how it is answered."""

    def __init__(self, request: Request, caller: Caller, filters: Filters) -> None:
        self.request = request
        self.caller = caller
        self.filters = filters
        self.query = dict(request.query_params)
        self.now = datetime.now(tz=timezone.utc)

    @property
    def desk(self) -> Desk:
        """Return what the dashboard needs beside the API."""
        return desk_of(self.request)

    @property
    def may_edit(self) -> bool:
        """Tell whether whoever looks may change something."""
        return self.caller.may(ADMIN)

    @property
    def is_local(self) -> bool:
        """Tell whether nobody is asked for keys."""
        return self.desk.sessions is None

    @property
    def organizations(self) -> Sequence[str]:
        """Return whose rows can be looked at: by operators, and where nobody is asked for keys."""
        if not self.is_local and not self.caller.is_operator:
            return []
        with self.desk.own() as connection:
            return upkeep.organizations(connection)

    def read(self) -> AbstractContextManager[psycopg.Connection]:
        """Give a connection that sees what the caller may see."""
        api: Api = self.request.app.state.api
        return api.read(self.caller)

    @property
    def vault(self) -> Vault | None:
        """Return what opens encrypted content."""
        api: Api = self.request.app.state.api
        return api.vault

    @property
    def patience(self) -> Patience:
        """Return how long a page of a search may take."""
        api: Api = self.request.app.state.api
        return api.patience

    def link(self, path: str, **changes: Any) -> str:
        """Return the address of a page of the same period and tenant."""
        return address(path, {**{name: self.query.get(name) for name in KEPT}, **changes})

    def here(self, **changes: Any) -> str:
        """Return the address of this page with some parameters changed; a change begins at the first rows."""
        return address(self.request.url.path, {**self.query, "cursor": None, **changes})

    def period(self, starts: datetime, ends: datetime) -> str:
        """Return the address of this page for another period."""
        return self.here(since=stamp(starts), until=stamp(ends))

    def render(self, template: str, *, status: int = 200, **context: Any) -> Response:
        """Return a page."""
        return render(self.request, template, status=status, page=self, **context)


def stamp(at: datetime) -> str:
    """Return *at* as an address says it."""
    return f"{at.astimezone(timezone.utc):%Y-%m-%dT%H:%M:%SZ}"


def address(path: str, query: Mapping[str, Any]) -> str:
    """Return *path* with those parameters that are something."""
    given = {name: value for name, value in query.items() if value not in (None, "")}
    return f"{quote(path)}?{urlencode(given)}" if given else quote(path)


def desk_of(request: Request) -> Desk:
    """Return what the dashboard needs beside the API."""
    found: Desk = request.app.state.desk
    return found


def render(request: Request, template: str, *, status: int = 200, **context: Any) -> Response:
    """Return a page that is not kept anywhere."""
    theme = request.cookies.get("otel_obs_theme", "")
    text = _TEMPLATES.get_template(template).render(
        request=request,
        path=request.url.path,
        theme=theme if theme in ("light", "dark") else "",
        form_field=FIELD,
        form_token=form_token(request),
        is_signed_in=token_of(request) is not None and desk_of(request).sessions is not None,
        navigation=_navigation(request, context.get("page")),
        **{"page": None, **context},
    )
    response = HTMLResponse(text, status_code=status, headers={"cache-control": "no-store"})
    keep_seed(request, response)
    return response


def _navigation(request: Request, page: Page | None) -> Sequence[tuple[str, Sequence[tuple[str, str]]]]:
    """Return the pages that are there for whoever looks, by groups."""
    there = desk_of(request).paths
    if page is None or not page.may_edit or page.caller.reader.workspace_id is not None:
        there -= {"/audit"}
    return [(title, [entry for entry in entries if entry[0] in there]) for title, entries in NAVIGATION]


class PageRoute(APIRoute):
    """Answers failures with a page; whoever is not signed in is sent to where that can be done."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request."""
        handler = super().get_route_handler()

        async def answered(request: Request) -> Response:
            try:
                return await handler(request)
            except UnauthenticatedError:
                if desk_of(request).sessions is None or request.method != "GET":
                    return _failed(request, HTTPStatus.UNAUTHORIZED, "Sign in first.")
                query = f"?{request.url.query}" if request.url.query else ""
                return RedirectResponse(address("/sign-in", {"next": f"{request.url.path}{query}"}), status_code=303)
            except ObsError as error:
                status, message = _told(error)
                return _failed(request, status, message)
            except RequestValidationError as error:
                said = "; ".join(f"{item['loc'][-1]}: {item['msg']}" for item in error.errors())
                return _failed(request, HTTPStatus.BAD_REQUEST, said)
            except HTTPException as error:
                if error.headers is not None and "location" in error.headers:
                    return RedirectResponse(error.headers["location"], status_code=error.status_code)
                return _failed(request, error.status_code, str(error.detail))

        return answered


def _told(error: ObsError) -> tuple[int, str]:
    match error:
        case NotFoundError():
            return HTTPStatus.NOT_FOUND, str(error)
        case InvalidQueryError() | ConfigurationError():
            return HTTPStatus.BAD_REQUEST, str(error)
        case FlagConflictError() | BudgetConflictError():
            return HTTPStatus.CONFLICT, str(error)
    answer = answer_to(error)
    return answer.http, answer.message


def _failed(request: Request, status: int, message: str) -> Response:
    title = HTTPStatus(status).phrase
    return render(request, "failed.html", status=status, title=title, message=message, status_code=int(status))


def pages() -> APIRouter:
    """Return a router for pages."""
    return APIRouter(include_in_schema=False, route_class=PageRoute)


def _page(request: Request, caller: Asking, filters: Asked) -> Page:
    """Return the page; without keys and a word about whose rows are meant, those of whoever has some."""
    page = Page(request, caller, filters)
    if page.is_local and request.method == "GET" and "organization_id" not in page.query:
        with page.desk.own() as connection:
            known = upkeep.organizations(connection)
        if known and caller.reader.organization_id not in known:
            raise HTTPException(HTTPStatus.SEE_OTHER, headers={"location": page.here(organization_id=known[0])})
    return page


Shown = Annotated[Page, Depends(_page)]


def _pretty(text: str) -> str:
    """Return JSON with line ends and indentation; other text as it is."""
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:
        return text


_TEMPLATES = Environment(
    loader=PackageLoader("otel_obs.web.dashboard"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)
_TEMPLATES.globals.update(PERIODS=PERIODS, DEFAULT_PERIOD=DEFAULT_PERIOD, UNKNOWN=figures.UNKNOWN)
_TEMPLATES.filters.update(
    money=figures.money,
    short=figures.short,
    number=figures.number,
    duration=figures.duration,
    size=figures.size,
    share=figures.share,
    moment=figures.moment,
    ago=figures.ago,
    pretty=_pretty,
)
