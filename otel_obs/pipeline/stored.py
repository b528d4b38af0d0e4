"""Settling what a store holds: its rows as a forest, and what has to be written so that it holds the final form."""

from __future__ import annotations

from datetime import timedelta

from otel_obs.pipeline.identity import SLACK
from otel_obs.pipeline.settle import Reprice, Settled, settle
from otel_obs.pipeline.strangers import LOST_CONTEXT_WITHIN, are_strangers
from otel_obs.pipeline.totals import AT_THE_START
from otel_obs.pipeline.tree import Forest, key_of
from otel_obs.rows import AgentRunRow
from otel_obs.rows.batch import Changes, Settling, StateChange, TraceRows
from otel_obs.rows.meaning import run_row
from otel_obs.rows.report import EventKey, report_of

QUIET = timedelta(seconds=2)
"""A trace is settled when no span of it came for this long ..."""
PATIENCE = timedelta(seconds=4)
"""... and so long after its first unsettled span, so that it is settled five seconds after at the latest."""


def settling(reprice: Reprice) -> Settling:
    """Return how a store settles traces."""
    return Settling(
        settle=lambda rows: changes(rows, settle(forest_of(rows), reprice)),
        may_be_one_call=are_strangers,
        quiet=QUIET,
        patience=PATIENCE,
        lookback=LOST_CONTEXT_WITHIN,
        slack=SLACK,
        nearly=AT_THE_START,
    )


def forest_of(rows: TraceRows) -> Forest:
    """Return what a store holds of some traces in the form that ``settle`` reads."""
    events = {key_of(event): event for event in rows.events}
    reports = {**{report.key: report for report in rows.foreign}, **rows.reports}
    for call in rows.calls:
        key = key_of(call)
        if key not in reports and key in events:
            reports[key] = report_of(call, events[key])
    return Forest(
        events=events,
        reports=reports,
        runs={**_dropped_before(rows), **{key_of(run): run for run in rows.runs}},
        checks={key_of(check): check for check in rows.checks},
    )


def _dropped_before(rows: TraceRows) -> dict[EventKey, AgentRunRow]:
    """Return anew the runs that were dropped as told twice: what came since may say otherwise."""
    contents: dict[EventKey, dict[str, str]] = {}
    for row in rows.run_contents:
        contents.setdefault((row.trace_id, row.event_id), {})[row.part] = row.body or ""
    return {
        key_of(event): run_row(event, contents.get(key_of(event), {}))
        for event in rows.events
        if event.event_type == "agent"
    }


def changes(rows: TraceRows, settled: Settled) -> Changes:
    """Return what has to be written so that the store holds *settled* instead of *rows*."""
    before = {key_of(call): call for call in rows.calls}
    shared = settled.shared()
    new = [call for key, call in settled.calls.items() if key not in before]
    changed = [call for key, call in settled.calls.items() if key in before and before[key] != call]
    dropped = [call for key, call in before.items() if key not in settled.calls]
    runs = {key_of(run): run for run in rows.runs}
    checks = {key_of(check): check for check in rows.checks}
    own = {key_of(event): event for event in rows.events}
    foreign = [key for key in settled.states if key not in own]
    return Changes(
        events=[event for key, event in settled.events.items() if event != own[key]],
        contexts=[event for key, event in settled.events.items() if event.context is not own[key].context],
        new_runs=[run for key, run in settled.runs.items() if key not in runs],
        runs=[run for key, run in settled.runs.items() if key in runs and run != runs[key]],
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
