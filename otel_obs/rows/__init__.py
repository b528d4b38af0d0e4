"""The rows of each table, and how spans and log records become rows."""

from __future__ import annotations

from otel_obs.rows.tables import AgentRunRow, CallRow, CheckRow, ContentRow, EventRow

__all__ = ["AgentRunRow", "CallRow", "CheckRow", "ContentRow", "EventRow"]
