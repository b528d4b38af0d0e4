"""Langfuse's SDKs from version 3 on (https://langfuse.com/integrations/native/opentelemetry)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from otel_obs.dialects.call import call_reading
from otel_obs.dialects.content import Contents
from otel_obs.dialects.facts import Facts, dollars, text_of, whole
from otel_obs.dialects.gen_ai import provider_of, with_role
from otel_obs.dialects.names import Names
from otel_obs.dialects.provider import provider_name
from otel_obs.dialects.usage import usage_of
from otel_obs.model import Call, EventType, Reading, Span, Usage

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
    elif kind == "chain" and span.parent_span_id is None:
        reading = with_role(reading, "workflow", span.name, facts)
    return replace(
        reading,
        failed=facts.text(_OBSERVATION + "level") == "ERROR",
        conversation_id=facts.text("session.id", "langfuse.session.id"),
        user_id=facts.text("user.id", "langfuse.user.id"),
    )


def _summed(reported: Mapping[str, object]) -> Mapping[str, object]:
    """Return usage whose parts stand apart as one that holds them, with the names that they share.

    The handler for LangChain takes every detail (``input_cache_read``, ``output_reasoning`` ...) out of ``input`` and
    ``output``; https://langfuse.com/docs/observability/features/token-and-cost-tracking
    """
    if not any(name.startswith(("input_", "output_")) for name in reported) or "input" not in reported:
        return reported
    summed = {
        side: sum(whole(count) or 0 for name, count in reported.items() if name == side or name.startswith(f"{side}_"))
        for side in ("input", "output")
    }
    if (whole(reported.get("total")) or sum(summed.values())) != sum(summed.values()):
        return reported
    return {
        **summed,
        "total": sum(summed.values()),
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


def _first_token_ms(span: Span, facts: Facts) -> float | None:
    """Return how long the answer's first token took to come."""
    said = facts.parsed(_OBSERVATION + "completion_start_time") or facts.text(_OBSERVATION + "completion_start_time")
    try:
        came = datetime.fromisoformat(str(said).replace("Z", "+00:00"))
    except ValueError:
        return None
    if came.tzinfo is None:
        return None
    waited = came.timestamp() * 1000 - span.start_time_unix_nano / 1_000_000
    return waited if waited >= 0 else None


def _call(span: Span, facts: Facts, contents: Contents, operation: str) -> Reading:
    reported = facts.mapping(_OBSERVATION + "usage_details")
    model = facts.text(_OBSERVATION + "model.name")
    cost = facts.mapping(_OBSERVATION + "cost_details").get("total")
    first_token_ms = _first_token_ms(span, facts)
    call = Call(
        operation=operation,
        provider=provider_name(facts.text(_METADATA + "ls_provider")) or provider_of(facts),
        request_model=facts.text(_METADATA + "ls_model_name") or model,
        response_model=model,
        response_id=facts.text("gen_ai.response.id"),
        usage=usage_of(_summed(reported), facts) if reported else Usage(),
        service_tier=text_of(facts.mapping(_OBSERVATION + "model.parameters").get("service_tier")),
        is_stream=None if first_token_ms is None else True,
        finish_reason=facts.text(_METADATA + "finish_reason"),
        time_to_first_token_ms=first_token_ms,
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
