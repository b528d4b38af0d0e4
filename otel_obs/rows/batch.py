"""What a store is given to write, what it gives to settle, and what settling gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from otel_obs.rows.report import EventKey, Report
from otel_obs.rows.tables import AgentRunRow, CallRow, CheckRow, ContentRow, EventRow

RecordKey = tuple[str, str, str]
"""(organization_id, trace_id, event_id)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """Something that was refused, kept with the reason."""

    organization_id: str
    workspace_id: str
    received_at: datetime
    signal: str
    reason: str
    detail: str = ""
    payload: bytes = b""
    format: str = ""
    """How the payload is to be read: ``sent`` (one OTLP message), ``read`` (JSON of what was decoded), ``rows``,
    ``request/...`` (a whole request); empty where there is none."""
    payload_encrypted: bytes | None = None
    """The payload sealed, where it may not rest readable; *payload* is empty then."""
    sha256: str | None = None
    """Hash of the payload; None: not made yet."""


class Whole(NamedTuple):
    """A trace is final as it is written ..."""

    events: int
    """... if it has so many events ..."""
    resource_hash: str | None = None
    """... and, unless this is None, as long as this sender reports calls by one instrumentation, or none as a root."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Rows that are written in one transaction; each event at most once."""

    events: Sequence[EventRow] = ()
    calls: Sequence[CallRow] = ()
    """The counted rows."""
    runs: Sequence[AgentRunRow] = ()
    checks: Sequence[CheckRow] = ()
    contents: Sequence[ContentRow] = ()
    reports: Mapping[EventKey, Report] = field(default_factory=dict)
    """Every report of the calls that the batch itself reports more than once."""
    whole: Mapping[tuple[str, str], Whole] = field(default_factory=dict)
    """(organization, trace) -> when its rows are final, of traces for which that is known."""
    resources: Mapping[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    """(organization, hash) -> attributes"""
    call_scopes: Mapping[tuple[str, str], frozenset[str]] = field(default_factory=dict)
    """(organization, hash of a resource) -> the instrumentation scopes by which it reports calls."""
    root_callers: frozenset[tuple[str, str]] = frozenset()
    """Those of these senders that report a call as the root of its trace."""
    quarantined: Sequence[Quarantined] = ()
    repeated: int = 0
    """Events that came more than once, of which one is written."""
    from_spool: bool = False
    """True if it was acknowledged before: what belongs to tenants deleted since is dropped without a note."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What became of a batch."""

    stored: int = 0
    duplicates: int = 0
    """Events that were stored before."""
    replaced: int = 0
    """Unfinished spans that are finished now."""
    conflicts: int = 0
    """Duplicates that say something else than what is stored, which stays."""
    refused: Mapping[RecordKey, str] = field(default_factory=dict)
    """Records that are in quarantine now, each with its reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceRows:
    """What a store holds of traces of one organization that are to be settled."""

    organization_id: str
    trace_ids: frozenset[str]
    events: Sequence[EventRow]
    """Of their contexts at least ``scope`` and ``flags``."""
    calls: Sequence[CallRow]
    """Counted rows of these traces and, where a call is shared, of others."""
    reports: Mapping[EventKey, Report]
    """Kept reports of these traces, and those of others that share a call with them."""
    foreign: Sequence[Report]
    """Reports that are not kept: those that counted rows of other traces are."""
    runs: Sequence[AgentRunRow]
    checks: Sequence[CheckRow]
    run_contents: Sequence[ContentRow] = ()
    """What was said on agents' events that have no run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateChange:
    """A new cost state of an event of another trace."""

    trace_id: str
    event_id: str
    timestamp: datetime
    cost_state: str
    counted_trace_id: str | None
    counted_span_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What settling changes; empty where everything was final already."""

    events: Sequence[EventRow] = ()
    contexts: Sequence[EventRow] = ()
    """Those of the events whose flags changed."""
    new_runs: Sequence[AgentRunRow] = ()
    """Dropped before, and now found to be runs after all."""
    runs: Sequence[AgentRunRow] = ()
    dropped_runs: Sequence[AgentRunRow] = ()
    checks: Sequence[CheckRow] = ()
    new_calls: Sequence[CallRow] = ()
    changed_calls: Sequence[CallRow] = ()
    dropped_calls: Sequence[CallRow] = ()
    reports: Mapping[EventKey, Report] = field(default_factory=dict)
    """To be kept."""
    counted: frozenset[EventKey] = frozenset()
    """Which of them are counted."""
    states: Sequence[StateChange] = ()
    touched_traces: frozenset[str] = frozenset()
    """Other traces whose calls changed: they are to be settled again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settling:
    """How a store settles: it finds the rows, this decides what they become."""

    settle: Callable[[TraceRows], Changes]
    may_be_one_call: Callable[[Report, Report], bool]
    """Tell whether two reports of different traces may speak of one call although no id says so."""
    quiet: timedelta
    """A trace is settled when no span of it came for this long ..."""
    patience: timedelta
    """... and at the latest this long after its first unsettled span."""
    lookback: timedelta
    """How long before a call its report in another trace may have begun ..."""
    slack: timedelta
    """... and how long after it."""
    nearly: int
    """By how many output tokens two reports of one call may differ."""
