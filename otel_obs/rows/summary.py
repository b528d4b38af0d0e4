"""The words of a message list: what was asked and what was answered, for people."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

MAX_SUMMARY_CHARACTERS = 2000
_TEXT_KEYS = ("content", "parts", "text", "output", "answer", "result", "message", "messages", "response")


def summary(content: str) -> str:
    """Return the readable text of *content* (a text, or JSON messages of any dialect).

    At most 2,000 characters.
    """
    value = json_of(content)
    text = content if value is None else "\n".join(_last_words(value)) or content
    return text[:MAX_SUMMARY_CHARACTERS]


def input_context(content: str, limit: int = 16 * 1024) -> dict[str, Any]:
    """Return what an agent was asked as ``{"input": ...}``: JSON where it is JSON and short, else text."""
    value = json_of(content) if len(content) <= limit else None
    return {"input": content[:limit] if value is None else value}


def json_of(content: str) -> Any:
    """Return *content* as JSON; None if it is none that has parts, or a text."""
    if content.lstrip()[:1] not in {"{", "[", '"'}:
        return None
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _last_words(value: Any) -> list[str]:
    """Return the text of the last message that says anything."""
    messages = value if isinstance(value, list) else [value]
    for message in reversed(messages):
        words = list(_texts(message, 0))
        if words:
            return words
    return []


def _texts(value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        if value.strip():
            yield value
    elif depth > 8:
        return
    elif isinstance(value, Mapping):
        for key in _TEXT_KEYS:
            if value.get(key):
                yield from _texts(value[key], depth + 1)
                return
    elif isinstance(value, Sequence):
        for item in value:
            yield from _texts(item, depth + 1)
