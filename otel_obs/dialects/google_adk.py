"""Google's Agent Development Kit (https://google.github.io/adk-docs/), in all its ages.

Until 1.1x, and in Java, a run is ``invocation`` > ``agent_run [name]`` > ``call_llm``; the usage attributes leave
thoughts and the cache out, which only the provider's answer tells that it also puts on the span.
"""

from __future__ import annotations

import re
from dataclasses import replace

from otel_obs.dialects.answer import answer_of
from otel_obs.dialects.content import Contents
from otel_obs.dialects.facts import Facts
from otel_obs.dialects.gen_ai import OPERATIONS, read_call, read_role, with_role
from otel_obs.dialects.names import Names
from otel_obs.dialects.provider import counts_thoughts_apart, provider_name
from otel_obs.dialects.usage import merged
from otel_obs.model import Reading, Span

SCOPE = "gcp.vertex.agent"
_MERGED = "(merged"
"""Tools that ran beside each other have a span each, and one more that holds all their results."""
_BRACKETED = re.compile(r"^(?:invocation|agent_run|tool_call) \[(.+)\]$")


def concerns(scope: str, names: Names) -> bool:
    """Tell whether a span may be one of the kit's."""
    del names
    return scope == SCOPE


def read(span: Span, facts: Facts, contents: Contents) -> Reading | None:
    """Return what *span* means to the kit; None for other spans, and those of its tools: they follow the convention."""
    if span.scope.name != SCOPE:
        return None
    if span.name == "call_llm":
        reading = _call(span, facts, contents)
    elif span.name.startswith("agent_run ["):
        reading = with_role(Reading(dialect="google_adk"), "agent", unwrapped(span.name), facts)
    elif span.name.startswith("tool_call ["):
        # Its answer stands on a span of its own, ``tool_response [name]``.
        reading = with_role(Reading(dialect="google_adk"), "tool", unwrapped(span.name), facts)
    elif span.name == "invocation":
        reading = Reading(dialect="google_adk")
    elif facts.text("gen_ai.operation.name") in OPERATIONS:
        reading = told_once(_call(span, facts, contents))
    elif (facts.text("gen_ai.tool.name") or "").startswith(_MERGED):
        reading = Reading(dialect="google_adk")
    else:
        return None
    return replace(reading, conversation_id=facts.text("gcp.vertex.agent.session_id", "gen_ai.conversation.id"))


def told_once(reading: Reading) -> Reading:
    """Return *reading* with reasoning inside the output once.

    The kit adds up candidates and thoughts, as Google counts them. Of the models of others, which come by way of
    LiteLLM, it takes all of the output for candidates, so that their reasoning is in it twice.
    """
    call = reading.call
    if call is None or call.provider is None or counts_thoughts_apart(call.provider, None):
        return reading
    output, reasoning = call.usage.output_tokens, call.usage.reasoning_tokens
    if output is None or not reasoning or output < 2 * reasoning:
        return reading
    return replace(reading, call=replace(call, usage=replace(call.usage, output_tokens=output - reasoning)))


def unwrapped(name: str) -> str:
    """Return X of ``invocation [X]``, ``agent_run [X]`` and ``tool_call [X]``; any other name as it is."""
    found = _BRACKETED.match(name)
    return found[1] if found else name


def _call(span: Span, facts: Facts, contents: Contents) -> Reading:
    """Return the reading of a request to a model, unless newer versions tell it on a span below."""
    operation = facts.text("gen_ai.operation.name")
    if operation is not None and operation not in OPERATIONS:
        return read_role(span, facts, "span", dialect="google_adk")
    answer = answer_of(facts.parsed("gcp.vertex.agent.llm_response"), facts)
    reading = read_call(
        span, facts, contents, OPERATIONS.get(operation or "", "generate_content"), dialect="google_adk"
    )
    if reading.call is None:
        return reading
    model = facts.text("gen_ai.request.model") or ""
    prefix, slash, _ = model.partition("/")
    call = replace(
        reading.call,
        # Models of others come by way of LiteLLM, and are called as there: openai/gpt-4o.
        provider=reading.call.provider or (provider_name(prefix) if slash else _google(model)),
        usage=merged(answer.usage, reading.call.usage),
    )
    return replace(reading, call=call)


def _google(model: str) -> str | None:
    return "gcp.gemini" if model.startswith("gemini") else None
