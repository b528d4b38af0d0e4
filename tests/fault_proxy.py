"""What can happen to a wire: delay, silence, reset, and a cut at a given byte or word. On loopback, with asyncio."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from psycopg.conninfo import conninfo_to_dict, make_conninfo


@dataclass
class Trap:
    """Waits for *word* on its way to the server; then the wire is cut, or falls silent."""

    word: bytes
    passes: bool
    """True: the word reaches the server, what it answers does not come back."""
    cuts: bool
    """True: both ends are reset; else nothing moves any more until the proxy is opened."""
    sprung: threading.Event = field(default_factory=threading.Event)


class FaultProxy:
    """Stands between a client and a server, one thread with an event loop of its own."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self.latency_s = 0.0
        self.trap: Trap | None = None
        self.cut_after_bytes: int | None = None
        """So many bytes to the server are let through, then everything is reset."""
        self._passed = 0
        self._is_refusing = False
        self._loop = asyncio.new_event_loop()
        self._open = threading.Event()
        self._flowing: asyncio.Event | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._muted: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self.port = 0
        self._thread = threading.Thread(target=self._run, name="fault-proxy", daemon=True)
        self._thread.start()
        assert self._open.wait(10)

    @classmethod
    def to_database(cls, database: str) -> FaultProxy:
        given = conninfo_to_dict(database)
        return cls(str(given.get("host") or "127.0.0.1"), int(given.get("port") or 5432))

    def url(self, database: str) -> str:
        """Return how *database* is reached through it."""
        return make_conninfo(database, host="127.0.0.1", port=self.port, sslmode="disable")

    def silence(self) -> None:
        """Let nothing through any more, in neither direction; connections stay."""
        assert self._flowing is not None
        self._call(self._flowing.clear)

    def speak(self) -> None:
        """Let everything through that waited, and everything from now on."""
        self.trap = None
        self._is_refusing = False
        assert self._flowing is not None
        self._call(self._flowing.set)

    def reset(self) -> None:
        """Reset all connections."""
        self._call(self._reset)

    def refuse(self) -> None:
        """Reset all connections, and each new one, until it speaks again."""
        self._is_refusing = True
        self.reset()

    def close(self) -> None:
        self._call(self._reset)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _call(self, what: Any) -> None:
        done = threading.Event()

        def call() -> None:
            what()
            done.set()

        self._loop.call_soon_threadsafe(call)
        assert done.wait(10)

    def _reset(self) -> None:
        for writer in tuple(self._writers):
            writer.transport.abort()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(self._start())
        self._open.set()
        self._loop.run_forever()
        server.close()
        for task in self._tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*self._tasks, return_exceptions=True))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    async def _start(self) -> asyncio.Server:
        self._flowing = asyncio.Event()
        self._flowing.set()
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            if self._is_refusing:
                writer.transport.abort()
                return
            with suppress(OSError, asyncio.CancelledError):
                await self._connect(reader, writer)
        finally:
            self._writers.discard(writer)
            self._tasks.discard(task)
            writer.transport.abort()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = self._target
        opened = (
            asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
            if host.startswith("/")
            else asyncio.open_connection(host, port)
        )
        server_reader, server_writer = await opened
        self._writers.add(server_writer)
        up = asyncio.ensure_future(self._pump(reader, server_writer, writer, upward=True))
        down = asyncio.ensure_future(self._pump(server_reader, writer, server_writer, upward=False))
        try:
            await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in (up, down):
                pump.cancel()
            await asyncio.gather(up, down, return_exceptions=True)
            self._writers.discard(server_writer)
            server_writer.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, other: asyncio.StreamWriter, *, upward: bool
    ) -> None:
        assert self._flowing is not None
        while data := await reader.read(65536):
            await self._flowing.wait()
            if self.latency_s:
                await asyncio.sleep(self.latency_s)
            if upward:
                data = await self._trapped(data, writer, other)
                if self._spent(data):
                    self._reset()
                    return
            if writer not in self._muted:
                writer.write(data)
                await writer.drain()

    def _spent(self, data: bytes) -> bool:
        if self.cut_after_bytes is None:
            return False
        self._passed += len(data)
        if self._passed < self.cut_after_bytes:
            return False
        self.cut_after_bytes, self._passed = None, 0
        return True

    async def _trapped(self, data: bytes, writer: asyncio.StreamWriter, other: asyncio.StreamWriter) -> bytes:
        trap = self.trap
        if trap is None or trap.word not in data:
            return data
        assert self._flowing is not None
        self.trap = None
        if not trap.cuts:
            self._flowing.clear()
        if trap.passes:
            self._muted.add(other)
            writer.write(data)
            await writer.drain()
            # The server does what it was told; its answer is not read.
            await asyncio.sleep(0.3)
        trap.sprung.set()
        if trap.cuts:
            other.transport.abort()
            writer.transport.abort()
            return b""
        await self._flowing.wait()
        return b"" if trap.passes else data
