"""Several gateways behind one pair of addresses, and a parent that keeps them up.

The kernel spreads connections over the processes (``SO_REUSEPORT``). The parent holds the addresses without listening,
so that a free port stays theirs. Each worker has a pipe to the parent: what it says there is how it starts and what it
counts; where the pipe ends, the parent is gone, and the worker finishes what it accepted and ends as well.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from prometheus_client import CollectorRegistry

from otel_obs.cli.garbage import search_seldom
from otel_obs.cli.logs import log_to_stderr
from otel_obs.errors import ConfigurationError, ObsError, SchemaTooNewError
from otel_obs.receiver.memory import available_bytes
from otel_obs.receiver.summed import Summed, exposition
from otel_obs.receiver.tls import certificates_of
from otel_obs.server import Gateway, Listening
from otel_obs.settings import Settings, host_and_port

_log = logging.getLogger(__name__)

READY, METRICS, TELL, STOP = "ready", "metrics", "tell", "stop"
ANSWER_WITHIN_S = 2.0
STOP_WITHIN_S = 30.0
RESTART_EVERY_S = 1.0
"""A worker that falls at once is not started more often."""
LOOK_EVERY_S = 0.2
MOST_BY_DEFAULT = 4
"""More write no faster than PostgreSQL takes it, and each is a hundred megabytes."""


def workers_by_default() -> int:
    """Return as many as there are cores for us, at most four; one where the kernel does not spread connections."""
    if not sys.platform.startswith("linux"):
        return 1
    return min(MOST_BY_DEFAULT, len(os.sched_getaffinity(0)))


class Workers:
    """The gateways, as the command sees one."""

    def __init__(self, settings: Settings, database_url: str) -> None:
        for endpoint in (settings.grpc_endpoint, settings.http_endpoint):
            settings.check_listener(endpoint)
        certificates_of(settings)
        self._addresses = [_held(settings.grpc_endpoint), _held(settings.http_endpoint)]
        grpc, http = (
            f"{endpoint.rpartition(':')[0]}:{held.getsockname()[1]}"
            for endpoint, held in zip((settings.grpc_endpoint, settings.http_endpoint), self._addresses, strict=True)
        )
        count = settings.workers
        self._settings = replace(
            settings,
            grpc_endpoint=grpc,
            http_endpoint=http,
            spool_max_bytes=-(-settings.spool_max_bytes // count),
            max_memory_bytes=(settings.max_memory_bytes or available_bytes() // 2) // count,
        )
        self._url = database_url
        self._workers = [_Worker(number) for number in range(count)]
        self._summed = Summed()
        self._hearing = threading.Lock()
        self.registry = CollectorRegistry()
        """What the parent itself counts: it is shown beside the sums."""
        self._error: ObsError | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="otel-obs-workers", daemon=True)

    def start(self) -> Listening:
        """Start the workers, and return where they listen."""
        for worker in self._workers:
            worker.start(self._settings, self._url)
        self._thread.start()
        return Listening(self._settings.grpc_endpoint, self._settings.http_endpoint)

    def can_take(self) -> None:
        """See to it that requests can be taken by each worker.

        Raises:
            ObsError: not yet, or never; the message says why.
        """
        if self._error is not None:
            raise self._error
        if not all(worker.is_ready for worker in self._workers):
            raise ObsError("workers are starting")

    def exposition(self) -> bytes:
        """Return what all workers count, and the parent, in Prometheus' text format."""
        with self._hearing:
            return self._metrics()

    def stop(self) -> None:
        """Let all workers finish what they accepted, and end."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(5)
        for worker in self._workers:
            worker.tell(STOP)
        until = time.monotonic() + STOP_WITHIN_S
        for worker in self._workers:
            worker.end(until)
        for held in self._addresses:
            held.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            pipes = {worker.pipe: worker for worker in self._workers if worker.pipe is not None}
            talking = wait(list(pipes), LOOK_EVERY_S)
            with self._hearing:
                for pipe in talking:
                    self._hear(pipes[pipe])  # type: ignore[index]
                for worker in self._workers:
                    while worker.later:
                        self._hear(worker)
                for worker in self._workers:
                    if not worker.is_alive and not self._stopping.is_set() and worker.may_start:
                        _log.warning("worker %s ended, it is started again", worker.number)
                        self._summed.ended(worker.number)
                        worker.start(self._settings, self._url)

    def _hear(self, worker: _Worker) -> None:
        said = worker.heard()
        if said is None:
            return
        what, content = said
        if what == READY:
            worker.is_ready = content is None
            if isinstance(content, SchemaTooNewError | ConfigurationError):
                self._error = content
        elif what == TELL:
            self._summed.heard(worker.number, content)
        elif what == METRICS:
            self._summed.heard(worker.number, content)
            worker.tell(TELL, self._metrics(worker))

    def _metrics(self, asking: _Worker | None = None) -> bytes:
        """Return what all workers count; what the *asking* one does is known."""
        others = [worker for worker in self._workers if worker is not asking and worker.is_alive]
        for worker in others:
            worker.tell(METRICS)
        until = time.monotonic() + ANSWER_WITHIN_S
        for worker in others:
            while (left_s := until - time.monotonic()) > 0:
                said = worker.heard(left_s)
                if said is None:
                    break
                if said[0] == TELL:
                    self._summed.heard(worker.number, said[1])
                    break
                worker.later.append(said)
        return exposition(self._summed.families(), self.registry)


class _Worker:
    """One of them, as the parent sees it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.is_ready = False
        self.pipe: Connection | None = None
        self.later: list[tuple[str, Any]] = []
        self._process: BaseProcess | None = None
        self._started_at = 0.0

    def start(self, settings: Settings, database_url: str) -> None:
        context = multiprocessing.get_context("spawn")
        if self.pipe is not None:
            self.pipe.close()
        self.pipe, theirs = context.Pipe()
        self.is_ready, self.later = False, []
        self._started_at = time.monotonic()
        self._process = context.Process(
            target=work, args=(settings, database_url, theirs), name=f"otel-obs-worker-{self.number}"
        )
        self._process.start()
        theirs.close()

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.is_alive()

    @property
    def may_start(self) -> bool:
        return time.monotonic() - self._started_at >= RESTART_EVERY_S

    def tell(self, what: str, content: Any = None) -> None:
        with suppress(OSError, ValueError):
            if self.pipe is not None:
                self.pipe.send((what, content))

    def heard(self, within_s: float = 0.0) -> tuple[str, Any] | None:
        """Return what it says; None if it says nothing, or is gone."""
        if self.later and not within_s:
            return self.later.pop(0)
        try:
            if self.pipe is None or not self.pipe.poll(within_s):
                return None
            said: tuple[str, Any] = self.pipe.recv()
        except (OSError, EOFError):
            self.is_ready = False
            if self.pipe is not None:
                self.pipe.close()
                self.pipe = None
            return None
        return said

    def end(self, until: float) -> None:
        if self._process is None:
            return
        self._process.join(max(0.0, until - time.monotonic()))
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        if self.pipe is not None:
            self.pipe.close()


