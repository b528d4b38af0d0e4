"""What agents did: agents, their runs, and conversations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

import psycopg

from otel_obs.analytics.events import after
from otel_obs.analytics.filters import Filters, Page, checked_limit, moment, page_of, place, word
from otel_obs.analytics.searching import FOR_A_PAGE, Found, Patience, Search, search
from otel_obs.errors import NotFoundError
from otel_obs.postgres.queries import load
from otel_obs.postgres.reading import rows

_AGENTS = load("agents")

Most = Literal["cost", "runs", "failed", "last"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """An agent, and what its runs came to; cost and tokens are those of its own calls."""

    agent_id: str
    agent_name: str | None
    runs: int
    failed: int
    latency_ms: Sequence[float] | None
    """Percentiles 50, 95 and 99."""
    input_tokens: int | None
    output_tokens: int | None
    cost_cents: Decimal | None
    last_run_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRun:
    """One run of an agent."""

    started_at: datetime
    trace_id: str
    span_id: str
    event_id: str
    agent_name: str | None
    status: str
    latency_ms: float | None
    workspace_id: str
    user_id: str | None
    flow_id: str | None
    run_id: str | None
    conversation_id: str | None
    input_tokens: int | None
    output_tokens: int | None
    cost_cents: Decimal | None
    nodes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """What was said under one conversation id."""

    conversation_id: str
    started_at: datetime
    last_at: datetime
    traces: int
    errors: int
    user_id: str | None
    users: int
    agents: Sequence[str] | None
    calls: int
    input_tokens: int | None
    output_tokens: int | None
    cost_cents: Decimal | None
    unpriced_calls: int


def agents(
    connection: psycopg.Connection, filters: Filters, *, limit: int = 100, cursor: str | None = None
) -> Page[Agent]:
    """Return agents by their ids.

    Raises:
        InvalidQueryError: *limit* or *cursor* makes no sense.
    """
    (agent_id,) = place(cursor, word)
    asked = {**_asked(connection, filters), "limit": checked_limit(limit), "after_agent": agent_id, "most": None}
    return page_of(rows(connection, _AGENTS["agents"], asked, Agent), limit, lambda row: (row.agent_id,))


def foremost(connection: psycopg.Connection, filters: Filters, most: Most = "cost", *, limit: int) -> Sequence[Agent]:
    """Return the *limit* agents that cost, ran or failed most, or ran last; those first.

    Raises:
        InvalidQueryError: *limit* makes no sense.
    """
    asked = {**_asked(connection, filters), "limit": checked_limit(limit), "after_agent": None, "most": most}
    return rows(connection, _AGENTS["agents"], asked, Agent)[:limit]


def runs(
    connection: psycopg.Connection, filters: Filters, agent_id: str, *, limit: int = 100, cursor: str | None = None
) -> Page[AgentRun]:
    """Return the runs of an agent, the newest first.

    Raises:
        NotFoundError: there is no such agent, or none that the reader may see.
        InvalidQueryError: *limit* or *cursor* makes no sense.
    """
    asked = {**_asked(connection, filters), **after(replace(filters, agent_id=agent_id), limit, cursor)}
    found = rows(connection, _AGENTS["runs_of_agent"], asked, AgentRun)
    if not found:
        row = connection.execute(_AGENTS["agent_exists"], asked).fetchone()
        if row is None or not row[0]:
            raise NotFoundError
    return page_of(found, limit, lambda row: (row.started_at, row.trace_id, row.event_id))


def _asked(connection: psycopg.Connection, filters: Filters) -> dict[str, Any]:
    """Return the parameters of a question about runs."""
    asked = filters.parameters
    row = connection.execute(_AGENTS["has_undescribed"], asked).fetchone() if filters.environment else None
    return {**asked, "has_undescribed": row is not None and row[0]}


def conversations(
    connection: psycopg.Connection,
    filters: Filters,
    *,
    limit: int = 100,
    cursor: str | None = None,
    patience: Patience = FOR_A_PAGE,
) -> Found[Conversation]:
    """Return conversations, the one that went on last first, as far as they are found with *patience*.

    Raises:
        InvalidQueryError: *limit* or *cursor* makes no sense.
        SearchTooLongError: the page was to be whole, and takes too long.
    """
    last_at, conversation_id = place(cursor, moment, word)
    asked = {
        **filters.parameters,
        "period_since": filters.since,
        "period_until": filters.until,
        "limit": checked_limit(limit),
        "after_time": last_at,
        "after_conversation": conversation_id,
    }
    sought = Search(
        statement=_AGENTS["conversations"],
        steps=load("events")["step_of_events"],
        asked=asked,
        after=("after_time", "after_conversation"),
        limit=limit,
    )
    return search(connection, sought, Conversation, lambda row: (row.last_at, row.conversation_id), patience)
