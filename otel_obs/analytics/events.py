"""What happened, event by event; and what evaluations found."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

from otel_obs.analytics.filters import Filters, Page, checked_limit, moment, page_of, place, word
from otel_obs.postgres.queries import load
from otel_obs.postgres.reading import rows

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
    connection: psycopg.Connection, filters: Filters, *, limit: int = 100, cursor: str | None = None
) -> Page[Event]:
    """Return events, the newest first.

    Raises:
        InvalidQueryError: *limit* or *cursor* makes no sense.
    """
    found = rows(connection, _EVENTS["events"], after(filters, limit, cursor), Event)
    return page_of(found, limit, lambda row: (row.timestamp, row.trace_id, row.event_id))


def scores(
    connection: psycopg.Connection, filters: Filters, *, limit: int = 100, cursor: str | None = None
) -> Page[Score]:
    """Return the verdicts of evaluations, the newest first.

    Raises:
        InvalidQueryError: *limit* or *cursor* makes no sense.
    """
    found = rows(connection, _EVENTS["scores"], after(filters, limit, cursor), Score)
    return page_of(found, limit, lambda row: (row.timestamp, row.trace_id, row.event_id))


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
