"""From what a request carried to its rows, which are not settled yet."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, field, replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Literal

from otel_obs.frozen import dataclass
from otel_obs.model import Call, Content, Cost, Decoded, LogRecord, Reading, Rejected, Resource, Span, Usage
from otel_obs.otlp.values import MAX_PAYLOAD_BYTES
from otel_obs.rows import CallRow
from otel_obs.rows.batch import Quarantined
from otel_obs.rows.build import (
    MAX_SPAN_BYTES,
    RecordRows,
    SentBy,
    log_rows,
    sent_by,
    span_rows,
    timestamp_of,
)
from otel_obs.rows.meaning import ContentPolicy
from otel_obs.rows.policy import Rules, restricted
from otel_obs.rows.redaction import redacted
from otel_obs.rows.tables import DEFAULTED_WORKSPACE, EventRow
from otel_obs.rows.usage import size_of
from otel_obs.tenancy import Sender, Tenant, TenantDefaults, TenantRefusedError, tenant_of

_log = logging.getLogger(__name__)

Price = Callable[[Call, datetime, str], Cost]
"""Return what a call costs that an organization made at a time."""


_NO_RULES = Rules()


def _no_rules() -> Rules:
    return _NO_RULES


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapping:
    """How spans become rows: the dialects, the prices, and what the operator decided."""

    read: Callable[[Span], Reading]
    read_log: Callable[[LogRecord], Reading]
    price: Price
    defaults: TenantDefaults = field(default_factory=TenantDefaults)
    policy: ContentPolicy = field(default_factory=ContentPolicy)
    rules: Callable[[], Rules] = _no_rules
    """Returns whose content is kept, as of now."""
    estimate: Callable[[Call, Iterable[Content]], tuple[int | None, int | None] | None] | None = None
    """Counts the tokens of calls that come without usage; None: nobody does."""
    genai_only: bool = False
    """Drop spans that have nothing to do with GenAI, and count them."""
    is_mere: Callable[[Span], bool] = lambda _: False
    """Tells of some of those spans that they are, before they are read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """What one request carried, as rows that are not settled yet."""

    records: Sequence[RecordRows] = ()
    quarantined: Sequence[Quarantined] = ()
    dropped: int = 0
    """Spans that are not about GenAI, where the operator wants only those."""
    keeps_as_sent: bool = field(default=True, compare=False)
    """Whether the request may rest the way it came."""

    @property
    def size_bytes(self) -> int:
        """Return about how much memory the rows take."""
        return size_of(self.records)


class _Making:
    """Makes rows of what one request carried."""

    def __init__(self, sender: Sender, received_at: datetime, mapping: Mapping, rules: Rules) -> None:
        self._sender = sender
        self._received_at = received_at
        self._mapping = mapping
        self._rules = rules
        self._senders = _Senders(mapping.policy)

    def rows(self, record: Span | LogRecord) -> RecordRows | str | None:
        """Return the rows of *record*; why it is refused; None for what is not about GenAI where only that is wanted.

        A mistake of ours costs that record only, which is kept until a later release can read it.
        """
        try:
            return self._of_span(record) if isinstance(record, Span) else self._of_log(record)
        except TenantRefusedError as error:
            return error.reason
        except Exception as mistake:  # noqa: BLE001  # whatever it is, the neighbours of the record are stored
            _log.error("a record cannot be read: %s in %s", type(mistake).__name__, _place_of(mistake))
            return "not_understood"

    def _of_span(self, span: Span) -> RecordRows | str | None:
        mapping = self._mapping
        if mapping.genai_only and mapping.is_mere(span):
            return None
        reading = mapping.read(span)
        if mapping.genai_only and not reading.dialect:
            return None
        tenant = tenant_of(span.attributes, span.resource.attributes, self._sender, mapping.defaults)
        cost = _cost(span.start_time_unix_nano, reading, tenant, mapping)
        who = self._senders.of(span.resource)
        stored = _redacted(reading, mapping.policy)
        rows = span_rows(span, stored, tenant, self._received_at, cost=cost, policy=mapping.policy, sent_by=who)
        if not self._rules.keeps_all:
            rows = _restricted(rows, tenant, self._rules)
        if rows.contents and _bytes_of(rows, mapping.policy) > MAX_SPAN_BYTES:
            return "span_too_large"
        return _with_estimate(_cleaned(rows, mapping.policy), reading, mapping)

    def _of_log(self, record: LogRecord) -> RecordRows:
        mapping = self._mapping
        reading = mapping.read_log(record)
        tenant = tenant_of(record.attributes, record.resource.attributes, self._sender, mapping.defaults)
        cost = _cost(record.time_unix_nano or record.observed_time_unix_nano, reading, tenant, mapping)
        who = self._senders.of(record.resource)
        stored = _redacted(reading, mapping.policy)
        rows = log_rows(record, stored, tenant, self._received_at, cost=cost, policy=mapping.policy, sent_by=who)
        if not self._rules.keeps_all:
            rows = _restricted(rows, tenant, self._rules)
        return _with_estimate(_cleaned(rows, mapping.policy), reading, mapping)


