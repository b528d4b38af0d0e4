"""How does a process end, and who tells the processor before it does?

``atexit`` is not run for a child of ``multiprocessing`` (its ``Finalize`` is), for a worker of Celery's prefork pool
(its signal ``worker_process_shutdown`` is), nor after SIGTERM.
"""

from __future__ import annotations

import atexit
import signal
import sys
import threading
from collections.abc import Callable
from multiprocessing import util
from types import FrameType

_PRIORITY = 10
"""``multiprocessing`` runs finalizers with a priority, the highest first, before it joins children."""


class Exits:
    """Calls *drain* before the process ends, and *on_term* with the signal's number at SIGTERM.

    Both are held until ``forget``: a processor that nobody else refers to any more may still have spans.
    """

    def __init__(self, drain: Callable[[], None], on_term: Callable[[int], None] | None) -> None:
        self._drain = drain
        self._on_term = on_term
        self._previous: Callable[[int, FrameType | None], object] | signal.Handlers | int | None = None
        self._finalize: util.Finalize | None = None
        atexit.register(self._ending)
        util.register_after_fork(self, Exits._finalize_in_child)
        self._finalize_in_child()
        self._listen_to_celery()
        if on_term is not None:
            self._install()

    def again_in_child(self) -> None:
        """Connect to what ends a child of this process."""
        self._listen_to_celery()

    def forget(self) -> None:
        """Take the hooks out again, where that is possible."""
        atexit.unregister(self._ending)
        if self._finalize is not None:
            self._finalize.cancel()
        if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == self._handle:
            signal.signal(signal.SIGTERM, self._previous)
        self._on_term = None

    def _ending(self, *_: object, **__: object) -> None:
        self._drain()

    def _finalize_in_child(self) -> None:
        self._finalize = util.Finalize(None, self._ending, exitpriority=_PRIORITY)

    def _listen_to_celery(self) -> None:
        signals = sys.modules.get("celery.signals")
        if signals is not None:
            signals.worker_process_shutdown.connect(self._ending, weak=False, dispatch_uid=id(self))

    def _install(self) -> None:
        """Come before the handler that is there; one that ignores SIGTERM, or is not Python's, stays alone.

        So does that of an event loop, which is told in another way, and would be told twice.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        previous = signal.getsignal(signal.SIGTERM)
        if previous is None or previous == signal.SIG_IGN or getattr(previous, "__module__", "").startswith("asyncio"):
            return
        self._previous = previous
        signal.signal(signal.SIGTERM, self._handle)

    def _handle(self, number: int, _: FrameType | None) -> None:
        """Put the previous handler back, so that a second signal ends the process at once."""
        signal.signal(signal.SIGTERM, self._previous)
        if self._on_term is not None:
            self._on_term(number)
        else:
            signal.raise_signal(number)
