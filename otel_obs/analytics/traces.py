"""What happened: traces in a list, and one trace as a tree."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

import psycopg
from psycopg.errors import QueryCanceled

from otel_obs.analytics.critical_path import Stretch, critical_path
from otel_obs.analytics.filters import Filters, Page, checked_limit, count, moment, place, word
from otel_obs.analytics.filters import cursor as next_after
from otel_obs.analytics.searching import FOR_A_PAGE, Found, Patience, Search
from otel_obs.analytics.searching import search as look_for
from otel_obs.errors import InvalidQueryError, NotFoundError
from otel_obs.postgres.queries import load
from otel_obs.postgres.reading import rows, within
from otel_obs.postgres.vault import has_keys

_TRACES = load("traces")
_OCCURS = ("conversation_id", "user_id", "error_type", "agent_id")
"""Filters that an index of events serves, those that fewest events have first."""
_FEW = 5000
"""Events."""
_FEW_S = 1.0
"""For finding out whether they are few."""
_MS = timedelta(milliseconds=1)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """A trace in a list."""

    started_at: datetime
    trace_id: str
    event_id: str
    name: str
    event_type: str
    latency_ms: float | None
    """Of its root; None while that is not here or not finished."""
    is_incomplete: bool
    """Its root is not here (yet)."""
    status: str
    workspace_id: str
    user_id: str | None
    agent_id: str | None
    flow_id: str | None
    run_id: str | None
    conversation_id: str | None
    service_name: str | None
    environment: str | None
    spans: int
    errors: int
    calls: int
    input_tokens: int | None
    output_tokens: int | None
    cost_cents: Decimal | None
    unpriced_calls: int
    models: Sequence[str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceNode:
    """An event of a trace, with the call that is counted on it."""

    started_at: datetime
    span_id: str
    event_id: str
    parent_span_id: str | None
    event_type: str
    name: str
    span_name: str
    status: str
    error_type: str | None
    latency_ms: float | None
    service_name: str | None
    environment: str | None
    workspace_id: str
    user_id: str | None
    agent_id: str | None
    flow_id: str | None
    run_id: str | None
    conversation_id: str | None
    cost_state: str | None
    counted_trace_id: str | None
    counted_span_id: str | None
    provider: str | None
    model_name: str | None
    input_tokens: int | None
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    output_tokens: int | None
    reasoning_tokens: int | None
    cost_cents: Decimal | None
    cost_source: str | None
    cost_reason: str | None
    usage_source: str | None
    finish_reason: str | None
    time_to_first_token_ms: float | None
    attempts: int | None
    has_content: bool
    offset_ms: float = 0.0
    """After the first event of the trace."""
    on_critical_path: bool = False
    """The trace waited for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceTree:
    """A whole trace: its totals, and some of its nodes."""

    trace_id: str
    started_at: datetime
    duration_ms: float
    """From the first event to the end of the last one."""
    status: str
    is_incomplete: bool
    """No event is a root: the root is not here (yet)."""
    spans: int
    errors: int
    calls: int
    input_tokens: int | None
    output_tokens: int | None
    cost_cents: Decimal | None
    unpriced_calls: int
    nodes: Page[TraceNode]
    """In the order of their start; parents are named by ``parent_span_id``."""


MAX_NODES = 5000
"""Of a trace in one answer."""


def search(
    connection: psycopg.Connection,
    filters: Filters,
    *,
    limit: int = 50,
    cursor: str | None = None,
    patience: Patience = FOR_A_PAGE,
) -> Found[Trace]:
    """Return traces, the newest first, as far as they are found with *patience*.

    Raises:
        InvalidQueryError: *limit* or *cursor* makes no sense.
        SearchTooLongError: the page was to be whole, and takes too long.
    """
    time, trace_id = place(cursor, moment, word)
    asked = {
        **filters.parameters,
        "limit": checked_limit(limit),
        "after_time": time,
        "after_trace": trace_id,
        "trace_ids": _few(connection, filters),
    }
    sought = Search(
        statement=_TRACES["search_traces"],
        steps=_TRACES["step_of_traces"],
        asked=asked,
        after=("after_time", "after_trace"),
        limit=limit,
    )
    return look_for(connection, sought, Trace, lambda row: (row.started_at, row.trace_id), patience)


