"""LiveKit Agents (https://docs.livekit.io/agents/build/metrics): the convention, and before 1.5 names of its own.

What it asks of a model is an ``llm_request``; the ``llm_node`` above repeats it, and each ``llm_request_run`` below is
one attempt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from otel_obs.dialects.answer import is_response_id
from otel_obs.dialects.content import Contents, Part
from otel_obs.dialects.facts import Facts, finite, mapping_of, text_of
from otel_obs.dialects.gen_ai import read_call, with_role
from otel_obs.dialects.names import Names
from otel_obs.dialects.provider import provider_name
from otel_obs.dialects.usage import usage_of
from otel_obs.model import TOLD_AGAIN, Reading, Span

SCOPE = "livekit-agents"
_METRICS = ("lk.llm_metrics", "lk.realtime_model_metrics")
"""What a request took and cost, as one JSON object."""
_LABEL = "lk.agent_label"
_TOOL = "lk.function_tool."
_TURNS = frozenset({"agent_turn", "assistant_turn"})
_SAID: dict[str, Part | None] = {
    "user_input": "input",
    "instructions": "system",
    "chat_ctx": "input",
    "response.text": "output",
    "response.function_calls": None,
    "function_tool.arguments": "tool_arguments",
    "function_tool.output": "tool_result",
    "input_text": "input",
    "user_transcript": "output",
    "amd.transcript": None,
    "participant_identity": None,
}
CONTENT: dict[str, Part | None] = {
    f"lk.{marked}{name}": part for name, part in _SAID.items() for marked in ("", "pii.")
} | {"lk.function_tool.args": "tool_arguments"}
"""Its attributes that hold content; newer versions mark them as such."""


def concerns(scope: str, names: Names) -> bool:
    """Tell whether a span may be one of LiveKit's."""
    return scope == SCOPE and "gen_ai.operation.name" not in names.all


def read(span: Span, facts: Facts, contents: Contents) -> Reading | None:
    """Return what *span* means to LiveKit; None if the convention tells it."""
    if span.scope.name != SCOPE or facts.has("gen_ai.operation.name"):
        return None
    if facts.has(*_METRICS) or span.name == "llm_request":
        return _request(span, facts, contents)
    reading = Reading(dialect="livekit")
    if facts.has(_TOOL + "name"):
        failed = facts.truth(_TOOL + "is_error") is True
        return with_role(replace(reading, failed=failed), "tool", facts.text(_TOOL + "name"), facts)
    if span.name in _TURNS:
        label = _label(facts)
        if span.name == "assistant_turn" and not facts.has("lk.user_input"):
            # What the agent says once it knows what its tools found is part of its turn.
            facts.flag(TOLD_AGAIN)
        return with_role(replace(reading, agent_id=label, agent_name=label), "agent", label, facts)
    if span.parent_span_id is None:
        return with_role(reading, "workflow", span.name, facts)
    # An attempt that failed is told again by the request above it, with all that it asked.
    return reading


def _label(facts: Facts) -> str | None:
    """Return the agent's class, which is all the name that it has: Weatherman of ``__main__.Weatherman``."""
    label = facts.text("gen_ai.agent.name") or facts.text(_LABEL)
    return None if label is None else label.rpartition(".")[2]


def _request(span: Span, facts: Facts, contents: Contents) -> Reading:
    told = facts.mapping(*_METRICS)
    reading = read_call(span, facts, contents, "chat", found=usage_of(told, facts), dialect="livekit")
    if reading.call is None:
        return reading
    call, metadata = reading.call, mapping_of(told.get("metadata"))
    response_id = text_of(told.get("request_id"))
    asked = replace(
        call,
        provider=call.provider or provider_name(text_of(metadata.get("model_provider"))),
        response_id=call.response_id or (response_id if response_id and is_response_id(response_id) else None),
        is_stream=True if call.is_stream is None else call.is_stream,
        time_to_first_token_ms=call.time_to_first_token_ms or _first_token_ms(told),
    )
    return replace(reading, call=asked)


def _first_token_ms(told: Mapping[str, object]) -> float | None:
    seconds = finite(told.get("ttft"))
    return seconds * 1000 if seconds is not None and seconds >= 0 else None
