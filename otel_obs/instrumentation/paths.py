"""Where in a call is something to be found? A small path language, and a safe walk.

``args.node.id`` is the attribute, key or item ``id`` of ``node``, which is a parameter of the function;
``self.model`` and ``result.usage.prompt_tokens`` start at the instance and at what was returned. A whole number
takes that item of a sequence (``result.choices.0.message``). Any other text stands for itself. Nothing is called.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from otel_obs.errors import ConfigurationError

ROOTS = ("args", "self", "result")

MISSING = object()
"""What a path leads to that leads nowhere."""


@dataclass(frozen=True, slots=True)
class Path:
    """Where something is: ``args.node.id``."""

    root: str
    steps: tuple[str, ...]

    def __str__(self) -> str:
        return ".".join((self.root, *self.steps))


Source = str | Path
"""A text that stands for itself, or where to find one."""


def source(text: str) -> Source:
    """Return what *text* means.

    Raises:
        ConfigurationError: it begins like a path, and is none.
    """
    root, *steps = text.split(".")
    if root not in ROOTS:
        return text
    if any(not step or step.startswith("__") for step in steps) or (root == "args" and not steps):
        raise ConfigurationError(f"{text!r} is no path: args.PARAMETER, self.NAME or result.NAME.NAME is expected")
    return Path(root, tuple(steps))


def found(where: Source, call: Mapping[str, Any]) -> Any:
    """Return what *where* leads to in *call* (``args``, ``self``, ``result``), or MISSING."""
    if isinstance(where, str):
        return where
    value = call.get(where.root, MISSING)
    for step in where.steps:
        value = member(value, step)
        if value is MISSING:
            break
    return value


def first(sources: Sequence[Source], call: Mapping[str, Any]) -> Any:
    """Return what the first of *sources* that leads anywhere leads to; None if none does."""
    for where in sources:
        value = found(where, call)
        if value is not MISSING and value is not None:
            return value
    return None


def member(value: Any, name: str) -> Any:
    """Return the key, attribute or item *name* of *value*, or MISSING; code of strangers may run, and fail."""
    kind: Any = type(value)
    if kind is dict:
        return value.get(name, MISSING)
    if value is None or value is MISSING:
        return MISSING
    try:
        known = _known(kind)
        if known.is_mapping:
            return value.get(name, MISSING)
        if known.is_sequence and name.isdecimal():
            return value[int(name)]
        if known.attributes is not None and name not in known.attributes and name not in value.__dict__:
            # What a model of pydantic does not have it looks for at length.
            more = value.__pydantic_extra__
            return more.get(name, MISSING) if more else MISSING
        return getattr(value, name, MISSING)
    except Exception:  # noqa: BLE001  # properties and lazy models raise what they like
        return MISSING


def held(value: Any, names: frozenset[str]) -> Any:
    """Return a model of pydantic as a dict, in which *names* are found sooner; any other value as it is."""
    kind: Any = type(value)
    known = _known(kind)
    if known.attributes is None:
        return value
    more = getattr(value, "__pydantic_extra__", None)
    return {**(more or {}), **value.__dict__, **{name: member(value, name) for name in known.attributes & names}}


class _Known(NamedTuple):
    """How things are found in the values of one class."""

    is_mapping: bool
    is_sequence: bool
    attributes: frozenset[str] | None
    """Of models of pydantic: what all values have by their class."""


@lru_cache(maxsize=1024)
def _known(kind: type) -> _Known:
    fallback = getattr(kind, "__getattr__", None)
    is_model = getattr(fallback, "__module__", None) == "pydantic.main" and hasattr(kind, "__pydantic_fields__")
    # Private attributes are kept apart, so that they are asked for.
    private = getattr(kind, "__private_attributes__", {})
    return _Known(
        issubclass(kind, Mapping), issubclass(kind, Sequence), frozenset((*dir(kind), *private)) if is_model else None
    )


def get(value: Any, *names: str) -> Any:
    """Return what *names*, one after the other, lead to from *value*; None if nowhere."""
    for name in names:
        value = member(value, name)
    return None if value is MISSING else value
