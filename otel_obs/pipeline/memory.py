"""A store in memory, for tests and for looking at what spans become; the same claims hold for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from hashlib import sha256
from threading import Lock

from otel_obs.rows import AgentRunRow, CallRow, CheckRow, ContentRow, EventRow
from otel_obs.rows.batch import Batch, Changes, Quarantined, RecordKey, Settling, TraceRows, Written
from otel_obs.rows.report import EventKey, Report, report_of


def _utc_now() -> datetime:
    return datetime.now(tz=timezone.utc)


@dataclass(slots=True)
class _Unsettled:
    first: datetime
    last: datetime


@dataclass(slots=True)
class MemoryStore:
    """Rows in dictionaries."""

    clock: Callable[[], datetime] = _utc_now
    events: dict[RecordKey, EventRow] = field(default_factory=dict)
    calls: dict[RecordKey, CallRow] = field(default_factory=dict)
    runs: dict[RecordKey, AgentRunRow] = field(default_factory=dict)
    checks: dict[RecordKey, CheckRow] = field(default_factory=dict)
    contents: dict[tuple[str, str, str, str], ContentRow] = field(default_factory=dict)
    reports: dict[RecordKey, Report] = field(default_factory=dict)
    registry: dict[tuple[str, str], EventKey] = field(default_factory=dict)
    unsettled: dict[tuple[str, str], _Unsettled] = field(default_factory=dict)
    quarantine: list[Quarantined] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def write(self, batch: Batch) -> Written:
        """Store *batch*; an event that is stored already changes nothing."""
        with self._lock:
            return self._write(batch)

    def _write(self, batch: Batch) -> Written:
        replaced = conflicts = 0
        fresh: set[RecordKey] = set()
        for event in batch.events:
            old = self.events.get(key := _key(event))
            if old is not None and (old.latency_ms is not None or event.latency_ms is None):
                if (event.latency_ms is not None or old.latency_ms is None) and _said(event) != _said(old):
                    conflicts += 1
                    self._note_conflict(old, event)
                continue
            if old is not None:
                replaced += 1
                self._forget(key)
            fresh.add(key)
            self.events[key] = event
            self._mark(event.organization_id, event.trace_id)
        self.runs.update({key: run for run in batch.runs if (key := _key(run)) in fresh})
        self.checks.update({key: check for check in batch.checks if (key := _key(check)) in fresh})
        self.contents.update({(*key, row.part): row for row in batch.contents if (key := _key(row)) in fresh})
        self._claim([call for call in batch.calls if _key(call) in fresh])
        self.reports.update({key: report for report in batch.reports.values() if (key := _key(report.row)) in fresh})
        self.quarantine.extend(batch.quarantined)
        duplicates = len(batch.events) - len(fresh) + batch.repeated
        return Written(stored=len(fresh) - replaced, duplicates=duplicates, replaced=replaced, conflicts=conflicts)

    def _claim(self, calls: Iterable[CallRow]) -> None:
        """Count each call unless another report of it is counted already: then it waits to be settled."""
        taken = set(self.registry)
        for call in calls:
            if call.response_id is not None:
                name = (call.organization_id, call.response_id)
                if name in taken:
                    self._set_aside(call)
                    continue
                self.registry.setdefault(name, (call.trace_id, call.event_id))
            self.calls[_key(call)] = call

    def _set_aside(self, call: CallRow) -> None:
        key = _key(call)
        event = self.events[key]
        counted = self.registry[(call.organization_id, str(call.response_id))]
        self.reports[key] = report_of(call, event)
        self.events[key] = event._replace(
            cost_state="duplicate",
            counted_trace_id=counted[0],
            counted_span_id=self.events[(call.organization_id, counted[0], counted[1])].span_id,
        )

    def _note_conflict(self, old: EventRow, event: EventRow) -> None:
        stored, came = (sha256(repr(_said(row)).encode()).hexdigest() for row in (old, event))
        noted = Quarantined(
            organization_id=event.organization_id,
            workspace_id=event.workspace_id,
            received_at=event.received_at,
            signal="traces" if event.event_id == event.span_id else "logs",
            reason="conflict",
            detail=f"trace {event.trace_id}, event {event.event_id}: stored {stored}, came again as {came}",
            sha256=came,
        )
        if all(
            (item.organization_id, item.detail) != (noted.organization_id, noted.detail) for item in self.quarantine
        ):
            self.quarantine.append(noted)

    def _forget(self, key: RecordKey) -> None:
        for table in (self.calls, self.runs, self.checks, self.reports):
            table.pop(key, None)
        for part in [part for part in self.contents if part[:3] == key]:
            del self.contents[part]

    def _mark(self, organization_id: str, trace_id: str) -> None:
        now = self.clock()
        self.unsettled.setdefault((organization_id, trace_id), _Unsettled(now, now)).last = now

    def settle(self, settling: Settling, *, limit: int, all_now: bool = False) -> int:
        """Bring up to *limit* quiet traces into their final form; return how many."""
        with self._lock:
            now = self.clock()
            due = [
                key
                for key, since in self.unsettled.items()
                if all_now or since.last <= now - settling.quiet or since.first <= now - settling.patience
            ][:limit]
            for organization_id in sorted({key[0] for key in due}):
                traces = frozenset(trace for organization, trace in due if organization == organization_id)
                for trace_id in traces:
                    del self.unsettled[(organization_id, trace_id)]
                self._apply(organization_id, settling.settle(self._rows(organization_id, traces, settling)))
            return len(due)

    def _rows(self, organization_id: str, traces: frozenset[str], settling: Settling) -> TraceRows:
        def own(key: RecordKey) -> bool:
            return key[0] == organization_id and key[1] in traces

        names = {call.response_id for key, call in self.calls.items() if own(key)}
        names |= {report.call_id for key, report in self.reports.items() if own(key)}
        strangers = self._strangers(organization_id, own, settling)
        names |= {report.call_id for report in strangers.values()}
        names.discard(None)
        reports = {
            key: report
            for key, report in self.reports.items()
            if own(key) or (key[0] == organization_id and report.call_id in names)
        }
        shared = {report.call_id for report in reports.values()}
        keys = set(reports) | {
            (organization_id, *self.registry[(organization_id, name)])
            for name in shared
            if name is not None and (organization_id, name) in self.registry
        }
        keys |= strangers.keys()
        foreign = [self.calls[key] for key in keys if key in self.calls and not own(key)]
        return TraceRows(
            organization_id=organization_id,
            trace_ids=traces,
            events=[row for key, row in self.events.items() if own(key)],
            calls=[row for key, row in self.calls.items() if own(key)] + foreign,
            reports={key[1:]: report for key, report in reports.items()},
            foreign=[report_of(call, self.events[_key(call)]) for call in foreign],
            runs=[row for key, row in self.runs.items() if own(key)],
            checks=[row for key, row in self.checks.items() if own(key)],
            run_contents=[row for key, row in self.contents.items() if own(key[:3]) and key[:3] not in self.runs],
        )

    def _strangers(
        self, organization_id: str, own: Callable[[RecordKey], bool], settling: Settling
    ) -> dict[RecordKey, Report]:
        """Return what reports the calls of other traces that may be those of these although no id says so."""
        counted = {
            key: self.reports.get(key) or report_of(call, self.events[key])
            for key, call in self.calls.items()
            if key[0] == organization_id
        }
        mine = [report for key, report in {**self.reports, **counted}.items() if own(key)]
        return {
            key: report
            for key, report in counted.items()
            if not own(key) and any(settling.may_be_one_call(one, report) for one in mine)
        }

    def _apply(self, organization_id: str, changes: Changes) -> None:
        self.events.update({_key(row): row for row in changes.events})
        self.runs.update({_key(row): row for row in (*changes.new_runs, *changes.runs)})
        self.checks.update({_key(row): row for row in changes.checks})
        for event in changes.events:
            for part in [part for part in self.contents if part[:3] == _key(event)]:
                row = self.contents[part]
                self.contents[part] = row._replace(workspace_id=event.workspace_id, user_id=event.user_id)
        for run in changes.dropped_runs:
            del self.runs[_key(run)]
        for call in changes.dropped_calls:
            self.calls.pop(_key(call), None)
        self.calls.update({_key(row): row for row in (*changes.new_calls, *changes.changed_calls)})
        self.reports.update({(organization_id, *key): report for key, report in changes.reports.items()})
        for state in changes.states:
            key = (organization_id, state.trace_id, state.event_id)
            self.events[key] = self.events[key]._replace(
                cost_state=state.cost_state,
                counted_trace_id=state.counted_trace_id,
                counted_span_id=state.counted_span_id,
            )
        for trace_id in changes.touched_traces:
            self._mark(organization_id, trace_id)


def _said(event: EventRow) -> tuple[object, ...]:
    return (event.name, event.status, event.latency_ms, event.context.get("attributes"))


def _key(row: EventRow | CallRow | AgentRunRow | CheckRow | ContentRow) -> RecordKey:
    return (row.organization_id, row.trace_id, row.event_id)
