"""What is the final form of traces, given all that is known of them?

Settling is a function of the set of rows: it does not matter in which order, in how many requests or
how often the spans came. It runs on what one request carried before it is written, and again on what
the store holds once a trace has been quiet for two seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from otel_obs.frozen import dataclass
from otel_obs.pipeline.clusters import Cluster, clusters, outermost
from otel_obs.pipeline.identity import Matches, match
from otel_obs.pipeline.rounds import with_own_rounds
from otel_obs.pipeline.runs import Holders, OwnedCall, agents_of, holders_of, own_runs, with_totals
from otel_obs.pipeline.strangers import group_within, match_across
from otel_obs.pipeline.totals import with_parts_inside
from otel_obs.pipeline.tree import Above, Forest, above_of, attribution_of, handed_down, said_by
from otel_obs.rows import AgentRunRow, CallRow, CheckRow, EventRow
from otel_obs.rows.report import EventKey, Report
from otel_obs.rows.tables import INHERITED

Reprice = Callable[[CallRow], CallRow]
"""Return the row with the cost of its usage."""

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


def settle(forest: Forest, reprice: Reprice) -> Settled:
    """Return the final form of *forest*."""
    above = above_of(forest.events)
    said = said_by(forest.events)
    runs = own_runs(forest, above)
    holders = holders_of(above, runs)
    events = handed_down(forest.events, above, said, agents_of(runs, said, holders))
    reports = _with_models(_attributed_reports(forest.reports, events), reprice)
    reports = with_own_rounds(reports, events, reprice)
    matches = _matched(reports, above)
    reports = {key: _grouped(report, matches.groups.get(key)) for key, report in reports.items()}
    found = [
        cluster
        for group in _by_call([report for key, report in reports.items() if key not in matches.rollups])
        for cluster in clusters(group)
    ]
    calls = {cluster.counted.key: _counted_row(cluster, reprice) for cluster in found}
    states = dict(_states(found, matches, calls))
    events.update((key, _with_state(events[key], state)) for key, state in states.items() if key in events)
    return Settled(
        events=events,
        runs=with_totals(runs, events, above, holders, _owned(found, calls, holders)),
        checks={key: _attributed_check(row, events[key]) for key, row in forest.checks.items()},
        calls=calls,
        reports=reports,
        states=states,
    )


def _grouped(report: Report, group: str | None) -> Report:
    return report if report.group == group else report._replace(group=group)


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
        row = report.row
        attribution = attribution_of(event)
        if attribution_of(row) != attribution:
            row = row.attributed(attribution)
        known = event.workspace_is_known
        as_it_was = row is report.row and known == report.workspace_known
        found[key] = report if as_it_was else report._replace(row=row, workspace_known=known)
    return found


def _with_models(reports: Mapping[EventKey, Report], reprice: Reprice) -> dict[EventKey, Report]:
    """Return the reports, those of log records that name no model with that of the span they hang on."""
    found = dict(reports)
    for key, report in reports.items():
        host = reports.get((report.row.trace_id, report.row.span_id))
        if not report.is_log or host is None or report.row.model_name is not None or host.row.model_name is None:
            continue
        model = {name: getattr(host.row, name) for name in ("model_name", "request_model")}
        row = report.row._replace(provider=report.row.provider or host.row.provider, **model)
        found[key] = report._replace(row=reprice(row))
    return found


def _matched(reports: Mapping[EventKey, Report], above: Above) -> Matches:
    """Match the reports without response id: trace by trace, then across traces."""
    groups: dict[EventKey, str] = {}
    doubtful: set[EventKey] = set()
    rollups: set[EventKey] = set()
    for trace_id, trace in _by_trace(report for key, report in reports.items() if key in above).items():
        if not trace_id or len(trace) < 2:
            continue
        found = match(trace, {report.key: tuple(span_id for _, span_id in above[report.key]) for report in trace})
        groups.update(found.groups)
        doubtful |= found.doubtful
        rollups |= found.rollups
    grouped = [
        _grouped(report, groups.get(key) if key in above else group_within(report))
        for key, report in reports.items()
        if key not in rollups
    ]
    groups.update({report.key: report.group for report in grouped if report.group is not None})
    groups.update(match_across(grouped))
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
    if len(cluster.reports) > 1:
        others = [report.row for report in cluster.reports[1:]]
        row = with_parts_inside(row, others)
        changes = dict(_missing(row, [with_parts_inside(other, [row]) for other in others]))
        changes.update(_attribution(cluster))
        # Kept reports bear the price as of when they came; it may have been corrected since.
        row = _priced(row._replace(**changes), others, reprice)
    return row if _has_usage(row) else _estimated(row, cluster, reprice)


def _priced(row: CallRow, others: Iterable[CallRow], reprice: Reprice) -> CallRow:
    """Return *row* at the price of its model, or of what another report calls it: an alias of a gateway has none."""
    priced = reprice(row)
    if priced.cost_reason != "unknown_model":
        return priced
    for other in others:
        if other.model_name is not None:
            named = reprice(row._replace(model_name=other.model_name, provider=other.provider or row.provider))
            if named.cost_reason != "unknown_model":
                return named
    return priced


def _has_usage(row: CallRow) -> bool:
    return row.input_tokens is not None or row.output_tokens is not None


def _estimated(row: CallRow, cluster: Cluster, reprice: Reprice) -> CallRow:
    """Return *row* with tokens that were counted here, if they were and nobody says what the call cost."""
    estimate = next((report.estimate for report in cluster.reports if report.estimate is not None), None)
    if estimate is None or row.reported_cost_cents is not None or row.billed_units:
        return row
    return reprice(row._replace(input_tokens=estimate[0], output_tokens=estimate[1], usage_source="estimated"))


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


def _states(
    found: Iterable[Cluster], matches: Matches, calls: Mapping[EventKey, CallRow]
) -> Iterable[tuple[EventKey, CallState]]:
    for key in matches.rollups:
        yield key, CallState(cost_state="rollup")
    for cluster in found:
        counted = cluster.counted
        doubt = ("possible_duplicate",) if counted.key in matches.doubtful else ()
        yield (
            counted.key,
            CallState(cost_state="counted" if _has_usage(calls[counted.key]) else "no_usage", flags=doubt),
        )
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


def _with_state(event: EventRow, state: CallState) -> EventRow:
    context = event.context
    before = list(context.get("flags", ()))
    flags = [flag for flag in before if flag not in _STATE_FLAGS] + list(state.flags)
    if flags != before:
        context = {key: value for key, value in context.items() if key != "flags"} | ({"flags": flags} if flags else {})
    elif (event.cost_state, event.counted_trace_id, event.counted_span_id) == (
        state.cost_state,
        state.counted_trace_id,
        state.counted_span_id,
    ):
        return event
    return event._replace(
        cost_state=state.cost_state,
        counted_trace_id=state.counted_trace_id,
        counted_span_id=state.counted_span_id,
        context=context,
    )


def _owned(
    found: Iterable[Cluster],
    calls: Mapping[EventKey, CallRow],
    holders: Holders,
) -> dict[EventKey, OwnedCall]:
    """Return the calls that belong to these traces, by the event that shows them in the tree."""
    owned: dict[EventKey, OwnedCall] = {}
    for cluster in found:
        counted = cluster.counted.key
        outer = counted
        if len(cluster.reports) > 1:
            outer = min((r for r in cluster.reports if r.key not in cluster.cached), key=outermost).key
        if outer not in holders:
            continue
        shown = counted if counted[0] == outer[0] else outer
        owned[shown] = OwnedCall(holders[outer], calls[counted])
    return owned
