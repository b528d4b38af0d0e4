"""The spans that are in memory: how many may there be, and which of them are still nowhere else?

The application only appends to ``incoming``; how large a span is, and whether there is room for it, is found out by
the thread that delivers. Spans have numbers, in the order in which they were taken in. The lock is re-entrant: a span
may end inside of the garbage collector or of a signal's handler, which may run while this thread is in here.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import RLock
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan

from otel_obs.pipeline.spool import Ticket

_SPAN_BYTES = 1000
"""About what a span takes without its attributes' text."""
_VALUE_BYTES = 100
_SMALL = frozenset({int, float, bool})


@dataclass(slots=True, eq=False)
class Batch:
    """Spans that are on their way together."""

    spans: list[ReadableSpan]
    first: int
    """The number of the first one."""
    size_bytes: int
    tickets: list[Ticket] = field(default_factory=list)
    """Where on disk they are, if they are."""
    settled: bool = False
    """True once they are at their destination, on disk or lost."""


class Buffer:
    """A queue that is bounded in spans and in bytes; what was taken out counts until it is settled."""

    def __init__(
        self, *, max_spans: int, max_bytes: int, batch_spans: int, batch_bytes: int, on_full: Callable[[int], None]
    ) -> None:
        self.lock = RLock()
        self.incoming: deque[ReadableSpan] = deque()
        """Spans that nobody has measured yet; who appends to it keeps it short with ``take_in``."""
        self.taken_at = 0.0
        """When spans were last taken (``time.monotonic``): those that are queued now are not much older."""
        self._max_spans = max_spans
        self._max_bytes = max_bytes
        self._batch_spans = batch_spans
        self._batch_bytes = batch_bytes
        self._on_full = on_full
        self._accepted = 0
        self._spans = 0
        self._bytes = 0
        self._open = Batch([], 0, 0)
        self._full: deque[Batch] = deque()
        self._held: deque[Batch] = deque()
        self._out: set[Batch] = set()

    def take_in(self, at_most: int | None = None) -> None:
        """Queue what is incoming as far as there is room; the rest is refused, and ``on_full`` told how many."""
        incoming, refused = self.incoming, 0
        with self.lock:
            for _ in range(len(incoming) if at_most is None else at_most):
                try:
                    span = incoming.popleft()
                except IndexError:
                    break
                size = size_of(span)
                if self._spans >= self._max_spans or self._bytes + size > self._max_bytes:
                    refused += 1
                    continue
                if self._open.size_bytes + size > self._batch_bytes and self._open.spans:
                    self._close()
                batch = self._open
                batch.spans.append(span)
                batch.size_bytes += size
                self._bytes += size
                self._spans += 1
                self._accepted += 1
                if len(batch.spans) >= self._batch_spans:
                    self._close()
        if refused:
            self._on_full(refused)

    def _close(self) -> None:
        self._full.append(self._open)
        self._open = Batch([], self._accepted, 0)

    @property
    def accepted(self) -> int:
        """Return how many spans were taken in, ever; it is the number of the next one."""
        self.take_in()
        return self._accepted

    @property
    def waiting(self) -> int:
        """Return how many spans are in memory only."""
        self.take_in()
        return self._spans

    def is_clear(self, number: int) -> bool:
        """Tell whether all the spans before *number* are settled."""
        with self.lock:
            queued = [*self._full, self._open] if self._open.spans else self._full
            return all(batch.first >= number for batch in (*self._out, *queued))

    def take(self, *, partial: bool = True) -> Batch | None:
        """Return the next batch, oldest first; without *partial* only a full one."""
        self.take_in()
        with self.lock:
            if self._held:
                return self._held.popleft()
            if not self._full:
                if not partial or not self._open.spans:
                    return None
                self._close()
            self.taken_at = time.monotonic()
            batch = self._full.popleft()
            self._out.add(batch)
            return batch

    def taken(self) -> list[Batch]:
        """Return the batches that somebody took and that are not settled."""
        with self.lock:
            return [batch for batch in self._out if batch not in self._held]

    def hold(self, batch: Batch) -> None:
        """Put a batch back; it is the next to be taken."""
        with self.lock:
            if not batch.settled:
                self._held.append(batch)

    def settle(self, batch: Batch) -> bool:
        """Let go of a batch; return False if somebody else did before."""
        with self.lock:
            if batch.settled:
                return False
            batch.settled = True
            self._out.discard(batch)
            self._spans -= len(batch.spans)
            self._bytes -= batch.size_bytes
            return True


def size_of(span: ReadableSpan) -> int:
    """Return about how many bytes *span* takes in memory."""
    size = _SPAN_BYTES + _size_of_attributes(span._attributes)  # noqa: SLF001  # the public property copies
    events = span._events  # noqa: SLF001
    if len(events):
        for event in events:
            size += _VALUE_BYTES + _size_of_attributes(event.attributes)
    return size


def _size_of_attributes(attributes: Any) -> int:
    try:
        items = attributes._dict  # noqa: SLF001  # BoundedAttributes copies itself to be iterated over
    except AttributeError:
        items = attributes or {}
    size = _VALUE_BYTES * len(items)
    for value in items.values():
        kind = value.__class__
        if kind is str:
            size += len(value)
        elif kind is tuple:
            for item in value:
                size += len(item) if item.__class__ is str else _size_of_value(item)
        elif kind not in _SMALL:
            size += _size_of_value(value)
    return size


def _size_of_value(value: Any) -> int:
    if isinstance(value, (str, bytes)):
        return len(value)
    if isinstance(value, (tuple, list)):
        return _VALUE_BYTES * len(value) + sum(map(_size_of_value, value))
    if isinstance(value, Mapping):
        return _VALUE_BYTES * len(value) + sum(map(_size_of_value, value.values()))
    return 0
