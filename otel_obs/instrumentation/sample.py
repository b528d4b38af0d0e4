"""What would a call of a function hold? Values made up from its annotations, each of which says where it stands."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from typing import Any

_NUMBERS: dict[Any, Any] = {bool: True, int: 1, float: 0.5}
_STREAMS = (Iterator, Generator, Iterable, AsyncIterator, AsyncGenerator, AsyncIterable)


class Anything(str):
    """What may be anything: a text that says where it stands, with whatever inside it is asked for."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Anything:
        if name.startswith("__"):
            raise AttributeError(name)
        return Anything(f"{self[:-1]}.{name}>")


class Shaped:
    """An object of a class with annotations: it has what they name, and nothing else."""

    def __init__(self, path: str, kind: type) -> None:
        self._path = path
        self._kind = kind

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        hints = _hints(self._kind)
        if name in hints:
            return value_of(f"{self._path}.{name}", hints[name])
        if not hints and not hasattr(self._kind, name):
            # Nothing is known of what it gets when it is made.
            return Anything(f"<{self._path}.{name}>")
        found = inspect.getattr_static(self._kind, name, None)
        if isinstance(found, property):
            return value_of(f"{self._path}.{name}", _hints(found.fget).get("return", Any))
        return getattr(self._kind, name)

    def __str__(self) -> str:
        return f"<{self._path}: {self._kind.__name__}>"


def arguments_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Return arguments of *function* by name."""
    hints = _hints(function)
    try:
        names = [name for name in inspect.signature(function).parameters if name not in {"self", "cls"}]
    except (TypeError, ValueError):
        return {}
    return {name: value_of(f"args.{name}", hints.get(name, Any)) for name in names}


def result_of(function: Callable[..., Any]) -> Any:
    """Return what *function* would return; of one that streams, a chunk."""
    hint = _hints(function).get("return", Any)
    if typing.get_origin(hint) in _STREAMS:
        hint = (typing.get_args(hint) or (Any,))[0]
    return value_of("result", hint)


def owner_of(function: Callable[..., Any]) -> Any:
    """Return an instance of the class that *function* is a method of, as far as its name shows."""
    owner: Any = inspect.getmodule(function)
    for name in function.__qualname__.split(".")[:-1]:
        owner = getattr(owner, name, None)
    return Shaped("self", owner) if isinstance(owner, type) else Anything("<self>")


def value_of(path: str, hint: Any) -> Any:
    """Return a value of the type *hint*."""
    origin, inner = typing.get_origin(hint), [each for each in typing.get_args(hint) if each is not type(None)]
    if origin in (typing.Union, types.UnionType):
        return value_of(path, inner[0]) if inner else None
    if origin is typing.Literal:
        return inner[0]
    if origin is typing.Annotated:
        return value_of(path, inner[0])
    if hint in _NUMBERS:
        return _NUMBERS[hint]
    if isinstance(origin, type) and issubclass(origin, Sequence | frozenset | set) and inner:
        return [value_of(f"{path}.0", inner[0])]
    if typing.is_typeddict(hint):
        return {name: value_of(f"{path}.{name}", each) for name, each in _hints(hint).items()}
    plain = hint in (str, bytes, object, Any) or (
        isinstance(origin or hint, type) and issubclass(origin or hint, Mapping)
    )
    if plain or not isinstance(hint, type) or hint.__module__ == "builtins":
        return Anything(f"<{path}>")
    return Shaped(path, hint)


def _hints(of: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(of)
    except Exception:  # noqa: BLE001  # names that are imported for type checkers only
        return dict(getattr(of, "__annotations__", {}))
