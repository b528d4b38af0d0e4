"""Mastra (https://mastra.ai/docs/observability/tracing/exporters/otel): the GenAI convention, with more of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from otel_obs.dialects.answer import answer_of
from otel_obs.dialects.call import call_reading, waited_ms
from otel_obs.dialects.content import Contents, Part
from otel_obs.dialects.facts import Facts, text_of
from otel_obs.dialects.gen_ai import OPERATIONS, read_call, read_role, with_role
from otel_obs.dialects.names import Names
from otel_obs.dialects.provider import provider_name
from otel_obs.model import Call, EventType, Reading, Span

_TYPE = "mastra.span.type"
_METADATA = ("mastra.metadata.", "")
"""Version 0 puts what is known of a run into attributes without a namespace."""
_VERSION_0 = "@mastra/otel"
_ROLES: dict[str, EventType] = {
    "agent_run": "agent",
    "workflow_run": "workflow",
    "tool_call": "tool",
    "mcp_tool_call": "tool",
    "client_tool_call": "tool",
}
CONTENT: dict[str, Part | None] = {"input": "input", "output": "output", "body": None}
"""Attributes of version 0 that hold content."""


def is_version_0(scope: str) -> bool:
    """Tell whether version 0 made a span of *scope*."""
    return scope == _VERSION_0


def concerns(scope: str, names: Names) -> bool:
    """Tell whether a span may be one of Mastra's."""
    del scope
    return _TYPE in names.all


def read(span: Span, facts: Facts, contents: Contents) -> Reading | None:
    """Return what *span* means to Mastra; None if it is not one of its spans."""
    kind = facts.text(_TYPE)
    if kind is None:
        return None
    if kind in {"model_step", "llm_step"}:
        reading = _step(span, facts, contents)
    elif facts.text("gen_ai.operation.name") in OPERATIONS:
        reading = _generation(span, facts, contents)
    else:
        reading = _role(span, facts, _ROLES.get(kind, "span"))
    if kind != "agent_run":
        # Versions differ in which agent a span below names; the run above knows.
        reading = replace(reading, agent_id=None, agent_name=None)
    return replace(
        reading,
        conversation_id=facts.text("gen_ai.conversation.id", *_said("sessionId", "threadId")),
        user_id=facts.text(*_said("userId", "resourceId")),
    )


def _said(*names: str) -> tuple[str, ...]:
    return tuple(prefix + name for name in names for prefix in _METADATA)


def _role(span: Span, facts: Facts, role: EventType) -> Reading:
    reading = read_role(span, facts, role, dialect="mastra")
    if role == "agent" and facts.text("gen_ai.agent.name") is None:
        return with_role(reading, "agent", facts.text("gen_ai.agent.id") or span.name.removeprefix("agent."), facts)
    if role == "workflow":
        named = facts.text("workflow.id")
        return reading if named is None else with_role(reading, "workflow", named, facts)
    return reading


def _generation(span: Span, facts: Facts, contents: Contents) -> Reading:
    """Read an inference; or, in older versions, a loop of requests with the sum of their usage."""
    apart = is_version_0(span.scope.name)
    reading = read_call(span, facts, contents, "chat", apart=apart, dialect="mastra")
    if reading.call is None:
        return reading
    call = reading.call
    # Of a request that failed nothing but the reason tells: its status is OK.
    failed = call.failed or (call.finish_reason == "error" and not call.usage.known)
    waited = waited_ms(span, facts.text("mastra.completion_start_time"))
    return replace(reading, failed=failed, call=replace(call, failed=failed, time_to_first_token_ms=waited))


def _step(span: Span, facts: Facts, contents: Contents) -> Reading:
    """Read one round of the loop: a request, where it says what the provider answered; else a span."""
    body = facts.mapping(*_said("body"))
    response_id = facts.text(*_said("id")) or text_of(body.get("id"))
    asked: Mapping[str, object] = facts.mapping(*_said("modelMetadata"))
    if response_id is None or (not body and facts.text(*_said("modelId")) == text_of(asked.get("modelId"))):
        return read_role(span, facts, "span", dialect="mastra")
    answer = answer_of(body, facts)
    call = Call(
        operation="chat",
        provider=provider_name(text_of(asked.get("modelProvider"))),
        request_model=text_of(asked.get("modelId")),
        response_model=answer.model or facts.text(*_said("modelId")),
        response_id=response_id,
        usage=answer.usage,
        failed=span.status_code == 2,
        service_tier=answer.service_tier,
        finish_reason=answer.finish_reason,
    )
    return call_reading(
        call,
        facts,
        dialect="mastra",
        has_output=contents.of("output") is not None,
        said_usage=answer.usage.known,
    )