def _place_of(error: BaseException) -> str:
    """Return the line that raised, and nothing of what it was about."""
    at = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(at.filename).name}:{at.lineno}"


def receive(decoded: Decoded, sender: Sender, received_at: datetime, mapping: Mapping) -> Received:
    """Return the rows of what one request carried; what cannot be stored is set apart with its reason."""
    rules = mapping.rules()
    # What is refused may be of any workspace, and a request is kept whole or not at all.
    as_sent = mapping.policy.keeps_as_sent and (rules.keeps_all or rules.anywhere_in(sender.organization_id).keeps_all)
    refuse = _Refusing(sender=sender, received_at=received_at, defaults=mapping.defaults, keeps=as_sent)
    refused = [refuse(rejected, "sent") for rejected in decoded.rejected]
    make = _Making(sender, received_at, mapping, rules)
    records: list[RecordRows] = []
    dropped = 0
    for span in decoded.spans:
        found = make.rows(span)
        if found is None:
            dropped += 1
        elif isinstance(found, str):
            refused.append(refuse(_as_read(found, "traces", span), "read"))
        else:
            records.append(found)
    for record in decoded.logs:
        found = make.rows(record)
        if isinstance(found, str):
            refused.append(refuse(_as_read(found, "logs", record), "read"))
        elif found is not None:
            records.append(found)
    return Received(records=records, quarantined=refused, dropped=dropped, keeps_as_sent=as_sent)


def under_rules(received: Received, mapping: Mapping) -> Received:
    """Return *received*, whose rows were made earlier, with what of their content is kept as of now."""
    rules = mapping.rules()
    if rules.keeps_all:
        return received
    return replace(
        received,
        records=[
            _restricted(
                record,
                Tenant(
                    organization_id=record.event.organization_id,
                    workspace_id=record.event.workspace_id,
                    workspace_known=not record.event.inherited & DEFAULTED_WORKSPACE,
                ),
                rules,
            )
            for record in received.records
        ],
    )


def _restricted(rows: RecordRows, tenant: Tenant, rules: Rules) -> RecordRows:
    """Return *rows* with what is kept of their content; what names no workspace may come to belong to any."""
    if tenant.workspace_known:
        return restricted(rows, rules.of(tenant.organization_id, tenant.workspace_id))
    return restricted(rows, rules.anywhere_in(tenant.organization_id))


def _bytes_of(rows: RecordRows, policy: ContentPolicy) -> int:
    return sum([min(row.bytes, policy.max_bytes) for row in rows.contents])


def _redacted(reading: Reading, policy: ContentPolicy) -> Reading:
    """Return *reading* with its content as it may be stored."""
    if policy.redact is None and policy.hook is None:
        return reading
    return redacted(reading, policy.redact, policy.hook)


