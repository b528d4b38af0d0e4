"""What was billed, as the usage object of any provider says it?

OpenAI (https://platform.openai.com/docs/api-reference/chat/object), Anthropic
(https://docs.anthropic.com/en/api/messages), Google (https://ai.google.dev/api/generate-content#UsageMetadata),
LangChain's ``usage_metadata`` and ``token_usage``, LiteLLM (OpenAI's with Anthropic's cache counts beside it). An
object is known by its names, whether they are attributes or keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, fields
from typing import Any, Literal

from otel_obs.frozen import dataclass
from otel_obs.instrumentation.paths import get, held, member
from otel_obs.model import Usage

_TOOL_USE = ("tool_use_prompt_token_count", "toolUsePromptTokenCount")
"""Google's name for the part of the prompt that its tools wrote; it is not in ``prompt_token_count``."""
_INPUT = ("input_tokens", "prompt_tokens", "prompt_token_count", "promptTokenCount", "inputTokens")
_OUTPUT = ("output_tokens", "completion_tokens", "outputTokens")
_CANDIDATES = ("candidates_token_count", "candidatesTokenCount")
_THOUGHTS = ("thoughts_token_count", "thoughtsTokenCount")
_TOTAL = ("total_tokens", "total_token_count", "totalTokenCount", "totalTokens")
_READ_APART = ("cache_read_input_tokens", "cacheReadInputTokens")
_WRITE_APART = ("cache_creation_input_tokens", "cacheWriteInputTokens")
_READ = ("cached_content_token_count", "cachedContentTokenCount", "cached_tokens", "cache_read_tokens")
_WRITE = ("cache_write_tokens", "cache_creation_tokens")
_INSIDE = ("prompt_tokens_details", "input_tokens_details", "input_token_details")
_OUTSIDE = ("completion_tokens_details", "output_tokens_details", "output_token_details")

_DETAILED = ("cache_creation", "server_tool_use", "reasoning_tokens")
_NAMES = frozenset(
    (*_TOOL_USE, *_INPUT, *_OUTPUT, *_CANDIDATES, *_THOUGHTS, *_TOTAL, *_READ_APART, *_WRITE_APART, *_READ, *_WRITE,
     *_INSIDE, *_OUTSIDE, *_DETAILED)
)  # fmt: skip

