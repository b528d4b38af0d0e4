"""The JSON API, ``/api/v1``: what ``analytics`` knows, for whoever has a key with the scope ``read``.

Each answer is read in a transaction that row-level security binds to the caller's organization and workspace.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import JSONResponse, Response

from otel_obs.analytics import agents, detail, errors, events, metrics, spend, traces
from otel_obs.analytics.filters import Page
from otel_obs.analytics.searching import FOR_A_FILE
from otel_obs.analytics.traces import MAX_NODES
from otel_obs.web import export
from otel_obs.web.access import Api
from otel_obs.web.asked import Asked, Asking, Cursor, Limit
from otel_obs.web.exporting import ExportingRoute
from otel_obs.web.shapes import as_json, found_of_model, model_of, page_of_model

PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"description": description, "content": {"application/problem+json": {}}}
    for status, description in (
        (400, "What is asked for makes no sense"),
        (401, "A valid API key is required"),
        (403, "The API key does not allow that"),
        (404, "There is no such thing, or none that you may see"),
        (409, "Somebody else has changed it meanwhile"),
        (503, "PostgreSQL is away, or the question takes too long; try again later"),
    )
}
Format = Annotated[str, Query(pattern="^(json|jsonl|csv)$", description="json, or all fields as JSON lines or CSV")]
Step = Annotated[str | None, Query(pattern="^(hour|day|week|month)$", description="Length of a period")]


class Paging:
    """Which rows of a list are wanted, and in what format."""

    def __init__(
        self,
        limit: Limit = 100,
        cursor: Cursor = None,
        format: Format = "json",  # noqa: A002  # the parameter's name
    ) -> None:
        self.place: dict[str, Any] = {"limit": limit, "cursor": cursor}
        self.format = format


Paged = Annotated[Paging, Depends()]

AS_TEXT: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {"text/csv": {"schema": {"type": "string"}}, "application/x-ndjson": {"schema": {"type": "string"}}}
    }
}
"""Lists come in other formats too."""

router = APIRouter(prefix="/api/v1", responses=PROBLEMS, route_class=ExportingRoute)


def api_of(request: Request) -> Api:
    """Return what requests are answered with."""
    found: Api = request.app.state.api
    return found


def _paged(
    path: str,
    kind: type[Any],
    find: Callable[..., Page[Any]],
    *,
    summary: str,
    noted: Callable[..., str | None] = lambda *_: None,
    is_searched: bool = False,
) -> None:
    """Route a list whose answer is a page of *kind*; *noted* tells what has to be said of it.

    Rare rows of one that *is_searched* take long to find: a page says how far back it looked, a file is whole.
    """

    def handler(
        request: Request,
        caller: Asking,
        filters: Asked,
        paging: Paged,
    ) -> Response:
        api, how = api_of(request), dict[str, Any]()
        if is_searched:
            how["patience"] = api.patience if paging.format == "json" else FOR_A_FILE
        with api.read(caller) as connection:
            page = find(connection, filters, **paging.place, **how)
            note = noted(connection, filters)
        return export.answer(page, kind, paging.format, note)

    handler.__name__ = f"list_{path.strip('/')}"
    model, description = (found_of_model, _SEARCHED) if is_searched else (page_of_model, None)
    router.get(path, response_model=model(kind), responses=AS_TEXT, summary=summary, description=description)(handler)


_SEARCHED = (
    "An answer in JSON comes after a few seconds with what was found until then: `searched_to` tells how far back it "
    "looked, if that is not all, and `next_cursor` goes on there. So there may be more after a page of few items, or "
    "of none, as long as it has a `next_cursor`. A file (`csv`, `jsonl`) has all the rows that it may."
)

_paged("/errors", errors.ErrorGroup, errors.get_error_logs, summary="Errors by type and node")
_paged("/events", events.Event, events.events, summary="Events, the newest first", is_searched=True)
_paged("/scores", events.Score, events.scores, summary="What evaluations found", is_searched=True)
_paged(
    "/traces",
    traces.Trace,
    traces.search,
    summary="Traces, the newest first",
    noted=traces.not_searched,
    is_searched=True,
)
_paged("/agents", agents.Agent, agents.agents, summary="Agents, and what their runs came to")
_paged(
    "/conversations",
    agents.Conversation,
    agents.conversations,
    summary="Conversations, the latest first",
    is_searched=True,
)


@router.get("/metrics", response_model=model_of(metrics.SystemMetrics), summary="How the system is doing")
def get_metrics(request: Request, caller: Asking, filters: Asked, step: Step = None) -> Response:
    """Return figures per period, in total, and those of the period before."""
    with api_of(request).read(caller) as connection:
        answer = metrics.get_system_metrics(connection, filters, step)  # type: ignore[arg-type]  # the pattern
    return JSONResponse(as_json(answer))


@router.get("/traces/{trace_id}", response_model=model_of(traces.TraceTree), summary="One trace as a tree")
def get_trace(
    request: Request,
    caller: Asking,
    trace_id: str,
    limit: Annotated[int, Query(ge=1, le=MAX_NODES)] = MAX_NODES,
    cursor: Cursor = None,
) -> Response:
    """Return the totals of a trace and its nodes, in the order of their start."""
    with api_of(request).read(caller) as connection:
        found = traces.trace(
            connection, caller.reader.organization_id, identifier_in(trace_id), limit=limit, cursor=cursor
        )
    return JSONResponse(as_json(found))


@router.get(
    "/traces/{trace_id}/events/{event_id}",
    response_model=model_of(detail.EventDetail),
    summary="One event of a trace, with what was said",
)
def get_event(request: Request, caller: Asking, trace_id: str, event_id: str) -> Response:
    """Return all that is known of one event."""
    with api_of(request).read(caller) as connection:
        found = detail.event_detail(
            connection,
            caller.reader.organization_id,
            identifier_in(trace_id),
            identifier_in(event_id),
            api_of(request).vault,
        )
    return JSONResponse(as_json(found))


@router.get(
    "/agents/{agent:path}/runs",
    response_model=page_of_model(agents.AgentRun),
    responses=AS_TEXT,
    summary="Runs of an agent",
)
def get_runs(
    request: Request,
    caller: Asking,
    filters: Asked,
    agent: str,
    paging: Paged,
) -> Response:
    """Return the runs of an agent, the newest first."""
    with api_of(request).read(caller) as connection:
        page = agents.runs(connection, filters, identifier_in(agent), **paging.place)
    return export.answer(page, agents.AgentRun, paging.format)


@router.get("/costs", response_model=export.COSTS_MODEL, responses=AS_TEXT, summary="What was spent, by any keys")
def get_costs(
    request: Request,
    caller: Asking,
    filters: Asked,
    group_by: Annotated[str, Query(max_length=200, description=f"Any of {', '.join(spend.KEYS)}")] = "day",
    flag: Annotated[str | None, Query(max_length=200, description="Goes with group_by=flag_variant")] = None,
    format: Format = "json",  # noqa: A002  # the parameter's name
) -> Response:
    """Return calls, tokens and cost, the dearest groups first."""
    by = [key for key in (part.strip() for part in group_by.split(",")) if key]
    with api_of(request).read(caller) as connection:
        found = spend.spend(connection, filters, by, flag=None if flag is None else identifier_in(flag))
    return export.costs_answer(found, filters, format)


def identifier_in(value: str) -> str:
    """Return *value*; what no id can be names nothing, and PostgreSQL is not asked for it."""
    return value.replace("\x00", "\ufffd").encode(errors="replace").decode()
