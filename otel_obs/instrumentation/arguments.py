"""What was a function called with? Names for positional arguments, defaults included, in little time."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any


class Parameters:
    """The parameters of a function."""

    __slots__ = ("_defaults", "_positional", "_rest", "names")

    def __init__(self, function: Callable[..., Any]) -> None:
        positional: list[str] = []
        names: list[str] = []
        self._defaults: dict[str, Any] = {}
        self._rest: str | None = None
        for name, parameter in _signature(function).items():
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
                positional.append(name)
            elif parameter.kind is parameter.VAR_POSITIONAL:
                self._rest = name
            if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                names.append(name)
            if parameter.default is not parameter.empty:
                self._defaults[name] = parameter.default
        self._positional = tuple(positional)
        self.names = frozenset(names)

    def bound(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of a call by name; a wrong call gives what there is, and fails by itself."""
        found = dict(self._defaults)
        found.update(zip(self._positional, args))  # noqa: B905  # a wrong call is not ours to refuse
        if self._rest is not None and len(args) > len(self._positional):
            found[self._rest] = args[len(self._positional) :]
        found.update(kwargs)
        return found

    def replaced(
        self, name: str, value: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments with *value* for *name*."""
        if name in self._positional:
            position = self._positional.index(name)
            if position < len(args):
                return (*args[:position], value, *args[position + 1 :]), dict(kwargs)
        return args, {**kwargs, name: value}


def _signature(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}
