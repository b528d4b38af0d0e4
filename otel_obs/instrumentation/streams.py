"""What does a streamed answer say when it is over? It is passed on chunk by chunk, and looked at on the way."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable, Iterator
from types import AsyncGeneratorType, GeneratorType, TracebackType
from typing import Any

import wrapt

from otel_obs.instrumentation.closing import close
from otel_obs.instrumentation.faults import Guarded
from otel_obs.instrumentation.node import Node
from otel_obs.instrumentation.response import Stream
from otel_obs.instrumentation.spec import Kind


def is_stream(result: Any, kind: Kind) -> bool:
    """Tell whether *result* is an answer that comes bit by bit.

    Of a model node any iterator but a file is; of other nodes a generator, whose work is still to be done.
    """
    if isinstance(result, GeneratorType | AsyncGeneratorType):
        return True
    if kind != "llm" or isinstance(result, io.IOBase) or type(result).__module__ == "unittest.mock":
        # A mock has the methods of everything, and tests compare it by identity.
        return False
    return hasattr(type(result), "__next__") or hasattr(type(result), "__anext__")


class Watch:
    """What is noted of a streamed answer on its way."""

    __slots__ = ("_chunks", "_is_read", "node")

    def __init__(self, node: Node) -> None:
        self.node = node
        with_text = node.is_recording and bool(node.invocation.should_capture_content)
        self._chunks = Stream(with_text=with_text)
        self._is_read = node.is_recording and (node.kind in _COUNTED or with_text)

    def add(self, chunk: Any) -> None:
        """Take note of *chunk*."""
        node = self.node
        if not node.is_open or not node.is_recording:
            return
        with Guarded("reading a chunk of a stream"):
            if node.kind == "llm":
                node.invocation.record_stream_chunk()  # type: ignore[union-attr]
            if self._is_read:
                self._chunks.add(chunk)
            node.note(chunk)

    def end(self, error: BaseException | None = None, *, result: Any = None) -> None:
        """End the node; whoever stops reading has been served all the same."""
        abandoned = isinstance(error, GeneratorExit)
        close(self.node, result=result, error=None if abandoned else error, streamed=self._chunks.response)


_COUNTED = ("llm", "embedding")
"""Kinds whose chunks may tell what was used."""


class Watched(wrapt.ObjectProxy):  # type: ignore[type-arg]
    """A stream of a client library: behaves as it, and is looked at as it is read."""

    def __init__(self, stream: Any, watch: Watch) -> None:
        super().__init__(stream)
        self._self_watch = watch

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return self._stepped(next, self.__wrapped__)

    def _stepped(self, step: Callable[..., Any], *arguments: Any) -> Any:
        watch = self._self_watch
        try:
            with watch.node.active():
                chunk = step(*arguments)
        except StopIteration as end:
            watch.end(result=end.value)
            raise
        except BaseException as error:
            watch.end(error)
            raise
        watch.add(chunk)
        return chunk

    async def asend(self, value: Any) -> Any:
        """Go on as ``anext`` does, handing *value* in."""
        return await self._astepped(self.__wrapped__.asend, value)

    async def athrow(self, *error: Any) -> Any:
        """Go on as ``anext`` does, raising *error* inside."""
        return await self._astepped(self.__wrapped__.athrow, *error)

    async def aclose(self) -> Any:
        """Close the generator, which ends the node."""
        try:
            return await self.__wrapped__.aclose()
        finally:
            self._self_watch.end()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        return await self._astepped(self.__wrapped__.__anext__)

    async def _astepped(self, step: Callable[..., Any], *arguments: Any) -> Any:
        watch = self._self_watch
        try:
            with watch.node.active():
                chunk = await step(*arguments)
        except StopAsyncIteration:
            watch.end()
            raise
        except BaseException as error:
            watch.end(error)
            raise
        watch.add(chunk)
        return chunk

    def __enter__(self) -> Any:
        self.__wrapped__.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Any:
        try:
            return self.__wrapped__.__exit__(kind, error, traceback)
        finally:
            self._self_watch.end(error)

    async def __aenter__(self) -> Any:
        await self.__wrapped__.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Any:
        try:
            return await self.__wrapped__.__aexit__(kind, error, traceback)
        finally:
            self._self_watch.end(error)

    def send(self, value: Any) -> Any:
        """Go on as ``next`` does, handing *value* in."""
        return self._stepped(self.__wrapped__.send, value)

    def throw(self, *error: Any) -> Any:
        """Go on as ``next`` does, raising *error* inside."""
        return self._stepped(self.__wrapped__.throw, *error)

    def close(self) -> Any:
        """Close the stream, which ends the node; what an asynchronous stream returns is to be awaited."""
        try:
            return self.__wrapped__.close()
        finally:
            self._self_watch.end()

    def __del__(self) -> None:
        watch = getattr(self, "_self_watch", None)
        if watch is not None:
            watch.end()
