"""What is the final form of traces, given all that is known of them?

Settling is a function of the set of rows: it does not matter in which order, in how many requests or
how often the spans came. It runs on what one request carried before it is written, and again on what
the store holds once a trace has been quiet for two seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from otel_obs.pipeline.identity import Cluster, Matches, clusters, match, outermost
from otel_obs.rows import AgentRunRow, CallRow, CheckRow, EventRow
from otel_obs.rows.batch import Changes, StateChange, TraceRows
from otel_obs.rows.report import EventKey, Report, report_of
from otel_obs.rows.tables import DEFAULTED_WORKSPACE, INHERITED

Reprice = Callable[[CallRow], CallRow]
"""Return the row with the cost of its usage."""

MAX_EXECUTION_NODES = 1000

_FROM_ABOVE = tuple(INHERITED)
_TOKENS = (
    "input_tokens", "cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens", "output_tokens",
    "reasoning_tokens", "billed_units", "usage_source",
)  # fmt: skip
_ENRICHED = (
    "provider", "model_name", "request_model", "response_id", "service_tier", "is_stream", "attempts",
    "endpoint", "reported_cost_cents", "time_to_first_token_ms", "finish_reason", "prompt_name",
    "prompt_version", "prompt_hash", "prefix_hashes",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Forest:
    """Traces of one organization, as far as they are known."""

    events: Mapping[EventKey, EventRow]
    reports: Mapping[EventKey, Report]
    """Every report of these traces, and those of other traces that share a response id with them."""
    runs: Mapping[EventKey, AgentRunRow] = field(default_factory=dict)
    checks: Mapping[EventKey, CheckRow] = field(default_factory=dict)
    scopes: Mapping[EventKey, str] = field(default_factory=dict)
    """Instrumentation scope of each run."""
    nested_only: frozenset[EventKey] = frozenset()
    """Runs that count only where no run of the same agent is above them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallState:
    """What became of a report."""

    cost_state: str
    counted_trace_id: str | None = None
    counted_span_id: str | None = None
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """The final form of a forest."""

    events: Mapping[EventKey, EventRow]
    runs: Mapping[EventKey, AgentRunRow]
    """Without those that another layer of instrumentation had told already."""
    checks: Mapping[EventKey, CheckRow]
    calls: Mapping[EventKey, CallRow]
    """The counted rows, by the event that is counted; of other traces too, where they share a call."""
    reports: Mapping[EventKey, Report]
    """The reports, with their groups and their attribution as known now."""
    states: Mapping[EventKey, CallState]
    """For each report what became of it."""

    def shared(self) -> dict[EventKey, Report]:
        """Return the reports that have to be kept: those of calls that are reported more than once."""
        count: dict[str, int] = {}
        for report in self.reports.values():
            if report.call_id is not None:
                count[report.call_id] = count.get(report.call_id, 0) + 1
        return {
            key: report
            for key, report in self.reports.items()
            if key not in self.calls or (report.call_id is not None and count[report.call_id] > 1)
        }


def _above(event: EventRow, events: Mapping[EventKey, EventRow]) -> list[EventRow]:
    """Return the events above *event*, nearest first, up to a missing parent or where a cycle closes."""
    seen = {(event.trace_id, event.event_id)}
    found: list[EventRow] = []
    current: EventRow | None = event
    while current is not None and current.parent_span_id is not None:
        key = (event.trace_id, current.parent_span_id)
        current = None if key in seen else events.get(key)
        if current is not None:
            seen.add(key)
            found.append(current)
    return found


