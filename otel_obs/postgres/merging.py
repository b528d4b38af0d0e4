"""A batch of which some rows are stored already: only what is new is added."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import psycopg

from otel_obs.postgres.arrays import arrays
from otel_obs.postgres.copying import copy_derived, copy_rows
from otel_obs.postgres.queries import load
from otel_obs.postgres.reporting import keep_reports
from otel_obs.rows import CallRow, EventRow
from otel_obs.rows.batch import Batch, RecordKey, Written
from otel_obs.rows.report import EventKey, Report, report_of

_WRITE = load("write")


def merge(connection: psycopg.Connection, batch: Batch) -> Written:
    """Store what is new of *batch*; a finished span replaces an unfinished one."""
    fresh, replaced = _merge_events(connection, batch.events)
    duplicates = len(batch.events) - len(fresh)
    if replaced:
        _forget(connection, replaced)
    new = _only(batch, fresh)
    claimed = _claim(connection, new.calls)
    aside = [call for call in new.calls if not _is_counted(call, claimed)]
    copy_derived(connection, replace(new, calls=[call for call in new.calls if _is_counted(call, claimed)]))
    _set_aside(connection, new, aside)
    return Written(
        stored=len(fresh) - len(replaced),
        duplicates=duplicates,
        replaced=len(replaced),
        conflicts=_conflicts(connection) if duplicates else 0,
    )


def _merge_events(
    connection: psycopg.Connection, events: Sequence[EventRow]
) -> tuple[set[RecordKey], list[tuple[Any, ...]]]:
    """Return the keys of the events that are stored now, and the full keys of those that were replaced."""
    connection.execute(_WRITE["stage_events"])
    copy_rows(connection, "event_logs", events, into="staged_events")
    rows = connection.execute(_WRITE["merge_events"]).fetchall()
    fresh = {(row[0], row[1], row[2]) for row in rows}
    return fresh, [(row[0], row[3], row[1], row[2]) for row in rows if row[4]]


def _conflicts(connection: psycopg.Connection) -> int:
    """Note in quarantine which events say something else than what is stored; return how many do."""
    row = connection.execute(_WRITE["note_conflicts"]).fetchone()
    return 0 if row is None else int(row[0])


def _forget(connection: psycopg.Connection, replaced: Sequence[tuple[Any, ...]]) -> None:
    """Remove what the unfinished spans meant."""
    keys = arrays(("organization_ids", "timestamps", "trace_ids", "event_ids"), replaced)
    for name in ("forget_agent_runs", "forget_calls", "forget_checks", "forget_contents", "forget_reports"):
        connection.execute(_WRITE[name], keys)


def _only(batch: Batch, fresh: set[RecordKey]) -> Batch:
    def new(row: Any) -> bool:
        return (row.organization_id, row.trace_id, row.event_id) in fresh

    return replace(
        batch,
        events=[row for row in batch.events if new(row)],
        calls=[row for row in batch.calls if new(row)],
        runs=[row for row in batch.runs if new(row)],
        checks=[row for row in batch.checks if new(row)],
        contents=[row for row in batch.contents if new(row)],
        reports={key: report for key, report in batch.reports.items() if new(report.row)},
    )


def _claim(connection: psycopg.Connection, calls: Iterable[CallRow]) -> set[tuple[str, str]]:
    """Return the (organization, response id) pairs that nobody had claimed before."""
    claims: dict[tuple[str, str], CallRow] = {}
    for call in calls:
        if call.response_id is not None:
            claims.setdefault((call.organization_id, call.response_id), call)
    if not claims:
        return set()
    parameters = arrays(
        ("organization_ids", "response_ids", "timestamps", "trace_ids", "event_ids"),
        [
            (organization_id, response_id, call.timestamp, call.trace_id, call.event_id)
            for (organization_id, response_id), call in sorted(claims.items(), key=lambda claim: claim[0])
        ],
    )
    return {(row[0], row[1]) for row in connection.execute(_WRITE["claim_response_ids"], parameters).fetchall()}


def _is_counted(call: CallRow, claimed: set[tuple[str, str]]) -> bool:
    return call.response_id is None or (call.organization_id, call.response_id) in claimed


def _set_aside(connection: psycopg.Connection, new: Batch, aside: Sequence[CallRow]) -> None:
    """Keep the reports of calls that are counted already: settling decides between them."""
    events = {(event.trace_id, event.event_id): event for event in new.events}
    reports: dict[EventKey, Report] = dict(new.reports)
    for call in aside:
        key = (call.trace_id, call.event_id)
        reports.setdefault(key, report_of(call, events[key]))
    waiting = {(call.trace_id, call.event_id) for call in aside}
    counted = {(call.trace_id, call.event_id) for call in new.calls} - waiting
    keep_reports(connection, reports, counted)
    if aside:
        _point_to_counted(connection, aside)


def _point_to_counted(connection: psycopg.Connection, aside: Sequence[CallRow]) -> None:
    names = sorted({(call.organization_id, str(call.response_id)) for call in aside})
    rows = connection.execute(_WRITE["registered"], arrays(("organization_ids", "response_ids"), names)).fetchall()
    counted = {(row[0], row[1]): (row[3], row[4]) for row in rows}
    states = []
    for call in aside:
        trace_id, event_id = counted[(call.organization_id, str(call.response_id))]
        states.append(
            (
                call.organization_id, call.timestamp, call.trace_id, call.event_id, "duplicate", trace_id, event_id,
            )
        )  # fmt: skip
    connection.execute(
        _WRITE["set_cost_states"],
        arrays(
            (
                "organization_ids", "timestamps", "trace_ids", "event_ids", "cost_states", "counted_trace_ids",
                "counted_span_ids",
            ),
            states,
        ),
    )  # fmt: skip
