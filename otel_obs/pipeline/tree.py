"""Who is above whom in a trace, and what is handed down."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from otel_obs.rows import AgentRunRow, CallRow, CheckRow, EventRow
from otel_obs.rows.report import EventKey, Report
from otel_obs.rows.tables import DEFAULTED_WORKSPACE, INHERITED, PART_OF_EXECUTION, TOP_OF_TRACE

Above = Mapping[EventKey, Sequence[EventRow]]
"""Event -> the events above it, nearest first, up to a missing parent or where a cycle closes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forest:
    """Traces of one organization, as far as they are known."""

    events: Mapping[EventKey, EventRow]
    reports: Mapping[EventKey, Report]
    """Every report of these traces, and those of other traces that may speak of the same calls."""
    runs: Mapping[EventKey, AgentRunRow] = field(default_factory=dict)
    checks: Mapping[EventKey, CheckRow] = field(default_factory=dict)


def key_of(row: EventRow | CallRow | AgentRunRow | CheckRow) -> EventKey:
    """Name the event of *row*."""
    return (row.trace_id, row.event_id)


def above_of(events: Mapping[EventKey, EventRow]) -> dict[EventKey, list[EventRow]]:
    """Return for each event what is above it."""
    return {key: _above(event, events) for key, event in events.items()}


def _above(event: EventRow, events: Mapping[EventKey, EventRow]) -> list[EventRow]:
    seen = {key_of(event)}
    found: list[EventRow] = []
    current: EventRow | None = event
    while current is not None and current.parent_span_id is not None:
        key = (event.trace_id, current.parent_span_id)
        current = None if key in seen else events.get(key)
        if current is not None:
            seen.add(key)
            found.append(current)
    return found


def own(event: EventRow, column: str) -> str | None:
    """Return what *event* itself says of *column*; None where it was handed down or is a default."""
    if event.inherited & INHERITED[column] or (column == "workspace_id" and event.inherited & DEFAULTED_WORKSPACE):
        return None
    value: str | None = getattr(event, column)
    return value


def handed_down(
    events: Mapping[EventKey, EventRow], above: Above, agents: Mapping[EventKey, str | None]
) -> dict[EventKey, EventRow]:
    """Return *events* with what they do not say themselves taken from the nearest above that says it.

    *agents* gives the agent of each run: only a run hands its agent down.
    """
    return {key: _handed_down(event, above[key], agents) for key, event in events.items()}


def with_tops(events: Mapping[EventKey, EventRow]) -> dict[EventKey, EventRow]:
    """Return *events*, of each trace the one marked that stands for it."""
    tops: dict[str, EventRow] = {}
    for event in events.values():
        top = tops.get(event.trace_id)
        if top is None or _rank(event, events) < _rank(top, events):
            tops[event.trace_id] = event
    return {key: _marked(event, tops[event.trace_id] is event) for key, event in events.items()}


def _rank(event: EventRow, events: Mapping[EventKey, EventRow]) -> tuple[object, ...]:
    """Return a key by which the event that stands for a trace sorts first: a total order."""
    parent = event.parent_span_id
    return (
        event.event_type == "log",
        parent is not None and (event.trace_id, parent) in events,
        parent is not None,
        event.timestamp,
        event.event_id,
    )


def _marked(event: EventRow, is_top: bool) -> EventRow:
    marked = event.inherited | TOP_OF_TRACE if is_top and event.trace_id else event.inherited & ~TOP_OF_TRACE
    return event if marked == event.inherited else event._replace(inherited=marked)


def _handed_down(event: EventRow, above: Sequence[EventRow], agents: Mapping[EventKey, str | None]) -> EventRow:
    changes: dict[str, Any] = {}
    inherited = 0
    for column, bit in INHERITED.items():
        value, is_own = _value(event, column, above, agents)
        changes[column] = value
        if value is not None and not is_own:
            inherited |= bit
    if changes["workspace_id"] is None:
        changes["workspace_id"] = event.workspace_id
        inherited |= DEFAULTED_WORKSPACE
    if event.event_type == "agent" and (key_of(event) not in agents or any(map(_is_execution, above))):
        inherited |= PART_OF_EXECUTION
    inherited |= event.inherited & TOP_OF_TRACE
    if inherited == event.inherited and all(getattr(event, column) == value for column, value in changes.items()):
        return event
    return event._replace(inherited=inherited, **changes)


def _is_execution(event: EventRow) -> bool:
    return event.event_type in ("agent", "workflow")


def _value(
    event: EventRow, column: str, above: Sequence[EventRow], agents: Mapping[EventKey, str | None]
) -> tuple[str | None, bool]:
    said = own(event, column)
    if column == "flow_id":
        return _flow(event, above)
    if said is not None:
        return said, True
    if column == "agent_id":
        if event.event_type == "agent" and agents.get(key_of(event)) is not None:
            return agents[key_of(event)], False
        return next((agents[key] for upper in above if (key := key_of(upper)) in agents and agents[key]), None), False
    return next((found for upper in above if (found := own(upper, column)) is not None), None), False


def _flow(event: EventRow, above: Sequence[EventRow]) -> tuple[str | None, bool]:
    """Return the workflow: the nearest id that somebody gave it, else the name of the outermost one."""
    named: tuple[str | None, bool] = (None, False)
    for span in (event, *above):
        flow_id = own(span, "flow_id")
        if flow_id is None:
            continue
        if not _is_name(span, flow_id):
            return flow_id, span is event
        named = (flow_id, span is event)
    return named


def _is_name(span: EventRow, flow_id: str) -> bool:
    return span.event_type == "workflow" and span.node_name == flow_id


def children_of(events: Iterable[EventRow]) -> dict[EventKey, list[EventRow]]:
    """Return the events right below each span (log records are below the span that they name)."""
    found: dict[EventKey, list[EventRow]] = {}
    for event in events:
        if event.parent_span_id is not None:
            found.setdefault((event.trace_id, event.parent_span_id), []).append(event)
    return found