def settle(forest: Forest, reprice: Reprice) -> Settled:
    """Return the final form of *forest*."""
    above = {key: _above(event, forest.events) for key, event in forest.events.items()}
    runs = _own_runs(forest, above)
    events = {key: _attributed(event, above[key], forest) for key, event in forest.events.items()}
    reports = _attributed_reports(forest.reports, events)
    matches = _matched(reports, above)
    reports = {
        key: replace(report, group=matches.groups.get(key)) if key in events else report
        for key, report in reports.items()
    }
    found = [
        cluster
        for group in _by_call([report for key, report in reports.items() if key not in matches.rollups])
        for cluster in clusters(group)
    ]
    calls = {cluster.counted.key: _counted_row(cluster, reprice) for cluster in found}
    states = dict(_states(found, matches))
    events = {key: _with_state(event, states.get(key)) for key, event in events.items()}
    owners = _owners(found, calls, above, runs)
    return Settled(
        events=events,
        runs=_with_totals(runs, events, above, owners),
        checks={key: _attributed_check(row, events[key]) for key, row in forest.checks.items()},
        calls=calls,
        reports=reports,
        states=states,
    )


def _own_runs(forest: Forest, above: Mapping[EventKey, list[EventRow]]) -> dict[EventKey, AgentRunRow]:
    """Return the runs but those that another layer of instrumentation tells as well."""
    return {key: run for key, run in forest.runs.items() if not _told_above(key, run, forest, above)}


def _told_above(key: EventKey, run: AgentRunRow, forest: Forest, above: Mapping[EventKey, list[EventRow]]) -> bool:
    """Tell whether the nearest run above is the same agent's, told by another layer of instrumentation."""
    for event in above.get(key, ()):
        upper_key = (event.trace_id, event.event_id)
        upper = forest.runs.get(upper_key)
        if upper is None:
            continue
        same_agent = upper.agent_name == run.agent_name or run.agent_name is None
        other_layer = key in forest.nested_only or forest.scopes.get(key) != forest.scopes.get(upper_key)
        return same_agent and other_layer
    return False


def _attributed(event: EventRow, above: Iterable[EventRow], forest: Forest) -> EventRow:
    """Return *event* with what it does not say itself taken from the nearest span above that says it."""
    own = _own(event)
    changes: dict[str, Any] = {}
    inherited = 0
    for column in _FROM_ABOVE:
        if own[column] is not None:
            changes[column] = own[column]
            continue
        value = next((found for upper in above if (found := _given(upper, column, forest)) is not None), None)
        changes[column] = value
        if value is not None:
            inherited |= INHERITED[column]
    if changes["workspace_id"] is None:
        changes["workspace_id"] = event.workspace_id
        inherited |= DEFAULTED_WORKSPACE
    return event._replace(inherited=inherited, **changes)


def _own(event: EventRow) -> dict[str, str | None]:
    own = {column: None if event.inherited & bit else getattr(event, column) for column, bit in INHERITED.items()}
    if event.inherited & DEFAULTED_WORKSPACE:
        own["workspace_id"] = None
    return own


def _given(upper: EventRow, column: str, forest: Forest) -> str | None:
    """Return what the span above says of *column*; only a run says which agent is at work."""
    if upper.inherited & INHERITED[column]:
        return None
    if column == "workspace_id" and upper.inherited & DEFAULTED_WORKSPACE:
        return None
    if column == "agent_id" and (upper.trace_id, upper.event_id) not in forest.runs:
        return None
    value: str | None = getattr(upper, column)
    return value


def _attributed_check(row: CheckRow, event: EventRow) -> CheckRow:
    return row._replace(workspace_id=event.workspace_id, user_id=event.user_id, agent_id=event.agent_id)


def _attributed_reports(
    reports: Mapping[EventKey, Report], events: Mapping[EventKey, EventRow]
) -> dict[EventKey, Report]:
    found = {}
    for key, report in reports.items():
        event = events.get(key)
        if event is None:
            found[key] = report
            continue
        row = report.row._replace(**{column: getattr(event, column) for column in _FROM_ABOVE})
        found[key] = replace(report, row=row, workspace_known=event.workspace_is_known)
    return found


