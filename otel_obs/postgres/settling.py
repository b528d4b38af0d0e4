"""Traces to be settled: claiming them, reading what is known of them, writing what changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar

import psycopg
from otel_obs.postgres.queries import load

from otel_obs.postgres.arrays import arrays, recordset
from otel_obs.postgres.reporting import keep_reports, kept_report
from otel_obs.rows import AgentRunRow, CallRow, CheckRow, EventRow
from otel_obs.rows.batch import Changes, StateChange, TraceRows
from otel_obs.rows.report import EventKey, Report, report_of

_SETTLE = load("settle")
_WRITE = load("write")
_T = TypeVar("_T", bound=NamedTuple)
_Keys = tuple[str, Any, str, str]


def claim(
    connection: psycopg.Connection, *, limit: int, all_now: bool, quiet: timedelta, patience: timedelta
) -> dict[str, frozenset[str]]:
    """Return the traces that are due, by organization; they are this transaction's until it ends."""
    rows = connection.execute(
        _SETTLE["claim_traces"],
        {"limit": limit, "all_now": all_now, "quiet": quiet, "patience": patience},
    ).fetchall()
    found: dict[str, set[str]] = {}
    for organization_id, trace_id in rows:
        found.setdefault(organization_id, set()).add(trace_id)
    return {organization_id: frozenset(found[organization_id]) for organization_id in sorted(found)}


def read(connection: psycopg.Connection, organization_id: str, trace_ids: frozenset[str]) -> TraceRows:
    """Return what is known of these traces; calls that several reports share are locked."""
    asked = {"organization_id": organization_id, "trace_ids": sorted(trace_ids)}
    events = _rows(connection, "events_of_traces", asked, EventRow)
    calls = _rows(connection, "calls_of_traces", asked, CallRow)
    reports = _reports(connection.execute(_SETTLE["reports_of_traces"], asked).fetchall())
    foreign_calls, foreign_reports = _shared(connection, organization_id, trace_ids, calls, reports)
    keys = {
        "organization_id": organization_id,
        **_event_keys([event for event in events if event.event_type in ("agent", "guardrail")]),
    }
    return TraceRows(
        organization_id=organization_id,
        trace_ids=trace_ids,
        events=events,
        calls=[*calls, *foreign_calls],
        reports={**foreign_reports, **reports},
        runs=_rows(connection, "agent_runs_of_events", keys, AgentRunRow),
        checks=_rows(connection, "checks_of_events", keys, CheckRow),
    )


def _shared(
    connection: psycopg.Connection,
    organization_id: str,
    trace_ids: frozenset[str],
    calls: Sequence[CallRow],
    reports: Mapping[EventKey, Report],
) -> tuple[list[CallRow], dict[EventKey, Report]]:
    """Return the counted rows and the reports of other traces that share a call with these traces."""
    names = {call.response_id for call in calls} | {report.call_id for report in reports.values()}
    call_ids = sorted(name for name in names if name is not None)
    if not call_ids:
        return [], {}
    asked = {"organization_id": organization_id, "call_ids": call_ids}
    shared = _reports(connection.execute(_SETTLE["reports_of_calls"], asked).fetchall())
    if not shared and not reports:
        return [], {}
    asked["call_ids"] = sorted({str(report.call_id) for report in (*shared.values(), *reports.values())})
    registered = connection.execute(_SETTLE["lock_calls"], asked).fetchall()
    shared = _reports(connection.execute(_SETTLE["reports_of_calls"], asked).fetchall())
    keys = {(report.row.timestamp, *key) for key, report in shared.items()} | {row[1:] for row in registered}
    foreign = sorted(key for key in keys if key[1] not in trace_ids)
    if not foreign:
        return [], shared
    parameters = {
        "organization_id": organization_id,
        **arrays(("timestamps", "trace_ids", "event_ids"), foreign),
    }
    counted = _rows(connection, "calls_of_events", parameters, CallRow)
    events = {
        (event.trace_id, event.event_id): event for event in _rows(connection, "events_of_keys", parameters, EventRow)
    }
    for call in counted:
        key = (call.trace_id, call.event_id)
        if key not in shared and key in events:
            shared[key] = report_of(call, events[key])
    return counted, shared


def _reports(rows: Iterable[tuple[Any, ...]]) -> dict[EventKey, Report]:
    return {(row[0], row[1]): kept_report(row) for row in rows}


def _rows(connection: psycopg.Connection, name: str, parameters: Mapping[str, Any], kind: type[_T]) -> list[_T]:
    return [kind(*row) for row in connection.execute(_SETTLE[name], parameters).fetchall()]


def _event_keys(events: Iterable[EventRow]) -> dict[str, list[object]]:
    return arrays(
        ("timestamps", "trace_ids", "event_ids"),
        [(event.timestamp, event.trace_id, event.event_id) for event in events],
    )


def apply(connection: psycopg.Connection, organization_id: str, changes: Changes) -> None:
    """Write *changes*."""
    _forget(connection, "forget_calls", changes.dropped_calls)
    _forget(connection, "forget_agent_runs", changes.dropped_runs)
    for name, rows, without in (
        ("insert_calls", changes.new_calls, ()),
        ("update_calls", changes.changed_calls, ()),
        ("update_events", changes.events, ("context",)),
        ("update_contents", changes.events, ("context",)),
        ("update_contexts", changes.contexts, ()),
        ("update_agent_runs", changes.runs, ("input_context", "output_summary")),
        ("update_checks", changes.checks, ()),
    ):
        if rows:
            connection.execute(_SETTLE[name], {"rows": recordset(rows, without=without)})
    _set_states(connection, organization_id, changes.states)
    keep_reports(connection, changes.reports, changes.counted)
    if changes.touched_traces:
        connection.execute(
            _SETTLE["unsettle"],
            {"organization_id": organization_id, "trace_ids": sorted(changes.touched_traces)},
        )


def _forget(connection: psycopg.Connection, name: str, rows: Sequence[CallRow | AgentRunRow]) -> None:
    if rows:
        keys = [(row.organization_id, row.timestamp, row.trace_id, row.event_id) for row in rows]
        connection.execute(_WRITE[name], arrays(("organization_ids", "timestamps", "trace_ids", "event_ids"), keys))


def _set_states(connection: psycopg.Connection, organization_id: str, states: Sequence[StateChange]) -> None:
    if not states:
        return
    rows = [
        (
            organization_id,
            state.timestamp,
            state.trace_id,
            state.event_id,
            state.cost_state,
            state.counted_trace_id,
            state.counted_span_id,
        )
        for state in states
    ]
    connection.execute(_WRITE["set_cost_states"], arrays(STATE_COLUMNS, rows))


STATE_COLUMNS = (
    "organization_ids", "timestamps", "trace_ids", "event_ids", "cost_states", "counted_trace_ids",
    "counted_span_ids",
)  # fmt: skip
