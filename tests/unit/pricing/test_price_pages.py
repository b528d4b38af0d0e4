"""What providers' price pages say calls cost, multiplied out by hand: dollars for a million tokens, times tokens.

Nothing of otel_obs computes an expectation here. Each case says provider and model as they are met in the field, when
the call was made, what was billed, and the page's arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import pytest

from otel_obs.dialects.provider import provider_name
from otel_obs.model import Call, Usage
from otel_obs.pricing.catalog import default_catalog
from otel_obs.pricing.price import price

D = Decimal
MTOK = D(1_000_000)
THOUSAND = D(1_000)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=timezone.utc)  # type: ignore[arg-type, misc]  # the parts of a date


NOON = utc(2026, 11, 20, 12)


@dataclass(frozen=True)
class Case:
    """A call, and its dollars by the price page."""

    about: str
    provider: str
    model: str
    usage: Mapping[str, Any]
    dollars: Decimal
    at: datetime = NOON
    tier: str | None = None
    is_batch: bool = False
    operation: str = "chat"
    units: Mapping[str, int] = field(default_factory=dict)


def used(
    input_tokens: int | None, output_tokens: int | None = None, *, read: int | None = None, write: int | None = None,
    hour: int | None = None, reasoning: int | None = None,
) -> dict[str, int | None]:  # fmt: skip
    """Return usage; cached tokens are inside the input, reasoning inside the output."""
    return {
        "input_tokens": input_tokens, "output_tokens": output_tokens, "cache_read_tokens": read,
        "cache_write_tokens": write, "cache_write_1h_tokens": hour, "reasoning_tokens": reasoning,
    }  # fmt: skip


OPENAI = (
    Case("plain", "openai", "gpt-4o", used(1_000, 200), (1_000 * D("2.50") + 200 * D("10")) / MTOK),
    Case("a dated snapshot", "openai", "gpt-4o-2024-08-06", used(1_303, 83), (1_303 * D("2.50") + 83 * D("10")) / MTOK),
    Case("a cheaper sibling", "openai", "gpt-4o-mini", used(1_000, 200), (1_000 * D("0.15") + 200 * D("0.60")) / MTOK),
    Case("the first snapshot cost twice as much", "openai", "gpt-4o-2024-05-13", used(1_000, 200),
         (1_000 * D("5") + 200 * D("15")) / MTOK),
    Case("cache read", "openai", "gpt-4o", used(1_200, 83, read=1_000),
         ((1_200 - 1_000) * D("2.50") + 1_000 * D("1.25") + 83 * D("10")) / MTOK),
    Case("everything read from the cache", "openai", "gpt-4.1", used(1_024, 10, read=1_024),
         (0 * D("2") + 1_024 * D("0.50") + 10 * D("8")) / MTOK),
    Case("reasoning is part of the output", "openai", "o3", used(500, 2_000, reasoning=1_800),
         (500 * D("2") + 2_000 * D("8")) / MTOK),
    Case("the day before its price fell", "openai", "o3", used(10_000, 1_000),
         (10_000 * D("10") + 1_000 * D("40")) / MTOK,
         at=utc(2025, 6, 9, 23, 59, 59)),
    Case("the day its price fell", "openai", "o3", used(10_000, 1_000), (10_000 * D("2") + 1_000 * D("8")) / MTOK,
         at=utc(2025, 6, 10)),
    Case("reasoning with cache", "openai", "gpt-5-mini-2025-08-07", used(3_606, 1_216, read=3_072, reasoning=1_024),
         ((3_606 - 3_072) * D("0.25") + 3_072 * D("0.025") + 1_216 * D("2")) / MTOK),
    Case("flex", "openai", "gpt-5", used(10_000, 1_000, read=4_000),
         (6_000 * D("0.625") + 4_000 * D("0.0625") + 1_000 * D("5")) / MTOK, tier="flex"),
    Case("priority", "openai", "gpt-5", used(10_000, 1_000, read=4_000),
         (6_000 * D("2.50") + 4_000 * D("0.25") + 1_000 * D("20")) / MTOK, tier="priority"),
    Case("the default tier", "openai", "gpt-5", used(10_000, 1_000), (10_000 * D("1.25") + 1_000 * D("10")) / MTOK,
         tier="default"),
    Case("a tier in capitals", "openai", "gpt-4.1", used(1_000, 100), (1_000 * D("3.50") + 100 * D("14")) / MTOK,
         tier="PRIORITY"),
    Case("batch", "openai", "gpt-4o", used(1_000_000, 1_000), (1_000_000 * D("1.25") + 1_000 * D("5")) / MTOK,
         is_batch=True),
    Case("batch of a month ago", "openai", "gpt-4.1-mini", used(1_000, 1_000),
         (1_000 * D("0.20") + 1_000 * D("0.80")) / MTOK,
         is_batch=True, at=utc(2026, 9, 1)),
    Case("a fine-tune", "openai", "ft:gpt-4o-mini-2024-07-18:acme:support:9aBcDeFg", used(1_000, 100),
         (1_000 * D("0.30") + 100 * D("1.20")) / MTOK),
    Case("embeddings", "openai", "text-embedding-3-small", used(8_000), 8_000 * D("0.02") / MTOK,
         operation="embeddings"),
    Case("embeddings that report an output of 0", "openai", "text-embedding-3-large", used(8_000, 0),
         8_000 * D("0.13") / MTOK, operation="embeddings"),
    Case("audio in and out", "openai", "gpt-audio", used(1_000, 500),
         (200 * D("2.50") + 800 * D("32") + 100 * D("10") + 400 * D("64")) / MTOK,
         units={"input_audio_tokens": 800, "output_audio_tokens": 400}),
    Case("audio in the cached part", "openai", "gpt-realtime", used(1_000, 0, read=600),
         # 1,000 in: 800 audio, of them 500 cached; 200 text, of them 100 cached
         (300 * D("32") + 500 * D("0.40") + 100 * D("4") + 100 * D("0.40")) / MTOK,
         units={"input_audio_tokens": 800, "cache_audio_read_tokens": 500}),
    Case("an image drawn", "openai", "gpt-image-1.5", used(100, 4_500),
         (100 * D("5") + 500 * D("10") + 4_000 * D("32")) / MTOK, operation="image",
         units={"output_image_tokens": 4_000}),
    Case("an image shown to a chat model costs what text does", "openai", "gpt-4o", used(1_105, 20),
         (1_105 * D("2.50") + 20 * D("10")) / MTOK, units={"input_image_tokens": 1_005}),
    Case("web searches by the thousand", "openai", "gpt-5", used(1_000, 100),
         (1_000 * D("1.25") + 100 * D("10")) / MTOK + 3 * D("10") / THOUSAND, units={"web_searches": 3}),
    Case("the last token before the long-context price", "openai", "gpt-6-sol", used(272_000, 1_000),
         (272_000 * D("2") + 1_000 * D("10")) / MTOK),
    Case("one token more: all of the call", "openai", "gpt-6-sol", used(272_001, 1_000),
         (272_001 * D("4") + 1_000 * D("15")) / MTOK),
    Case("long by its cached part alone", "openai", "gpt-6-sol", used(300_000, 1_000, read=299_000),
         (1_000 * D("4") + 299_000 * D("0.40") + 1_000 * D("15")) / MTOK),
    Case("long, written to the cache, flex", "openai", "gpt-6-sol", used(300_000, 1_000, write=200_000),
         (100_000 * D("2") + 200_000 * D("2.50") + 1_000 * D("7.50")) / MTOK, tier="flex"),
    Case("speech to text by the second", "openai", "whisper-1", used(None), 90 * D("0.36") / 3_600,
         operation="transcription", units={"seconds": 90}),
    Case("text to speech by the character", "openai", "tts-1", used(None), 2_000 * D("15") / MTOK,
         operation="speech", units={"characters": 2_000}),
)  # fmt: skip

ANTHROPIC = (
    Case("plain", "anthropic", "claude-sonnet-4-5-20250929", used(1_000, 200), (1_000 * D("3") + 200 * D("15")) / MTOK),
    Case("read, written for five minutes and for an hour", "anthropic", "claude-sonnet-4-5",
         used(10_000, 500, read=4_000, write=3_000, hour=1_000),
         # 3,000 fresh, 4,000 read at a tenth, 2,000 written at 1.25, 1,000 written for an hour at twice the price
         (3_000 * D("3") + 4_000 * D("0.30") + 2_000 * D("3.75") + 1_000 * D("6") + 500 * D("15")) / MTOK),
    Case("written for an hour only", "anthropic", "claude-haiku-4-5-20251001",
         used(5_000, 100, write=4_000, hour=4_000),
         (1_000 * D("1") + 4_000 * D("2") + 100 * D("5")) / MTOK),
    Case("written for five minutes only", "anthropic", "claude-haiku-4-5", used(5_000, 100, write=4_000, hour=0),
         (1_000 * D("1") + 4_000 * D("1.25") + 100 * D("5")) / MTOK),
    Case("200,000 tokens are not long yet", "anthropic", "claude-sonnet-4-5", used(200_000, 1_000),
         (200_000 * D("3") + 1_000 * D("15")) / MTOK),
    Case("long: everything dearer", "anthropic", "claude-sonnet-4-5",
         used(200_001, 1_000, read=100_000, write=50_000, hour=50_000),
         (50_001 * D("6") + 100_000 * D("0.60") + 50_000 * D("12") + 1_000 * D("22.50")) / MTOK),
    Case("long, before that price was dropped", "anthropic", "claude-opus-4-6", used(250_000, 1_000),
         (250_000 * D("10") + 1_000 * D("37.50")) / MTOK, at=utc(2026, 3, 12, 23, 59)),
    Case("long, after that price was dropped", "anthropic", "claude-opus-4-6", used(250_000, 1_000),
         (250_000 * D("5") + 1_000 * D("25")) / MTOK, at=utc(2026, 3, 13)),
    Case("batch", "anthropic", "claude-opus-4-5", used(10_000, 1_000, read=2_000, write=2_000, hour=1_000),
         (6_000 * D("2.50") + 2_000 * D("0.25") + 1_000 * D("3.125") + 1_000 * D("5") + 1_000 * D("12.50")) / MTOK,
         is_batch=True),
    Case("web searches", "anthropic", "claude-opus-4-1-20250805", used(6_039, 931),
         (6_039 * D("15") + 931 * D("75")) / MTOK + 2 * D("10") / THOUSAND, units={"web_searches": 2}),
    Case("web searches with what was written for an hour", "anthropic", "claude-sonnet-4-0",
         used(3_000, 10, write=2_000, hour=500),
         (1_000 * D("3") + 1_500 * D("3.75") + 500 * D("6") + 10 * D("15")) / MTOK + 1 * D("10") / THOUSAND,
         units={"web_searches": 1}),
    Case("thinking is output", "anthropic", "claude-opus-5", used(1_000, 4_000, reasoning=3_500),
         (1_000 * D("5") + 4_000 * D("25")) / MTOK),
    Case("an old one", "anthropic", "claude-3-haiku-20240307", used(1_000, 1_000),
         (1_000 * D("0.25") + 1_000 * D("1.25")) / MTOK),
    Case("another tier by length", "anthropic", "claude-haiku-5-5", used(100_001, 10, read=1),
         (100_000 * D("0.50") + 1 * D("0.05") + 10 * D("2.50")) / MTOK),
)  # fmt: skip

GOOGLE = (
    Case("plain", "gcp.gemini", "gemini-2.5-flash", used(1_000, 200), (1_000 * D("0.30") + 200 * D("2.50")) / MTOK),
    Case("up to 200,000", "gcp.gemini", "gemini-2.5-pro", used(200_000, 1_000),
         (200_000 * D("1.25") + 1_000 * D("10")) / MTOK),
    Case("above 200,000, partly cached", "gcp.vertex_ai", "gemini-2.5-pro", used(200_001, 1_000, read=150_000),
         (50_001 * D("2.50") + 150_000 * D("0.25") + 1_000 * D("15")) / MTOK),
    Case("thoughts are output", "gemini", "gemini-2.5-pro-preview-05-06", used(100, 900, reasoning=800),
         (100 * D("1.25") + 900 * D("10")) / MTOK),
    Case("audio in", "gcp.gemini", "gemini-2.5-flash", used(1_000, 100),
         (200 * D("0.30") + 800 * D("1") + 100 * D("2.50")) / MTOK, units={"input_audio_tokens": 800}),
    Case("audio where the page names one price for all", "gcp.gemini", "gemini-2.5-pro", used(1_000, 100),
         (1_000 * D("1.25") + 100 * D("10")) / MTOK, units={"input_audio_tokens": 800}),
    Case("an image drawn", "gcp.gemini", "gemini-2.5-flash-image", used(100, 1_310),
         (100 * D("0.30") + 20 * D("2.50") + 1_290 * D("30")) / MTOK, operation="image",
         units={"output_image_tokens": 1_290}),
    Case("batch", "gcp.gemini", "gemini-2.5-flash", used(1_000, 200), (1_000 * D("0.15") + 200 * D("1.25")) / MTOK,
         is_batch=True),
    Case("Claude on Vertex", "gcp.vertex_ai", "claude-sonnet-4-5@20250929", used(1_000, 200, write=600, hour=200),
         (400 * D("3") + 400 * D("3.75") + 200 * D("6") + 200 * D("15")) / MTOK),
    Case("grounding by the thousand", "gcp.gemini", "gemini-2.5-flash", used(100, 100),
         (100 * D("0.30") + 100 * D("2.50")) / MTOK + 1 * D("35") / THOUSAND, units={"web_searches": 1}),
    Case("embeddings", "gcp.gemini", "gemini-embedding-001", used(2_048), 2_048 * D("0.15") / MTOK,
         operation="embeddings"),
    Case("before the first of January", "gcp.gemini", "gemini-3.6-flash", used(1_000, 100),
         (1_000 * D("0.75") + 100 * D("3.75")) / MTOK, at=utc(2026, 12, 31, 23, 59)),
    Case("from the first of January", "gcp.gemini", "gemini-3.6-flash", used(1_000, 100),
         (1_000 * D("1.50") + 100 * D("7.50")) / MTOK, at=utc(2027, 1, 1)),
    Case("batch from the first of January", "gcp.gemini", "gemini-3.6-flash", used(1_000, 100),
         (1_000 * D("0.75") + 100 * D("3.75")) / MTOK, at=utc(2027, 1, 2), is_batch=True),
    Case("free of charge", "gcp.gemini", "gemma-4-31b-it", used(1_000, 100), D(0)),
)  # fmt: skip

BEDROCK = (
    Case("Nova", "aws.bedrock", "amazon.nova-lite-v1:0", used(1_000, 200),
         (1_000 * D("0.06") + 200 * D("0.24")) / MTOK),
    Case("Nova across regions, cached", "bedrock", "us.amazon.nova-pro-v1:0", used(1_000, 200, read=400),
         (600 * D("0.80") + 400 * D("0.20") + 200 * D("3.20")) / MTOK),
    Case("a regional profile costs a tenth more", "aws.bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
         used(1_000, 200, read=300, write=200, hour=100),
         (500 * D("3.30") + 300 * D("0.33") + 100 * D("4.125") + 100 * D("6.60") + 200 * D("16.50")) / MTOK),
    Case("a global one does not", "aws.bedrock", "global.anthropic.claude-sonnet-4-5-20250929-v1:0", used(1_000, 200),
         (1_000 * D("3") + 200 * D("15")) / MTOK),
    Case("an ARN", "aws.bedrock",
         "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-3-5-sonnet-20241022-v2:0",
         used(1_000, 200), (1_000 * D("3") + 200 * D("15")) / MTOK),
    Case("Llama", "aws.bedrock", "us.meta.llama3-3-70b-instruct-v1:0", used(1_000, 200), (1_200 * D("0.72")) / MTOK),
    Case("embeddings", "aws.bedrock", "amazon.titan-embed-text-v2:0", used(8_192), 8_192 * D("0.02") / MTOK,
         operation="embeddings"),
    Case("speech in and out", "aws.bedrock", "amazon.nova-sonic-v1:0", used(1_000, 1_000),
         (100 * D("0.06") + 900 * D("3.40") + 200 * D("0.24") + 800 * D("13.60")) / MTOK,
         units={"input_audio_tokens": 900, "output_audio_tokens": 800}),
)  # fmt: skip

AZURE = (
    Case("the model that a deployment answers with", "azure.ai.openai", "gpt-4o-2024-11-20", used(1_000, 200, read=500),
         (500 * D("2.50") + 500 * D("1.25") + 200 * D("10")) / MTOK),
    Case("Azure's spelling", "azure", "gpt-35-turbo-0613", used(1_000, 200), (1_000 * D("1.50") + 200 * D("2")) / MTOK),
    Case("Azure's fine-tunes", "az.ai.openai", "gpt-4o-mini-2024-07-18.ft-0e208cf33a6a466994aff31a08aba678",
         used(1_000, 200),
         (1_000 * D("0.30") + 200 * D("1.20")) / MTOK),
    Case("others' models", "azure.ai.inference", "claude-opus-4-5", used(1_000, 200),
         (1_000 * D("5") + 200 * D("25")) / MTOK),
    Case("embeddings", "azure.ai.openai", "text-embedding-ada-002", used(1_000), 1_000 * D("0.10") / MTOK,
         operation="embeddings"),
)  # fmt: skip

OTHERS = (
    Case("Mistral", "mistral_ai", "mistral-large-2411", used(1_000, 200), (1_000 * D("2") + 200 * D("6")) / MTOK),
    Case("Mistral's later one of that name", "mistral_ai", "mistral-large-2512", used(1_000, 200, read=500),
         (500 * D("0.50") + 500 * D("0.05") + 200 * D("1.50")) / MTOK),
    Case("Mistral before a price went up", "mistral_ai", "mistral-medium-latest", used(1_000, 200),
         (1_000 * D("0.40") + 200 * D("2")) / MTOK, at=utc(2026, 6, 15, 12)),
    Case("Mistral after a price went up", "mistral_ai", "mistral-medium-latest", used(1_000, 200),
         (1_000 * D("1.50") + 200 * D("7.50")) / MTOK, at=utc(2026, 6, 16)),
    Case("Mistral between two changes", "mistral_ai", "mistral-large-4", used(1_000, 200),
         (1_000 * D("1.36") + 200 * D("4.18")) / MTOK, at=utc(2026, 10, 25)),
    Case("Mistral in a batch", "mistral_ai", "mistral-small-2603", used(1_000, 200),
         (1_000 * D("0.075") + 200 * D("0.30")) / MTOK, is_batch=True),
    Case("DeepSeek by day", "deepseek", "deepseek-chat", used(10_000, 1_000, read=6_000),
         (4_000 * D("0.27") + 6_000 * D("0.07") + 1_000 * D("1.10")) / MTOK, at=utc(2026, 11, 20, 0, 30)),
    Case("DeepSeek off-peak", "deepseek", "deepseek-chat", used(10_000, 1_000, read=6_000),
         (4_000 * D("0.135") + 6_000 * D("0.035") + 1_000 * D("0.55")) / MTOK, at=utc(2026, 11, 20, 16, 30)),
    Case("DeepSeek's reasoner off-peak", "deepseek", "deepseek-reasoner", used(1_000, 9_000, reasoning=8_000),
         (1_000 * D("0.135") + 9_000 * D("0.55")) / MTOK, at=utc(2026, 11, 20, 20)),
    Case("DeepSeek in its peak hours", "deepseek", "deepseek-flash", used(1_000, 100),
         (1_000 * D("0.30") + 100 * D("1.20")) / MTOK, at=utc(2026, 11, 20, 9, 59)),
    Case("DeepSeek after them", "deepseek", "deepseek-flash", used(1_000, 100),
         (1_000 * D("0.15") + 100 * D("0.60")) / MTOK,
         at=utc(2026, 11, 20, 10)),
    Case("xAI", "x_ai", "grok-4-0709", used(1_000, 200, read=400, reasoning=150),
         (600 * D("3") + 400 * D("0.75") + 200 * D("15")) / MTOK),
    Case("xAI is long from 200,000", "xai", "grok-4.3", used(200_000, 10), (200_000 * D("2.50") + 10 * D("5")) / MTOK),
    Case("xAI below that", "xai", "grok-4.3", used(199_999, 10), (199_999 * D("1.25") + 10 * D("2.50")) / MTOK),
    Case("xAI before its price fell", "xai", "grok-4.20", used(1_000, 100), (1_000 * D("2") + 100 * D("6")) / MTOK,
         at=utc(2026, 4, 29, 23)),
    Case("xAI after its price fell", "xai", "grok-4.20", used(1_000, 100), (1_000 * D("1.25") + 100 * D("2.50")) / MTOK,
         at=utc(2026, 4, 30)),
    Case("Groq", "groq", "llama-3.3-70b-versatile", used(1_000, 200), (1_000 * D("0.59") + 200 * D("0.79")) / MTOK),
    Case("Groq, partly cached", "groq", "openai/gpt-oss-120b", used(1_000, 200, read=600),
         (400 * D("0.15") + 600 * D("0.075") + 200 * D("0.60")) / MTOK),
    Case("Groq's Whisper", "groq", "whisper-large-v3", used(None), 600 * D("0.111") / 3_600, operation="transcription",
         units={"seconds": 600}),
    Case("Cohere", "cohere", "command-r-08-2024", used(1_000, 200), (1_000 * D("0.15") + 200 * D("0.60")) / MTOK),
    Case("Cohere's embeddings", "cohere", "embed-v4.0", used(1_000), 1_000 * D("0.12") / MTOK, operation="embeddings"),
    Case("Perplexity: tokens and each request", "perplexity", "sonar-pro", used(1_000, 200),
         (1_000 * D("3") + 200 * D("15")) / MTOK + D("14") / THOUSAND),
    Case("Perplexity: a request and no searches said", "perplexity", "sonar", used(7, 26),
         (7 * D("1") + 26 * D("1")) / MTOK + D("12") / THOUSAND),
    Case("Perplexity: reasoning has a price of its own", "perplexity", "sonar-deep-research",
         used(100, 5_000, reasoning=4_000),
         (100 * D("2") + 1_000 * D("8") + 4_000 * D("3")) / MTOK),
    Case("Perplexity: and keeps it beside searches", "perplexity", "sonar-deep-research",
         used(100, 5_000, reasoning=4_000),
         (100 * D("2") + 1_000 * D("8") + 4_000 * D("3")) / MTOK + 20 * D("5") / THOUSAND, units={"web_searches": 20}),
    Case("Moonshot", "moonshot_ai", "kimi-k2.6", used(1_000, 200, read=900),
         (100 * D("0.95") + 900 * D("0.16") + 200 * D("4")) / MTOK),
    Case("Fireworks", "fireworks_ai", "accounts/fireworks/models/deepseek-v3p2", used(1_000, 200),
         (1_000 * D("0.56") + 200 * D("1.68")) / MTOK),
    Case("Together", "together_ai", "Qwen/Qwen3.5-9B", used(1_000, 200), (1_000 * D("0.17") + 200 * D("0.25")) / MTOK),
    Case("Cerebras", "cerebras", "gpt-oss-120b", used(1_000, 200), (1_000 * D("0.35") + 200 * D("0.75")) / MTOK),
    Case("Voyage", "voyageai", "voyage-3.5", used(1_000), 1_000 * D("0.06") / MTOK, operation="embeddings"),
    Case("OpenRouter", "openrouter", "anthropic/claude-sonnet-4.6", used(1_000, 200),
         (1_000 * D("3") + 200 * D("15")) / MTOK),
    Case("OpenRouter, free", "openrouter", "deepseek/deepseek-r1:free", used(1_000, 200), D(0)),
)  # fmt: skip

CASES = (*OPENAI, *ANTHROPIC, *GOOGLE, *BEDROCK, *AZURE, *OTHERS)


@pytest.mark.parametrize("case", CASES, ids=[f"{case.provider} {case.model[-40:]}: {case.about}" for case in CASES])
def test_a_call_costs_what_its_price_page_says(case: Case) -> None:
    call = Call(
        operation=case.operation,
        provider=provider_name(case.provider),
        response_model=case.model,
        usage=Usage(**case.usage, billed_units=case.units),
        service_tier=case.tier,
        is_batch=case.is_batch,
    )

    found = price(call, case.at, default_catalog(), "acme")

    assert (found.reason, found.source) == (None, "computed")
    assert found.cents == case.dollars * 100


@pytest.mark.parametrize(
    ("model", "usage", "units"),
    [
        ("gpt-realtime", used(1_000, 10, read=600), {"input_audio_tokens": 800}),
        ("gpt-4o-audio-preview", used(1_000, 10), {"input_audio_tokens": 800}),
        ("gpt-4o", used(1_000, 10), {"pages": 2}),
        ("gpt-4o", used(1_000, 10), {"searches": 2}),
        ("gpt-image-1", used(None), {"images": 1}),
        ("text-embedding-3-small", used(1_000, 10), {}),
    ],
    ids=[
        "cached tokens of which nobody says whether they are audio",
        "audio where the list says no price of audio",
        "a unit that nobody knows",
        "a unit that the model is not sold in",
        "images by the piece",
        "output of what has none",
    ],
)
def test_what_is_billed_in_a_unit_without_a_price_has_no_cost_rather_than_a_smaller_one(
    model: str, usage: dict[str, Any], units: dict[str, int]
) -> None:
    call = Call(operation="chat", provider="openai", response_model=model, usage=Usage(**usage, billed_units=units))

    found = price(call, NOON, default_catalog(), "acme")

    assert (found.cents, found.source, found.reason) == (None, "unpriced", "unknown_unit")


def test_an_hour_in_the_cache_is_not_sold_at_the_price_of_five_minutes() -> None:
    """Bedrock's list has no price for it for older models."""
    model = "anthropic.claude-3-7-sonnet-20250219-v1:0"
    for units in ({}, {"input_image_tokens": 10}):
        usage = Usage(input_tokens=1_000, cache_write_tokens=500, cache_write_1h_tokens=500, billed_units=units)
        call = Call(operation="chat", provider="aws.bedrock", response_model=model, usage=usage)

        assert price(call, NOON, default_catalog(), "acme").reason == "unknown_unit"
