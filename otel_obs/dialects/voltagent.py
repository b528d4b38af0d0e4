"""VoltAgent (https://voltagent.dev/observability-docs/developer-docs): names of its own, and no convention's.

A span of a model is a loop of requests that says the usage of the last one; of others only their sum is known, on the
agent's span.
"""

from __future__ import annotations

from dataclasses import replace

from otel_obs.dialects.call import call_reading
from otel_obs.dialects.content import Contents, Part
from otel_obs.dialects.facts import Facts
from otel_obs.dialects.gen_ai import with_role
from otel_obs.dialects.names import Names
from otel_obs.dialects.usage import Counts, usage
from otel_obs.model import Call, EventType, Reading, Span

_ENTITY = "entity.type"
_USAGE = "llm.usage."
_ROLES: dict[str, EventType] = {
    "agent": "agent", "workflow": "workflow", "tool": "tool", "retriever": "retrieval", "guardrail": "guardrail",
}  # fmt: skip
CONTENT: dict[str, Part | None] = {
    "input": "input",
    "output": "output",
    "llm.messages": "input",
    "llm.tools": "tools",
    "agent.instructions": "system",
    "agent.messages": None,
    "agent.messages.ui": None,
    "agent.stateSnapshot": None,
}
"""Its attributes that hold content."""


def is_voltagent(scope: str) -> bool:
    """Tell whether VoltAgent made a span of *scope*."""
    return scope.startswith("@voltagent/")


def concerns(scope: str, names: Names) -> bool:
    """Tell whether a span may be one of VoltAgent's."""
    return is_voltagent(scope) and _ENTITY in names.all


def read(span: Span, facts: Facts, contents: Contents) -> Reading | None:
    """Return what *span* means to VoltAgent; None if it is not one of its spans."""
    entity = facts.text(_ENTITY)
    if entity is None or not is_voltagent(span.scope.name):
        return None
    kind = facts.text("span.type")
    if kind == "llm":
        reading = _call(span, facts, contents)
    else:
        # A span of an agent or a workflow says no type of its own.
        role = _ROLES.get(kind or entity, "span")
        reading = with_role(
            Reading(dialect="voltagent", is_rollup=_has_sum(facts)), role, _name(span, facts, role), facts
        )
    if reading.event_type == "agent":
        reading = replace(reading, agent_id=facts.text("entity.id") or reading.agent_id)
    return replace(reading, conversation_id=facts.text("conversation.id"))


def _has_sum(facts: Facts) -> bool:
    return facts.has("usage.prompt_tokens", "usage.total_tokens")


def _name(span: Span, facts: Facts, role: EventType) -> str:
    named = facts.text("tool.name") if role == "tool" else facts.text("entity.name")
    return named or span.name


def _call(span: Span, facts: Facts, contents: Contents) -> Reading:
    counts = Counts(
        input=facts.tokens(_USAGE + "prompt_tokens"),
        output=facts.tokens(_USAGE + "completion_tokens"),
        total=facts.tokens(_USAGE + "total_tokens"),
        cache_read=facts.tokens(_USAGE + "cached_tokens"),
        reasoning=facts.tokens(_USAGE + "reasoning_tokens"),
    )
    model = facts.text("llm.model")
    call = Call(
        operation="chat",
        request_model=model,
        response_model=model,
        usage=usage(counts, apart=False),
        failed=span.status_code == 2,
        is_stream=facts.truth("llm.stream"),
        finish_reason=facts.text("llm.finish_reason"),
    )
    return call_reading(
        call,
        facts,
        dialect="voltagent",
        has_output=contents.of("output") is not None,
        said_usage=facts.has_any(_USAGE),
    )
