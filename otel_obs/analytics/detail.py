"""What is known of one event: its attributes, what guardrails found, and what was said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

from otel_obs.analytics.sampling import kept_share
from otel_obs.errors import NotFoundError
from otel_obs.postgres.contents import place_of_value
from otel_obs.postgres.queries import load
from otel_obs.postgres.vault import Vault
from otel_obs.sealing import SealedError

_TRACES = load("traces")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Something that was said."""

    part: str
    body: str | None
    bytes: int
    truncated: bool
    is_sealed: bool
    """It is encrypted, and was not opened: ``body`` is None."""
    sealed_reason: str | None = None
    """Why not: ``locked`` (the key is not here) or ``undecryptable`` (it is not what was sealed there)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What a guardrail found."""

    guardrail_name: str | None
    similarity_score: float | None
    flagged_reference: str | None
    action_taken: str | None
    is_sealed: bool = False
    """The reference is encrypted, and was not opened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventDetail:
    """All that is known of one event of a trace."""

    context: Mapping[str, Any]
    resource: Mapping[str, Any] | None
    checks: Sequence[Check]
    contents: Sequence[Part]

    @property
    def kept_share(self) -> float | None:
        """Return which share of spans like it a sampler kept, by its ``tracestate``; None where that says nothing."""
        trace_state = self.context.get("trace_state")
        return kept_share(trace_state) if isinstance(trace_state, str) else None


def event_detail(
    connection: psycopg.Connection, organization_id: str, trace_id: str, event_id: str, vault: Vault | None = None
) -> EventDetail:
    """Return all that is known of one event, what was said included; *vault* opens what is encrypted of it.

    Raises:
        NotFoundError: there is no such event, or none that the reader may see.
    """
    asked = {"organization_id": organization_id, "trace_id": trace_id, "event_id": event_id}
    row = connection.execute(_TRACES["event_of_trace"], asked).fetchone()
    if row is None:
        raise NotFoundError
    return EventDetail(
        context=row[0],
        resource=row[1],
        checks=[
            _check(connection, asked, found, vault)
            for found in connection.execute(_TRACES["checks_of_event"], asked).fetchall()
        ],
        contents=[
            _part(connection, asked, found, vault)
            for found in connection.execute(_TRACES["contents_of_event"], asked).fetchall()
        ],
    )


def _part(
    connection: psycopg.Connection, asked: Mapping[str, str], found: tuple[Any, ...], vault: Vault | None
) -> Part:
    part, body, size, truncated, timestamp, encrypted = found
    reason = None
    if encrypted is not None:
        body, reason = _opened(connection, asked, ("span_contents", "body", part), timestamp, encrypted, vault)
    return Part(
        part=part, body=body, bytes=size, truncated=truncated, is_sealed=reason is not None, sealed_reason=reason
    )


def _check(
    connection: psycopg.Connection, asked: Mapping[str, str], found: tuple[Any, ...], vault: Vault | None
) -> Check:
    name, score, reference, action, timestamp, encrypted = found
    reason = None
    if encrypted is not None:
        where = ("prompt_similarity_logs", "flagged_reference")
        reference, reason = _opened(connection, asked, where, timestamp, encrypted, vault)
    return Check(
        guardrail_name=name,
        similarity_score=score,
        flagged_reference=reference,
        action_taken=action,
        is_sealed=reason is not None,
    )


def _opened(
    connection: psycopg.Connection,
    asked: Mapping[str, str],
    where: Sequence[str],
    timestamp: datetime,
    encrypted: bytes,
    vault: Vault | None,
) -> tuple[str | None, str | None]:
    """Return what was *encrypted* in a column, *where*, or else the reason why it cannot be opened."""
    if vault is None:
        return None, "locked"
    table, column, *part = where
    organization_id = asked["organization_id"]
    place = place_of_value(organization_id, table, column, timestamp, asked["trace_id"], asked["event_id"], *part)
    try:
        return vault.opened(connection, organization_id, bytes(encrypted), place).decode(errors="replace"), None
    except SealedError as error:
        return None, error.reason
