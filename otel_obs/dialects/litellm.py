"""LiteLLM's OpenTelemetry callback (https://docs.litellm.ai/docs/observability/opentelemetry_integration)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from otel_obs.dialects.call import ESTIMATED_USAGE
from otel_obs.dialects.content import Contents
from otel_obs.dialects.facts import Facts, mapping_of
from otel_obs.dialects.gen_ai import OPERATIONS, read_call
from otel_obs.dialects.names import Names
from otel_obs.dialects.provider import provider_name
from otel_obs.dialects.usage import usage_of
from otel_obs.model import Call, Reading, Span, Usage

RAW_REQUEST = "raw_gen_ai_request"
"""Name of a span that tells the same request once more, as it went over the wire."""
_NOBODY = "default_user_id"
"""Whose a key is that belongs to nobody: the master key."""
_MARKS = ("litellm.call_id", "litellm.provider.model")


def concerns(scope: str, names: Names) -> bool:
    """Tell whether a span may be one of LiteLLM's, but for those that only their name shows."""
    del scope
    return not names.all.isdisjoint(_MARKS)


def read(span: Span, facts: Facts, contents: Contents) -> Reading | None:
    """Return what *span* means to LiteLLM; None if it is not one of its spans."""
    if span.name == RAW_REQUEST:
        return Reading(dialect="litellm", is_rollup=True)
    if not facts.has(*_MARKS):
        return None
    operation = OPERATIONS.get(facts.text("gen_ai.operation.name") or facts.text("llm.request.type") or "", "chat")
    reported = facts.mapping("metadata.usage_object")
    found = usage_of(reported, facts, apart=False) if reported else Usage()
    reading = read_call(span, facts, contents, operation, found=found, dialect="litellm")
    if reading.call is not None and reading.call.is_stream and _is_guess(reported):
        facts.flag(ESTIMATED_USAGE)
        call = replace(reading.call, usage=Usage(), usage_source=None, reported_cost_usd=None)
        reading = replace(reading, call=call)
    reading = replace(reading, user_id=_user(facts))
    return reading if reading.call is None else replace(reading, call=_mended(reading.call, facts))


def _is_guess(reported: Mapping[str, object]) -> bool:
    """Tell whether LiteLLM counted a stream's tokens itself: then it splits the answer's, and never the prompt's."""
    answer = mapping_of(reported.get("completion_tokens_details"))
    return (
        reported.get("prompt_tokens_details") is None
        and answer.get("text_tokens") is not None
        and answer.get("text_tokens") == reported.get("completion_tokens")
    )


def _mended(call: Call, facts: Facts) -> Call:
    """Return *call* with its provider; where that gave no id LiteLLM puts its own in its place."""
    prefix, slash, model = (facts.text("litellm.provider.model") or "").partition("/")
    alias = facts.text("litellm.model_group")
    return replace(
        call,
        provider=call.provider or (provider_name(prefix) if slash else None),
        # A proxy answers with the name that it gives the model, which nobody else knows.
        response_model=model if slash and alias is not None and call.response_model == alias else call.response_model,
        response_id=None if call.response_id == facts.text("litellm.call_id") else call.response_id,
    )


def _user(facts: Facts) -> str | None:
    user = facts.text("llm.user", "metadata.user_api_key_end_user_id", "metadata.user_api_key_user_id")
    return None if user == _NOBODY else user
