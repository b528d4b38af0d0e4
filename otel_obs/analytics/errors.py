"""What fails: errors by type and node, with the newest of each."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import psycopg

from otel_obs.analytics.filters import Filters, Page, checked_limit, count, page_of, place, word
from otel_obs.postgres.queries import load
from otel_obs.postgres.reading import rows

_ERRORS = load("errors")


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorGroup:
    """Errors of one type in one node."""

    error_type: str | None
    """None where the emitter does not say what kind of error it was."""
    event_type: str
    node: str
    """The agent, tool, model's span ... that failed."""
    count: int
    traces: int
    users: int
    """Users that are known to have met it."""
    first_seen: datetime
    last_seen: datetime
    last_trace_id: str
    last_span_id: str
    last_message: str | None


def get_error_logs(
    connection: psycopg.Connection, filters: Filters, *, limit: int = 100, cursor: str | None = None
) -> Page[ErrorGroup]:
    """Return errors by type and node, the most frequent first.

    Raises:
        InvalidQueryError: *limit* or *cursor* makes no sense.
    """
    after_count, error_type, event_type, node = place(cursor, count, word, word, word)
    asked = {
        **filters.parameters,
        "limit": checked_limit(limit),
        "after_count": after_count,
        "after_error_type": error_type,
        "after_event_type": event_type,
        "after_node": node,
    }
    found = rows(connection, _ERRORS["error_groups"], asked, ErrorGroup)
    return page_of(found, limit, lambda row: (row.count, row.error_type, row.event_type, row.node))
