"""What was said, as messages that can be read; whatever cannot be taken apart is shown as it came."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from otel_obs.analytics.detail import Part

_LEFT = ("system", "tools", "input", "tool_arguments", "reference")
_TITLES = {
    "system": "System instructions", "tools": "Tools", "input": "Input", "output": "Output",
    "tool_arguments": "Arguments", "tool_result": "Result", "reference": "Reference",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Message:
    """Something that somebody said."""

    role: str
    text: str
    is_code: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A part of what was said."""

    title: str
    part: str
    messages: Sequence[Message]
    bytes: int
    truncated: bool
    is_sealed: bool
    sealed_reason: str | None


@dataclass(frozen=True, slots=True)
class Sides:
    """What went in, and what came out."""

    asked: Sequence[Said]
    answered: Sequence[Said]


def said(contents: Iterable[Part]) -> Sides:
    """Return what was said, side by side."""
    found = [
        Said(
            title=_TITLES.get(part.part, part.part),
            part=part.part,
            messages=[] if part.body is None else messages(part.body),
            bytes=part.bytes,
            truncated=part.truncated,
            is_sealed=part.is_sealed,
            sealed_reason=part.sealed_reason,
        )
        for part in contents
    ]
    return Sides(
        [item for item in found if item.part in _LEFT],
        [item for item in found if item.part not in _LEFT],
    )


def messages(body: str) -> list[Message]:
    """Return the messages of *body*; of what is none, one without a role."""
    try:
        found = json.loads(body)
    except ValueError:
        return [Message("", body)]
    if isinstance(found, str):
        return [Message("", found)]
    if isinstance(found, Mapping) and isinstance(found.get("messages"), list):
        found = found["messages"]
    if isinstance(found, list) and found and all(isinstance(item, Mapping) and _is_message(item) for item in found):
        return [message for item in found for message in _of(item)]
    return [Message("", json.dumps(found, indent=2, ensure_ascii=False), is_code=True)]


def _is_message(item: Mapping[str, Any]) -> bool:
    return "content" in item or "parts" in item or ("role" in item and len(item) > 1)


def _of(item: Mapping[str, Any]) -> list[Message]:
    role = str(item.get("role") or item.get("type") or "")
    parts = item.get("parts", item.get("content"))
    found = [_part(role, part) for part in (parts if isinstance(parts, list) else [parts])]
    found += [
        Message(role, json.dumps(call, indent=2, ensure_ascii=False), is_code=True)
        for call in item.get("tool_calls") or ()
    ]
    return [message for message in found if message.text] or [Message(role, _code(item), is_code=True)]


def _part(role: str, part: Any) -> Message:
    if part is None or isinstance(part, str):
        return Message(role, part or "")
    if isinstance(part, Mapping):
        for name in ("content", "text"):
            if isinstance(part.get(name), str) and part.get("type", "text") in ("text", "reasoning", "thinking"):
                kind = part.get("type", "text")
                return Message(role if kind == "text" else f"{role}, {kind}", part[name])
    return Message(role, _code(part), is_code=True)


def _code(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
