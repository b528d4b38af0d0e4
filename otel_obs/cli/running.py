"""What every command that serves does: wait until it can, then until it is told to stop."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from otel_obs.errors import ObsError, SchemaTooNewError, UnsafeReaderError

ENDING = frozenset({signal.SIGINT, signal.SIGTERM})
LOOK_EVERY_S = 1.0
SAY_EVERY_S = 10.0


class Stop:
    """Has the process been told to stop?

    The system may hand a signal to any thread, and Python runs handlers in the main one, once that comes back from what
    it waits in. A wait for a lock does not come back for another thread's signal; a wait for what Python writes at each
    signal does (https://docs.python.org/3/library/signal.html#signal.set_wakeup_fd).
    """

    def __init__(self, hears: socket.socket) -> None:
        self._hears = hears
        self._is_told = False

    def is_set(self) -> bool:
        """Return whether it has."""
        return self.wait(0)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Return True once it has, or False after *timeout_s* seconds."""
        self._hears.settimeout(timeout_s)
        try:
            while not self._is_told:
                self._is_told = not ENDING.isdisjoint(self._hears.recv(64))
        except (TimeoutError, BlockingIOError):
            return False
        return True


@contextmanager
def stop_signals() -> Iterator[Stop]:
    """Hear SIGINT and SIGTERM from now on; after it they are ignored, for the process is ending."""
    hears, says = socket.socketpair()
    with hears, says:
        says.setblocking(False)
        before = signal.set_wakeup_fd(says.fileno(), warn_on_full_buffer=False)
        for number in ENDING:
            signal.signal(number, lambda *_: None)
        try:
            yield Stop(hears)
        finally:
            signal.set_wakeup_fd(before)


def until_ready(check: Callable[[], None], stop: Stop) -> bool:
    """Return True once *check* raises nothing, or False once told to stop; say meanwhile what is waited for.

    Raises:
        SchemaTooNewError: this program will never fit that database.
        UnsafeReaderError: one tenant could read another's rows there.
    """
    said, said_at = "", 0.0
    while not stop.is_set():
        try:
            check()
        except (SchemaTooNewError, UnsafeReaderError):
            raise
        except ObsError as error:
            if str(error) != said or time.monotonic() - said_at > SAY_EVERY_S:
                said, said_at = str(error), time.monotonic()
                click.echo(f"waiting: {said}", err=True)
        else:
            return True
        stop.wait(LOOK_EVERY_S)
    return False
