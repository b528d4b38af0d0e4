"""Langfuse's SDKs from version 3 on (https://langfuse.com/integrations/native/opentelemetry)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from otel_obs.dialects.call import call_reading, waited_ms
from otel_obs.dialects.content import Contents
from otel_obs.dialects.facts import Facts, dollars, whole
from otel_obs.dialects.gen_ai import TOLD_AGAIN, with_role
from otel_obs.dialects.names import Names
from otel_obs.dialects.provider import provider_name
from otel_obs.dialects.usage import NO_USAGE, usage_of
from otel_obs.model import Call, EventType, Reading, Span, Usage

_OBSERVATION = "langfuse.observation."
_KIND = _OBSERVATION + "type"
_METADATA = _OBSERVATION + "metadata."
_INPUT_PARTS = ("input_", "cache_")
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
    elif facts.text(_METADATA + "lc_agent_name") == span.name:
        facts.flag(TOLD_AGAIN)
        reading = with_role(replace(reading, agent_id=span.name, agent_name=span.name), "agent", span.name, facts)
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
    waited = waited_ms(span, facts.text(_OBSERVATION + "completion_start_time"))
    streams = facts.mapping(_OBSERVATION + "model.parameters").get("stream")
    call = Call(
        operation=operation,
        provider=provider_name(facts.text(_METADATA + "ls_provider")),
        request_model=facts.text(_METADATA + "ls_model_name") or model,
        response_model=model,
        usage=_usage(reported, facts),
        failed=span.status_code == 2 or facts.text(_OBSERVATION + "level") == "ERROR",
        is_stream=streams if isinstance(streams, bool) else (True if waited is not None else None),
        time_to_first_token_ms=waited,
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


def _usage(reported: Mapping[str, object], facts: Facts) -> Usage:
    """Return the usage; Langfuse's parts are disjoint, and each name begins with what it is a part of.

    https://langfuse.com/docs/observability/features/token-and-cost-tracking; where the total says otherwise the
    application handed on an object of its provider.
    """
    if not reported:
        return NO_USAGE
    counts = {name: count for name, value in reported.items() if (count := whole(value)) is not None}
    total = counts.pop("total", None)
    inside = {name: count for name, count in counts.items() if name == "input" or name.startswith(_INPUT_PARTS)}
    outside = {name: count for name, count in counts.items() if name == "output" or name.startswith("output_")}
    parts = usage_of(reported, facts)
    if {"input", "output"}.isdisjoint(counts) or total not in (None, sum(inside.values()) + sum(outside.values())):
        return parts
    return replace(
        parts,
        input_tokens=sum(inside.values()) if inside else None,
        output_tokens=sum(outside.values()) if outside else None,
    )
