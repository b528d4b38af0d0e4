"""What an event means, as rows: a call, an agent's run, a guardrail's verdict, what was said."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from decimal import Decimal

from otel_obs.frozen import dataclass
from otel_obs.model import Call, Content, Cost, Reading
from otel_obs.rows import context as _context
from otel_obs.rows.prefixes import prefix_hashes
from otel_obs.rows.redaction import Hook, Redaction
from otel_obs.rows.summary import input_context, summary
from otel_obs.rows.tables import IDENTITY, AgentRunRow, CallRow, CheckRow, ContentRow, EventRow


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentPolicy:
    """What happens to prompts and answers."""

    store: bool = True
    max_bytes: int = 4 * 1024 * 1024
    """A part longer than this is cut; its length and hash are those of the whole."""
    redact: Redaction | None = None
    """Takes out of every text what may not be stored."""
    hook: Hook | None = None
    """Has the last word on content."""

    @property
    def keeps_as_sent(self) -> bool:
        """Tell whether a request may be kept the way it came."""
        return self.store and self.redact is None and self.hook is None


def call_row(event: EventRow, call: Call, cost: Cost | None, reading: Reading) -> CallRow:
    """Return the row of *call*, which *event* tells of as *reading*."""
    usage, cost = call.usage, cost or Cost()
    reported = call.reported_cost_usd
    return CallRow(
        *event[:IDENTITY],
        agent_id=event.agent_id,
        flow_id=event.flow_id,
        run_id=event.run_id,
        conversation_id=event.conversation_id,
        provider=_context.identifier(call.provider),
        model_name=_context.identifier(call.response_model or call.request_model),
        request_model=_context.identifier(call.request_model),
        operation=call.operation,
        response_id=_context.indexed(call.response_id),
        input_tokens=usage.input_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        cache_write_1h_tokens=usage.cache_write_1h_tokens,
        output_tokens=usage.output_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        billed_units=dict(usage.billed_units) or None,
        service_tier=call.service_tier,
        is_batch=call.is_batch,
        is_stream=call.is_stream,
        attempts=call.attempts,
        endpoint=_context.indexed(call.endpoint),
        rate_per_1k=cost.rate_per_1k,
        cost_usd=cost.cents,
        cost_source=cost.source,
        cost_reason=cost.reason,
        reported_cost_cents=None if reported is None else reported * Decimal(100),
        price_id=cost.price_id,
        usage_source=call.usage_source,
        status="error" if call.failed else event.status,
        latency_ms=event.latency_ms,
        time_to_first_token_ms=call.time_to_first_token_ms,
        finish_reason="abandoned" if "abandoned" in reading.flags else _context.indexed(call.finish_reason),
        prompt_name=_context.identifier(call.prompt_name),
        prompt_version=_context.identifier(call.prompt_version),
        prompt_hash=_prompt_hash(reading.contents),
        prefix_hashes=prefix_hashes(reading.contents),
        environment=event.environment or "",
    )


def run_row(event: EventRow, contents: Mapping[str, str]) -> AgentRunRow:
    """Return the row of the agent's run that *event* shows; *contents* is what was said, by part."""
    return AgentRunRow(
        *event[:IDENTITY],
        agent_id=event.agent_id,
        agent_name=_context.identifier(event.node_name),
        flow_id=event.flow_id,
        run_id=event.run_id,
        conversation_id=event.conversation_id,
        status=event.status,
        latency_ms=event.latency_ms,
        input_context=input_context(contents["input"]) if contents.get("input") else None,
        execution_nodes=[],
        output_summary=summary(contents["output"]) if contents.get("output") else None,
        input_tokens=None,
        output_tokens=None,
        cost_cents=None,
        environment=event.environment or "",
    )


def check_row(event: EventRow, reading: Reading) -> CheckRow | None:
    """Return the row of the guardrail's verdict that *reading* is, if it is one."""
    if reading.check is None:
        return None
    return CheckRow(
        *event[:IDENTITY],
        agent_id=event.agent_id,
        guardrail_name=_context.indexed(reading.check.guardrail_name),
        similarity_score=reading.check.similarity_score,
        flagged_reference=reading.check.flagged_reference,
        action_taken=_context.indexed(reading.check.action_taken),
    )


def content_rows(event: EventRow, contents: tuple[Content, ...], policy: ContentPolicy) -> tuple[ContentRow, ...]:
    """Return what was said, by part, as *policy* wants it kept."""
    if not policy.store:
        return ()
    rows: dict[str, ContentRow] = {}
    for content in contents:
        if content.part in rows or not content.body:
            continue
        body = _context.without_media(content.body)
        data = body.encode()
        rows[content.part] = ContentRow(
            *event[:IDENTITY],
            part=content.part,
            body=body if len(data) <= policy.max_bytes else _context.cut(body, policy.max_bytes),
            body_encrypted=None,
            bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            truncated=len(data) > policy.max_bytes,
        )
    return tuple(rows.values())


def _prompt_hash(contents: tuple[Content, ...]) -> str | None:
    """Return a hash of the whole prompt (system, tools and messages), by which exact repeats are found."""
    parts = [content for content in contents if content.part in ("system", "tools", "input")]
    if not parts:
        return None
    digest = hashlib.sha256()
    for content in parts:
        digest.update(f"{content.part}\x00{len(content.body)}\x00".encode() + content.body.encode(errors="replace"))
    return digest.hexdigest()[:32]
