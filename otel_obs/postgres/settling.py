"""Traces to be settled: claiming them, reading what is known of them, writing what changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import psycopg

from otel_obs.postgres.arrays import arrays, recordset
from otel_obs.postgres.contents import opened_contents, sealed_run
from otel_obs.postgres.queries import load, naming
from otel_obs.postgres.reporting import keep_reports, kept_report
from otel_obs.postgres.rollups import touch_days
from otel_obs.postgres.vault import Vault
from otel_obs.rows import AgentRunRow, CallRow, CheckRow, ContentRow, EventRow
from otel_obs.rows.batch import Changes, Settling, StateChange, TraceRows
from otel_obs.rows.report import EventKey, Report, report_of

if TYPE_CHECKING:
    from typing_extensions import LiteralString

_SETTLE = load("settle")
_READ: dict[str, LiteralString] = {
    **{name: _SETTLE[name] for name in ("events_of_traces", "events_of_keys")},
    **{name: naming(CallRow._fields, _SETTLE[name]) for name in ("calls_of_traces", "calls_near", "calls_of_events")},
    "agent_runs_of_events": naming(AgentRunRow._fields, _SETTLE["agent_runs_of_events"]),
    "checks_of_events": naming(CheckRow._fields, _SETTLE["checks_of_events"]),
    "contents_of_events": naming(ContentRow._fields, _SETTLE["contents_of_events"]),
}
"""What is read into rows, by name."""
_WRITE = load("write")
_SAID = ("input_context", "output_summary", "input_context_encrypted", "output_summary_encrypted")
"""What settling never changes of a run."""
_T = TypeVar("_T", bound=NamedTuple)
_Keys = tuple[str, Any, str, str]


class Bounds(NamedTuple):
    """The first and the last moment of rows: the weeks between them are all that is looked at."""

    since: datetime
    until: datetime


_EVER = Bounds(datetime.min.replace(tzinfo=timezone.utc), datetime.max.replace(tzinfo=timezone.utc))


class Open(NamedTuple):
    """Traces of one organization that have to be settled, and when their events are."""

    trace_ids: frozenset[str]
    bounds: Bounds


class Claimed(NamedTuple):
    """Traces that were due."""

    due: int
    open: Mapping[str, Open]
    """Those of them that have to be settled, by organization; the others are final as they were written."""


def claim(
    connection: psycopg.Connection, *, limit: int, all_now: bool, quiet: timedelta, patience: timedelta
) -> Claimed:
    """Return the traces that are due; they are this transaction's until it ends.

    Those that the batch which wrote them has settled for good are taken from the list.
    """
    due = connection.execute(
        _SETTLE["claim_traces"],
        {"limit": limit, "all_now": all_now, "quiet": quiet, "patience": patience},
    ).fetchall()
    if not due:
        return Claimed(0, {})
    names = ("organization_ids", "trace_ids", "events")
    found: dict[str, list[Sequence[Any]]] = {}
    for organization_id, *trace in connection.execute(_SETTLE["release_final"], arrays(names, due)).fetchall():
        found.setdefault(organization_id, []).append(trace)
    return Claimed(len(due), {organization_id: _open(traces) for organization_id, traces in sorted(found.items())})


def _open(traces: Sequence[Sequence[Any]]) -> Open:
    """Return *traces*, each its id and the times of its first and last event, None where there is none."""
    trace_ids = frozenset(trace_id for trace_id, _, _ in traces)
    firsts = [first for _, first, _ in traces if first is not None]
    lasts = [last for _, _, last in traces if last is not None]
    # Events that are in no trace are not looked at beforehand.
    return Open(trace_ids, Bounds(min(firsts), max(lasts)) if firsts and "" not in trace_ids else _EVER)


def release(connection: psycopg.Connection, organization_id: str, traces: Open) -> None:
    """Take *traces* from the list: they are in their final form now."""
    connection.execute(_SETTLE["release"], {"organization_id": organization_id, "trace_ids": sorted(traces.trace_ids)})


def read(
    connection: psycopg.Connection,
    organization_id: str,
    traces: Open,
    settling: Settling,
    vault: Vault | None = None,
) -> TraceRows:
    """Return what is known of these traces; calls that several reports share are locked."""
    asked = {
        "organization_id": organization_id, "trace_ids": sorted(traces.trace_ids), **traces.bounds._asdict()
    }  # fmt: skip
    events = _rows(connection, "events_of_traces", asked, EventRow)
    calls = _rows(connection, "calls_of_traces", asked, CallRow)
    reports = _reports(connection.execute(_SETTLE["reports_of_traces"], asked).fetchall())
    strangers = _strangers(connection, asked, {**_reported(calls, events), **reports}, settling)
    shared = _shared(connection, asked, calls, reports, strangers)
    runs, lost = _runs(connection, organization_id, [event for event in events if event.event_type == "agent"])
    return TraceRows(
        organization_id=organization_id,
        trace_ids=traces.trace_ids,
        events=events,
        calls=[*calls, *(report.row for report in shared.counted)],
        reports={**shared.kept, **reports},
        foreign=shared.counted,
        runs=runs,
        checks=_of_events(
            connection,
            "checks_of_events",
            organization_id,
            [event for event in events if event.event_type == "guardrail"],
            CheckRow,
        ),
        run_contents=opened_contents(connection, lost, vault),
    )


def _runs(
    connection: psycopg.Connection, organization_id: str, events: Sequence[EventRow]
) -> tuple[list[AgentRunRow], list[ContentRow]]:
    """Return the runs of agents' events, and what was said on those that have none."""
    runs = _of_events(connection, "agent_runs_of_events", organization_id, events, AgentRunRow)
    known = {(run.trace_id, run.event_id) for run in runs}
    lost = [event for event in events if (event.trace_id, event.event_id) not in known]
    return runs, _of_events(connection, "contents_of_events", organization_id, lost, ContentRow)