def _cleaned(rows: RecordRows, policy: ContentPolicy) -> RecordRows:
    """Return *rows* with what the attributes beside the content say as it may be stored."""
    redact = policy.redact
    if redact is None:
        return rows

    def cleaned(event: EventRow) -> EventRow:
        return event._replace(
            name=redact(event.name), node_name=redact.of_id(event.node_name), context=redact.of_values(event.context)
        )

    return replace(rows, event=cleaned(rows.event), extra_events=tuple(map(cleaned, rows.extra_events)))


def _with_estimate(rows: RecordRows, reading: Reading, mapping: Mapping) -> RecordRows:
    """Return *rows* with the probable tokens of a call that names none; settling decides whether they count."""
    if mapping.estimate is None or reading.call is None or rows.call is None:
        return rows
    found = mapping.estimate(reading.call, reading.contents)
    if found is None:
        return rows
    names = ("input_tokens", "output_tokens")
    known = {name: tokens for name, tokens in zip(names, found, strict=True) if tokens is not None}
    return replace(rows, event=rows.event._replace(context={**rows.event.context, "estimate": known}))


class _Senders:
    """What rows say of each resource of a request, made once; the decoder shares resources between spans."""

    def __init__(self, policy: ContentPolicy) -> None:
        self._redact = policy.redact
        self._known: dict[int, tuple[Resource, SentBy]] = {}

    def of(self, resource: Resource) -> SentBy:
        """Return what the rows of *resource* have in common."""
        found = self._known.get(id(resource))
        if found is None:
            who = sent_by(resource)
            if self._redact is not None:
                who = replace(who, attributes=self._redact.of_values(who.attributes))
            found = self._known[id(resource)] = (resource, who)
        return found[1]


def _cost(time_unix_nano: int, reading: Reading, tenant: Tenant, mapping: Mapping) -> Cost | None:
    if reading.call is None:
        return None
    return mapping.price(reading.call, timestamp_of(time_unix_nano), tenant.organization_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Refusing:
    """Notes what of one request is refused."""

    sender: Sender
    received_at: datetime
    defaults: TenantDefaults
    keeps: bool
    """Whether what was sent may be kept."""

    def __call__(self, rejected: Rejected, spelled: str) -> Quarantined:
        sender = self.sender
        return Quarantined(
            organization_id=sender.organization_id or self.defaults.organization_id,
            workspace_id=sender.bound_workspace_id or sender.workspace_id or self.defaults.workspace_id,
            received_at=self.received_at,
            signal=rejected.signal,
            reason=rejected.reason,
            payload=rejected.payload if self.keeps else b"",
            format=spelled if self.keeps and rejected.payload else "",
        )


def _as_read(reason: str, signal: Literal["traces", "logs"], record: Span | LogRecord) -> Rejected:
    return Rejected(reason, signal, json.dumps(asdict(record), default=str).encode()[:MAX_PAYLOAD_BYTES])


def reprice(row: CallRow, price: Price) -> CallRow:
    """Return *row* with the cost of its usage at the time of the call."""
    cost = price(call_of(row), row.timestamp, row.organization_id)
    return row._replace(
        rate_per_1k=cost.rate_per_1k,
        cost_usd=cost.cents,
        cost_source=cost.source,
        cost_reason=cost.reason,
        price_id=cost.price_id,
    )


def call_of(row: CallRow) -> Call:
    """Return the call that *row* stores, as far as its price depends on it."""
    return Call(
        operation=row.operation,
        provider=row.provider,
        request_model=row.request_model,
        response_model=row.model_name,
        usage=Usage(
            input_tokens=row.input_tokens,
            cache_read_tokens=row.cache_read_tokens,
            cache_write_tokens=row.cache_write_tokens,
            cache_write_1h_tokens=row.cache_write_1h_tokens,
            output_tokens=row.output_tokens,
            reasoning_tokens=row.reasoning_tokens,
            billed_units=row.billed_units or {},
        ),
        usage_source=row.usage_source,  # type: ignore[arg-type]  # CHECKed by the database
        failed=row.status == "error",
        service_tier=row.service_tier,
        is_batch=row.is_batch,
        reported_cost_usd=None if row.reported_cost_cents is None else row.reported_cost_cents / Decimal(100),
    )
