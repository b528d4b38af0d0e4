"""The rows of each table. Field order is column order."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple

Json = dict[str, Any]

INHERITED = {
    "workspace_id": 1,
    "user_id": 2,
    "agent_id": 4,
    "flow_id": 8,
    "run_id": 16,
    "conversation_id": 32,
}
"""Bits of ``event_logs.inherited``: this column's value came from another span of the trace."""
DEFAULTED_WORKSPACE = 64
"""Bit of ``event_logs.inherited``: nobody names a workspace, the column holds the default."""
PART_OF_EXECUTION = 128
"""Bit of ``event_logs.inherited``: the agent's run is no execution of its own, for a workflow or another agent stands
above it, or another event tells the same run."""
TOP_OF_TRACE = 256
"""Bit of ``event_logs.inherited``: the event stands for its trace: the root, or while there is none the first event
whose parent is missing."""


IDENTITY: Final = 8
"""All rows begin with the same so many columns, from organization_id to received_at."""


Attribution = tuple[str | None, ...]
"""Whose an event is: a value for each column of ``INHERITED``, in that order."""


class EventRow(NamedTuple):
    """One row of ``event_logs``."""

    organization_id: str
    workspace_id: str
    user_id: str | None
    trace_id: str
    span_id: str
    event_id: str
    timestamp: datetime
    received_at: datetime
    event_type: str
    name: str
    status: str
    error_type: str | None
    latency_ms: float | None
    parent_span_id: str | None
    service_name: str | None
    service_version: str | None
    environment: str | None
    agent_id: str | None
    flow_id: str | None
    run_id: str | None
    conversation_id: str | None
    cost_state: str | None
    counted_trace_id: str | None
    counted_span_id: str | None
    node_name: str | None
    """What the agent, workflow or tool is called that the event shows, without the words of its instrumentation."""
    inherited: int
    """Bit mask of the columns that came from another span (``INHERITED``) or from a default."""
    resource_hash: str | None
    context: Json

    def attributed(self, said: Attribution, inherited: int) -> EventRow:
        """Return the row with what settling hands down; ``_replace`` would take three times as long."""
        workspace_id, user_id, *others = said
        return EventRow._make(
            (self[0], workspace_id, user_id, *self[3:17], *others, *self[21:25], inherited, *self[26:])
        )

    @property
    def workspace_is_known(self) -> bool:
        """Tell whether anybody named the workspace."""
        return not self.inherited & DEFAULTED_WORKSPACE

    @property
    def estimate(self) -> tuple[int | None, int | None] | None:
        """Return the input and output tokens that were counted here, where the emitter says none."""
        found = self.context.get("estimate")
        return None if found is None else (found.get("input_tokens"), found.get("output_tokens"))

    @property
    def scope(self) -> str:
        """Return the name of the instrumentation scope."""
        name = self.context.get("scope", {}).get("name", "")
        return name if isinstance(name, str) else ""


class CallRow(NamedTuple):
    """One row of ``model_cost_logs``."""

    organization_id: str
    workspace_id: str
    user_id: str | None
    trace_id: str
    span_id: str
    event_id: str
    timestamp: datetime
    received_at: datetime
    agent_id: str | None
    flow_id: str | None
    run_id: str | None
    conversation_id: str | None
    provider: str | None
    model_name: str | None
    request_model: str | None
    operation: str
    response_id: str | None
    input_tokens: int | None
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    cache_write_1h_tokens: int | None
    output_tokens: int | None
    reasoning_tokens: int | None
    billed_units: Json | None
    service_tier: str | None
    is_batch: bool
    is_stream: bool | None
    attempts: int | None
    endpoint: str | None
    rate_per_1k: Decimal | None
    cost_usd: Decimal | None
    """US **cents**, despite its name (the original schema's name and unit)."""
    cost_source: str
    cost_reason: str | None
    reported_cost_cents: Decimal | None
    price_id: str | None
    usage_source: str | None
    status: str
    latency_ms: float | None
    time_to_first_token_ms: float | None
    finish_reason: str | None
    prompt_name: str | None
    prompt_version: str | None
    prompt_hash: str | None
    prefix_hashes: list[str] | None
    environment: str | None = None
    """Of its event; ``''`` where that has none, None where this was not written: the event tells then."""

    def attributed(self, said: Attribution) -> CallRow:
        """Return the row with what its event says, or was handed down."""
        workspace_id, user_id, *others = said
        return CallRow._make((self[0], workspace_id, user_id, *self[3:8], *others, *self[12:]))


class AgentRunRow(NamedTuple):
    """One row of ``agent_trace_history``."""

    organization_id: str
    workspace_id: str
    user_id: str | None
    trace_id: str
    span_id: str
    event_id: str
    timestamp: datetime
    received_at: datetime
    agent_id: str | None
    agent_name: str | None
    flow_id: str | None
    run_id: str | None
    conversation_id: str | None
    status: str
    latency_ms: float | None
    input_context: Json | None
    execution_nodes: list[Json]
    output_summary: str | None
    input_tokens: int | None
    output_tokens: int | None
    cost_cents: Decimal | None
    input_context_encrypted: bytes | None = None
    output_summary_encrypted: bytes | None = None
    environment: str | None = None
    """Of its event; ``''`` where that has none, None where this was not written: the event tells then."""


class CheckRow(NamedTuple):
    """One row of ``prompt_similarity_logs``."""

    organization_id: str
    workspace_id: str
    user_id: str | None
    trace_id: str
    span_id: str
    event_id: str
    timestamp: datetime
    received_at: datetime
    agent_id: str | None
    guardrail_name: str | None
    similarity_score: float | None
    flagged_reference: str | None
    action_taken: str | None
    flagged_reference_encrypted: bytes | None = None


class ContentRow(NamedTuple):
    """One row of ``span_contents``."""

    organization_id: str
    workspace_id: str
    user_id: str | None
    trace_id: str
    span_id: str
    event_id: str
    timestamp: datetime
    received_at: datetime
    part: str
    body: str | None
    body_encrypted: bytes | None
    bytes: int
    sha256: str
    truncated: bool