def _held(endpoint: str) -> socket.socket:
    """Return a socket that holds an address for the workers, and takes no connections itself.

    Raises:
        ConfigurationError: somebody else has it.
    """
    host, port = host_and_port(endpoint)
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        held = socket.socket(family, socket.SOCK_STREAM)
        try:
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            held.bind(address)
        except OSError:
            held.close()
            raise
    except OSError as error:
        raise ConfigurationError(f"cannot listen on {endpoint}: {error.strerror}") from None
    return held


def work(settings: Settings, database_url: str, pipe: Connection) -> None:
    """Be one of the workers, until the parent says otherwise or is gone."""
    log_to_stderr()
    for number in (signal.SIGINT, signal.SIGTERM):
        # Who stops the whole process group means the parent, which tells us.
        signal.signal(number, signal.SIG_IGN)
    try:
        gateway = Gateway(settings, database_url, share_ports=True)
        listens = _Talk(gateway, pipe)
        gateway.exposition = listens.exposition
        gateway.start()
    except ObsError as error:
        pipe.send((READY, error))
        return
    search_seldom()
    try:
        listens.until_told()
    finally:
        gateway.stop()


class _Talk:
    """What a worker says to its parent, and hears."""

    def __init__(self, gateway: Gateway, pipe: Connection) -> None:
        self._gateway = gateway
        self._pipe = pipe
        self._saying = threading.Lock()
        self._asking = threading.Lock()
        self._answers: list[bytes] = []
        self._answered = threading.Condition()

    def until_told(self) -> None:
        """Say once that requests can be taken, or why not, and answer the parent."""
        said: str | None = ""
        while True:
            if said is not None:
                said = self._tell_whether_ready(said)
            try:
                if not self._pipe.poll(LOOK_EVERY_S if said is not None else None):
                    continue
                what, content = self._pipe.recv()
            except (EOFError, OSError):
                return
            if what == STOP:
                return
            if what == METRICS:
                self._say(TELL, self._gateway.metrics.families())
            elif what == TELL:
                with self._answered:
                    self._answers = [content]
                    self._answered.notify()

    def _tell_whether_ready(self, said: str) -> str | None:
        try:
            self._gateway.can_take()
        except ObsError as error:
            if str(error) != said:
                self._say(READY, error)
            return str(error)
        self._say(READY, None)
        return None

    def exposition(self) -> bytes:
        """Return what all workers count; what this one does, if the parent does not answer."""
        own = self._gateway.metrics.families()
        with self._asking, self._answered:
            self._answers = []
            self._say(METRICS, own)
            if not self._answered.wait_for(lambda: bool(self._answers), 2 * ANSWER_WITHIN_S):
                return self._gateway.metrics.exposition()
            return self._answers[0]

    def _say(self, what: str, content: Any) -> None:
        with self._saying, suppress(OSError):
            self._pipe.send((what, content))
