"""Langfuse's SDKs from version 3 on (https://langfuse.com/integrations/native/opentelemetry)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from otel_obs.dialects.call import call_reading, waited_ms
from otel_obs.dialects.content import Contents
from otel_obs.dialects.facts import Facts, dollars, text_of, whole
from otel_obs.dialects.gen_ai import provider_of, with_role
from otel_obs.dialects.names import Names
from otel_obs.dialects.provider import bills_cache_apart, provider_name
from otel_obs.dialects.usage import NO_USAGE, cache_is_apart, usage_of
from otel_obs.model import TOLD_AGAIN, Call, EventType, Reading, Span, Usage

_OBSERVATION = "langfuse.observation."
_KIND = _OBSERVATION + "type"
_METADATA = _OBSERVATION + "metadata."
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


def _named_as_elsewhere(reported: Mapping[str, object]) -> Mapping[str, object]:
    """Return usage with the details that the handler for LangChain takes out of ``input`` and ``output``."""
    return {
        **reported,
        "input_tokens_details": {
            "cached_tokens": reported.get("input_cache_read"),
            "cache_creation": _written(reported),
            "ephemeral_1h_input_tokens": reported.get("input_ephemeral_1h_input_tokens"),
            "audio_tokens": reported.get("input_audio"),
        },
        "output_tokens_details": {
            "reasoning_tokens": reported.get("output_reasoning"),
            "audio_tokens": reported.get("output_audio"),
        },
    }


def _written(reported: Mapping[str, object]) -> int | None:
    """Return the tokens written to a cache: in sum, or by the time that they are kept."""
    names = ("input_cache_creation", "input_ephemeral_5m_input_tokens", "input_ephemeral_1h_input_tokens")
    counts = [count for name in names if (count := whole(reported.get(name))) is not None]
    return sum(counts) if counts else None


def _call(span: Span, facts: Facts, contents: Contents, operation: str) -> Reading:
    reported = facts.mapping(_OBSERVATION + "usage_details")
    model = facts.text(_OBSERVATION + "model.name")
    cost = facts.mapping(_OBSERVATION + "cost_details").get("total")
    waited = waited_ms(span, facts.text(_OBSERVATION + "completion_start_time"))
    parameters = facts.mapping(_OBSERVATION + "model.parameters")
    streams = parameters.get("stream")
    provider = provider_name(facts.text(_METADATA + "ls_provider")) or provider_of(facts)
    call = Call(
        operation=operation,
        provider=provider,
        request_model=facts.text(_METADATA + "ls_model_name") or model,
        response_model=model,
        response_id=facts.text("gen_ai.response.id"),
        usage=_usage(reported, facts, apart=bills_cache_apart(provider, model)),
        service_tier=text_of(parameters.get("service_tier")),
        finish_reason=facts.text(_METADATA + "finish_reason"),
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


def _usage(reported: Mapping[str, object], facts: Facts, *, apart: bool) -> Usage:
    """Return the usage; Langfuse's parts are disjoint, and each name begins with what it is a part of.

    https://langfuse.com/docs/observability/features/token-and-cost-tracking; where the total says otherwise the
    application handed on an object of its provider. Without a total the names that Anthropic gives the cache
    (``cache_read_input_tokens``) are parts beside the input only where the provider bills them so: *apart*, or
    a write to it is among them.
    """
    if not reported:
        return NO_USAGE
    counts = {name: count for name, value in reported.items() if (count := whole(value)) is not None}
    total = counts.pop("total", None)
    with_cache = apart or total is not None or cache_is_apart(reported)
    beside = ("input_", "cache_") if with_cache else ("input_",)
    inside = {name: count for name, count in counts.items() if name == "input" or name.startswith(beside)}
    outside = {name: count for name, count in counts.items() if name == "output" or name.startswith("output_")}
    if {"input", "output"}.isdisjoint(counts) or total not in (None, sum(inside.values()) + sum(outside.values())):
        return usage_of(reported, facts)
    return replace(
        usage_of(_named_as_elsewhere(reported), facts),
        input_tokens=sum(inside.values()) if inside else None,
        output_tokens=sum(outside.values()) if outside else None,
    )