def _strangers(
    connection: psycopg.Connection,
    asked: Mapping[str, Any],
    own: Mapping[EventKey, Report],
    settling: Settling,
) -> list[Report]:
    """Return reports of other traces that may speak of the calls of these, *own*, although no id says so."""
    mine = _among_others(connection, asked["organization_id"], list(own.values()))
    found: dict[EventKey, CallRow] = {}
    for nameless in (False, True):
        # Who names a response id looks for those that name none.
        reports = [report for report in mine if (report.row.response_id is None) is not nameless]
        for window in _windows(reports, settling):
            near = {**asked, **window, "nearly": settling.nearly, "nameless": nameless}
            rows = _rows(connection, "calls_near", near, CallRow)
            found.update({(row.trace_id, row.event_id): row for row in rows})
    if not found:
        return []
    connection.execute(_SETTLE["lock_strangers"], asked)
    foreign = _of_events(connection, "events_of_keys", asked["organization_id"], list(found.values()), EventRow)
    traces = {"organization_id": asked["organization_id"], "trace_ids": sorted({trace_id for trace_id, _ in found})}
    kept = _reports(connection.execute(_SETTLE["reports_of_traces"], traces).fetchall())
    reports = [kept.get(key, report) for key, report in _reported(found.values(), foreign).items()]
    return [report for report in reports if any(settling.may_be_one_call(one, report) for one in mine)]


def _among_others(connection: psycopg.Connection, organization_id: str, reports: Sequence[Report]) -> Sequence[Report]:
    """Return those of *reports* that another instrumentation of their sender may tell in another trace."""
    if not reports:
        return ()
    asked = {"organization_id": organization_id, "hashes": sorted({report.resource for report in reports})}
    alone = {row[0] for row in connection.execute(_SETTLE["senders_without_twins"], asked).fetchall()}
    return [report for report in reports if report.resource not in alone]


def _reported(calls: Iterable[CallRow], events: Iterable[EventRow]) -> dict[EventKey, Report]:
    """Return what the counted *calls* report."""
    by_key = {(event.trace_id, event.event_id): event for event in events}
    keyed = {(call.trace_id, call.event_id): call for call in calls}
    return {key: report_of(call, by_key[key]) for key, call in keyed.items() if key in by_key}


def _windows(reports: Iterable[Report], settling: Settling) -> Iterable[dict[str, Any]]:
    """Yield the times around *reports* in which a twin may have begun, those that overlap joined."""
    window: dict[str, Any] | None = None
    for report in sorted(reports, key=lambda report: report.started):
        since, until = report.started - settling.lookback, report.ended + settling.slack
        if window is None or window["until"] < since:
            if window is not None:
                yield window
            window = {"since": since, "until": until, "models": set(), "totals": set()}
        window["until"] = max(window["until"], until)
        window["models"] |= {report.row.model_name, report.row.request_model}
        row = report.row
        parts = (row.cache_read_tokens or 0, row.cache_write_tokens or 0, row.reasoning_tokens or 0)
        window["totals"].add((row.input_tokens, row.output_tokens, *parts, report.started, report.ended))
    if window is not None:
        yield window


class _Shared(NamedTuple):
    counted: list[Report]
    """What the counted rows of other traces report."""
    kept: dict[EventKey, Report]


