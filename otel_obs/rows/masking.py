"""What is left of content that is masked: who said something of which kind, and how much; nothing of what was said.

JSON keeps its shape. Texts in it become their length, and a hash where they are long enough not to be guessed, so that
equal ones are found; numbers become ``0``. What remains as it is are words that conventions define, and names of tools.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from otel_obs.rows.summary import json_of

MIN_HASHED = 32
"""Characters; of shorter texts a hash would tell which of a few they are."""
_MAX_DEPTH = 64
_WORDS = frozenset((
    "system", "developer", "user", "assistant", "tool", "function", "model", "human", "ai",
    "text", "input_text", "output_text", "reasoning", "thinking", "tool_call", "tool_calls", "tool_call_response",
    "tool_result", "tool_use", "function_call", "function_call_output", "image", "image_url", "input_image", "audio",
    "input_audio", "video", "file", "document", "blob", "uri", "message", "refusal", "stop", "length", "content_filter",
    "end_turn", "max_tokens",
))  # fmt: skip
_WORD_KEYS = frozenset(("role", "type", "kind", "modality", "finish_reason", "stop_reason"))
_CALLS = frozenset(("tool_call", "tool_use", "function", "function_call"))
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")


def masked(text: str) -> str:
    """Return *text* without what it says."""
    value = json_of(text)
    return _told(text) if value is None else json.dumps(_masked(value, 0), ensure_ascii=False)


def digest_of(text: str) -> str:
    """Return the hash that is stored of *text*, which is that of its mask where it could be guessed."""
    return hashlib.sha256((text if len(text) >= MIN_HASHED else _told(text)).encode()).hexdigest()


def _masked(value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _told(value)
    if isinstance(value, int | float):
        return 0
    if depth >= _MAX_DEPTH:
        return "[masked]"
    if isinstance(value, Mapping):
        is_call = value.get("type") in _CALLS
        return {
            (key if _NAME.fullmatch(key) else _told(key)): item
            if _is_told_of(key, item, is_call=is_call)
            else _masked(item, depth + 1)
            for key, item in value.items()
        }
    return [_masked(item, depth + 1) for item in value]


def _is_told_of(key: str, item: Any, *, is_call: bool) -> bool:
    """Tell whether *item* says what kind of thing something is, and nothing else."""
    if not isinstance(item, str):
        return False
    return (key in _WORD_KEYS and item in _WORDS) or (
        is_call and key == "name" and _NAME.fullmatch(item) is not None
    )  # fmt: skip


def _told(text: str) -> str:
    counted = f"masked: {len(text)} characters"
    if len(text) < MIN_HASHED:
        return f"[{counted}]"
    return f"[{counted}; sha256 {hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:16]}]"