def _matched(reports: Mapping[EventKey, Report], above: Mapping[EventKey, list[EventRow]]) -> Matches:
    """Match the reports without response id trace by trace (a record of no trace matches nothing)."""
    groups: dict[EventKey, str] = {}
    doubtful: set[EventKey] = set()
    rollups: set[EventKey] = set()
    for trace_id, trace in _by_trace(report for key, report in reports.items() if key in above).items():
        if not trace_id or len(trace) < 2:
            continue
        found = match(trace, {report.key: tuple(e.span_id for e in above[report.key]) for report in trace})
        groups.update(found.groups)
        doubtful |= found.doubtful
        rollups |= found.rollups
    return Matches(groups, frozenset(doubtful), frozenset(rollups))


def _by_trace(reports: Iterable[Report]) -> dict[str, list[Report]]:
    found: dict[str, list[Report]] = {}
    for report in reports:
        found.setdefault(report.row.trace_id, []).append(report)
    return found


def _by_call(reports: Iterable[Report]) -> list[list[Report]]:
    named: dict[str, list[Report]] = {}
    alone: list[list[Report]] = []
    for report in reports:
        if report.call_id is None:
            alone.append([report])
        else:
            named.setdefault(report.call_id, []).append(report)
    return [*named.values(), *alone]


def _counted_row(cluster: Cluster, reprice: Reprice) -> CallRow:
    """Return the counted report's row, enriched by what only the others know."""
    row = cluster.counted.row
    if len(cluster.reports) == 1:
        return row
    changes = dict(_missing(row, [report.row for report in cluster.reports[1:]]))
    changes.update(_attribution(cluster))
    enriched = row._replace(**changes)
    priced = (*_TOKENS, "provider", "model_name", "request_model", "service_tier", "reported_cost_cents")
    return (
        reprice(enriched)
        if any(changes.get(name, getattr(row, name)) != getattr(row, name) for name in priced)
        else enriched
    )


def _missing(row: CallRow, others: list[CallRow]) -> Iterable[tuple[str, Any]]:
    for name in _ENRICHED:
        if getattr(row, name) is None:
            value = next((found for other in others if (found := getattr(other, name)) is not None), None)
            if value is not None:
                yield name, value
    for name in _TOKENS:
        if getattr(row, name) is None:
            value = next(
                (
                    found
                    for other in others
                    if (found := getattr(other, name)) is not None
                    and (row.input_tokens, row.output_tokens) == (other.input_tokens, other.output_tokens)
                ),
                None,
            )
            if value is not None:
                yield name, value


def _attribution(cluster: Cluster) -> dict[str, Any]:
    """Return agent, workflow, run, conversation, user and workspace as the outermost report knows them."""
    reports = sorted((r for r in cluster.reports if r.key not in cluster.cached), key=outermost)
    changes: dict[str, Any] = {}
    for column in _FROM_ABOVE:
        known = (
            getattr(report.row, column) for report in reports if column != "workspace_id" or report.workspace_known
        )
        changes[column] = next((value for value in known if value is not None), None)
    if changes["workspace_id"] is None:
        changes["workspace_id"] = reports[0].row.workspace_id
    return changes


def _states(found: Iterable[Cluster], matches: Matches) -> Iterable[tuple[EventKey, CallState]]:
    for key in matches.rollups:
        yield key, CallState(cost_state="rollup")
    for cluster in found:
        counted = cluster.counted
        doubt = ("possible_duplicate",) if counted.key in matches.doubtful else ()
        yield counted.key, CallState(cost_state="counted" if counted.has_usage else "no_usage", flags=doubt)
        for report in cluster.reports[1:]:
            yield (
                report.key,
                CallState(
                    cost_state="duplicate",
                    counted_trace_id=counted.row.trace_id,
                    counted_span_id=counted.row.span_id,
                    flags=("cached_response",) if report.key in cluster.cached else (),
                ),
            )


_STATE_FLAGS = ("possible_duplicate", "cached_response")


def _with_state(event: EventRow, state: CallState | None) -> EventRow:
    if state is None:
        return event
    flags = [flag for flag in event.context.get("flags", ()) if flag not in _STATE_FLAGS] + list(state.flags)
    context = event.context
    if flags != list(context.get("flags", ())):
        context = {key: value for key, value in context.items() if key != "flags"} | ({"flags": flags} if flags else {})
    return event._replace(
        cost_state=state.cost_state,
        counted_trace_id=state.counted_trace_id,
        counted_span_id=state.counted_span_id,
        context=context,
    )


