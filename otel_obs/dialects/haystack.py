"""Haystack (https://docs.haystack.deepset.ai/docs/tracing): calls show in the output of generator components."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from otel_obs.dialects.answer import answer_of
from otel_obs.dialects.call import call_reading
from otel_obs.dialects.content import Contents
from otel_obs.dialects.facts import Facts, mapping_of, text_of
from otel_obs.dialects.gen_ai import with_role
from otel_obs.dialects.names import Names
from otel_obs.dialects.provider import served_by
from otel_obs.model import Call, Reading, Span

_COMPONENT = "haystack.component."
_STEP = "haystack.agent.step.llm"


def concerns(scope: str, names: Names) -> bool:
    """Tell whether a span may be one of Haystack's."""
    del scope
    return "haystack" in names.namespaces


def read(span: Span, facts: Facts, contents: Contents) -> Reading | None:
    """Return what *span* means to Haystack; None if it is not one of its spans."""
    if "haystack" not in facts.names.namespaces:
        return None
    reading = Reading(dialect="haystack")
    kind = facts.text(_COMPONENT + "type") or ""
    name = facts.text(_COMPONENT + "name")
    if span.name == _STEP or facts.has(_STEP + ".output"):
        return _call(span, facts, contents, _STEP + ".output", "chat")
    if kind.endswith(("Generator", "ChatGenerator")):
        return _call(span, facts, contents, _COMPONENT + "output", "chat")
    if kind.endswith("Embedder"):
        return _call(span, facts, contents, _COMPONENT + "output", "embeddings")
    if facts.has("haystack.tool.name"):
        return with_role(reading, "tool", facts.text("haystack.tool.name"), facts)
    if kind == "ToolInvoker":
        tool = _invoked(facts)
        return reading if tool is None else with_role(reading, "tool", tool, facts)
    if kind.endswith("Retriever"):
        return with_role(reading, "retrieval", name or kind, facts)
    if span.name == "haystack.agent.run":
        # The class of all its agents is called so; they have no other name.
        return with_role(replace(reading, agent_id="Agent", agent_name="Agent"), "agent", "Agent", facts)
    if span.name == "haystack.pipeline.run":
        return with_role(reading, "workflow", facts.text("haystack.pipeline.name") or "haystack.pipeline", facts)
    return reading


def _invoked(facts: Facts) -> str | None:
    """Return the tool that an agent's ``ToolInvoker`` ran, of several the first; until 3 no span tells its tools."""
    for message in _each(facts.mapping(_COMPONENT + "output").get("tool_messages")):
        for content in _each(message.get("content")):
            origin = mapping_of(mapping_of(content.get("tool_call_result")).get("origin"))
            if name := text_of(origin.get("tool_name")):
                return name
    return None


def _each(value: object) -> list[Mapping[str, object]]:
    items = value if isinstance(value, Sequence) and not isinstance(value, str) else ()
    return [item for item in items if isinstance(item, Mapping)]


def _call(span: Span, facts: Facts, contents: Contents, output: str, operation: str) -> Reading:
    said = facts.mapping(output)
    answer = answer_of(said, facts)
    call = Call(
        operation=operation,
        provider=served_by(facts.text(_COMPONENT + "type") or "") or served_by(_fallback(said)),
        response_model=answer.model,
        response_id=answer.response_id,
        usage=answer.usage,
        failed=span.status_code == 2,
        service_tier=answer.service_tier,
        finish_reason=answer.finish_reason or _finish_reason(said),
    )
    return call_reading(
        call, facts, dialect="haystack", has_output=contents.of("output") is not None, said_usage=answer.usage.known
    )


def _fallback(said: Mapping[str, object]) -> str:
    """Return the generator that answered, of the several that a ``FallbackChatGenerator`` has; '' elsewhere."""
    return text_of(mapping_of(said.get("meta")).get("successful_chat_generator_class")) or ""


def _finish_reason(said: Mapping[str, object]) -> str | None:
    for reply in _each(said.get("replies")):
        reason = mapping_of(reply.get("meta")).get("finish_reason")
        if isinstance(reason, str):
            return reason
    return None
