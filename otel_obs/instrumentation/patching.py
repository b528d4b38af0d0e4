"""How does a function that is only known by name become a node, whenever its module is imported?

A module that is imported later is patched as soon as it is there, before anybody can take anything from it. In one
that is there already, copies of the function that other modules have taken (``from engine import run``) are
replaced too.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Literal

import wrapt

from otel_obs.instrumentation.calls import Executor
from otel_obs.instrumentation.configuration import Executor as Configured
from otel_obs.instrumentation.faults import Guarded, warn_once

State = Literal["waiting", "wrapped", "wrong"]

_NOT_THERE = object()


@dataclass
class Patch:
    """One executor, and what has become of it."""

    configured: Configured
    state: State = "waiting"
    """``waiting`` until its module is imported."""
    found: str = ""
    """Where it was found, or why it was not."""
    undo: list[Callable[[], None]] = field(default_factory=list)
    is_on: bool = True

    def apply(self) -> None:
        """Wrap the executor now, or as soon as its module is imported; a wrong path is one warning."""
        target = self.configured.target
        with Guarded(f"instrumenting {target}"):
            modules = _modules(target)
            top = modules[0].partition(".")[0]
            if top not in sys.modules and importlib.util.find_spec(top) is None:
                self._wrong(f"there is no module {top!r}")
                return
            for name in modules:
                wrapt.register_post_import_hook(self._imported, name)

    def _imported(self, module: ModuleType) -> None:
        if self.state != "waiting" or not self.is_on:
            return
        with Guarded(f"instrumenting {self.configured.target}"):
            names = self.configured.target.replace(":", ".")[len(module.__name__) + 1 :].split(".")
            if ":" in self.configured.target and module.__name__ != self.configured.target.partition(":")[0]:
                self._expect(module, names[0])
                return
            if not hasattr(module, names[0]):
                self._expect(module, names[0])
                return
            self._wrap(module, names)

    def _expect(self, module: ModuleType, name: str) -> None:
        """Go on waiting if *name* may be a module of the package *module* that is imported later."""
        if f"{module.__name__}.{name}" in sys.modules:
            return
        if not hasattr(module, "__path__") or importlib.util.find_spec(f"{module.__name__}.{name}") is None:
            self._wrong(f"{module.__name__} has no {name!r}")

    def _wrap(self, module: ModuleType, names: list[str]) -> None:
        owner: Any = module
        for name in names[:-1]:
            owner = getattr(owner, name, None)
            if isinstance(owner, ModuleType):
                # Its own hook comes, or came, with the rest of the path.
                return
            if owner is None:
                self._wrong(f"{module.__name__} has no {'.'.join(names)!r}")
                return
        name = names[-1]
        held = inspect.getattr_static(owner, name, _NOT_THERE)
        function = held.__func__ if isinstance(held, staticmethod | classmethod) else held
        if isinstance(held, ModuleType) and len(names) == 1:
            return
        if function is _NOT_THERE or not callable(function) or isinstance(function, type):
            self._wrong(f"{module.__name__}:{'.'.join(names)} is no function")
            return
        wrapper = wrapt.FunctionWrapper(held, self._wrapper(Executor(self.configured.spec, function)), self._enabled)
        is_own = name in vars(owner)
        setattr(owner, name, wrapper)
        self.undo.append(lambda: setattr(owner, name, held) if is_own else delattr(owner, name))
        if owner is module:
            self._replace_copies(module, held, wrapper)
        self.state, self.found = "wrapped", f"{module.__name__}:{'.'.join(names)}{inspect_signature(function)}"

    def _replace_copies(self, module: ModuleType, function: Any, wrapper: Any) -> None:
        for other in list(sys.modules.values()):
            space = getattr(other, "__dict__", None)
            if other is module or not isinstance(space, dict):
                continue
            for name in [name for name, value in list(space.items()) if value is function]:
                space[name] = wrapper
                self.undo.append(lambda space=space, name=name: space.__setitem__(name, function))  # type: ignore[misc]

    def _wrapper(self, executor: Executor) -> Callable[..., Any]:
        def wrapper(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if inspect.iscoroutinefunction(wrapped):
                return executor.call_async(wrapped, args, kwargs, instance)
            if inspect.isasyncgenfunction(wrapped):
                return executor.async_generator_function(wrapped, instance)(*args, **kwargs)
            if inspect.isgeneratorfunction(wrapped):
                return executor.generate(wrapped, args, kwargs, instance)
            return executor.call(wrapped, args, kwargs, instance)

        return wrapper

    def _enabled(self) -> bool:
        return self.is_on

    def _wrong(self, why: str) -> None:
        self.state, self.found = "wrong", why
        warn_once(f"target:{self.configured.target}", "otel_obs cannot report %s: %s", self.configured.target, why)

    def remove(self) -> None:
        """Put back what was there; wrappers that somebody has taken meanwhile do nothing any more."""
        self.is_on = False
        for undo in reversed(self.undo):
            with Guarded(f"restoring {self.configured.target}"):
                undo()
        self.undo.clear()
        if self.state == "wrapped":
            self.state = "waiting"


def _modules(target: str) -> list[str]:
    """Return the modules whose import may bring *target*, the outermost first."""
    module, colon, _ = target.partition(":")
    parts = module.split(".")
    last = len(parts) if colon else len(parts) - 1
    return [".".join(parts[: count + 1]) for count in range(max(last, 1))]


def inspect_signature(function: Callable[..., Any]) -> str:
    """Return the signature of *function* as text; '' where it has none."""
    try:
        return str(inspect.signature(function))
    except (TypeError, ValueError):
        return ""
