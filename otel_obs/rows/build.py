"""From one span or log record and its reading to rows: pure, one record at a time."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timedelta, timezone
from typing import Any

from otel_obs.dialects.parameters import PARAMETERS, without_content
from otel_obs.dialects.vendors import is_update
from otel_obs.frozen import dataclass
from otel_obs.model import Attributes, Cost, LogRecord, Reading, Resource, Scope, Span, SpanEvent
from otel_obs.rows import context as _context
from otel_obs.rows.meaning import ContentPolicy, call_row, check_row, content_rows, run_row
from otel_obs.rows.tables import DEFAULTED_WORKSPACE, AgentRunRow, CallRow, CheckRow, ContentRow, EventRow
from otel_obs.tenancy import Tenant

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
MAX_SPAN_BYTES = 16 * 1024 * 1024
"""A span whose rows are larger than this is refused."""
MAX_TRACE_STATE_BYTES = 1024
"""Twice as much as whoever passes a ``tracestate`` on has to pass on (https://www.w3.org/TR/trace-context)."""
SKEW_PAST = timedelta(days=800)
SKEW_FUTURE = timedelta(weeks=4)
LAST_KIND, LAST_STATUS = 5, 2
"""The last span kind and status code that OTLP knows (trace.proto); later ones are kept as a flag."""
ERROR_SEVERITY = 17
"""Log records from this severity number on (ERROR) count as errors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SentBy:
    """Who sent a record: its resource, as rows have it."""

    hash: str
    """Names the resource: ``resources.hash``."""
    attributes: dict[str, Any]
    service_name: str | None
    service_version: str | None
    environment: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordRows:
    """Everything that one span or log record becomes."""

    event: EventRow
    call: CallRow | None = None
    run: AgentRunRow | None = None
    check: CheckRow | None = None
    contents: tuple[ContentRow, ...] = ()
    extra_events: tuple[EventRow, ...] = ()
    """Span events that are rows of their own (feature flag evaluations)."""
    is_log: bool = False
    sent_by: SentBy | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        """Name the record: organization, trace, event."""
        return (self.event.organization_id, self.event.trace_id, self.event.event_id)


def timestamp_of(time_unix_nano: int) -> datetime:
    """Return *time_unix_nano* cut to microseconds, in UTC."""
    return EPOCH + timedelta(microseconds=time_unix_nano // 1000)


def is_unfinished(span: Span) -> bool:
    """Tell whether *span* was sent before its end; it will come again."""
    return not span.end_time_unix_nano or is_update(span)


def latency_of(span: Span) -> float | None:
    """Return the duration in milliseconds; None for a span that is unfinished or ends before it starts."""
    if span.end_time_unix_nano < span.start_time_unix_nano or is_unfinished(span):
        return None
    return (span.end_time_unix_nano - span.start_time_unix_nano) / 1e6


def span_rows(
    span: Span,
    reading: Reading,
    tenant: Tenant,
    received_at: datetime,
    *,
    cost: Cost | None,
    policy: ContentPolicy,
    sent_by: SentBy,
) -> RecordRows:
    """Return the rows of *span*, which means *reading*; *cost* is that of its call."""
    timestamp = timestamp_of(span.start_time_unix_nano)
    latency_ms = latency_of(span)
    event = _event(
        tenant,
        reading,
        sent_by,
        trace_id=span.trace_id,
        span_id=span.span_id,
        event_id=span.span_id,
        timestamp=timestamp,
        received_at=received_at,
        name=reading.name or span.name,
        status="error" if span.status_code == 2 or reading.failed else ("ok" if span.status_code == 1 else "unset"),
        error_type=reading.error_type or _exception_type(span),
        latency_ms=latency_ms,
        parent_span_id=span.parent_span_id,
        context=_span_context(span, reading, tenant, timestamp, latency_ms, received_at),
    )
    return _rows(event, reading, cost, policy, sent_by, span=span)


def log_rows(
    record: LogRecord,
    reading: Reading,
    tenant: Tenant,
    received_at: datetime,
    *,
    cost: Cost | None,
    policy: ContentPolicy,
    sent_by: SentBy,
) -> RecordRows:
    """Return the rows of the log record *record*, which means *reading*."""
    time = record.time_unix_nano or record.observed_time_unix_nano
    timestamp = timestamp_of(time)
    event = _event(
        tenant,
        reading,
        sent_by,
        trace_id=record.trace_id,
        span_id=record.span_id,
        event_id=_log_event_id(record),
        timestamp=timestamp,
        received_at=received_at,
        name=reading.name or record.event_name or _body_name(record, reading) or "log",
        status="error" if record.severity_number >= ERROR_SEVERITY or reading.failed else "unset",
        error_type=reading.error_type or _context.text(record.attributes.get("exception.type")),
        latency_ms=None,
        parent_span_id=record.span_id or None,
        context=_log_context(record, reading, tenant, timestamp, received_at),
    )
    return _rows(event, reading, cost, policy, sent_by, span=None)


def sent_by(resource: Resource) -> SentBy:
    """Return what the rows of one resource have in common."""
    attributes = _context.attributes_without(resource.attributes, frozenset())
    canonical = json.dumps(attributes, sort_keys=True, default=str)
    return SentBy(
        hash=hashlib.sha256(canonical.encode()).hexdigest()[:32],
        attributes=attributes,
        service_name=_context.indexed(attributes.get("service.name")),
        service_version=_context.indexed(attributes.get("service.version")),
        environment=_context.indexed(
            attributes.get("deployment.environment.name") or attributes.get("deployment.environment")
        ),
    )


def _event(
    tenant: Tenant,
    reading: Reading,
    sent_by: SentBy,
    *,
    trace_id: str,
    span_id: str,
    event_id: str,
    timestamp: datetime,
    received_at: datetime,
    name: str,
    status: str,
    error_type: str | None,
    latency_ms: float | None,
    parent_span_id: str | None,
    context: dict[str, Any],
) -> EventRow:
    return EventRow(
        organization_id=tenant.organization_id,
        workspace_id=tenant.workspace_id,
        user_id=_context.identifier(reading.user_id),
        trace_id=trace_id,
        span_id=span_id,
        event_id=event_id,
        timestamp=timestamp,
        received_at=received_at,
        event_type=reading.event_type,
        name=_context.cut(name, _context.MAX_INDEXED_BYTES),
        status=status,
        error_type=error_type,
        latency_ms=latency_ms,
        parent_span_id=parent_span_id,
        service_name=sent_by.service_name,
        service_version=sent_by.service_version,
        environment=sent_by.environment,
        agent_id=_context.identifier(reading.agent_id),
        flow_id=_context.identifier(reading.flow_id),
        run_id=_context.identifier(reading.run_id),
        conversation_id=_context.identifier(reading.conversation_id),
        cost_state=_cost_state(reading),
        counted_trace_id=None,
        counted_span_id=None,
        node_name=_context.indexed(_node_name(reading)),
        inherited=0 if tenant.workspace_known else DEFAULTED_WORKSPACE,
        resource_hash=sent_by.hash,
        context=context,
    )


def _node_name(reading: Reading) -> str | None:
    if reading.run is not None:
        return reading.agent_name or reading.run.name
    if reading.check is not None:
        return reading.check.guardrail_name
    return reading.step.name if reading.step is not None else None


def _cost_state(reading: Reading) -> str | None:
    if reading.call is not None:
        if reading.call.usage.known:
            return "counted"
        return "failed" if reading.call.failed else "no_usage"
    return "rollup" if reading.is_rollup else None


def _rows(
    event: EventRow,
    reading: Reading,
    cost: Cost | None,
    policy: ContentPolicy,
    sent_by: SentBy,
    *,
    span: Span | None,
) -> RecordRows:
    call = reading.call
    contents = content_rows(event, reading.contents, policy) if reading.contents else ()
    counted = call is not None and not (call.failed and not call.usage.known)
    return RecordRows(
        event=event,
        call=call_row(event, call, cost, reading) if call is not None and counted else None,
        run=run_row(event, {row.part: row.body or "" for row in contents}) if event.event_type == "agent" else None,
        check=check_row(event, reading),
        contents=contents,
        extra_events=_evaluations(event, span) if span is not None and span.events else (),
        is_log=span is None,
        sent_by=sent_by,
    )


def _evaluations(event: EventRow, span: Span) -> tuple[EventRow, ...]:
    """Return a row for each feature flag evaluation that the standard hook wrote as a span event."""
    return tuple(
        event._replace(
            event_id=_span_event_id(span, position, item),
            timestamp=timestamp_of(item.time_unix_nano) if item.time_unix_nano else event.timestamp,
            event_type="feature_flag",
            name=_context.cut(_context.text(item.attributes.get("feature_flag.key")) or item.name, 1024),
            status="error" if "error.type" in item.attributes else "unset",
            error_type=_context.indexed(item.attributes.get("error.type")),
            latency_ms=None,
            parent_span_id=span.span_id,
            cost_state=None,
            node_name=None,
            context=_context.bounded({"attributes": _context.attributes_without(item.attributes, frozenset())}),
        )
        for position, item in enumerate(span.events)
        if item.name in ("feature_flag.evaluation", "feature_flag")
    )


def _span_context(
    span: Span, reading: Reading, tenant: Tenant, timestamp: datetime, latency_ms: float | None, received_at: datetime
) -> dict[str, Any]:
    flags = _flags(span, reading, tenant)
    if is_unfinished(span):
        flags.append("unfinished")
    elif latency_ms is None:
        flags.append("negative_duration")
    if not -SKEW_PAST <= timestamp - received_at <= SKEW_FUTURE:
        flags.append("clock_skew")
    if not 0 <= span.kind <= LAST_KIND:
        flags.append(f"unspecified_kind({span.kind})")
    if not 0 <= span.status_code <= LAST_STATUS:
        flags.append(f"unspecified_status({span.status_code})")
    attributes = _context.attributes_without(span.attributes, reading.content_keys)
    if not PARAMETERS.isdisjoint(reading.content_keys):
        _keep_parameters(attributes, span.attributes)
    if span.status_message:
        attributes.setdefault("otel.status_description", _context.cut(span.status_message, 4096))
    if span.dropped_attributes_count or span.dropped_events_count or span.dropped_links_count:
        attributes = {**_dropped(span), **attributes}
    return _contexts(
        attributes=attributes,
        scope=_scope(span.scope),
        events=[_event_context(item, reading) for item in span.events] if span.events else None,
        links=[{"trace_id": link.trace_id, "span_id": link.span_id} for link in span.links] if span.links else None,
        trace_state=_context.cut(span.trace_state, MAX_TRACE_STATE_BYTES),
        flags=flags,
    )


def _keep_parameters(attributes: dict[str, Any], sent: Attributes) -> None:
    """Put into *attributes* what a request was set to, of those attributes *sent* that say what was said as well."""
    for name in sent:
        if name in PARAMETERS and (kept := without_content(sent[name])) is not None:
            attributes[name] = _context.jsonable(kept)


def _dropped(span: Span) -> dict[str, Any]:
    """Return how much was left out (https://opentelemetry.io/docs/specs/otel/common/mapping-to-non-otlp).

    First, for of attributes that are too many the last are cut.
    """
    counts = {
        "otel.dropped_attributes_count": span.dropped_attributes_count,
        "otel.dropped_events_count": span.dropped_events_count,
        "otel.dropped_links_count": span.dropped_links_count,
    }
    return {name: count for name, count in counts.items() if count}


def _flags(record: Span | LogRecord, reading: Reading, tenant: Tenant) -> list[str]:
    """Return what is odd about what was sent, whenever it came."""
    found = list(record.flags)
    if reading.flags:
        found += [flag for flag in reading.flags if flag not in record.flags]
    if tenant.organization_ignored:
        found.append("organization_ignored")
    return found


def _log_context(
    record: LogRecord, reading: Reading, tenant: Tenant, timestamp: datetime, received_at: datetime
) -> dict[str, Any]:
    flags = _flags(record, reading, tenant)
    if not -SKEW_PAST <= timestamp - received_at <= SKEW_FUTURE:
        flags.append("clock_skew")
    attributes = _context.attributes_without(record.attributes, reading.content_keys)
    if record.body is not None and not reading.body_is_content:
        attributes.setdefault("log.body", _context.jsonable(record.body))
    if record.severity_text:
        attributes.setdefault("log.severity", record.severity_text)
    return _contexts(attributes=attributes, scope=_scope(record.scope), flags=flags)


def _contexts(**parts: Any) -> dict[str, Any]:
    return _context.bounded({key: value for key, value in parts.items() if value})


def _event_context(item: SpanEvent, reading: Reading) -> dict[str, Any]:
    return {
        "name": (_module_of_line(item) if reading.dialect else None) or item.name,
        "time": timestamp_of(item.time_unix_nano).isoformat(),
        "attributes": _context.attributes_without(item.attributes, reading.content_event_keys),
    }


def _module_of_line(item: SpanEvent) -> str | None:
    """Return the module of a line of a log, None for other events.

    Rust's ``tracing`` makes events of lines, named by their text, and libraries log what a tool was given and gave.
    """
    return _context.text(item.attributes.get("target")) if "level" in item.attributes else None


def _scope(scope: Scope) -> dict[str, Any]:
    found = {"name": scope.name} if scope.name else {}
    if scope.version:
        found["version"] = scope.version
    return found


def _exception_type(span: Span) -> str | None:
    for item in span.events:
        if item.name == "exception":
            return _context.indexed(item.attributes.get("exception.type"))
    return None


def _body_name(record: LogRecord, reading: Reading) -> str | None:
    """Return a short body as the name of a log record that has no event name; content never is one."""
    if reading.body_is_content or not isinstance(record.body, str) or len(record.body) > 120:
        return None
    return record.body.partition("\n")[0]


def _log_event_id(record: LogRecord) -> str:
    identity = [
        record.trace_id,
        record.span_id,
        record.time_unix_nano or record.observed_time_unix_nano,
        record.event_name,
        record.severity_number,
        record.body,
        dict(record.attributes),
    ]
    return _digest("log", identity)


def _span_event_id(span: Span, position: int, item: SpanEvent) -> str:
    identity = [
        span.trace_id, span.span_id, position, item.time_unix_nano, item.name,
        dict(item.attributes),
    ]  # fmt: skip
    return _digest("span_event", identity)


def _digest(kind: str, identity: list[Any]) -> str:
    return hashlib.sha256(json.dumps([kind, identity], sort_keys=True, default=str).encode()).hexdigest()[:32]
