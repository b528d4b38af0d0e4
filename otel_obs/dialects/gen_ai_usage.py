"""What was used, in the words of the GenAI convention and of all that came before it.

https://github.com/open-telemetry/semantic-conventions-genai/blob/main/docs/gen-ai/gen-ai-spans.md
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from otel_obs.dialects.facts import Facts
from otel_obs.dialects.provider import bills_cache_apart, counts_thoughts_apart
from otel_obs.dialects.usage import NO_USAGE, Counts, merged, usage, usage_of, with_thoughts
from otel_obs.model import SpanEvent, Usage

_INPUT = (
    "gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.usage.prompt_tokens",
    "gen_ai.response.prompt_tokens",
)  # fmt: skip
_OUTPUT = (
    "gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.usage.completion_tokens",
    "gen_ai.response.completion_tokens",
)  # fmt: skip
"""Those of a response are Semantic Kernel's of 2024, which others took over."""
_TOTAL = ("gen_ai.usage.total_tokens", "llm.usage.total_tokens")
TOTAL = (*_TOTAL, "gen_ai.client.token.usage")
"""The last is OpenLIT's own sum, of whatever it knows: reasoning is in it once more where the output has it already."""


def _spelled_out(details: tuple[str, ...], counts: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names under which a provider's object inside its usage object is sent, one attribute a member."""
    return tuple(f"gen_ai.usage.{detail}.{count}" for detail in details for count in counts)


_INPUT_DETAILS = ("prompt_tokens_details", "input_tokens_details", "prompt_token_details", "input_token_details")
_OUTPUT_DETAILS = (
    "completion_tokens_details", "output_tokens_details", "completion_token_details", "output_token_details",
)  # fmt: skip
_READ = (
    "gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_read_input_tokens",
    "gen_ai.usage.input_tokens.cached", "gen_ai.usage.input_tokens.cache_read", "gen_ai.usage.cached_input_tokens",
    "gen_ai.usage.details.cache_read_tokens", "gen_ai.usage.details.cache_read_input_tokens",
    "gen_ai.usage.details.cached_tokens", "gen_ai.usage.cached_tokens", "gen_ai.usage.cache_read_tokens",
    "agentscope.usage.cache_input_tokens", "gen_ai.usage.input_cached_tokens",
    *_spelled_out(_INPUT_DETAILS, ("cached_tokens", "cached_read_tokens", "cache_read_tokens", "cache_read")),
)  # fmt: skip
_WRITE = (
    "gen_ai.usage.cache_write.input_tokens", "gen_ai.usage.cache_creation.input_tokens",
    "gen_ai.usage.cache_creation_input_tokens", "gen_ai.usage.cache_write_input_tokens",
    "gen_ai.usage.input_tokens.cache_write", "gen_ai.usage.input_tokens.cache_creation",
    "gen_ai.usage.details.cache_write_tokens",
    "gen_ai.usage.details.cache_creation_input_tokens", "gen_ai.usage.cache_write_tokens",
    "agentscope.usage.cache_creation_input_tokens",
    *_spelled_out(_INPUT_DETAILS, ("cached_write_tokens", "cache_write_tokens", "cache_creation")),
)  # fmt: skip
_WRITE_1H = (
    "anthropic.usage.cache_creation.ephemeral_1h_input_tokens",
    "gen_ai.usage.cache_creation.ephemeral_1h_input_tokens",
    "gen_ai.usage.details.ephemeral_1h_input_tokens",
)
_REASONING = (
    "gen_ai.usage.reasoning.output_tokens", "gen_ai.usage.reasoning_tokens", "gen_ai.usage.output_tokens.reasoning",
    "gen_ai.usage.reasoning_output_tokens", "gen_ai.usage.details.reasoning_tokens",
    "gen_ai.usage.details.thoughts_tokens", "gen_ai.usage.thinking_tokens", "gen_ai.usage.thoughts_tokens",
    "llm_token_count_completion_details_reasoning",
    *_spelled_out(_OUTPUT_DETAILS, ("reasoning_tokens", "reasoning")),
)  # fmt: skip
_UNITS = {
    "input_audio_tokens": (
        "gen_ai.usage.audio.input_tokens", "gen_ai.usage.details.input_audio_tokens",
        "gen_ai.usage.input_audio_tokens",
        *_spelled_out(_INPUT_DETAILS, ("audio_tokens",)),
    ),
    "output_audio_tokens": (
        "gen_ai.usage.audio.output_tokens", "gen_ai.usage.details.output_audio_tokens",
        "gen_ai.usage.output_audio_tokens",
        *_spelled_out(_OUTPUT_DETAILS, ("audio_tokens",)),
    ),
    "input_image_tokens": (
        "gen_ai.usage.image.input_tokens", *_spelled_out(_INPUT_DETAILS, ("image_tokens",)),
    ),
    "cache_audio_read_tokens": ("gen_ai.usage.audio.cache_read.input_tokens",),
    "characters": ("metrics.character_count",),
    "input_video_tokens": ("gen_ai.usage.video.input_tokens",),
    "web_searches": ("gen_ai.usage.details.web_search_requests", "gen_ai.usage.web_searches"),
}  # fmt: skip
_SECONDS = "metrics.audio_seconds"
_LONGEST_SECONDS = 7 * 24 * 3600
_UNIT_NAMES = (*[name for names in _UNITS.values() for name in names], _SECONDS)


def usage_by_convention(facts: Facts, provider: str | None, model: str | None, *, apart: bool) -> Usage:
    """Return the tokens that the ``gen_ai.usage.*`` attributes report.

    By the convention cached tokens are inside ``gen_ai.usage.input_tokens``, and reasoning inside
    ``gen_ai.usage.output_tokens``; with *apart* they are beside it where *provider* itself counts those of *model* so.
    """
    counts = Counts(
        input=facts.tokens(*_INPUT),
        output=facts.tokens(*_OUTPUT),
        total=facts.tokens(*_TOTAL),
        cache_read=facts.tokens(*_READ),
        cache_write=facts.tokens(*_WRITE),
        cache_write_1h=facts.tokens(*_WRITE_1H),
        reasoning=facts.tokens(*_REASONING),
        billed_units=_billed_units(facts),
    )
    if apart:
        apart = bills_cache_apart(provider, model)
        if counts.output is not None and counts.reasoning and counts_thoughts_apart(provider, model):
            counts = replace(counts, output=counts.output + counts.reasoning, total=None)
    if provider is not None and provider.startswith("gcp."):
        counts = with_thoughts(counts)
    found = usage(counts, apart=apart)
    if not found.known:
        told, said = "gen_ai.usage.details.input_tokens", "gen_ai.usage.details.output_tokens"
        counts = replace(counts, input=facts.tokens(told), output=facts.tokens(said), total=None)
        found = usage(counts, apart=True)
    raw = facts.mapping("gen_ai.usage.raw")
    return merged(found, usage_of(raw, facts)) if raw else found


def usage_by_event(events: Sequence[SpanEvent], provider: str | None) -> Usage:
    """Return the usage that the last event called ``gen_ai.usage`` tells, as Ax (https://axllm.dev) does.

    What its total holds beside input and output was read from or written to a cache, and is part of the input.
    """
    for event in reversed(events):
        if event.name == "gen_ai.usage":
            return _usage_of_event(Facts(event.attributes), provider or "")
    return NO_USAGE


def _usage_of_event(facts: Facts, provider: str) -> Usage:
    found, output = facts.tokens(*_INPUT), facts.tokens(*_OUTPUT)
    total, thoughts = facts.tokens(*TOTAL), facts.tokens(*_REASONING)
    if output is not None and provider.startswith("gcp."):
        output += thoughts or 0
    cached = 0 if total is None or found is None else max(total - found - (output or 0), 0)
    return Usage(
        input_tokens=None if found is None else found + cached,
        cache_read_tokens=cached if cached and provider == "openai" else None,
        output_tokens=output,
        reasoning_tokens=thoughts,
    )


def _billed_units(facts: Facts) -> dict[str, int]:
    if not facts.sent(*_UNIT_NAMES):
        return {}
    found = {unit: count for unit, names in _UNITS.items() if (count := facts.tokens(*names))}
    seconds = facts.number(_SECONDS)
    if seconds is not None and 0 < seconds <= _LONGEST_SECONDS:
        found["seconds"] = max(1, round(seconds))
    return found


def said_usage(facts: Facts) -> bool:
    """Tell whether anything about usage was sent, whatever it says."""
    return facts.has_any("gen_ai.usage.", "llm.usage.", "gen_ai.aggregated_usage.")
