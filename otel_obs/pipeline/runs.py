"""Which runs of agents does a trace show, whose are they, and what did they do?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

from otel_obs.frozen import dataclass
from otel_obs.model import TOLD_AGAIN
from otel_obs.pipeline.tree import Above, Forest, Said, agent_of, children_of, key_of
from otel_obs.rows import AgentRunRow, CallRow, EventRow
from otel_obs.rows.report import EventKey

MAX_EXECUTION_NODES = 1000

Runs = Mapping[EventKey, AgentRunRow]
Holders = Mapping[EventKey, EventKey | None]
"""Event -> the run right above it."""


def own_runs(forest: Forest, above: Above) -> dict[EventKey, AgentRunRow]:
    """Return the runs, each once, however many layers of instrumentation tell it."""
    if not forest.runs:
        return {}
    # Siblings are one run only where one of them tells it again; else nobody asks who is below whom.
    is_told_again = any(_is_told_again(forest.events[key]) for key in forest.runs if key in forest.events)
    children = children_of(forest.events.values()) if is_told_again else {}
    beside = _same_parent(forest.events[key] for key in forest.runs if key in forest.events)
    return {
        key: run
        for key, run in forest.runs.items()
        if not _told_above(key, run, forest, above) and not _told_beside(key, run, forest, beside, children)
    }


def _told_above(key: EventKey, run: AgentRunRow, forest: Forest, above: Above) -> bool:
    """Tell whether the nearest run above is the same agent's, told by another layer of instrumentation."""
    for upper in above[key]:
        found = forest.runs.get(upper)
        if found is not None:
            same_agent = found.agent_name == run.agent_name or run.agent_name is None
            return same_agent and _other_layer(forest.events[key], forest.events[upper])
    return False


def _other_layer(one: EventRow, other: EventRow) -> bool:
    return one.scope != other.scope or _is_told_again(one) or _is_told_again(other)


def _is_told_again(event: EventRow) -> bool:
    return TOLD_AGAIN in event.context.get("flags", ())


def _same_parent(events: Iterable[EventRow]) -> dict[tuple[str, str | None], list[EventRow]]:
    found: dict[tuple[str, str | None], list[EventRow]] = {}
    for event in events:
        found.setdefault((event.trace_id, event.parent_span_id), []).append(event)
    return found


def _told_beside(
    key: EventKey,
    run: AgentRunRow,
    forest: Forest,
    beside: Mapping[tuple[str, str | None], Sequence[EventRow]],
    children: Mapping[EventKey, Sequence[EventRow]],
) -> bool:
    """Tell whether a sibling is the same run: the one of the two that shows the run's steps is kept."""
    event = forest.events[key]
    for other in beside[(event.trace_id, event.parent_span_id)]:
        if other is event or forest.runs[key_of(other)].agent_name != run.agent_name:
            continue
        if _is_told_again(event) == _is_told_again(other) or not (_within(event, other) or _within(other, event)):
            continue
        if _rank(event, children) > _rank(other, children):
            return True
    return False


def _rank(event: EventRow, children: Mapping[EventKey, Sequence[EventRow]]) -> tuple[bool, bool]:
    return (not children.get(key_of(event)), _is_told_again(event))


def _within(inner: EventRow, outer: EventRow) -> bool:
    return outer.timestamp <= inner.timestamp and _ended(inner) <= _ended(outer)


def _ended(event: EventRow) -> Any:
    return event.timestamp + timedelta(milliseconds=event.latency_ms or 0)


def holders_of(above: Above, runs: Runs) -> dict[EventKey, EventKey | None]:
    """Return for each event the run right above it."""
    if not runs:
        return dict.fromkeys(above)
    return {key: _nearest_run(uppers, runs) for key, uppers in above.items()}


def _nearest_run(above: Sequence[EventKey], runs: Runs) -> EventKey | None:
    for upper in above:
        if upper in runs:
            return upper
    return None


def agents_of(runs: Runs, said: Said, holders: Holders) -> dict[EventKey, str | None]:
    """Return the agent of each run: what the run itself says, else what all that it did agrees on.

    Some frameworks name the agent only on the steps of its run.
    """
    below: dict[EventKey, set[str]] = {}
    for key, holder in holders.items():
        if holder is not None and key not in runs:
            agent_id = agent_of(said[key])
            if agent_id is not None:
                below.setdefault(holder, set()).add(agent_id)
    return {key: agent_of(said[key]) or _agreed(below.get(key)) for key in runs}