def _shared(
    connection: psycopg.Connection,
    asked: Mapping[str, Any],
    calls: Sequence[CallRow],
    reports: Mapping[EventKey, Report],
    strangers: Sequence[Report],
) -> _Shared:
    """Return what speaks of the same calls in other traces."""
    names = {call.response_id for call in calls}
    names |= {report.call_id for report in (*reports.values(), *strangers)}
    call_ids = sorted(name for name in names if name is not None)
    parameters = {**asked, "call_ids": call_ids}
    shared = _reports(connection.execute(_SETTLE["reports_of_calls"], parameters).fetchall()) if call_ids else {}
    if not shared and not reports and not strangers:
        return _Shared([], {})
    parameters["call_ids"] = sorted({*call_ids, *(str(report.call_id) for report in shared.values())})
    registered = connection.execute(_SETTLE["lock_calls"], parameters).fetchall()
    shared = _reports(connection.execute(_SETTLE["reports_of_calls"], parameters).fetchall())
    rows = [report.row for report in (*shared.values(), *strangers)]
    keys = {(row.timestamp, row.trace_id, row.event_id) for row in rows} | {row[1:] for row in registered}
    foreign = sorted(key for key in keys if key[1] not in asked["trace_ids"])
    if not foreign:
        return _Shared([], shared)
    wanted = {"organization_id": asked["organization_id"], **_keys(foreign)}
    counted = _rows(connection, "calls_of_events", wanted, CallRow)
    events = {
        (event.trace_id, event.event_id): event for event in _rows(connection, "events_of_keys", wanted, EventRow)
    }
    return _Shared(
        [report_of(call, events[key]) for call in counted if (key := (call.trace_id, call.event_id)) in events], shared
    )


def _reports(rows: Iterable[tuple[Any, ...]]) -> dict[EventKey, Report]:
    return {(row[0], row[1]): kept_report(row) for row in rows}


def _rows(connection: psycopg.Connection, name: str, parameters: Mapping[str, Any], kind: type[_T]) -> list[_T]:
    return [kind(*row) for row in connection.execute(_READ[name], _bindable(parameters)).fetchall()]


def _bindable(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return *parameters* with sets as arrays."""
    found = dict(parameters)
    if "models" in found:
        found["models"] = sorted(model for model in found["models"] if model is not None)
        totals = sorted(found.pop("totals"), key=str)
        names = ("inputs", "outputs", "read", "written", "reasoning", "starts", "ends")
        found.update(arrays(names, totals))
    return found


def _of_events(
    connection: psycopg.Connection,
    name: str,
    organization_id: str,
    events: Sequence[EventRow] | Sequence[CallRow],
    kind: type[_T],
) -> list[_T]:
    if not events:
        return []
    keys = [(event.timestamp, event.trace_id, event.event_id) for event in events]
    return _rows(connection, name, {"organization_id": organization_id, **_keys(keys)}, kind)


def _keys(keys: Sequence[tuple[datetime, str, str]]) -> dict[str, Any]:
    """Return (timestamp, trace, event) as parameters."""
    moments = [key[0] for key in keys]
    return {
        **arrays(("timestamps", "trace_ids", "event_ids"), keys), **Bounds(min(moments), max(moments))._asdict()
    }  # fmt: skip


def apply(connection: psycopg.Connection, organization_id: str, changes: Changes, vault: Vault | None = None) -> None:
    """Write *changes*; what was said in new runs is sealed."""
    new_runs = changes.new_runs
    if vault is not None and new_runs:
        keys = vault.in_force(connection, [organization_id])[organization_id]
        new_runs = [sealed_run(run, keys) for run in new_runs]
    _forget(connection, "forget_calls", changes.dropped_calls)
    _forget(connection, "forget_agent_runs", changes.dropped_runs)
    for name, rows, without in (
        ("insert_calls", changes.new_calls, ()),
        ("move_registry", [call for call in changes.new_calls if call.response_id is not None], ()),
        ("update_calls", changes.changed_calls, ()),
        ("update_events", changes.events, ("context",)),
        ("update_contents", changes.events, ("context",)),
        ("update_contexts", changes.contexts, ()),
        ("insert_agent_runs", new_runs, ()),
        ("update_agent_runs", changes.runs, _SAID),
        ("update_checks", changes.checks, ()),
    ):
        if rows:
            moments = [row.timestamp for row in rows]
            bounds = Bounds(min(moments), max(moments))
            connection.execute(_SETTLE[name], {"rows": recordset(rows, without=without), **bounds._asdict()})
    touch_days(connection, (*changes.dropped_calls, *changes.new_calls, *changes.changed_calls))
    _set_states(connection, organization_id, changes.states)
    keep_reports(connection, changes.reports, changes.counted)
    if changes.touched_traces:
        touch(connection, [(organization_id, trace_id) for trace_id in sorted(changes.touched_traces)])


def touch(connection: psycopg.Connection, traces: Iterable[tuple[str, str]]) -> None:
    """Have *traces* (organization, trace) settled again."""
    connection.execute(_SETTLE["touch"], arrays(("organization_ids", "trace_ids"), traces))


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
