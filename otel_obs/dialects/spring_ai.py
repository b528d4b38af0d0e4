"""Spring AI, observed by Micrometer (https://docs.spring.io/spring-ai/reference/observability/index.html).

Micrometer sends every value as text, and ``none`` where there is none. Boot makes all spans of an application, so that
its scope tells nothing but whose they may be.
"""

from __future__ import annotations

from dataclasses import replace

from otel_obs.dialects.content import Contents
from otel_obs.dialects.facts import Facts
from otel_obs.dialects.gen_ai import OPERATIONS, read_call, read_role, with_role
from otel_obs.dialects.names import Names
from otel_obs.model import ROUNDS_BELOW, RUNNING_TOTAL, Reading, Span

_SCOPE = "org.springframework.boot"
_CONVERSATION = "spring.ai.chat.client.conversation.id"
_NO_CONVERSATION = "default"


def concerns(scope: str, names: Names) -> bool:
    """Tell whether a span may be one of Spring AI's."""
    return "spring" in names.namespaces or (scope == _SCOPE and "gen_ai" in names.namespaces)


def read(span: Span, facts: Facts, contents: Contents) -> Reading | None:
    """Return what *span* means to Spring AI; None if it is not one of its spans."""
    operation = facts.text("gen_ai.operation.name")
    kind = facts.text("spring.ai.kind")
    if span.scope.name == _SCOPE and operation in OPERATIONS:
        return _call(span, facts, contents, OPERATIONS[operation])
    if kind == "tool_call":
        return _tool(facts)
    if kind == "vector_store" and facts.text("db.operation.name") == "query":
        reading = Reading(dialect="spring_ai")
        return with_role(reading, "retrieval", facts.text("db.collection.name", "db.system") or span.name, facts)
    if kind is None:
        return None
    reading = read_role(span, facts, "span", dialect="spring_ai")
    conversation = facts.text(_CONVERSATION)
    return replace(
        reading,
        conversation_id=None if conversation == _NO_CONVERSATION else conversation,
        flags=(ROUNDS_BELOW,) if kind == "advisor" and _adds_up(span) else (),
    )


def _call(span: Span, facts: Facts, contents: Contents, operation: str) -> Reading:
    """Return the reading of a request; its usage is the provider's own count."""
    reading = read_call(span, facts, contents, operation, apart=True, dialect="spring_ai")
    if reading.call is None or not _adds_up(span):
        return reading
    usage = reading.call.usage
    if usage.input_tokens is None or usage.output_tokens is None:
        return reading
    return replace(reading, flags=(f"{RUNNING_TOTAL}({usage.input_tokens},{usage.output_tokens})",))


def _adds_up(span: Span) -> bool:
    """Tell whether a model that calls tools reports on each round the sum so far, as Spring AI 1 does, with Boot 3."""
    return span.scope.version.startswith("3.")


def _tool(facts: Facts) -> Reading:
    reading = with_role(Reading(dialect="spring_ai"), "tool", facts.text("spring.ai.tool.definition.name"), facts)
    if reading.step is None or reading.step.call_id is not None:
        return reading
    return replace(reading, step=replace(reading.step, call_id=facts.text("spring.ai.tool.call.id")))
