"""``/agents``, ``/conversations``, ``/errors``, ``/live``: who did what, what went wrong, and what happens now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import psycopg
from fastapi import Query
from starlette.responses import Response

from otel_obs.analytics import agents, detail, errors, metrics, traces
from otel_obs.analytics.searching import Patience
from otel_obs.errors import NotFoundError
from otel_obs.web.asked import Cursor
from otel_obs.web.dashboard import figures
from otel_obs.web.dashboard.charts import Series, stacked
from otel_obs.web.dashboard.page import Page, Shown, address, pages
from otel_obs.web.dashboard.said import Sides, said
from otel_obs.web.dashboard.trends import links, spending

PER_PAGE = 50
MAX_TURNS = 50
TURNS_FOUND_IN = Patience(8)
SHOWN = 50
"""Agents, before all are asked for."""
MAX_AGENTS = 500

router = pages()


@router.get("/agents")
def listed(
    page: Shown,
    sort: agents.Most = "cost",
    all: Annotated[str | None, Query(pattern="^1$")] = None,  # noqa: A002  # the parameter's name
) -> Response:
    """Show agents, the dearest first."""
    with page.read() as connection:
        found = agents.foremost(connection, page.filters, sort, limit=MAX_AGENTS)
    return page.render(
        "agents.html",
        agents=found if all else found[:SHOWN],
        count=len(found),
        dearest=max((agent.cost_cents or 0 for agent in found), default=0),
        sort=sort,
        is_cut=len(found) == MAX_AGENTS,
    )


@router.get("/agents/runs")
def runs(page: Shown, agent_id: Annotated[str, Query(max_length=1000)], cursor: Cursor = None) -> Response:
    """Show the runs of an agent, the newest first."""
    del agent_id  # as the filters have it
    agent = page.filters.agent_id or ""
    with page.read() as connection:
        found = agents.runs(connection, page.filters, agent, limit=PER_PAGE, cursor=cursor)
        summary = agents.foremost(connection, page.filters, limit=1) if agent else []
        chart = spending(page, connection, "model")
    return page.render(
        "runs.html",
        agent_id=agent,
        summary=summary[0] if summary else None,
        runs=found.items,
        chart=chart,
        next_page=None if found.next_cursor is None else page.here(cursor=found.next_cursor),
        first_page=page.here() if cursor else None,
    )


@router.get("/conversations")
def conversations(page: Shown, cursor: Cursor = None) -> Response:
    """Show conversations, the one that went on last first."""
    with page.read() as connection:
        found = agents.conversations(connection, page.filters, limit=PER_PAGE, cursor=cursor, patience=page.patience)
    return page.render(
        "conversations.html",
        conversations=found.items,
        searched_to=found.searched_to,
        next_page=None if found.next_cursor is None else page.here(cursor=found.next_cursor),
        first_page=page.here() if cursor else None,
    )


@router.get("/conversations/one")
def conversation(
    page: Shown,
    conversation_id: Annotated[str, Query(max_length=1000)],
    content: Annotated[str | None, Query(pattern="^1$")] = None,
) -> Response:
    """Show a conversation turn by turn."""
    del conversation_id  # as the filters have it
    asked = page.filters.conversation_id
    if asked is None:
        raise NotFoundError
    with page.read() as connection:
        found = traces.search(connection, page.filters, limit=MAX_TURNS, patience=TURNS_FOUND_IN)
        if not found.items:
            since = figures.moment(found.searched_to or page.filters.since)
            raise NotFoundError(f"nothing of that conversation is to be seen since {since}")
        turns = found.items[::-1]
        spoken = [_spoken(page, connection, turn) if content else None for turn in turns]
    return page.render(
        "conversation.html",
        conversation_id=asked,
        turns=list(zip(turns, spoken, strict=True)),
        content=bool(content),
        is_cut=found.next_cursor is not None,
    )


def _spoken(page: Page, connection: psycopg.Connection, turn: traces.Trace) -> Sides | None:
    """Return what was said at the root of *turn*, or else at the first call below it."""
    organization_id = page.caller.reader.organization_id
    tree = traces.trace(connection, organization_id, turn.trace_id)
    heard = [node for node in tree.nodes.items if node.has_content]
    if not heard:
        return None
    node = next((one for one in heard if one.event_id == turn.event_id), heard[-1])
    known = detail.event_detail(connection, organization_id, turn.trace_id, node.event_id, page.vault)
    return said(known.contents)


@router.get("/errors")
def failures(page: Shown, cursor: Cursor = None) -> Response:
    """Show what failed, by type and node, and how often over time."""
    with page.read() as connection:
        found = errors.get_error_logs(connection, page.filters, limit=PER_PAGE, cursor=cursor)
        over_time = metrics.get_system_metrics(connection, page.filters)
    starts = [period.starts for period in over_time.periods if period.starts is not None]
    chart = stacked(
        "Failed runs",
        [figures.period_name(at, over_time.step) for at in starts],
        [Series(name="failed runs", values=[period.failed for period in over_time.periods], color=3)],
        figures.short,
        links(page, starts),
    )
    return page.render(
        "errors.html",
        errors=found.items,
        metrics=over_time,
        chart=chart,
        next_page=None if found.next_cursor is None else page.here(cursor=found.next_cursor),
        first_page=page.here() if cursor else None,
    )


@router.get("/live")
def live(page: Shown) -> Response:
    """Show what happens, as it happens."""
    kept: Sequence[str] = ("organization_id", "workspace_id", "environment", "status", "event_type", "agent_id", "q")
    return page.render("live.html", source=address("/api/v1/stream", {name: page.query.get(name) for name in kept}))
