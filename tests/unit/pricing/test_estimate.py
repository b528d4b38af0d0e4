"""Tokens counted where nobody says them; expectations are those of OpenAI's own tokenizer page."""

from __future__ import annotations

import json

import pytest

from otel_obs.model import Call, Content, Usage
from otel_obs.pricing.estimate import PER_MESSAGE, estimate

CHAT = Call(operation="chat", request_model="gpt-4o")
HELLO = "hello world"
"""Two tokens in every vocabulary."""


def test_text_is_counted_in_and_out() -> None:
    found = estimate(CHAT, [Content("input", HELLO), Content("output", HELLO)])

    assert found == (2 + PER_MESSAGE, 2)


def test_of_messages_the_language_is_counted_and_not_what_describes_it() -> None:
    messages = json.dumps([{"role": "user", "parts": [{"type": "text", "content": HELLO}]}])

    assert estimate(CHAT, [Content("input", messages)]) == (2 + 2 * PER_MESSAGE, None)


@pytest.mark.parametrize(
    "call",
    [
        Call(operation="chat", request_model="gpt-4o", usage=Usage(output_tokens=5)),
        Call(operation="chat", request_model="gpt-4o", failed=True),
        Call(operation="image", request_model="gpt-image-1"),
    ],
    ids=["known usage", "failed", "no text"],
)
def test_what_is_known_or_cannot_be_counted_is_not_estimated(call: Call) -> None:
    assert estimate(call, [Content("input", HELLO), Content("output", HELLO)]) is None


def test_nothing_said_is_nothing_estimated() -> None:
    assert estimate(CHAT, [Content("tool_result", HELLO)]) is None


@pytest.mark.parametrize("text", ["a" * 1_000_000, "[" * 100_000, "<|endoftext|>", "\ud800", '{"a": '])
def test_odd_text_is_counted_all_the_same(text: str) -> None:
    found = estimate(CHAT, [Content("input", text)])

    assert found is not None
    assert found.input_tokens is not None
    assert found.input_tokens > PER_MESSAGE
