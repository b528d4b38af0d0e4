"""Langfuse's SDKs from version 3 on (https://langfuse.com/integrations/native/opentelemetry)."""

from __future__ import annotations

from dataclasses import replace

from otel_obs.dialects.call import call_reading
from otel_obs.dialects.content import Contents
from otel_obs.dialects.facts import Facts, dollars
from otel_obs.dialects.gen_ai import with_role
from otel_obs.dialects.names import Names
from otel_obs.dialects.usage import usage_of
from otel_obs.model import Call, EventType, Reading, Span, Usage

_OBSERVATION = "langfuse.observation."
_KIND = _OBSERVATION + "type"
_ROLES: dict[str, EventType] = {
    "agent": "agent",
    "tool": "tool",
    "retriever": "retrieval",
    "guardrail": "guardrail",
    "evaluator": "evaluation",
}


def concerns(scope: str, names: Names) -> bool:
    """Tell whether a span may be one of Langfuse's."""
    del scope
    return _KIND in names.all


def read(span: Span, facts: Facts, contents: Contents) -> Reading | None:
    """Return what *span* means to Langfuse; None if it is not one of its spans."""
    kind = facts.text(_KIND)
    if kind is None:
        return None
    reading = Reading(dialect="langfuse", is_rollup=facts.has(_OBSERVATION + "usage_details"))
    if kind in {"generation", "embedding"}:
        reading = _call(span, facts, contents, "chat" if kind == "generation" else "embeddings")
    elif kind in _ROLES:
        if kind == "agent":
            reading = replace(reading, agent_id=span.name, agent_name=span.name)
        reading = with_role(reading, _ROLES[kind], span.name, facts)
    elif kind == "chain" and span.parent_span_id is None:
        reading = with_role(reading, "workflow", span.name, facts)
    return replace(
        reading,
        failed=facts.text(_OBSERVATION + "level") == "ERROR",
        conversation_id=facts.text("session.id", "langfuse.session.id"),
        user_id=facts.text("user.id", "langfuse.user.id"),
    )


def _call(span: Span, facts: Facts, contents: Contents, operation: str) -> Reading:
    reported = facts.mapping(_OBSERVATION + "usage_details")
    model = facts.text(_OBSERVATION + "model.name")
    cost = facts.mapping(_OBSERVATION + "cost_details").get("total")
    call = Call(
        operation=operation,
        request_model=model,
        response_model=model,
        usage=usage_of(reported, facts) if reported else Usage(),
        failed=span.status_code == 2 or facts.text(_OBSERVATION + "level") == "ERROR",
        reported_cost_usd=dollars(cost) or None,
        prompt_name=facts.text(_OBSERVATION + "prompt.name"),
        prompt_version=facts.text(_OBSERVATION + "prompt.version"),
    )
    return call_reading(
        call,
        facts,
        dialect="langfuse",
        has_output=contents.of("output") is not None,
        said_usage=bool(reported),
    )
