"""The AI SDK of Vercel, versions 4 and 5 and the legacy attributes of later ones.

https://ai-sdk.dev/docs/ai-sdk-core/telemetry; version 7 speaks the GenAI convention.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from decimal import Decimal

from otel_obs.dialects.call import call_reading, finish_reason_of
from otel_obs.dialects.content import Contents
from otel_obs.dialects.facts import Facts, dollars, mapping_of, text_of
from otel_obs.dialects.gen_ai import provider_of, with_role
from otel_obs.dialects.names import Names
from otel_obs.dialects.provider import bills_cache_apart, provider_name
from otel_obs.dialects.usage import NO_USAGE, Counts, counts_of, either, usage, usage_of
from otel_obs.model import Call, Reading, Span, Usage

_OPERATION = "ai.operationId"
_METADATA = ("ai.telemetry.metadata.", "traceloop.association.properties.")
"""What the application says of a call; OpenLLMetry's SDK renames it."""
_SESSIONS = (
    "sessionId", "session_id", "conversationId", "threadId", "thread_id", "chatId", "chat_id", "convoId",
)  # fmt: skip
_USERS = ("userId", "user_id")
"""Last words of what it says who asks, and in which conversation; vendors put their own names between."""
_AGENTS = frozenset({"ai.generateText", "ai.streamText"})
"""They loop over model and tools; a function id names the loop."""
_USAGE = "ai.usage."
_MADE_UP = ("aitxt-", "aiobj-")
"""What ids begin with that the SDK makes for answers without one."""
_SDK_VERSION = re.compile(r"(?:^|\s)ai/(\d{1,4})\.")


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
        reading = with_role(
            Reading(dialect="vercel_ai"), "tool", facts.text("ai.toolCall.name", "gen_ai.tool.name"), facts
        )
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
    provider = provider_of(facts) or provider_name(facts.text("ai.model.provider"))
    model = facts.text("gen_ai.request.model", "ai.model.id")
    metadata = dict(_provider_metadata(facts))
    call = Call(
        operation=operation,
        provider=provider,
        request_model=model,
        response_model=facts.text("gen_ai.response.model", "ai.response.model"),
        response_id=_response_id(facts),
        usage=_usage(facts, metadata, provider, model),
        failed=span.status_code == 2,
        service_tier=text_of(metadata.get("serviceTier")),
        is_stream=method == "doStream" if operation == "chat" else None,
        finish_reason=facts.text("ai.response.finishReason") or finish_reason_of(facts),
        time_to_first_token_ms=facts.number("ai.response.msToFirstChunk", "ai.stream.msToFirstChunk"),
        reported_cost_usd=_cost(metadata),
    )
    return call_reading(
        call,
        facts,
        dialect="vercel_ai",
        total_tokens=facts.tokens(_USAGE + "totalTokens", _USAGE + "tokens"),
        has_output=contents.of("output") is not None or facts.has("ai.embedding", "ai.embeddings"),
        said_usage=bool(facts.names.starting[_USAGE, "gen_ai.usage."]),
    )


def _response_id(facts: Facts) -> str | None:
    """Return the provider's id of the answer; where it gives none the SDK makes one up."""
    found = facts.text("gen_ai.response.id", "ai.response.id")
    return None if found is None or found.startswith(_MADE_UP) else found


def _cost(metadata: Mapping[str, object]) -> Decimal | None:
    """Return what a router says that the call cost, in US dollars."""
    return dollars(metadata.get("cost")) or dollars(mapping_of(metadata.get("usage")).get("cost")) or None


def _usage(facts: Facts, metadata: Mapping[str, object], provider: str | None, model: str | None) -> Usage:
    """Return the usage, completed by what the provider itself says in the metadata of its answer.

    Before version 6 the attributes are the provider's own count: Anthropic's cached tokens are beside the
    input, Google's thoughts beside the output. The provider's usage object tells either for certain; some
    providers hand on only the tokens of the cache.
    """
    own = mapping_of(metadata.get("usage")) or mapping_of(metadata.get("usageMetadata"))
    said = usage_of(own, facts) if own else NO_USAGE
    hints = counts_of(metadata, facts)
    details = _USAGE + "inputTokenDetails."
    counts = Counts(
        input=facts.tokens("gen_ai.usage.input_tokens", _USAGE + "inputTokens", _USAGE + "promptTokens"),
        output=facts.tokens("gen_ai.usage.output_tokens", _USAGE + "outputTokens", _USAGE + "completionTokens"),
        total=facts.tokens(_USAGE + "totalTokens"),
        cache_read=either(
            facts.tokens(details + "cacheReadTokens", _USAGE + "cachedInputTokens"),
            said.cache_read_tokens,
            hints.cache_read,
            facts.tokens("gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_read_input_tokens"),
        ),
        cache_write=either(facts.tokens(details + "cacheWriteTokens"), said.cache_write_tokens, hints.cache_write),
        cache_write_1h=said.cache_write_1h_tokens,
        reasoning=either(
            facts.tokens(_USAGE + "outputTokenDetails.reasoningTokens", _USAGE + "reasoningTokens"),
            said.reasoning_tokens,
            hints.reasoning,
            facts.tokens("gen_ai.usage.reasoning.output_tokens", "gen_ai.usage.reasoning_tokens"),
        ),
        billed_units=said.billed_units,
    )
    apart = (
        said.input_tokens is None
        and not facts.names.starting[details,]
        and not _counts_alike(facts)
        and bills_cache_apart(provider, model)
    )
    found = usage(counts, apart=apart)
    return replace(
        found,
        input_tokens=_more(found.input_tokens, said.input_tokens),
        output_tokens=_more(found.output_tokens, said.output_tokens),
    )


def _counts_alike(facts: Facts) -> bool:
    """Tell whether the SDK is known to be so new that it counts all providers' tokens in one way."""
    said = facts.text("ai.request.headers.user-agent") or f"ai/{facts.text('ai.sdk.version')}"
    version = _SDK_VERSION.search(said)
    return version is not None and int(version[1]) >= 6


def _more(first: int | None, second: int | None) -> int | None:
    return second if first is None or (second is not None and second > first) else first


def _provider_metadata(facts: Facts) -> Iterator[tuple[str, object]]:
    """Yield what the providers said of their answer: ``{"anthropic": {"usage": {...}}}``."""
    for said in facts.mapping("ai.response.providerMetadata").values():
        yield from mapping_of(said).items()


def _with_owner(reading: Reading, facts: Facts) -> Reading:
    return replace(
        reading,
        conversation_id=_said_of_it(facts, _SESSIONS),
        user_id=_said_of_it(facts, _USERS),
    )


def _said_of_it(facts: Facts, endings: tuple[str, ...]) -> str | None:
    """Return what the application says under a name with the first of *endings* that it has."""
    names = facts.names.starting[_METADATA]
    if not names:
        return None
    said = {name.rpartition(".")[2]: name for name in reversed(names)}
    told = (text_of(facts.attributes[said[ending]]) for ending in endings if ending in said)
    return next((found for found in told if found), None)
