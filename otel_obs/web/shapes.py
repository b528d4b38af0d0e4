"""How do answers look in JSON, and how does OpenAPI describe them?

Answers are frozen dataclasses; money is a number (fields that end in ``_cents``), times are RFC 3339 in UTC, unknown
is null. The schema is made from the same classes, so that it cannot differ from what is sent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import date, datetime, timezone
from decimal import Decimal
from functools import cache
from typing import Any, get_args, get_origin, get_type_hints

from pydantic import BaseModel, create_model

from otel_obs.analytics.filters import Page


def as_json(value: Any) -> Any:
    """Return *value* as JSON has it."""
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal | float):
        # JSON has no infinity: a share of next to nothing is none.
        return float(value) if math.isfinite(value) and math.isfinite(float(value)) else None
    if is_dataclass(value) and not isinstance(value, type):
        return {name: as_json(getattr(value, name)) for name in _names(type(value))}
    if isinstance(value, tuple) and (names := getattr(value, "_fields", None)) is not None:
        return {name: as_json(item) for name, item in zip(names, value, strict=True)}
    if isinstance(value, Mapping):
        return {key: as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple | frozenset | set):
        return [as_json(item) for item in value]
    return value


@cache
def _names(kind: type) -> tuple[str, ...]:
    """Return the names of fields and properties."""
    own = [field.name for field in fields(kind)]
    derived = [name for name, found in vars(kind).items() if isinstance(found, property)]
    return (*own, *derived)


_MODELS: dict[Any, type[BaseModel]] = {}
"""What describes a dataclass, each made once: OpenAPI names a model by its class."""


def model_of(kind: Any) -> type[BaseModel]:
    """Return what describes the dataclass *kind*, as ``as_json`` sends it."""
    if kind not in _MODELS:
        _MODELS[kind] = _described(kind)
    return _MODELS[kind]


def _described(kind: Any) -> type[BaseModel]:
    hints = get_type_hints(kind)
    for name, found in vars(kind).items():
        if isinstance(found, property) and found.fget is not None:
            hints[name] = get_type_hints(found.fget)["return"]
    described: dict[str, Any] = {name: (_sent(hints[name]), ...) for name in _names(kind)}
    return create_model(kind.__name__, **described)


def page_of_model(kind: Any) -> type[BaseModel]:
    """Return what describes a page of *kind*."""
    described: dict[str, Any] = {"items": (list[model_of(kind)], ...), "next_cursor": (str | None, ...)}  # type: ignore[misc]  # made at run time
    return create_model(f"{kind.__name__}Page", **described)


def found_of_model(kind: Any) -> type[BaseModel]:
    """Return what describes a page of a search for *kind*."""
    return create_model(f"{kind.__name__}Found", __base__=page_of_model(kind), searched_to=(str | None, ...))


def _sent(hint: Any) -> Any:
    """Return the type that JSON has for *hint*."""
    if hint is Decimal:
        return float
    if is_dataclass(hint):
        return model_of(hint)
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Page:
        return page_of_model(inner[0])
    if origin is None or not inner:
        return hint
    if origin in (Sequence, list, tuple, frozenset):
        return list[_sent(inner[0])]  # type: ignore[misc]  # types made at run time
    if origin in (Mapping, dict):
        return dict[str, Any]
    if type(None) in inner:
        known = [_sent(item) for item in inner if item is not type(None)]
        found = known[0]
        for item in known[1:]:
            found = found | item
        return found | None
    return hint
