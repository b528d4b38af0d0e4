"""What is a value, as JSON and as text? In bounded time, and without calling anything of it but ``str``.

The converter of ``opentelemetry-util-genai`` walks every path through an object graph and calls ``dict()`` and
``to_dict()`` on what it meets; arguments of executors are graphs of an application's own objects, so here a budget
holds, and models are read by their fields.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import date, time
from enum import Enum
from typing import Any
from uuid import UUID

from opentelemetry.util.genai.utils import gen_ai_json_dumps

MAX_ITEMS = 10_000
MAX_CHARACTERS = 4 * 1024 * 1024
MAX_DEPTH = 16

_OMITTED = object()


@dataclass(slots=True)
class _Budget:
    """What may still be told of a value."""

    items: int = MAX_ITEMS
    characters: int = MAX_CHARACTERS

    def text(self, text: str) -> str:
        """Return what is left to tell of *text*."""
        told = text[: self.characters]
        self.characters -= len(told)
        return told


def text_of(value: Any) -> str:
    """Return *value* as text: as it is, or as JSON; '' for what cannot be told."""
    if isinstance(value, str):
        return value[:MAX_CHARACTERS]
    told = value_of(value)
    if told is None or isinstance(told, str):
        return told or ""
    return gen_ai_json_dumps(told, ensure_ascii=False)


def value_of(value: Any) -> Any:
    """Return *value* as JSON has it: up to so many items, characters and levels; None for what cannot be told."""
    told = _told(value, _Budget(), MAX_DEPTH, frozenset())
    return None if told is _OMITTED else told


def _told(value: Any, budget: _Budget, depth: int, above: frozenset[int]) -> Any:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return budget.text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else _OMITTED
    if isinstance(value, bytes | bytearray | memoryview):
        return f"{len(value)} bytes"
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Enum):
        return _told(value.value, budget, depth, above)
    if depth <= 0 or budget.items <= 0 or budget.characters <= 0 or id(value) in above or callable(value):
        return _OMITTED
    budget.items -= 1
    try:
        return _opened(value, budget, depth - 1, above | {id(value)})
    except Exception:  # noqa: BLE001  # properties, mappings and __str__ of strangers raise what they like
        return _OMITTED


def _opened(value: Any, budget: _Budget, depth: int, above: frozenset[int]) -> Any:
    if isinstance(value, Mapping):
        return _pairs(value.items(), budget, depth, above)
    if isinstance(value, list | tuple | set | frozenset):
        return _items(value, budget, depth, above)
    if is_dataclass(value):
        return _pairs(((each.name, getattr(value, each.name)) for each in fields(value)), budget, depth, above)
    inside = getattr(value, "__dict__", None)
    if isinstance(inside, dict):
        public = [(name, item) for name, item in inside.items() if not str(name).startswith("_")]
        if public:
            return _pairs(public, budget, depth, above)
    if getattr(type(value), "__str__", None) is not object.__str__:
        return budget.text(str(value))
    return _OMITTED


def _pairs(pairs: Any, budget: _Budget, depth: int, above: frozenset[int]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for name, item in pairs:
        if budget.items <= 0 or budget.characters <= 0:
            break
        budget.items -= 1
        found = _told(item, budget, depth, above)
        if found is not _OMITTED:
            told[str(name)] = found
    return told


def _items(items: Any, budget: _Budget, depth: int, above: frozenset[int]) -> list[Any]:
    told = []
    for item in items:
        if budget.items <= 0 or budget.characters <= 0:
            break
        budget.items -= 1
        found = _told(item, budget, depth, above)
        if found is not _OMITTED:
            told.append(found)
    return told
