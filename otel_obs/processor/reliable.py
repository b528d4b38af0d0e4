"""The span processor: what the application's threads see of it."""

from __future__ import annotations

import logging
import os
import signal
import time
import weakref
from collections.abc import Callable
from pathlib import Path

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter

from otel_obs.pipeline.sealing import Sealer
from otel_obs.pipeline.spool import Spool
from otel_obs.processor.counts import Counts, FlushResult
from otel_obs.processor.exits import Exits
from otel_obs.processor.limits import Limits
from otel_obs.processor.place import ExporterPlace, spool_folder, spool_sealer
from otel_obs.processor.workers import CROWD, Workers

_log = logging.getLogger("otel_obs.processor")


class ReliableSpanProcessor(SpanProcessor):
    """Hands spans to an exporter in batches; while the destination is away they are kept on disk.

    Neither ``on_end`` nor anything else here raises into the application or waits for the network, except
    ``force_flush``, ``flush`` and ``shutdown``, which wait no longer than they are told.

    *exporter* may be a callable that makes one: then each process makes its own, and nothing of it is shared after a
    fork. *spool* is the folder to keep spans in, None for the default one (``OTEL_OBS_DATA_DIR``), False for no disk.
    Processors with the same folder drain what others left there, so it belongs to one destination: the default
    folder's name is made of the exporter's kind, address and headers, or of *destination* if that is given.
    With ``OTEL_OBS_ENCRYPTION_KEYS`` they are encrypted there.
    With *on_sigterm*, SIGTERM lets everything be delivered or spooled before it does what it did before.
    """

    def __init__(
        self,
        exporter: SpanExporter | Callable[[], SpanExporter],
        *,
        spool: Path | str | bool | None = None,
        destination: str | None = None,
        limits: Limits | None = None,
        on_sigterm: bool = True,
    ) -> None:
        self.limits = limits or Limits.from_env(os.environ)
        self._place = ExporterPlace(exporter)
        self._spool: Spool | None = None
        sealer = None if spool is False else spool_sealer()
        self._sealer = sealer or Sealer()
        if spool is not False and sealer is not None:
            folder = spool_folder(exporter, destination) if spool is None or spool is True else Path(spool)
            self._spool = None if folder is None else Spool(folder, max_bytes=self.limits.max_spool_bytes)
        self._closed = False
        self._ending = False
        self._crowd = min(CROWD, self.limits.max_batch_spans)
        self._begin()
        after_fork = weakref.WeakMethod(self._begin_in_child)
        os.register_at_fork(after_in_child=lambda: (again := after_fork()) and again())
        self._exits = Exits(self._end, self._on_term if on_sigterm else None)
        self._workers.start()

    def _begin(self) -> None:
        self._workers = Workers(self._place, self._spool, self.limits, self._sealer)
        self._incoming = self._workers.buffer.incoming
        self._calm = False
        """True while all that a span needs is to be appended to ``_incoming``."""

    def _begin_in_child(self) -> None:
        """Leave the parent's spans to the parent; the threads begin with the first span."""
        self._place.forget()
        self._ending = False
        self._begin()
        self._exits.again_in_child()

    @property
    def counts(self) -> Counts:
        """Return what became of the spans that were handed over."""
        counts = self._workers.delivery.counts
        counts.accepted = self._workers.buffer.accepted
        return counts

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Do nothing: a span is of interest when it has ended."""

    def on_end(self, span: ReadableSpan) -> None:
        """Take *span* in, or count it as dropped."""
        try:
            context = span.context
            if context is None or not context.trace_flags.sampled:
                return
            if self._calm:
                incoming = self._incoming
                incoming.append(span)
                if len(incoming) >= self._crowd:
                    self._workers.crowded()
            else:
                self._take_in(span)
        except Exception:  # noqa: BLE001  # telemetry never breaks the application
            self._workers.delivery.drop("internal_error", 1)

    def _take_in(self, span: ReadableSpan) -> None:
        """Do what ``on_end`` does, at the beginning and at the end of a process."""
        workers = self._workers
        if self._closed:
            workers.delivery.drop("after_shutdown", 1)
            return
        self._incoming.append(span)
        if not workers.started:
            workers.start()
        if self._ending:
            workers.drain()
        elif len(self._incoming) >= self._crowd:
            workers.crowded()
        with workers.buffer.lock:
            self._calm = workers.started and not self._ending and not self._closed

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Return True once each span that was handed over before is at its destination, or on disk.

        False means that some are still in memory after *timeout_millis*, that some were dropped since the last flush
        (of these only one flush tells), or that the exporter's own ``force_flush`` failed. ``flush`` tells more.
        """
        return self.flush(timeout_millis / 1000).complete

    def flush(self, timeout_s: float = 30.0) -> FlushResult:
        """Deliver what was handed over; what is not delivered in about 4/5 of *timeout_s* goes to disk."""
        try:
            return self._workers.flush(timeout_s)
        except Exception as error:  # noqa: BLE001  # telemetry never breaks the application
            _log.warning("flushing failed: %s", type(error).__name__)
            return self._workers.result(complete=False)

    def shutdown(self) -> None:
        """Deliver what was handed over or put it on disk, and let go of the exporter."""
        if self._closed:
            return
        with self._workers.buffer.lock:
            self._closed = True
            self._calm = False
        until = time.monotonic() + self.limits.shutdown_timeout_s
        try:
            self._workers.draining = False
            self._workers.drain()
            self._workers.stop(until)
            self._exits.forget()
        except Exception as error:  # noqa: BLE001  # telemetry never breaks the application
            _log.warning("shutting down failed: %s", type(error).__name__)

    def _end(self) -> None:
        """Deliver or spool everything now, and at once what comes later: no other chance may come."""
        with self._workers.buffer.lock:
            self._ending = True
            self._calm = False
        self._workers.drain()

    def _on_term(self, number: int) -> None:
        """Let another thread drain and send the signal again: a handler must not wait for locks."""
        if not self._workers.drain_and_kill(number):
            signal.raise_signal(number)
