"""How does a function that is only known by name become a node, whenever its module is imported?

A module that is imported later is patched as soon as it is there, before anybody can take anything from it. In one
that is there already, copies of the function that other modules have taken (``from engine import run``) are
replaced too.
"""

from __future__ import annotations

import importlib.util
import inspect
import os.path
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib.machinery import PathFinder
from types import ModuleType
from typing import Any, Literal

import wrapt

from otel_obs.instrumentation.configuration import Executor
from otel_obs.instrumentation.faults import Guarded, warn_once
from otel_obs.instrumentation.wrapping import reported

State = Literal["waiting", "wrapped", "wrong"]

_NOT_THERE = object()


@dataclass
class Patch:
    """One executor, and what has become of it."""

    configured: Executor
    state: State = "waiting"
    """``waiting`` until its module is imported."""
    found: str = ""
    """Where it was found and its signature, or why it was not."""
    function: Callable[..., Any] | None = None
    """What was found."""
    undo: list[Callable[[], None]] = field(default_factory=list)
    is_on: bool = True
    is_quiet: bool = False
    """What is wrong is not logged."""
    programs: frozenset[str] = frozenset()
    """Files that the interpreter was started with."""

    def apply(self) -> None:
        """Wrap the executor now, or as soon as its module is imported; a wrong path is one warning."""
        target = self.configured.target
        with Guarded(f"instrumenting {target}"):
            modules = modules_of(target)
            self.programs = frozenset(os.path.realpath(each) for each in sys.orig_argv if os.path.isfile(each))  # noqa: PTH113  # pathlib costs start-up time
            top = modules[0].partition(".")[0]
            if top == "__main__":
                self._wrong("the program that is started has no name to import; move it to a module, or decorate it")
                return
            if not _may_be_imported(top, {os.path.dirname(program) for program in self.programs}):  # noqa: PTH120
                # Somebody may still extend sys.path, so that the hooks are set all the same.
                self._wrong(f"there is no module {top!r}")
            for name in modules:
                wrapt.register_post_import_hook(self._imported, name)

    def _imported(self, module: ModuleType) -> None:
        if self.state == "wrapped" or not self.is_on:
            return
        with Guarded(f"instrumenting {self.configured.target}"):
            module_name, colon, path = self.configured.target.partition(":")
            if colon and module.__name__ != module_name:
                self._expect(module, module_name[len(module.__name__) + 1 :].partition(".")[0])
                return
            names = (path if colon else module_name[len(module.__name__) + 1 :]).split(".")
            if hasattr(module, names[0]) and not isinstance(getattr(module, names[0]), ModuleType):
                self._wrap(module, names)
            else:
                self._expect(module, names[0])

    def _expect(self, module: ModuleType, name: str) -> None:
        """Go on waiting if *name* may be a module of the package *module* that is imported later."""
        inner = f"{module.__name__}.{name}"
        if inner in sys.modules or (hasattr(module, "__path__") and importlib.util.find_spec(inner) is not None):
            return
        self._wrong(f"{module.__name__} has no {name!r}")

    def _wrap(self, module: ModuleType, names: list[str]) -> None:
        *above, name = names
        path = f"{module.__name__}:{'.'.join(names)}"
        owner: Any = module
        for each in above:
            owner = getattr(owner, each, None)
        held = inspect.getattr_static(owner, name, _NOT_THERE) if owner is not None else _NOT_THERE
        if held is _NOT_THERE:
            self._wrong(f"{module.__name__} has no {'.'.join(names)!r}")
            return
        function: Any = held.__func__ if isinstance(held, staticmethod | classmethod) else held
        if not callable(function) or isinstance(function, type):
            self._wrong(f"{path} is no function")
            return
        wrapper = reported(self.configured.spec, held, self._enabled)
        is_own = name in vars(owner)
        setattr(owner, name, wrapper)
        self.undo.append(lambda: _put_back(owner, name, wrapper, held if is_own else _NOT_THERE))
        if owner is module:
            self._replace_copies(module, held, wrapper)
        self.state, self.found, self.function = "wrapped", f"{path}{signature_of(function)}", function

    def _replace_copies(self, module: ModuleType, function: Any, wrapper: Any) -> None:
        for other in list(sys.modules.values()):
            space = getattr(other, "__dict__", None)
            if other is module or not isinstance(space, dict):
                continue
            for name in [name for name, value in list(space.items()) if value is function]:
                space[name] = wrapper
                self.undo.append(lambda other=other, name=name: _put_back(other, name, wrapper, function))  # type: ignore[misc]

    def _enabled(self) -> bool:
        return self.is_on

    def _wrong(self, why: str) -> None:
        self.state, self.found = "wrong", why
        target = self.configured.target
        if not self.is_quiet:
            warn_once(f"target:{target}", "otel_obs cannot report %s: %s", target, why)

    def told_at_exit(self) -> None:
        """Warn if the executor was never found because its file was run as the program itself."""
        if self.state != "waiting" or not self.is_on:
            return
        with Guarded(f"looking for {self.configured.target}"):
            run_as = getattr(getattr(sys.modules.get("__main__"), "__spec__", None), "name", None)
            for name in modules_of(self.configured.target):
                spec = None if name in sys.modules else importlib.util.find_spec(name)
                if spec is not None and (name == run_as or os.path.realpath(spec.origin or "") in self.programs):
                    self._wrong(f"{spec.origin} was run as the program itself; move it to a module, or decorate it")
                    return

    def remove(self) -> None:
        """Put back what was there; wrappers that somebody has taken meanwhile do nothing any more."""
        self.is_on = False
        for undo in reversed(self.undo):
            with Guarded(f"restoring {self.configured.target}"):
                undo()
        self.undo.clear()
        self.state = "waiting"


def _put_back(owner: Any, name: str, wrapper: Any, held: Any) -> None:
    """Let *owner* have *held* again, unless somebody has put something else over *wrapper* meanwhile."""
    if inspect.getattr_static(owner, name, None) is not wrapper:
        return
    if held is _NOT_THERE:
        delattr(owner, name)
    else:
        setattr(owner, name, held)


def _may_be_imported(top: str, folders: Iterable[str]) -> bool:
    """Tell whether there is a module *top*; the folder of the program, in *folders*, is not on ``sys.path`` yet."""
    if top in sys.modules or importlib.util.find_spec(top) is not None:
        return True
    return PathFinder.find_spec(top, list(folders)) is not None


def modules_of(target: str) -> list[str]:
    """Return the modules whose import may bring *target*, the outermost first."""
    module, colon, _ = target.partition(":")
    parts = module.split(".")
    last = len(parts) if colon else len(parts) - 1
    return [".".join(parts[: count + 1]) for count in range(max(last, 1))]


def signature_of(function: Callable[..., Any]) -> str:
    """Return the signature of *function* as text; '' where it has none."""
    try:
        return str(inspect.signature(function))
    except (TypeError, ValueError):
        return ""