Source = Literal["reported", "split"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Tokens of one request; None where nobody said."""

    input_tokens: int | None = None
    """Every token of the prompt, cached ones included."""
    output_tokens: int | None = None
    """Every generated token, reasoning included."""
    total_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    """The part of ``cache_write_tokens`` that is kept for an hour."""
    reasoning_tokens: int | None = None
    billed_units: Mapping[str, int] = field(default_factory=dict)
    """``input_audio_tokens``, ``output_audio_tokens``, ``web_searches``: what is billed beside text."""

    @property
    def known(self) -> bool:
        """True if anything was counted."""
        return (self.input_tokens, self.output_tokens, self.total_tokens) != (None, None, None)

    def over(self, other: Tokens) -> Tokens:
        """Return this, its gaps filled from *other*."""
        if self is NOTHING or other is NOTHING:
            return other if self is NOTHING else self
        values = {name: _either(getattr(self, name), getattr(other, name)) for name in _COUNTS}
        return Tokens(**values, billed_units={**other.billed_units, **self.billed_units})

    def plus(self, other: Tokens) -> Tokens:
        """Return the sum, as that of LangChain's chunks; what neither knows stays unknown."""
        values = {name: _sum(getattr(self, name), getattr(other, name)) for name in _COUNTS}
        units = {
            name: self.billed_units.get(name, 0) + other.billed_units.get(name, 0)
            for name in (*self.billed_units, *other.billed_units)
        }
        return Tokens(**values, billed_units=units)

    def billed(self) -> tuple[Usage, Source | None]:
        """Return what was billed and how that is known: a total alone is split in half."""
        given, made, total = self.input_tokens, self.output_tokens, self.total_tokens
        source: Source | None = "reported" if (given, made) != (None, None) else None
        if total is not None:
            if given is None and made is None:
                given, made, source = total - total // 2, total // 2, "split"
            elif given is None and made is not None:
                given = max(total - made, 0)
            elif made is None and given is not None:
                made = max(total - given, 0)
        if not given and not made:
            # No model answers without having read a token: zeros stand for what was not said.
            return Usage(billed_units=self.billed_units), None
        usage = Usage(
            input_tokens=given,
            output_tokens=made,
            cache_read_tokens=self.cache_read_tokens,
            cache_write_tokens=self.cache_write_tokens,
            cache_write_1h_tokens=self.cache_write_1h_tokens,
            reasoning_tokens=self.reasoning_tokens,
            billed_units=self.billed_units,
        )
        return usage, source


_COUNTS = tuple(found.name for found in fields(Tokens) if found.name != "billed_units")
NOTHING = Tokens()


def tokens_of(raw: Any) -> Tokens:
    """Return the tokens that the usage object *raw* (attributes or keys) counts; nothing if it is none.

    Anthropic and Bedrock leave cached tokens out of the input; here they are inside it, as the GenAI convention
    has it (https://github.com/open-telemetry/semantic-conventions-genai).
    """
    if raw is None:
        return NOTHING
    raw = held(raw, _NAMES)
    inside, outside = _details(raw, _INSIDE), _details(raw, _OUTSIDE)
    given, made = _count(raw, _INPUT), _count(raw, _OUTPUT)
    candidates, thoughts = _count(raw, _CANDIDATES), _count(raw, _THOUGHTS)
    if made is None and candidates is not None:
        made = candidates + (thoughts or 0)
    total = _count(raw, _TOTAL)
    read_apart, write_apart = _count(raw, _READ_APART), _count(raw, _WRITE_APART)
    tools = _count(raw, _TOOL_USE)
    if given is not None and tools is not None:
        given += tools
    beside = (read_apart or 0) + (write_apart or 0)
    # Who tells a total counts cached tokens inside the input, unless the total shows that they are beside it.
    apart = beside > 0 and (total is None or total == (given or 0) + (made or 0) + beside)
    read = _either(_count(inside, ("cached_tokens", "cache_read")), read_apart, _count(raw, _READ))
    write = _either(_count(inside, ("cache_write_tokens", "cache_creation")), write_apart, _count(raw, _WRITE))
    if given is not None and apart:
        given += (read or 0) + (write or 0)
    return Tokens(
        input_tokens=given,
        output_tokens=made,
        total_tokens=total,
        cache_read_tokens=read,
        cache_write_tokens=write,
        cache_write_1h_tokens=_count(get(raw, "cache_creation"), ("ephemeral_1h_input_tokens",)),
        reasoning_tokens=_either(
            thoughts, _count(outside, ("reasoning_tokens", "reasoning")), _count(raw, ("reasoning_tokens",))
        ),
        billed_units=_units(raw, inside, outside),
    )


def _units(raw: Any, inside: Any, outside: Any) -> dict[str, int]:
    units = {
        "input_audio_tokens": _count(inside, ("audio_tokens", "audio")),
        "output_audio_tokens": _count(outside, ("audio_tokens", "audio")),
        "web_searches": _count(get(raw, "server_tool_use"), ("web_search_requests",)),
    }
    return {name: count for name, count in units.items() if count}


def _details(raw: Any, names: tuple[str, ...]) -> Any:
    return next((found for name in names if (found := get(raw, name)) is not None), None)


def _count(raw: Any, names: tuple[str, ...]) -> int | None:
    for name in names:
        value = member(raw, name)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63:
            return value
        if isinstance(value, float) and value.is_integer() and 0 <= value < 2**53:
            return int(value)
    return None


def _either(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None and other is None else (one or 0) + (other or 0)