@dataclass(frozen=True, slots=True)
class _Owned:
    """A call as part of an agent run."""

    run: EventKey | None
    """The nearest run above the outermost report; None where no agent asked for it."""
    row: CallRow


def _owners(
    found: Iterable[Cluster],
    calls: Mapping[EventKey, CallRow],
    above: Mapping[EventKey, list[EventRow]],
    runs: Mapping[EventKey, AgentRunRow],
) -> dict[EventKey, _Owned]:
    """Return the calls that belong to these traces, by the event that shows them in the tree."""
    owned: dict[EventKey, _Owned] = {}
    for cluster in found:
        outer = min((r for r in cluster.reports if r.key not in cluster.cached), key=outermost).key
        if outer not in above:
            continue
        shown = cluster.counted.key if cluster.counted.key[0] == outer[0] else outer
        owned[shown] = _Owned(_nearest_run(outer, above, runs), calls[cluster.counted.key])
    return owned


def _nearest_run(
    key: EventKey, above: Mapping[EventKey, list[EventRow]], runs: Mapping[EventKey, AgentRunRow]
) -> EventKey | None:
    return next((found for e in above[key] if (found := (e.trace_id, e.event_id)) in runs), None)


def _with_totals(
    runs: Mapping[EventKey, AgentRunRow],
    events: Mapping[EventKey, EventRow],
    above: Mapping[EventKey, list[EventRow]],
    owners: Mapping[EventKey, _Owned],
) -> dict[EventKey, AgentRunRow]:
    if not runs:
        return {}
    own: dict[EventKey, list[CallRow]] = {key: [] for key in runs}
    for owned in owners.values():
        if owned.run is not None:
            own[owned.run].append(owned.row)
    subtree = {key: list(rows) for key, rows in own.items()}
    for key in runs:
        for upper in above[key]:
            if (upper_key := (upper.trace_id, upper.event_id)) in subtree:
                subtree[upper_key].extend(own[key])
    nodes: dict[EventKey, list[EventRow]] = {key: [] for key in runs}
    for key, event in events.items():
        holder = _nearest_run(key, above, runs)
        if holder is not None and event.event_type != "log":
            nodes[holder].append(event)
    return {
        key: run._replace(
            workspace_id=events[key].workspace_id,
            user_id=events[key].user_id,
            agent_id=events[key].agent_id or run.agent_id,
            flow_id=events[key].flow_id,
            run_id=events[key].run_id,
            conversation_id=events[key].conversation_id,
            execution_nodes=_nodes(nodes[key], owners, subtree, above),
            input_tokens=_sum(row.input_tokens for row in own[key]),
            output_tokens=_sum(row.output_tokens for row in own[key]),
            cost_cents=_cents(own[key]),
        )
        for key, run in runs.items()
    }


def _nodes(
    events: list[EventRow],
    owners: Mapping[EventKey, _Owned],
    subtree: Mapping[EventKey, list[CallRow]],
    above: Mapping[EventKey, list[EventRow]],
) -> list[dict[str, Any]]:
    ordered = sorted(events, key=lambda event: (event.timestamp, -(event.latency_ms or 0), event.event_id))
    found = [_node(event, owners, subtree, above) for event in ordered[:MAX_EXECUTION_NODES]]
    if len(ordered) > MAX_EXECUTION_NODES:
        found.append({"type": "truncated", "name": f"{len(ordered) - MAX_EXECUTION_NODES} more"})
    return found