def _few(connection: psycopg.Connection, filters: Filters) -> list[str] | None:
    """Return the only traces that can be meant; None where they are many, and the newest of all are soon found.

    Else somebody's three traces of three months would be looked for in each of a million.
    """
    for name in _OCCURS:
        if getattr(filters, name) is None:
            continue
        asked = {**filters.parameters, **dict.fromkeys(_OCCURS), name: getattr(filters, name), "limit": _FEW}
        try:
            with within(connection, _FEW_S):
                found = connection.execute(_TRACES["traces_with"], asked).fetchall()
        except QueryCanceled:
            continue
        if len(found) < _FEW:
            return sorted({row[0] for row in found})
    return None


def not_searched(connection: psycopg.Connection, filters: Filters) -> str | None:
    """Return what a search for a text did not look at; None if it looked at all there is, or none was asked for."""
    if filters.text is None or not has_keys(connection, filters.organization_id):
        return None
    return "content is encrypted and was not searched, but for what is stored in plain; names were"


def trace(
    connection: psycopg.Connection,
    organization_id: str,
    trace_id: str,
    *,
    limit: int = MAX_NODES,
    cursor: str | None = None,
) -> TraceTree:
    """Return a trace: totals of all of it, and up to *limit* nodes.

    Raises:
        NotFoundError: there is no such trace, or none that the reader may see.
        InvalidQueryError: *limit* or *cursor* makes no sense.
    """
    if not 1 <= limit <= MAX_NODES:
        raise InvalidQueryError(f"limit: a whole number from 1 to {MAX_NODES} is expected")
    (position,) = place(cursor, count)
    asked = {"organization_id": organization_id, "trace_id": trace_id}
    extent = connection.execute(_TRACES["extent_of_trace"], asked).fetchone() if trace_id else None
    if extent is None or extent[0] is None:
        raise NotFoundError
    found = rows(connection, _TRACES["trace_nodes"], {**asked, "first": extent[0], "last": extent[1]}, TraceNode)
    first = position or 0
    nodes = _placed(found)[first : first + limit]
    more = None if first + limit >= len(found) else next_after(first + limit)
    return _tree(trace_id, found, Page(nodes, more))


def _tree(trace_id: str, found: Sequence[TraceNode], nodes: Page[TraceNode]) -> TraceTree:
    started_at = found[0].started_at
    calls = [node for node in found if node.cost_source is not None]
    costs = [node.cost_cents for node in calls if node.cost_cents is not None]
    errors = sum(node.status == "error" for node in found)
    return TraceTree(
        trace_id=trace_id,
        started_at=started_at,
        duration_ms=max((node.started_at - started_at) / _MS + (node.latency_ms or 0) for node in found),
        status="error" if errors else next((node.status for node in found if node.parent_span_id is None), "unset"),
        is_incomplete=all(node.parent_span_id is not None for node in found),
        spans=len(found),
        errors=errors,
        calls=len(calls),
        input_tokens=_sum(node.input_tokens for node in calls),
        output_tokens=_sum(node.output_tokens for node in calls),
        cost_cents=sum(costs, Decimal(0)) if costs else None,
        unpriced_calls=len(calls) - len(costs),
        nodes=nodes,
    )


def _placed(found: Sequence[TraceNode]) -> list[TraceNode]:
    """Return the nodes with their place in time, and whether the trace waited for them."""
    started_at = found[0].started_at
    offsets = [(node.started_at - started_at) / _MS for node in found]
    path = critical_path(
        Stretch(node.span_id, node.parent_span_id, offset, offset + (node.latency_ms or 0))
        for node, offset in zip(found, offsets, strict=True)
        if node.event_id == node.span_id
    )
    return [
        replace(node, offset_ms=offset, on_critical_path=node.event_id in path)
        for node, offset in zip(found, offsets, strict=True)
    ]


def _sum(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
