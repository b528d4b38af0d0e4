"""What becomes of an export request: its records are stored, kept on disk, left out or refused, and the sender is told.

The answers are those of OTLP's services:
https://opentelemetry.io/docs/specs/otlp/#otlpgrpc-response
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timezone

from otel_obs.errors import ObsError, RateLimitedError
from otel_obs.model import Decoded
from otel_obs.pipeline import recorded
from otel_obs.pipeline.accepted import JSON, PROTOBUF, ROWS, Accepted
from otel_obs.pipeline.ingest import Mapping, Received, receive
from otel_obs.pipeline.intake import Intake
from otel_obs.pipeline.standing import Standing
from otel_obs.postgres.incidents import Incident, Incidents
from otel_obs.receiver.export import Outcome, Sent
from otel_obs.receiver.limits import RateLimits
from otel_obs.receiver.metrics import GatewayMetrics
from otel_obs.rows.batch import Written

NOT_THEIRS = frozenset({
    "workspace_not_allowed", "tenant_id_malformed", "organization_deleted", "workspace_deleted", "user_deleted",
})  # fmt: skip
"""Why spans are refused that name a tenant to which their sender may not write."""


class ExportService:
    """Stores what receivers have decoded."""

    def __init__(
        self,
        intake: Intake,
        mapping: Mapping,
        standing: Standing,
        limits: RateLimits,
        metrics: GatewayMetrics,
        incidents: Incidents,
        ask_database: Callable[[], None],
    ) -> None:
        self._intake = intake
        self._mapping = mapping
        self._standing = standing
        self._limits = limits
        self._metrics = metrics
        self._incidents = incidents
        self._ask_database = ask_database
        """Sees to it that what tenants have decided is known; raises ObsError where the database is away."""

    def export(self, decoded: Decoded, sent: Sent) -> Outcome:
        """Store what was decoded; return once it is committed, or on disk while the database is away.

        Raises:
            ObsError: nothing was stored.
        """
        signals = Counter(item.signal for item in decoded.rejected)
        self._metrics.received.labels("traces").inc(len(decoded.spans) + signals["traces"])
        self._metrics.received.labels("logs").inc(len(decoded.logs) + signals["logs"])
        count = len(decoded.spans) + len(decoded.logs)
        if sent.sender.organization_id is not None:
            self._limits.take(sent.sender.organization_id, spans=count, size=0)
            quota = self._standing.used_up(sent.sender.organization_id)
            if quota is not None:
                self._leave_out(sent.sender.organization_id, count + len(decoded.rejected))
                return Outcome(count + len(decoded.rejected), f"not stored: {quota}")
        self._know_tenants()
        received_at = datetime.now(tz=timezone.utc)
        try:
            received = receive(decoded, sent.sender, received_at, self._mapping)
            extra = sum(len(found.extra_events) for found in received.records)
            self._metrics.received.labels("span_events").inc(extra)
            told: Counter[str] = Counter()
            if sent.sender.organization_id is None and self._standing.is_limited:
                received, told = self._within_limits(received, len(sent.body))
            if received.dropped:
                self._metrics.dropped.labels("not_genai").inc(received.dropped)
            if not received.records and not received.quarantined:
                return _outcome(received, Written(), decoded.warning, told)
            count = len(received.records) + len(received.quarantined) + extra
            with self._metrics.request_seconds.time():
                written = self._intake.take(received, lambda: self._accepted(sent, received, received_at, count))
        except RateLimitedError:
            raise
        except ObsError as error:
            self._metrics.failed(error)
            raise
        self._metrics.accepted.inc(count)
        self._standing.took(received.records)
        self._note_refusals(sent, received, written)
        if written is None:
            self._metrics.spooled.inc(count)
        return _outcome(received, written or Written(), decoded.warning, told)

    def _note_refusals(self, sent: Sent, received: Received, written: Written | None) -> None:
        """Let the audit log know of who writes to what is not, or no longer, his."""
        reasons = {item.reason for item in received.quarantined}
        if written is not None and written.refused:
            reasons |= {written.refused.get(record.key, "") for record in received.records}
        for reason in reasons & NOT_THEIRS:
            who = "local" if sent.sender.key_id is None else f"key:{sent.sender.key_id}"
            organization_id = sent.sender.organization_id
            self._incidents.note(
                Incident(action="ingest.refuse", subject=reason, actor=who, organization_id=organization_id)
            )

    def _know_tenants(self) -> None:
        """Wait until it was once heard what tenants have decided, if the database answers at all."""
        if not self._standing.is_known:
            with suppress(ObsError):
                self._ask_database()

    def _leave_out(self, organization_id: str, count: int) -> None:
        """Count what is not stored, because a quota is used up."""
        self._metrics.dropped.labels("quota").inc(count)
        self._standing.dropped(organization_id, count)

    def _within_limits(self, received: Received, size: int) -> tuple[Received, Counter[str]]:
        """Return the part of *received*, a request without a key, whose organizations have not used up their quotas.

        With it, how many records of others are left out, by what is told of them.
        """
        found = Counter(record.event.organization_id for record in received.records)
        for organization_id, count in found.items():
            self._limits.take(organization_id, spans=count, size=size * count // found.total())
        told: Counter[str] = Counter()
        over = {name: quota for name in found if (quota := self._standing.used_up(name)) is not None}
        for organization_id, quota in over.items():
            self._leave_out(organization_id, found[organization_id])
            told[f"not stored: {quota}"] += found[organization_id]
        kept = [record for record in received.records if record.event.organization_id not in over]
        return replace(received, records=kept, keeps_as_sent=received.keeps_as_sent and not over), told

    def _accepted(self, sent: Sent, received: Received, received_at: datetime, count: int) -> Accepted:
        """Return what is kept on disk: the request as it came, or its rows where content is dropped or redacted."""
        as_sent = received.keeps_as_sent
        return Accepted(
            signal=sent.signal,
            encoding=(JSON if sent.is_json else PROTOBUF) if as_sent else ROWS,
            body=sent.body if as_sent else recorded.to_bytes(received),
            sender=sent.sender,
            defaults=self._mapping.defaults,
            received_at=received_at,
            records=count,
        )


def _outcome(received: Received, written: Written, warning: str, left_out: Counter[str]) -> Outcome:
    """Return what is told to the sender of *received*, which was written together with others' requests.

    *left_out* counts what is not stored, by what is told of it.
    """
    keys = {record.key for record in received.records}
    reasons = Counter(item.reason for item in received.quarantined)
    reasons.update(reason for key, reason in written.refused.items() if key in keys)
    told = ", ".join(f"{count} x {reason}" for reason, count in sorted(reasons.items()))
    message = f"rejected, kept in quarantine: {told}" if told else warning
    return Outcome(reasons.total() + left_out.total(), "; ".join(filter(None, (message, *left_out))))
