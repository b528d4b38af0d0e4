"""What does a streamed answer say when it is over? It is passed on chunk by chunk, and looked at on the way."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Any

import wrapt

from otel_obs.instrumentation.closing import close
from otel_obs.instrumentation.faults import Guarded
from otel_obs.instrumentation.node import Node
from otel_obs.instrumentation.response import Stream


def is_stream(result: Any) -> bool:
    """Tell whether *result* is a streamed answer: an iterator, and no file."""
    if isinstance(result, io.IOBase):
        return False
    return hasattr(type(result), "__next__") or hasattr(type(result), "__anext__")


class Watch:
    """What is noted of a streamed answer on its way."""

    __slots__ = ("_chunks", "node")

    def __init__(self, node: Node) -> None:
        self.node = node
        with_text = node.is_recording and bool(node.invocation.should_capture_content)
        self._chunks = Stream(with_text=with_text)

    def add(self, chunk: Any) -> None:
        """Take note of *chunk*."""
        if self.node.is_open and self.node.is_recording:
            with Guarded("reading a chunk of a stream"):
                if self.node.kind == "llm":
                    self.node.invocation.record_stream_chunk()  # type: ignore[union-attr]
                self._chunks.add(chunk)

    def end(self, error: BaseException | None = None) -> None:
        """End the node; whoever stops reading has been served all the same."""
        abandoned = isinstance(error, GeneratorExit)
        close(self.node, error=None if abandoned else error, streamed=self._chunks.response)


class Watched(wrapt.ObjectProxy):  # type: ignore[misc]
    """A stream of a client library: behaves as it, and is looked at as it is read."""

    def __init__(self, stream: Any, watch: Watch) -> None:
        super().__init__(stream)
        self._self_watch = watch

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        watch = self._self_watch
        try:
            with watch.node.active():
                chunk = next(self.__wrapped__)
        except StopIteration:
            watch.end()
            raise
        except BaseException as error:
            watch.end(error)
            raise
        watch.add(chunk)
        return chunk

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        watch = self._self_watch
        try:
            with watch.node.active():
                chunk = await self.__wrapped__.__anext__()
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
