"""What happened, event by event; and what evaluations found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

from otel_obs.analytics.filters import Filters, checked_limit, moment, place, word
from otel_obs.analytics.searching import FOR_A_PAGE, Found, Patience, Search, search
from otel_obs.postgres.queries import load

_EVENTS = load("events")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A row of ``event_logs``, without its context."""

    timestamp: datetime
    trace_id: str
    span_id: str
    event_id: str
    parent_span_id: str | None
    event_type: str
    name: str
    status: str
    error_type: str | None
    latency_ms: float | None
    workspace_id: str
    user_id: str | None
    agent_id: str | None
    flow_id: str | None
    run_id: str | None
    conversation_id: str | None
    service_name: str | None
    environment: str | None
    cost_state: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What an evaluation found."""

    timestamp: datetime
    trace_id: str
    span_id: str
    event_id: str
    name: str
    score: float | None
    label: str | None
    agent_id: str | None
    flow_id: str | None
    user_id: str | None
    conversation_id: str | None


def events(
    connection: psycopg.Connection,
    filters: Filters,
    *,
    limit: int = 100,
    cursor: str | None = None,
    patience: Patience = FOR_A_PAGE,
) -> Found[Event]:
    """Return events, the newest first, as far as they are found with *patience*.

    Raises:
        InvalidQueryError: *limit* or *cursor* makes no sense.
        SearchTooLongError: the page was to be whole, and takes too long.
    """
    sought = _sought("events", after(filters, limit, cursor))
    return search(connection, sought, Event, lambda row: (row.timestamp, row.trace_id, row.event_id), patience)


def scores(
    connection: psycopg.Connection,
    filters: Filters,
    *,
    limit: int = 100,
    cursor: str | None = None,
    patience: Patience = FOR_A_PAGE,
) -> Found[Score]:
    """Return the verdicts of evaluations, the newest first, as far as they are found with *patience*.

    Raises:
        InvalidQueryError: *limit* or *cursor* makes no sense.
        SearchTooLongError: the page was to be whole, and takes too long.
    """
    sought = _sought("scores", after(filters, limit, cursor))
    return search(connection, sought, Score, lambda row: (row.timestamp, row.trace_id, row.event_id), patience)


def _sought(statement: str, asked: Mapping[str, Any]) -> Search:
    return Search(
        statement=_EVENTS[statement],
        steps=_EVENTS["step_of_events"],
        asked=asked,
        after=("after_time", "after_trace", "after_event"),
        limit=asked["limit"],
        newest_first=True,
    )


def after(filters: Filters, limit: int, cursor: str | None) -> dict[str, Any]:
    """Return the parameters of a page of rows that are ordered by time, trace and event."""
    time, trace_id, event_id = place(cursor, moment, word, word)
    return {
        **filters.parameters,
        "limit": checked_limit(limit),
        "after_time": time,
        "after_trace": trace_id,
        "after_event": event_id,
    }
