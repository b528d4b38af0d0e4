"""The AI SDK of Vercel, versions 4 and 5 and the legacy attributes of later ones.

https://ai-sdk.dev/docs/ai-sdk-core/telemetry; version 7 speaks the GenAI convention.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from otel_obs.dialects.call import call_reading
from otel_obs.dialects.content import Contents
from otel_obs.dialects.facts import Facts, mapping_of, text_of
from otel_obs.dialects.gen_ai import with_role
from otel_obs.dialects.names import Names
from otel_obs.dialects.provider import bills_cache_apart, provider_name
from otel_obs.dialects.usage import Counts, merged, usage, usage_of
from otel_obs.model import Call, Reading, Span, Usage

_OPERATION = "ai.operationId"
_METADATA = "ai.telemetry.metadata."
_AGENTS = frozenset({"ai.generateText", "ai.streamText"})
"""They loop over model and tools; a function id names the loop."""
_USAGE = "ai.usage."


def concerns(scope: str, names: Names) -> bool:
    """Tell whether a span may be one of the AI SDK's."""
    del scope
    return _OPERATION in names.all


def read(span: Span, facts: Facts, contents: Contents) -> Reading | None:
    """Return what *span* means to the AI SDK; None if it is not one of its spans."""
    operation = facts.text(_OPERATION)
    if operation is None:
        return None
    last = operation.rpartition(".")[2]
    if last in {"doGenerate", "doStream", "doEmbed", "doRerank"}:
        reading = _call(span, facts, contents, last)
    elif operation == "ai.toolCall":
        reading = with_role(Reading(dialect="vercel_ai"), "tool", facts.text("ai.toolCall.name"), facts)
    else:
        reading = _loop(facts, operation)
    return _with_owner(reading, facts)


def _loop(facts: Facts, operation: str) -> Reading:
    rollup = bool(facts.names.starting[_USAGE,])
    reading = Reading(dialect="vercel_ai", is_rollup=rollup)
    name = facts.text("ai.telemetry.functionId")
    if operation in _AGENTS and name is not None:
        return with_role(replace(reading, agent_id=name, agent_name=name), "agent", name, facts)
    return reading


def _call(span: Span, facts: Facts, contents: Contents, method: str) -> Reading:
    operation = {"doEmbed": "embeddings", "doRerank": "rerank"}.get(method, "chat")
    provider = provider_name(facts.text("gen_ai.system") or facts.text("ai.model.provider"))
    model = facts.text("gen_ai.request.model", "ai.model.id")
    metadata = dict(_provider_metadata(facts))
    call = Call(
        operation=operation,
        provider=provider,
        request_model=model,
        response_model=facts.text("gen_ai.response.model", "ai.response.model"),
        response_id=facts.text("gen_ai.response.id", "ai.response.id"),
        usage=merged(_usage(facts, provider, model), _raw_usage(metadata, facts)),
        failed=span.status_code == 2,
        service_tier=text_of(metadata.get("serviceTier")),
        is_stream=method == "doStream" if operation == "chat" else None,
        finish_reason=facts.text("ai.response.finishReason"),
        time_to_first_token_ms=facts.number("ai.response.msToFirstChunk"),
    )
    return call_reading(
        call,
        facts,
        dialect="vercel_ai",
        total_tokens=facts.tokens(_USAGE + "totalTokens", _USAGE + "tokens"),
        has_output=contents.of("output") is not None or facts.has("ai.embedding", "ai.embeddings"),
        said_usage=bool(facts.names.starting[_USAGE, "gen_ai.usage."]),
    )


def _usage(facts: Facts, provider: str | None, model: str | None) -> Usage:
    """Return the usage; before version 6 it is the provider's own count, with Anthropic's cache apart."""
    details = _USAGE + "inputTokenDetails."
    inside = bool(facts.names.starting[details,])
    counts = Counts(
        input=facts.tokens("gen_ai.usage.input_tokens", _USAGE + "inputTokens", _USAGE + "promptTokens"),
        output=facts.tokens("gen_ai.usage.output_tokens", _USAGE + "outputTokens", _USAGE + "completionTokens"),
        cache_read=facts.tokens(details + "cacheReadTokens", _USAGE + "cachedInputTokens"),
        cache_write=facts.tokens(details + "cacheWriteTokens"),
        reasoning=facts.tokens(_USAGE + "outputTokenDetails.reasoningTokens", _USAGE + "reasoningTokens"),
    )
    if not inside and bills_cache_apart(provider, model):
        raw = _raw_counts(facts)
        if raw is not None:
            counts = replace(counts, cache_read=raw.cache_read_tokens, cache_write=raw.cache_write_tokens)
    return usage(counts, apart=not inside and bills_cache_apart(provider, model))


def _raw_counts(facts: Facts) -> Usage | None:
    raw = _raw_usage(dict(_provider_metadata(facts)), facts)
    return raw if raw.known else None


def _raw_usage(metadata: Mapping[str, object], facts: Facts) -> Usage:
    raw = mapping_of(metadata.get("usage"))
    return usage_of(raw, facts) if raw else Usage()


def _provider_metadata(facts: Facts) -> Iterator[tuple[str, object]]:
    """Yield what the providers said of their answer: ``{"anthropic": {"usage": {...}}}``."""
    for said in facts.mapping("ai.response.providerMetadata").values():
        yield from mapping_of(said).items()


def _with_owner(reading: Reading, facts: Facts) -> Reading:
    return replace(
        reading,
        conversation_id=facts.text(
            _METADATA + "sessionId",
            _METADATA + "session_id",
            _METADATA + "conversationId",
            _METADATA + "threadId",
            _METADATA + "chatId",
        ),
        user_id=facts.text(_METADATA + "userId", _METADATA + "user_id"),
    )