def _node(
    event: EventRow,
    owners: Mapping[EventKey, _Owned],
    subtree: Mapping[EventKey, list[CallRow]],
    above: Mapping[EventKey, list[EventRow]],
) -> dict[str, Any]:
    key = (event.trace_id, event.event_id)
    rows = subtree.get(key) or ([owners[key].row] if key in owners else [])
    cost = _cents(rows)
    return {
        "span_id": event.span_id,
        "parent_span_id": event.parent_span_id,
        "type": "span" if _told_by_layer_above(event, above[key]) else event.event_type,
        "name": event.name,
        "status": event.status,
        "latency_ms": event.latency_ms,
        "tokens": _sum(part for row in rows for part in (row.input_tokens, row.output_tokens)),
        "cost_cents": None if cost is None else float(cost),
    }


def _told_by_layer_above(event: EventRow, above: list[EventRow]) -> bool:
    """Tell whether a tool call is the one above seen once more (agent, MCP client, MCP server)."""
    if event.event_type != "tool" or not above or above[0].event_type != "tool":
        return False
    return _tool_name(event) == _tool_name(above[0])


def _tool_name(event: EventRow) -> object:
    attributes = event.context.get("attributes", {})
    return attributes.get("gen_ai.tool.name") or event.name.rpartition(" ")[2]


def _sum(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _cents(rows: Iterable[CallRow]) -> Decimal | None:
    known = [row.cost_usd for row in rows if row.cost_usd is not None]
    return sum(known, Decimal(0)) if known else None


QUIET = timedelta(seconds=2)
"""A trace is settled when no span of it came for this long ..."""
PATIENCE = timedelta(seconds=5)
"""... and at the latest this long after its first unsettled span."""


def forest_of(rows: TraceRows) -> Forest:
    """Return what a store holds of some traces in the form that ``settle`` reads."""
    events = {(event.trace_id, event.event_id): event for event in rows.events}
    reports = dict(rows.reports)
    for call in rows.calls:
        key = (call.trace_id, call.event_id)
        if key not in reports and key in events:
            reports[key] = report_of(call, events[key])
    runs = {(run.trace_id, run.event_id): run for run in rows.runs}
    return Forest(
        events=events,
        reports=reports,
        runs=runs,
        checks={(check.trace_id, check.event_id): check for check in rows.checks},
        scopes={key: events[key].scope for key in runs},
        nested_only=frozenset(key for key in runs if "agent_unless_nested" in events[key].context.get("flags", ())),
    )


def changes(rows: TraceRows, settled: Settled) -> Changes:
    """Return what has to be written so that the store holds *settled* instead of *rows*."""
    before = {(call.trace_id, call.event_id): call for call in rows.calls}
    shared = settled.shared()
    new = [call for key, call in settled.calls.items() if key not in before]
    changed = [call for key, call in settled.calls.items() if key in before and before[key] != call]
    dropped = [call for key, call in before.items() if key not in settled.calls]
    runs = {(run.trace_id, run.event_id): run for run in rows.runs}
    checks = {(check.trace_id, check.event_id): check for check in rows.checks}
    own = {(event.trace_id, event.event_id): event for event in rows.events}
    foreign = [key for key in settled.states if key not in own]
    return Changes(
        events=[event for key, event in settled.events.items() if event != own[key]],
        contexts=[event for key, event in settled.events.items() if event.context is not own[key].context],
        runs=[run for key, run in settled.runs.items() if run != runs[key]],
        dropped_runs=[run for key, run in runs.items() if key not in settled.runs],
        checks=[check for key, check in settled.checks.items() if check != checks[key]],
        new_calls=new,
        changed_calls=changed,
        dropped_calls=dropped,
        reports={key: report for key, report in shared.items() if rows.reports.get(key) != report},
        counted=frozenset(settled.calls),
        states=[_state_change(settled, key) for key in foreign],
        touched_traces=frozenset(
            call.trace_id for call in (*new, *changed, *dropped) if call.trace_id not in rows.trace_ids
        ),
    )


def _state_change(settled: Settled, key: EventKey) -> StateChange:
    report, state = settled.reports[key], settled.states[key]
    return StateChange(
        trace_id=key[0],
        event_id=key[1],
        timestamp=report.row.timestamp,
        cost_state=state.cost_state,
        counted_trace_id=state.counted_trace_id,
        counted_span_id=state.counted_span_id,
    )
