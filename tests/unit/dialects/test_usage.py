"""Usage objects of providers and frameworks become the same tokens."""

from __future__ import annotations

from typing import Any

import pytest

from otel_obs.dialects.facts import Facts
from otel_obs.dialects.usage import Counts, merged, usage, usage_of
from otel_obs.model import Usage

FULL: dict[str, Any] = {"input_tokens": 1000, "cache_read_tokens": 300, "output_tokens": 200, "reasoning_tokens": 50}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (
            {
                "prompt_tokens": 1000, "completion_tokens": 200, "total_tokens": 1200,
                "prompt_tokens_details": {"cached_tokens": 300, "audio_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 50, "audio_tokens": None},
            },
            FULL,
        ),
        (
            {
                "input_tokens": 1000, "output_tokens": 200, "total_tokens": 1200,
                "input_tokens_details": {"cached_tokens": 300}, "output_tokens_details": {"reasoning_tokens": 50},
            },
            FULL,
        ),
        (
            {
                "input_tokens": 1000, "output_tokens": 200, "total_tokens": 1200,
                "input_token_details": {"cache_read": 300}, "output_token_details": {"reasoning": 50},
            },
            FULL,
        ),
        (
            {
                "promptTokenCount": 1000, "candidatesTokenCount": 150, "thoughtsTokenCount": 50,
                "cachedContentTokenCount": 300, "totalTokenCount": 1200,
            },
            FULL,
        ),
        (
            {
                "input_tokens": 550, "output_tokens": 200, "cache_creation_input_tokens": 150,
                "cache_read_input_tokens": 300, "cache_creation": {"ephemeral_1h_input_tokens": 100},
            },
            {
                "input_tokens": 1000, "cache_read_tokens": 300, "cache_write_tokens": 150,
                "cache_write_1h_tokens": 100, "output_tokens": 200,
            },
        ),
        (
            {"inputTokens": 700, "outputTokens": 200, "cacheReadInputTokens": 300, "cacheWriteInputTokens": 0},
            {"input_tokens": 1000, "cache_read_tokens": 300, "cache_write_tokens": 0, "output_tokens": 200},
        ),
        ({"prompt_tokens": True, "completion_tokens": None, "total_tokens": "x"}, {}),
        ({}, {}),
    ],
    ids=["openai chat", "openai responses", "langchain", "google", "anthropic", "bedrock", "odd values", "nothing"],
)  # fmt: skip
def test_usage_objects_are_read_by_their_names(raw: dict[str, Any], expected: dict[str, Any]) -> None:
    assert usage_of(raw, Facts({})) == Usage(**expected)


def test_an_input_smaller_than_its_cached_part_proves_that_they_are_apart() -> None:
    found = usage(Counts(input=100, cache_read=300, output=1), apart=False)

    assert found.input_tokens == 400


def test_what_was_written_for_an_hour_was_written_even_if_only_that_is_said() -> None:
    found = usage(Counts(input=1000, cache_write_1h=300, output=1), apart=False)

    assert (found.input_tokens, found.cache_write_tokens, found.cache_write_1h_tokens) == (1000, 300, 300)


def test_audio_in_the_cached_part_is_read_where_a_realtime_answer_says_it() -> None:
    details = {"audio_tokens": 80, "cached_tokens": 60, "cached_tokens_details": {"audio_tokens": 50}}
    found = usage_of({"input_tokens": 100, "output_tokens": 1, "input_token_details": details}, Facts({}))

    assert (found.cache_read_tokens, found.billed_units) == (
        60,
        {"input_audio_tokens": 80, "cache_audio_read_tokens": 50},
    )


def test_reasoning_and_cached_tokens_are_parts_and_are_never_added() -> None:
    found = usage(Counts(input=1000, cache_read=300, output=200, reasoning=50), apart=False)

    assert (found.input_tokens, found.output_tokens) == (1000, 200)


def test_details_are_taken_only_from_what_speaks_of_the_same_totals() -> None:
    poor, rich = Usage(input_tokens=10, output_tokens=5), Usage(**FULL)

    assert merged(poor, rich) == poor
    assert merged(Usage(input_tokens=1000, output_tokens=200), rich) == rich
    assert merged(Usage(), rich) == rich
