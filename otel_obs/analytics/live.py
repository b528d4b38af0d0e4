"""What is new?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

import psycopg

from otel_obs.postgres.queries import load
from otel_obs.postgres.reading import rows

_LIVE = load("live")


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveEvent:
    """An event as it goes over a stream, with the call that is counted on it."""

    received_at: datetime
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
    environment: str | None
    cost_state: str | None
    model_name: str | None
    input_tokens: int | None
    output_tokens: int | None
    cost_cents: Decimal | None


def latest_events(
    connection: psycopg.Connection, organization_id: str, *, window: timedelta, limit: int
) -> list[LiveEvent]:
    """Return at most *limit* events that were stored within *window* and perhaps a little earlier, the newest last."""
    asked = {"organization_id": organization_id, "window": window, "limit": limit}
    return rows(connection, _LIVE["latest_events"], asked, LiveEvent)[::-1]


def events_since(
    connection: psycopg.Connection, organization_id: str, after: tuple[datetime, str, str], *, limit: int
) -> list[LiveEvent]:
    """Return at most *limit* events received after the one that *after* names by time, trace and event."""
    since, trace_id, event_id = after
    asked = {
        "organization_id": organization_id,
        "since": since,
        "trace_id": trace_id,
        "event_id": event_id,
        "limit": limit,
    }
    return rows(connection, _LIVE["events_since"], asked, LiveEvent)
