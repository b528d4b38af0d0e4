"""What runs in one process: a thread that delivers spans, and one that keeps time.

After a fork none of it is used again: the child makes its own.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Event, Thread, current_thread

from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, set_value

from otel_obs.pipeline.sealing import Sealer
from otel_obs.pipeline.spool import Spool
from otel_obs.processor.buffer import Buffer
from otel_obs.processor.counts import FlushResult
from otel_obs.processor.delivery import Delivery
from otel_obs.processor.limits import Limits
from otel_obs.processor.place import ExporterPlace

_log = logging.getLogger("otel_obs.processor")

CROWD = 64
"""So many spans may be there that nobody has measured; at twice that many the application's thread does it."""
HELP = 4
"""How many spans it measures then, each time: 5 microseconds, rather than all of them at once."""
_LOOK_EVERY_S = 0.05


@dataclass(slots=True, eq=False)
class _Flush:
    number: int
    until: float
    done: Event = field(default_factory=Event)
    exporter_flushed: bool = True


class Workers:
    """The queue, the delivery and the threads of one process."""

    def __init__(self, place: ExporterPlace, spool: Spool | None, limits: Limits, sealer: Sealer | None = None) -> None:
        self.buffer = Buffer(
            max_spans=limits.max_queue_spans,
            max_bytes=limits.max_queue_bytes,
            batch_spans=limits.max_batch_spans,
            batch_bytes=limits.max_batch_bytes,
            on_full=self._full,
        )
        self.delivery = Delivery(place.current, self.buffer, spool, sealer or Sealer())
        self.started = False
        self.draining = True
        """False once what other processes left is for the next process."""
        self._place = place
        self._spool = spool
        self._limits = limits
        self._flushes: deque[_Flush] = deque()
        self._lost_reported = 0
        self._sender: Thread | None = None
        self._keeper: Thread | None = None
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._keeper_wake: SimpleQueue[int | None] = SimpleQueue()
        self._woken = False
        self._stopping = False

    def start(self) -> None:
        """Start the threads, if they are not there; where none can be started, spans wait for a flush."""
        with self.buffer.lock:
            if self.started or self._stopping:
                return
            self.started = True
            self._sender = Thread(target=self._send, name="otel-obs-spans", daemon=True)
            self._keeper = Thread(target=self._keep, name="otel-obs-spans-keeper", daemon=True)
            try:
                self._sender.start()
                self._keeper.start()
            except RuntimeError:
                self.started = self._sender.is_alive()
                self.delivery.announcer.warn("no thread can be started: spans wait for a flush")

    def crowded(self) -> None:
        """Let the sender take in what came; where it has no time for that, this thread helps a little.

        ``SimpleQueue`` may be used inside of a signal's handler.
        """
        if not self._woken:
            self._woken = True
            self._wake.put(None)
        if len(self.buffer.incoming) >= 2 * CROWD:
            self.buffer.take_in(HELP)

    def _full(self, count: int) -> None:
        self.delivery.drop("queue_full", count)

    def flush(self, timeout_s: float) -> FlushResult:
        """Deliver what was handed over; what is not delivered in 4/5 of *timeout_s* goes to disk."""
        now = time.monotonic()
        request = _Flush(self.buffer.accepted, now + timeout_s)
        if not self.started and not self.buffer.is_clear(request.number):
            self.start()
        if self._sender_listens:
            self._flushes.append(request)
            self._wake.put(None)
            patience = now + timeout_s * 0.8
            while not request.done.wait(max(0.0, min(_LOOK_EVERY_S, patience - time.monotonic()))):
                if time.monotonic() >= patience or self._sender_is_stuck:
                    break
        if not self.buffer.is_clear(request.number):
            self.delivery.save_all(request.until)
        return self.result(complete=self.buffer.is_clear(request.number) and request.exporter_flushed)

    def result(self, *, complete: bool) -> FlushResult:
        """Return the numbers; what was lost is told once."""
        with self.buffer.lock:
            counts = self.delivery.counts
            lost = counts.lost - self._lost_reported
            self._lost_reported = counts.lost
            return FlushResult(
                complete=complete and not lost,
                lost=lost,
                waiting=self.buffer.waiting,
                accepted=self.buffer.accepted,
                exported=counts.exported,
                spooled=counts.spooled,
                drained=counts.drained,
                failed=counts.failed,
                dropped=dict(counts.dropped),
            )

    def drain(self) -> None:
        """Deliver or spool, because the process ends."""
        if not self.buffer.waiting:
            return
        number = self.buffer.accepted
        result = self.flush(self._limits.shutdown_timeout_s)
        if not self.buffer.is_clear(number):
            _log.warning("%s spans are lost: neither their destination nor the disk took them", result.waiting)

    def drain_and_kill(self, number: int) -> bool:
        """Let the keeper drain and send the signal *number* then; return False if there is no keeper."""
        if self._keeper is None or not self._keeper.is_alive():
            return False
        self._keeper_wake.put(number)
        return True

    def stop(self, until: float) -> None:
        """Let go of the exporter and the spool; wait until then at most, and for no call that hangs."""
        self._stopping = True
        self._wake.put(None)
        self._keeper_wake.put(None)
        while self._sender_listens and not self._sender_is_stuck and time.monotonic() < until:
            if self._sender is not None:
                self._sender.join(_LOOK_EVERY_S)
        if not self.started and self._spool is not None:
            self._spool.close()

    @property
    def _sender_listens(self) -> bool:
        return self._sender is not None and self._sender.is_alive() and self._sender is not current_thread()

    @property
    def _sender_is_stuck(self) -> bool:
        since = self.delivery.calling_since
        return since is not None and time.monotonic() - since > self._limits.slow_call_s

    def _send(self) -> None:
        attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
        looked_at = 0.0
        more = True
        while not self._stopping:
            partial_at = max(looked_at, self.buffer.taken_at) + self._limits.schedule_delay_s
            if not more or self.delivery.pause_s:
                self._rest(max(0.001, partial_at - time.monotonic()))
            self._woken = False
            partial = bool(self._flushes) or time.monotonic() >= partial_at
            if partial:
                looked_at = time.monotonic()
            try:
                more = self.delivery.turn(partial=partial, drain=self.draining)
                self._answer()
            except Exception as error:  # noqa: BLE001  # this thread has to outlive whatever happens
                self.delivery.announcer.warn("delivering spans failed: %s", type(error).__name__)
                more = False
        self._place.shutdown()
        if self._spool is not None:
            self._spool.close()

    def _rest(self, longest_s: float) -> None:
        try:
            self._wake.get(timeout=min(longest_s, _LOOK_EVERY_S) if self._flushes else longest_s)
        except Empty:
            return

    def _answer(self) -> None:
        for request in tuple(self._flushes):
            left_s = request.until - time.monotonic()
            if self.buffer.is_clear(request.number):
                if self.delivery.exported_unflushed and left_s > 0 and not self.delivery.pause_s:
                    request.exporter_flushed = self.delivery.exported_unflushed = False
                    request.exporter_flushed = self._place.force_flush(left_s * 0.75)
                request.done.set()
            if request.done.is_set() or left_s <= 0:
                self._flushes.remove(request)

    def _keep(self) -> None:
        """Put on disk what a slow call of the exporter holds up, and end the process after a signal."""
        attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
        while not self._stopping:
            try:
                number = self._keeper_wake.get(timeout=self._limits.schedule_delay_s)
            except Empty:
                number = None
            try:
                if number is not None:
                    self.drain()
                    os.kill(os.getpid(), number)
                elif self._sender_is_stuck and self.buffer.waiting:
                    self.delivery.save_all(time.monotonic() + self._limits.shutdown_timeout_s)
            except Exception as error:  # noqa: BLE001  # this thread, too, has to outlive whatever happens
                self.delivery.announcer.warn("keeping spans failed: %s", type(error).__name__)
