"""From the usage object of a provider or a framework to the tokens that were billed.

Which object it is shows in its names:
OpenAI (https://platform.openai.com/docs/api-reference/chat/object), Anthropic
(https://docs.anthropic.com/en/api/messages), Google (https://ai.google.dev/api/generate-content#UsageMetadata),
Bedrock (https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html), LangChain's
``usage_metadata``, the AI SDK.
"""

from __future__ import annotations

from collections.abc import Mapping

from otel_obs.dialects.facts import Facts, mapping_of
from otel_obs.frozen import dataclass
from otel_obs.model import Usage

_INPUT = (
    "input_tokens",
    "prompt_tokens",
    "inputTokens",
    "promptTokens",
    "promptTokenCount",
    "prompt_token_count",
    "input",
)
_OUTPUT = ("output_tokens", "completion_tokens", "outputTokens", "completionTokens", "output")
_CANDIDATES = ("candidatesTokenCount", "candidates_token_count")
_THOUGHTS = ("thoughtsTokenCount", "thoughts_token_count")
_TOTAL = ("total_tokens", "totalTokens", "totalTokenCount", "total_token_count", "total")
_INPUT_DETAILS = (
    "prompt_tokens_details", "input_tokens_details", "input_token_details", "inputTokenDetails", "promptTokensDetails",
)  # fmt: skip
_OUTPUT_DETAILS = (
    "completion_tokens_details", "output_tokens_details", "output_token_details", "outputTokenDetails",
    "completionTokensDetails",
)  # fmt: skip
_READ = (
    "cache_read_input_tokens", "cacheReadInputTokens", "cachedContentTokenCount", "cached_content_token_count",
    "cachedInputTokens", "cached_input_tokens", "input_cached_tokens", "cache_read_tokens", "cachedTokens",
    "cached_tokens", "cachedContentTokens",
)  # fmt: skip
_WRITE = (
    "cache_creation_input_tokens", "cacheWriteInputTokens", "cacheCreationInputTokens", "cache_write_input_tokens",
    "cache_creation_tokens", "cache_write_tokens",
)  # fmt: skip
_READ_DETAIL = ("cached_tokens", "cache_read", "cacheReadTokens", "cachedTokens")
_WRITE_DETAIL = ("cache_write_tokens", "cache_creation", "cacheWriteTokens", "cache_creation_tokens")
_REASONING = ("reasoning_tokens", "reasoningTokens", "output_reasoning_tokens", "reasoning_output_tokens",
              "thoughtsTokens")  # fmt: skip
_REASONING_DETAIL = ("reasoning_tokens", "reasoning", "reasoningTokens")
_APART = frozenset({"cache_creation_input_tokens", "cacheReadInputTokens", "cacheWriteInputTokens"})
"""Only objects whose input tokens leave cached ones out have these names and no total."""


NO_USAGE = Usage()


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Tokens as an emitter counts them, before it is known whether cached ones are inside ``input``."""

    input: int | None = None
    output: int | None = None
    total: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    cache_write_1h: int | None = None
    reasoning: int | None = None
    billed_units: Mapping[str, int] | None = None


def counts_of(raw: Mapping[str, object], facts: Facts) -> Counts:
    """Return what the usage object *raw* counts; odd values are None, flagged in *facts*."""
    inside = _first_mapping(raw, _INPUT_DETAILS)
    outside = _first_mapping(raw, _OUTPUT_DETAILS)
    output = _first(raw, _OUTPUT, facts)
    candidates = _first(raw, _CANDIDATES, facts)
    thoughts = _first(raw, _THOUGHTS, facts)
    if output is None and candidates is not None:
        output = candidates + (thoughts or 0)
    lasting = mapping_of(raw.get("cache_creation"))
    return Counts(
        input=_first(raw, _INPUT, facts),
        output=output,
        total=_first(raw, _TOTAL, facts),
        cache_read=_either(_first(inside, _READ_DETAIL, facts), _first(raw, _READ, facts)),
        cache_write=_either(_first(inside, _WRITE_DETAIL, facts), _first(raw, _WRITE, facts)),
        cache_write_1h=_either(
            _first(lasting, ("ephemeral_1h_input_tokens",), facts),
            _first(inside, ("ephemeral_1h_input_tokens",), facts),
            _first(raw, ("cache_creation_input_tokens_above_1hr",), facts),
        ),
        reasoning=_either(thoughts, _first(outside, _REASONING_DETAIL, facts), _first(raw, _REASONING, facts)),
        billed_units=_units(inside, outside, raw, facts),
    )


def cache_is_apart(raw: Mapping[str, object]) -> bool:
    """Tell whether *raw* is a provider's own object whose input tokens leave cached ones out."""
    return not _APART.isdisjoint(raw) and not any(name in raw for name in _TOTAL)


