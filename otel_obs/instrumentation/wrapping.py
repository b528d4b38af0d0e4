"""How does a callable become one that is a node each time, and otherwise remains what it was?

A plain function becomes a plain function of the same kind, so that binding, signatures, pickling by name and
``inspect`` go on as before. What is more than a function (a cached one, a task of a queue, a partial) stays
itself behind a proxy, with all its attributes.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any

import wrapt

from otel_obs.instrumentation.calls import Executor, Switch, always
from otel_obs.instrumentation.faults import warn_once
from otel_obs.instrumentation.spec import Spec


def reported(spec: Spec, function: Any, is_on: Switch = always) -> Any:
    """Return *function* so that each call of it is reported as *spec* says, as long as *is_on*.

    Static methods and class methods stay what they are. Classes and what cannot be called are returned as they are,
    with a warning.
    """
    if isinstance(function, staticmethod | classmethod):
        return type(function)(reported(spec, function.__func__, is_on))
    if isinstance(function, type) or not callable(function):
        name = getattr(function, "__qualname__", None) or f"a {type(function).__name__}"
        warn_once(f"target:{name}", "otel_obs cannot report %s: it is no function", name)
        return function
    executor = Executor(spec, function, is_on)
    if isinstance(function, FunctionType | MethodType):
        return _function(executor, function)
    return Reported(function, executor)


def _function(executor: Executor, function: Callable[..., Any]) -> Callable[..., Any]:
    wrapper: Any
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            return await executor.call_async(function, args, kwargs)

    elif inspect.isasyncgenfunction(function):
        wrapper = functools.wraps(function)(executor.async_generator_function(function))

    elif inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return (yield from executor.generate(function, args, kwargs))

    else:

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return executor.call(function, args, kwargs)

    return wrapper  # type: ignore[no-any-return]


class Reported(wrapt.CallableObjectProxy):  # type: ignore[type-arg]
    """A callable that is more than a function: each call is a node, all the rest is its own."""

    def __init__(self, function: Callable[..., Any], executor: Executor) -> None:
        super().__init__(function)
        self._self_executor = executor

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run as a node."""
        return self._self_executor.call(self.__wrapped__, args, kwargs)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """Bind as the callable itself binds: as a method, or not at all."""
        bind = getattr(type(self.__wrapped__), "__get__", None)
        if bind is None:
            return self
        bound = bind(self.__wrapped__, instance, owner)
        if isinstance(bound, MethodType) and bound.__func__ is self.__wrapped__:
            return MethodType(self, instance)
        return self if bound is self.__wrapped__ else bound

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickle as the callable does: most say their name, and under that this is found."""
        return self.__wrapped__.__reduce_ex__(protocol)

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self
