"""How many tokens was that probably, where nobody says?

Counted offline with OpenAI's public vocabularies (https://github.com/github/rust-gems/tree/main/crates/bpe-openai);
for other providers' models that is a guess within some ten per cent. What is counted so is marked ``estimated``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any, NamedTuple

from otel_obs.errors import ConfigurationError
from otel_obs.model import Call, Content

PER_MESSAGE = 3
"""Tokens that OpenAI's chat format adds to each message, and once before the answer."""
_OLDER = ("gpt-4-", "gpt-4", "gpt-3.5", "text-embedding-", "gpt-35")
_NEWER = ("gpt-4o", "gpt-4.")
_NO_TEXT = frozenset({"role", "type", "id", "tool_call_id", "finish_reason", "mime_type", "index", "media_type"})
_INPUT = frozenset({"input", "system", "tools"})
_PIECE = 4_000
"""Characters encoded at once: the tokenizer refuses words that are too long."""
_TEXTUAL = frozenset({"chat", "generate_content", "text_completion", "embeddings"})


class Estimate(NamedTuple):
    """Tokens of what was said; None where it is not known what was said."""

    input_tokens: int | None
    output_tokens: int | None


def estimate(call: Call, contents: Iterable[Content]) -> Estimate | None:
    """Return how many tokens *contents* probably are; None if there is nothing to count or nothing to be counted."""
    if call.usage.known or call.failed or call.operation not in _TEXTUAL:
        return None
    count = _counter(_encoding(call.response_model or call.request_model or ""))
    asked = [content.body for content in contents if content.part in _INPUT]
    answered = [content.body for content in contents if content.part == "output"]
    if not asked and not answered:
        return None
    return Estimate(
        sum(_tokens(body, count) for body in asked) + PER_MESSAGE if asked else None,
        sum(_tokens(body, count) for body in answered) if answered else None,
    )


def _encoding(model: str) -> str:
    name = model.lower().rpartition("/")[2]
    return "cl100k_base" if name.startswith(_OLDER) and not name.startswith(_NEWER) else "o200k_base"


def _tokens(body: str, count: Callable[[str], int]) -> int:
    try:
        said = json.loads(body) if body.lstrip()[:1] in {"[", "{"} else body
    except (ValueError, RecursionError):
        said = body
    messages = len(said) if isinstance(said, list) else 0
    return messages * PER_MESSAGE + sum(count(text) for text in _texts(said))


def _texts(said: Any) -> Iterator[str]:
    """Yield what of a message is language, without what only describes it."""
    waiting = [said]
    while waiting:
        found = waiting.pop()
        if isinstance(found, str):
            yield found
        elif isinstance(found, dict):
            waiting.extend(value for key, value in found.items() if key not in _NO_TEXT)
        elif isinstance(found, list):
            waiting.extend(found)


@cache
def _counter(encoding: str) -> Callable[[str], int]:
    """Return what counts tokens.

    Raises:
        ConfigurationError: the tokenizer is not installed.
    """
    try:
        from bpe_openai import get_encoding  # noqa: PLC0415  # large, and only wanted by some
    except ImportError:
        raise ConfigurationError(
            "OTEL_OBS_ESTIMATE_TOKENS=on needs a tokenizer: pip install 'otel-obs[estimate]'"
        ) from None
    encode = get_encoding(encoding).encode_ordinary

    def count(text: str) -> int:
        return sum(len(encode(text[at : at + _PIECE])) for at in range(0, len(text), _PIECE))

    return count


def ready() -> None:
    """Load the vocabularies, so that the first call need not wait.

    Raises:
        ConfigurationError: the tokenizer is not installed.
    """
    _counter("o200k_base")("")
