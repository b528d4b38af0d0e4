"""Who is above whom in a trace, and what is handed down."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from operator import attrgetter

from otel_obs.frozen import dataclass
from otel_obs.rows import AgentRunRow, CallRow, CheckRow, EventRow
from otel_obs.rows.report import EventKey, Report
from otel_obs.rows.tables import DEFAULTED_WORKSPACE, INHERITED, PART_OF_EXECUTION, TOP_OF_TRACE, Attribution

Above = Mapping[EventKey, Sequence[EventKey]]
"""Event -> the events above it, nearest first, up to a missing parent or where a cycle closes."""
Said = Mapping[EventKey, Attribution]
"""Event -> what it says itself: None where that was handed down or is a default."""

_WORKSPACE, _USER, _AGENT, _FLOW, _RUN, _CONVERSATION = range(len(INHERITED))
_BITS = tuple(INHERITED.values())
_FROM_ABOVE = sum(_BITS)
_attribution = attrgetter(*INHERITED)


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


def above_of(events: Mapping[EventKey, EventRow]) -> dict[EventKey, list[EventKey]]:
    """Return for each event what is above it."""
    return {key: _above(key, event, events) for key, event in events.items()}


def _above(key: EventKey, event: EventRow, events: Mapping[EventKey, EventRow]) -> list[EventKey]:
    found: list[EventKey] = []
    seen = {key}
    current: EventRow | None = event
    while current is not None and current.parent_span_id is not None:
        upper = (key[0], current.parent_span_id)
        current = None if upper in seen else events.get(upper)
        if current is not None:
            seen.add(upper)
            found.append(upper)
    return found


def attribution_of(row: EventRow | CallRow) -> Attribution:
    """Return whose *row* is, whoever said it."""
    found: Attribution = _attribution(row)
    return found


def said_by(events: Mapping[EventKey, EventRow]) -> dict[EventKey, Attribution]:
    """Return what each event says itself."""
    return {key: _own(event) for key, event in events.items()}


def _own(event: EventRow) -> Attribution:
    found = attribution_of(event)
    inherited = event.inherited
    if inherited & _FROM_ABOVE:
        found = tuple(None if inherited & bit else value for value, bit in zip(found, _BITS, strict=True))
    return (None, *found[1:]) if inherited & DEFAULTED_WORKSPACE else found


def agent_of(said: Attribution) -> str | None:
    """Return the agent among what an event says."""
    return said[_AGENT]


def handed_down(
    events: Mapping[EventKey, EventRow], above: Above, said: Said, agents: Mapping[EventKey, str | None]
) -> dict[EventKey, EventRow]:
    """Return *events* with what they do not say themselves taken from the nearest above that says it.

    *agents* gives the agent of each run: only a run hands its agent down. Of each trace the event is marked that stands
    for it.
    """
    tops = _tops(events)
    return {
        key: _handed_down(key, event, above[key], events, said, agents, TOP_OF_TRACE if key in tops else 0)
        for key, event in events.items()
    }


def _tops(events: Mapping[EventKey, EventRow]) -> set[EventKey]:
    """Return of each trace the event that stands for it."""
    tops: dict[str, tuple[tuple[object, ...], EventKey]] = {}
    for key, event in events.items():
        found = (_rank(event, events), key)
        known = tops.get(key[0])
        if known is None or found < known:
            tops[key[0]] = found
    return {key for _, key in tops.values() if key[0]}


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


def _handed_down(
    key: EventKey,
    event: EventRow,
    above: Sequence[EventKey],
    events: Mapping[EventKey, EventRow],
    said: Said,
    agents: Mapping[EventKey, str | None],
    marks: int,
) -> EventRow:
    mine = list(said[key])
    inherited = marks
    for column in (_WORKSPACE, _USER, _RUN, _CONVERSATION):
        if mine[column] is None:
            mine[column] = _nearest(column, above, said)
            if mine[column] is not None:
                inherited |= _BITS[column]
    if mine[_WORKSPACE] is None:
        mine[_WORKSPACE] = event.workspace_id
        inherited |= DEFAULTED_WORKSPACE
    if mine[_AGENT] is None:
        mine[_AGENT] = _agent(key, event, above, agents)
        if mine[_AGENT] is not None:
            inherited |= _BITS[_AGENT]
    mine[_FLOW], is_own = _flow(key, above, events, said)
    if mine[_FLOW] is not None and not is_own:
        inherited |= _BITS[_FLOW]
    if event.event_type == "agent" and (key not in agents or any(_is_execution(events[upper]) for upper in above)):
        inherited |= PART_OF_EXECUTION
    found = tuple(mine)
    if inherited == event.inherited and found == attribution_of(event):
        return event
    return event.attributed(found, inherited)


def _is_execution(event: EventRow) -> bool:
    return event.event_type in ("agent", "workflow")


def _nearest(column: int, above: Sequence[EventKey], said: Said) -> str | None:
    for upper in above:
        value = said[upper][column]
        if value is not None:
            return value
    return None


def _agent(
    key: EventKey, event: EventRow, above: Sequence[EventKey], agents: Mapping[EventKey, str | None]
) -> str | None:
    if event.event_type == "agent" and agents.get(key) is not None:
        return agents[key]
    for upper in above:
        agent_id = agents.get(upper)
        if agent_id:
            return agent_id
    return None


def _flow(
    key: EventKey, above: Sequence[EventKey], events: Mapping[EventKey, EventRow], said: Said
) -> tuple[str | None, bool]:
    """Return the workflow: the nearest id that somebody gave it, else the name of the outermost one."""
    named: tuple[str | None, bool] = (None, False)
    for span in (key, *above):
        flow_id = said[span][_FLOW]
        if flow_id is None:
            continue
        if not _is_name(events[span], flow_id):
            return flow_id, span == key
        named = (flow_id, span == key)
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