def _agreed(names: set[str] | None) -> str | None:
    return next(iter(names)) if names is not None and len(names) == 1 else None


@dataclass(frozen=True, slots=True)
class OwnedCall:
    """A call as part of an agent's run."""

    run: EventKey | None
    """The nearest run above the outermost report; None where no agent asked for it."""
    row: CallRow


def with_totals(
    runs: Runs,
    events: Mapping[EventKey, EventRow],
    above: Above,
    holders: Holders,
    calls: Mapping[EventKey, OwnedCall],
) -> dict[EventKey, AgentRunRow]:
    """Return the runs with their totals (own calls) and nodes (all below, down to nested runs)."""
    if not runs:
        return {}
    mine: dict[EventKey, list[CallRow]] = {key: [] for key in runs}
    for call in calls.values():
        if call.run is not None:
            mine[call.run].append(call.row)
    subtree = {key: list(rows) for key, rows in mine.items()}
    for key in runs:
        for upper in above[key]:
            if upper in subtree:
                subtree[upper].extend(mine[key])
    nodes: dict[EventKey, list[EventKey]] = {key: [] for key in runs}
    for key, holder in holders.items():
        if holder is not None and events[key].event_type != "log":
            nodes[holder].append(key)
    return {
        key: _with_totals(run, events[key], mine[key], _nodes(nodes[key], events, calls, subtree, above))
        for key, run in runs.items()
    }


def _with_totals(
    run: AgentRunRow, event: EventRow, calls: Sequence[CallRow], nodes: list[dict[str, Any]]
) -> AgentRunRow:
    return run._replace(
        workspace_id=event.workspace_id,
        user_id=event.user_id,
        agent_id=event.agent_id,
        agent_name=run.agent_name or event.agent_id,
        flow_id=event.flow_id,
        run_id=event.run_id,
        conversation_id=event.conversation_id,
        execution_nodes=nodes,
        input_tokens=_sum(row.input_tokens for row in calls),
        output_tokens=_sum(row.output_tokens for row in calls),
        cost_cents=_cents(calls),
    )


def _nodes(
    keys: list[EventKey],
    events: Mapping[EventKey, EventRow],
    calls: Mapping[EventKey, OwnedCall],
    subtree: Mapping[EventKey, list[CallRow]],
    above: Above,
) -> list[dict[str, Any]]:
    def order(key: EventKey) -> tuple[object, ...]:
        event = events[key]
        return (event.timestamp, -(event.latency_ms or 0), event.event_id)

    ordered = sorted(keys, key=order)
    found = [_node(key, events, calls, subtree, above) for key in ordered[:MAX_EXECUTION_NODES]]
    if len(ordered) > MAX_EXECUTION_NODES:
        found.append({"type": "truncated", "name": f"{len(ordered) - MAX_EXECUTION_NODES} more"})
    return found


def _node(
    key: EventKey,
    events: Mapping[EventKey, EventRow],
    calls: Mapping[EventKey, OwnedCall],
    subtree: Mapping[EventKey, list[CallRow]],
    above: Above,
) -> dict[str, Any]:
    event = events[key]
    rows = subtree.get(key) or ([calls[key].row] if key in calls else [])
    cost = _cents(rows) if rows else None
    return {
        "span_id": event.span_id,
        "parent_span_id": event.parent_span_id,
        "type": _node_type(key, event, events[above[key][0]], subtree),
        "name": event.node_name or event.name,
        "status": event.status,
        "latency_ms": event.latency_ms,
        "tokens": _sum(part for row in rows for part in (row.input_tokens, row.output_tokens)) if rows else None,
        "cost_cents": None if cost is None else float(cost),
    }


def _node_type(key: EventKey, event: EventRow, upper: EventRow, runs: Mapping[EventKey, Any]) -> str:
    """Return the event's type; ``span`` for what another layer tells already: a run, a call, a tool's call."""
    if event.cost_state == "duplicate" or (event.event_type == "agent" and key not in runs):
        return "span"
    if event.event_type == "tool" and upper.event_type == "tool" and upper.node_name == event.node_name:
        return "span"
    return event.event_type


def _sum(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _cents(rows: Iterable[CallRow]) -> Decimal | None:
    known = [row.cost_usd for row in rows if row.cost_usd is not None]
    return sum(known, Decimal(0)) if known else None