def usage_of(raw: Mapping[str, object], facts: Facts, *, apart: bool | None = None) -> Usage:
    """Return the tokens that the usage object *raw* says were billed.

    *apart* says whether its input tokens leave cached ones out; None: its names tell.
    """
    return usage(counts_of(raw, facts), apart=cache_is_apart(raw) if apart is None else apart)


def usage(counts: Counts, *, apart: bool) -> Usage:
    """Return the tokens billed, cached ones inside the input.

    An input smaller than what was read from and written to the cache proves that they are apart; so does a
    total that holds them on top of input and output. Reasoning that a total holds on top is apart likewise.
    """
    write = _either(counts.cache_write, counts.cache_write_1h)
    cached = (counts.cache_read or 0) + (write or 0)
    on_top = _on_top(counts, cached)
    tokens, output = counts.input, counts.output
    if tokens is not None and (apart or tokens < cached or on_top in (cached, cached + (counts.reasoning or 0))):
        tokens += cached
    if output is not None and counts.reasoning and on_top in (counts.reasoning, cached + counts.reasoning):
        output += counts.reasoning
    return Usage(
        input_tokens=tokens,
        cache_read_tokens=counts.cache_read,
        cache_write_tokens=write,
        cache_write_1h_tokens=counts.cache_write_1h,
        output_tokens=output,
        reasoning_tokens=counts.reasoning,
        billed_units=counts.billed_units or {},
    )


def _on_top(counts: Counts, cached: int) -> int | None:
    """Return how many tokens the total holds on top of input and output; None where that proves nothing.

    Cached and reasoning tokens of the same number cannot be told apart.
    """
    if not counts.total or counts.input is None or counts.output is None or cached == (counts.reasoning or 0):
        return None
    more = counts.total - counts.input - counts.output
    return more if more > 0 else None


def merged(first: Usage, second: Usage) -> Usage:
    """Return *first*, its unknown parts taken from *second* where both speak of the same totals."""
    if second is NO_USAGE:
        return first
    if not first.known:
        return second if second.known else first
    if not second.known or (first.input_tokens, first.output_tokens) != (second.input_tokens, second.output_tokens):
        return first
    return Usage(
        input_tokens=first.input_tokens,
        output_tokens=first.output_tokens,
        cache_read_tokens=_either(first.cache_read_tokens, second.cache_read_tokens),
        cache_write_tokens=_either(first.cache_write_tokens, second.cache_write_tokens),
        cache_write_1h_tokens=_either(first.cache_write_1h_tokens, second.cache_write_1h_tokens),
        reasoning_tokens=_either(first.reasoning_tokens, second.reasoning_tokens),
        billed_units={**second.billed_units, **first.billed_units},
    )


def _units(
    inside: Mapping[str, object], outside: Mapping[str, object], raw: Mapping[str, object], facts: Facts
) -> dict[str, int]:
    tools = mapping_of(raw.get("server_tool_use"))
    found = {
        "input_audio_tokens": _first(inside, ("audio_tokens",), facts),
        "cache_audio_read_tokens": _first(mapping_of(inside.get("cached_tokens_details")), ("audio_tokens",), facts),
        "input_image_tokens": _first(inside, ("image_tokens",), facts),
        "output_audio_tokens": _first(outside, ("audio_tokens",), facts),
        "output_image_tokens": _first(outside, ("image_tokens",), facts),
        "web_searches": _first(tools, ("web_search_requests",), facts),
    }
    return {name: count for name, count in found.items() if count}


def _first(raw: Mapping[str, object], names: tuple[str, ...], facts: Facts) -> int | None:
    for name in names:
        value = raw.get(name)
        if value is not None and not isinstance(value, Mapping):
            return facts.count(value)
    return None


def _first_mapping(raw: Mapping[str, object], names: tuple[str, ...]) -> Mapping[str, object]:
    for name in names:
        value = raw.get(name)
        if isinstance(value, Mapping):
            return value
    return {}


def _either(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)
