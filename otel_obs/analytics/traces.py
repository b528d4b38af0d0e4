"""What happened in one trace."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

import psycopg

from otel_obs.postgres.queries import load

_TRACES = load("traces")


class Node(NamedTuple):
    """A span, with the call that is counted on it."""

    span_id: str
    parent_span_id: str | None
    event_type: str
    name: str
    status: str
    latency_ms: float | None
    agent_id: str | None
    cost_state: str | None
    model_name: str | None
    input_tokens: int | None
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    output_tokens: int | None
    reasoning_tokens: int | None
    cost_cents: Decimal | None


class Verdict(NamedTuple):
    """What a guardrail found."""

    guardrail_name: str | None
    similarity_score: float | None
    action_taken: str | None


def newest_trace(connection: psycopg.Connection, organization_id: str) -> str | None:
    """Return the id of the trace that began last; None without any."""
    row = connection.execute(_TRACES["newest_trace"], {"organization_id": organization_id}).fetchone()
    return None if row is None else str(row[0])


def nodes(connection: psycopg.Connection, organization_id: str, trace_id: str) -> Sequence[Node]:
    """Return the spans of a trace in the order of their start."""
    asked = {"organization_id": organization_id, "trace_id": trace_id}
    return [Node(*row) for row in connection.execute(_TRACES["nodes_of_trace"], asked).fetchall()]


def verdicts(connection: psycopg.Connection, organization_id: str, trace_id: str) -> Sequence[Verdict]:
    """Return what guardrails found in a trace."""
    asked = {"organization_id": organization_id, "trace_id": trace_id}
    return [Verdict(*row) for row in connection.execute(_TRACES["checks_of_trace"], asked).fetchall()]
