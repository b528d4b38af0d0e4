"""How is a function called as a node? Sync, async, generators of both kinds, and functions that return streams."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from typing import Any

from opentelemetry.context import get_current

from otel_obs.instrumentation.arguments import Parameters
from otel_obs.instrumentation.closing import close
from otel_obs.instrumentation.faults import Guarded
from otel_obs.instrumentation.node import Active, Node, open_node
from otel_obs.instrumentation.spec import Spec
from otel_obs.instrumentation.streams import Watch, Watched, is_stream


class Executor:
    """A function that is a node each time it is called."""

    __slots__ = ("_default_name", "_parameters", "_spec")

    def __init__(self, spec: Spec, function: Callable[..., Any]) -> None:
        self._spec = spec
        self._parameters = Parameters(function)
        name = getattr(function, "__qualname__", None) or type(function).__qualname__
        self._default_name = name.rpartition("<locals>.")[2]

    def open(
        self, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Node | None, tuple[Any, ...], dict[str, Any]]:
        """Start the node of a call; return it, and the arguments to call with. None: it could not be started."""
        node = None
        with Guarded(f"starting the span of {self._default_name}"):
            bound = args if instance is None else (instance, *args)
            arguments = self._parameters.bound(bound, kwargs)
            owner = arguments.get("self", arguments.get("cls")) if instance is None else instance
            node = open_node(self._spec, self._default_name, {"args": arguments, "self": owner})
            if (
                self._spec.pass_workspace
                and node.run.workspace_id is not None
                and "workspace_id" in self._parameters.names
                and arguments.get("workspace_id") is None
            ):
                bound, kwargs = self._parameters.replaced("workspace_id", node.run.workspace_id, bound, kwargs)
                args = bound if instance is None else bound[1:]
        return node, args, kwargs

    def call(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], instance: Any) -> Any:
        """Call *function*, which is no coroutine function and no generator function, as a node."""
        node, args, kwargs = self.open(instance, args, kwargs)
        if node is None:
            return function(*args, **kwargs)
        try:
            with node.active():
                result = function(*args, **kwargs)
        except BaseException as error:
            close(node, error=error)
            raise
        if inspect.iscoroutine(result):
            return _awaited(node, result)
        return _passed_on(node, result)

    async def call_async(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], instance: Any
    ) -> Any:
        """Call a coroutine function as a node."""
        node, args, kwargs = self.open(instance, args, kwargs)
        if node is None:
            return await function(*args, **kwargs)
        return await _awaited(node, function(*args, **kwargs))

    def generate(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], instance: Any
    ) -> Generator[Any, Any, Any]:
        """Run a generator function as a node, from its first step to its end."""
        node, args, kwargs = self.open(instance, args, kwargs)
        if node is None:
            return (yield from function(*args, **kwargs))
        return (yield from _stepped(node, function(*args, **kwargs)))

    def async_generator_function(
        self, function: Callable[..., Any], instance: Any = None
    ) -> Callable[..., AsyncGenerator[Any, Any]]:
        """Return an asynchronous generator function as one whose runs are nodes, from the first step to the end."""

        async def stepped(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
            node, args, kwargs = self.open(instance, args, kwargs)
            inner: AsyncGenerator[Any, Any] = function(*args, **kwargs)
            watch = None if node is None else Watch(node)
            sent: Any = None
            thrown: BaseException | None = None
            while True:
                try:
                    with Active(get_current() if node is None else node.context):
                        value = await (inner.asend(sent) if thrown is None else inner.athrow(thrown))
                except StopAsyncIteration:
                    _ended(watch)
                    return
                except BaseException as error:
                    _ended(watch, error)
                    raise
                if watch is not None:
                    watch.add(value)
                sent, thrown = None, None
                try:
                    sent = yield value
                except GeneratorExit as error:
                    await inner.aclose()
                    _ended(watch, error)
                    raise
                except BaseException as error:  # noqa: BLE001  # the inner generator's to handle
                    thrown = error

        return stepped


def _passed_on(node: Node, result: Any) -> Any:
    """Return *result*; the node ends now, or with the stream that it is."""
    if node.kind == "llm" and is_stream(result):
        return Watched(result, Watch(node))
    close(node, result=result)
    return result


async def _awaited(node: Node, running: Coroutine[Any, Any, Any]) -> Any:
    try:
        with node.active():
            result = await running
    except BaseException as error:
        close(node, error=error)
        raise
    return _passed_on(node, result)


def _stepped(node: Node, inner: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """Do as ``yield from inner``, each step in the context of *node*."""
    watch = Watch(node)
    step: Callable[[], Any] = inner.__next__
    while True:
        try:
            with node.active():
                value = step()
        except StopIteration as end:
            watch.end()
            return end.value
        except BaseException as error:
            watch.end(error)
            raise
        watch.add(value)
        try:
            sent = yield value
        except GeneratorExit as error:
            with node.active():
                inner.close()
            watch.end(error)
            raise
        except BaseException as error:  # noqa: BLE001  # what is thrown in is the inner generator's to handle
            step = _thrower(inner, error)
        else:
            step = inner.__next__ if sent is None else _sender(inner, sent)


def _thrower(inner: Generator[Any, Any, Any], error: BaseException) -> Callable[[], Any]:
    return lambda: inner.throw(error)


def _sender(inner: Generator[Any, Any, Any], sent: Any) -> Callable[[], Any]:
    return lambda: inner.send(sent)


def _ended(watch: Watch | None, error: BaseException | None = None) -> None:
    if watch is not None:
        watch.end(error)
