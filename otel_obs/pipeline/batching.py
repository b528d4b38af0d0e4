"""From the rows of one or more requests to one batch: each event once, and settled as far as the batch knows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from otel_obs.pipeline.ingest import Price, Received, reprice
from otel_obs.pipeline.settle import Settled, settle
from otel_obs.pipeline.tree import Forest
from otel_obs.pipeline.whole import whole_traces
from otel_obs.rows.batch import Batch, Quarantined
from otel_obs.rows.build import RecordRows
from otel_obs.rows.report import EventKey, report_of
from otel_obs.rows.tables import PART_OF_EXECUTION, TOP_OF_TRACE


def batch_of(received: Iterable[Received], price: Price, *, from_spool: bool = False) -> Batch:
    """Return one batch of settled rows of all that was *received*; each event once."""
    quarantined: list[Quarantined] = []
    repeated = 0
    tenants: dict[str, dict[EventKey, RecordRows]] = {}
    for request in received:
        quarantined.extend(request.quarantined)
        for record in request.records:
            events = tenants.setdefault(record.event.organization_id, {})
            key = (record.event.trace_id, record.event.event_id)
            known = events.get(key)
            if known is None or _replaces(record, known):
                events[key] = record
            if known is not None:
                repeated += 1 + len((known if events[key] is record else record).extra_events)
    settled = {
        organization: settle(_forest(records), lambda row: reprice(row, price))
        for organization, records in tenants.items()
    }
    return Batch(
        events=[
            *(event for forest in settled.values() for event in forest.events.values()),
            *_extra_events(tenants, settled),
        ],
        calls=[call for forest in settled.values() for call in forest.calls.values()],
        runs=[run for forest in settled.values() for run in forest.runs.values()],
        checks=[check for forest in settled.values() for check in forest.checks.values()],
        contents=[
            row
            if (row.workspace_id, row.user_id) == (event.workspace_id, event.user_id)
            else row._replace(workspace_id=event.workspace_id, user_id=event.user_id)
            for organization, records in tenants.items()
            for key, record in records.items()
            for row in record.contents
            for event in (settled[organization].events[key],)
        ],
        reports={key: report for forest in settled.values() for key, report in forest.shared().items()},
        whole={
            (organization, trace_id): whole
            for organization, records in tenants.items()
            for trace_id, whole in whole_traces(settled[organization], _with_extra_events(records)).items()
        },
        resources={
            (organization, record.sent_by.hash): record.sent_by.attributes
            for organization, records in tenants.items()
            for record in records.values()
            if record.sent_by is not None
        },
        call_scopes=_call_scopes(tenants),
        root_callers=frozenset(
            (organization, report.resource)
            for organization, forest in settled.items()
            for report in forest.reports.values()
            if report.is_root and not report.is_log
        ),
        quarantined=quarantined,
        repeated=repeated,
        from_spool=from_spool,
    )


def _replaces(new: RecordRows, old: RecordRows) -> bool:
    """Tell whether *new* replaces *old*: a finished span an unfinished one; else the first stays."""
    return old.event.latency_ms is None and new.event.latency_ms is not None


def _extra_events(tenants: dict[str, dict[EventKey, RecordRows]], settled: dict[str, Settled]) -> Iterable[Any]:
    for organization, records in tenants.items():
        for key, record in records.items():
            event = settled[organization].events[key]
            for extra in record.extra_events:
                yield extra._replace(
                    workspace_id=event.workspace_id,
                    user_id=event.user_id,
                    flow_id=event.flow_id,
                    run_id=event.run_id,
                    conversation_id=event.conversation_id,
                    agent_id=event.agent_id,
                    inherited=event.inherited & ~(PART_OF_EXECUTION | TOP_OF_TRACE),
                )


def _call_scopes(tenants: dict[str, dict[EventKey, RecordRows]]) -> dict[tuple[str, str], frozenset[str]]:
    found: dict[tuple[str, str], set[str]] = {}
    for organization, records in tenants.items():
        for record in records.values():
            if record.call is not None and record.sent_by is not None:
                found.setdefault((organization, record.sent_by.hash), set()).add(record.event.scope)
    return {sender: frozenset(scopes) for sender, scopes in found.items()}


def _with_extra_events(records: dict[EventKey, RecordRows]) -> Iterable[str]:
    """Return the traces in which span events are rows of their own: these are steps of runs once they are stored."""
    return (trace_id for (trace_id, _), record in records.items() if record.extra_events)


def _forest(records: dict[EventKey, RecordRows]) -> Forest:
    return Forest(
        events={key: record.event for key, record in records.items()},
        reports={
            key: report_of(record.call, record.event) for key, record in records.items() if record.call is not None
        },
        runs={key: record.run for key, record in records.items() if record.run is not None},
        checks={key: record.check for key, record in records.items() if record.check is not None},
    )
