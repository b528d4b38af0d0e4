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

Switch = Callable[[], bool]
"""Tells whether calls are reported now."""


def always() -> bool:
    """Tell that calls are reported."""
    return True


class Executor:
    """A function that is a node each time it is called."""

    __slots__ = ("_default_name", "_is_on", "_parameters", "_spec")

    def __init__(self, spec: Spec, function: Callable[..., Any], is_on: Switch = always) -> None:
        self._spec = spec
        self._parameters = Parameters(function)
        self._is_on = is_on
        name = getattr(function, "__qualname__", None) or type(function).__qualname__
        self._default_name = str(name).rpartition("<locals>.")[2]

    def open(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Node | None, tuple[Any, ...], dict[str, Any]]:
        """Start the node of a call; return it, and the arguments to call with. None: there is none."""
        if not self._is_on():
            return None, args, kwargs
        with Guarded(f"starting the span of {self._default_name}"):
            arguments = self._parameters.bound(args, kwargs)
            call = {"args": arguments, "self": arguments.get("self", arguments.get("cls"))}
            node = open_node(self._spec, self._default_name, call)
            if (
                self._spec.pass_workspace
                and node.run.workspace_id is not None
                and "workspace_id" in self._parameters.names
                and arguments.get("workspace_id") is None
            ):
                args, kwargs = self._parameters.replaced("workspace_id", node.run.workspace_id, args, kwargs)
            return node, args, kwargs
        return None, args, kwargs

    def call(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call *function*, which is no coroutine function and no generator function, as a node."""
        node, args, kwargs = self.open(args, kwargs)
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

    async def call_async(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a coroutine function as a node."""
        node, args, kwargs = self.open(args, kwargs)
        if node is None:
            return await function(*args, **kwargs)
        try:
            running = function(*args, **kwargs)
        except BaseException as error:
            close(node, error=error)
            raise
        return await _awaited(node, running)

    def generate(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Generator[Any, Any, Any]:
        """Run a generator function as a node, from its first step to its end."""
        node, args, kwargs = self.open(args, kwargs)
        if node is None:
            return (yield from function(*args, **kwargs))
        watch = Watch(node)
        try:
            inner = function(*args, **kwargs)
        except BaseException as error:
            watch.end(error)
            raise
        return (yield from _stepped(watch, inner))

    def async_generator_function(self, function: Callable[..., Any]) -> Callable[..., AsyncGenerator[Any, Any]]:
        """Return an asynchronous generator function as one whose runs are nodes, from the first step to the end."""

        async def stepped(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
            node, args, kwargs = self.open(args, kwargs)
            watch = Watch(node) if node is not None else None
            sent: Any = None
            thrown: BaseException | None = None
            try:
                inner: AsyncGenerator[Any, Any] = function(*args, **kwargs)
                while True:
                    with Active(get_current() if node is None else node.context):
                        try:
                            value = await (inner.asend(sent) if thrown is None else inner.athrow(thrown))
                        except StopAsyncIteration:
                            break
                    if watch is not None:
                        watch.add(value)
                    sent, thrown = None, None
                    try:
                        sent = yield value
                    except GeneratorExit:
                        with Active(get_current() if node is None else node.context):
                            await inner.aclose()
                        raise
                    except BaseException as error:  # noqa: BLE001  # the inner generator's to handle
                        thrown = error
            except BaseException as error:
                if watch is not None:
                    watch.end(error)
                raise
            if watch is not None:
                watch.end()

        return stepped


def _passed_on(node: Node, result: Any) -> Any:
    """Return *result*; the node ends now, or with the stream that it is."""
    if is_stream(result, node.kind):
        with Guarded("watching a stream"):
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


def _stepped(watch: Watch, inner: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """Do as ``yield from inner``, each step in the context of the node."""
    active = watch.node.active
    sent: Any = None
    thrown: BaseException | None = None
    try:
        while True:
            with active():
                try:
                    value = inner.send(sent) if thrown is None else inner.throw(thrown)
                except StopIteration as end:
                    result = end.value
                    break
            watch.add(value)
            sent, thrown = None, None
            try:
                sent = yield value
            except GeneratorExit:
                with active():
                    # Since Python 3.13 it may return something.
                    result = inner.close()  # type: ignore[func-returns-value]
                if result is None:
                    raise
                break
            except BaseException as error:  # noqa: BLE001  # what is thrown in is the inner generator's to handle
                thrown = error
    except BaseException as error:
        watch.end(error)
        raise
    watch.end(result=result)
    return result
