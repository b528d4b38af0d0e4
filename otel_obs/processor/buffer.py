"""The spans that are in memory: how many may there be, and which of them are still nowhere else?

Spans have numbers, in the order in which they came. The lock is re-entrant: a span may end inside of the garbage
collector or of a signal's handler, which may run while this thread is in here.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
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

    def __init__(self, *, max_spans: int, max_bytes: int, batch_spans: int, batch_bytes: int) -> None:
        self.lock = RLock()
        self.accepted = 0
        self.taken_at = 0.0
        """When spans were last taken (``time.monotonic``): those that are queued now are not much older."""
        self._max_spans = max_spans
        self._max_bytes = max_bytes
        self._batch_spans = batch_spans
        self._batch_bytes = batch_bytes
        self._queue: deque[tuple[ReadableSpan, int]] = deque()
        self._held: deque[Batch] = deque()
        self._out: set[Batch] = set()
        self._out_spans = 0
        self._bytes = 0

    def offer(self, span: ReadableSpan) -> int:
        """Take *span* in; return how many are queued now, or 0 if there is no room."""
        size = size_of(span)
        with self.lock:
            queue = self._queue
            queued = len(queue) + 1
            total = self._bytes + size
            if total > self._max_bytes or queued + self._out_spans > self._max_spans:
                return 0
            self._bytes = total
            self.accepted += 1
            queue.append((span, size))
            return queued

    @property
    def queued(self) -> int:
        """Return how many spans wait to be taken."""
        return len(self._queue) + sum(len(batch.spans) for batch in tuple(self._held))

    @property
    def waiting(self) -> int:
        """Return how many spans are in memory only."""
        with self.lock:
            return len(self._queue) + self._out_spans

    def is_clear(self, number: int) -> bool:
        """Tell whether all the spans before *number* are settled."""
        with self.lock:
            return self.accepted - len(self._queue) >= number and all(batch.first >= number for batch in self._out)

    def take(self, *, partial: bool = True) -> Batch | None:
        """Return the next batch, oldest first; without *partial* only a full one."""
        with self.lock:
            if self._held:
                return self._held.popleft()
            if not self._queue or (not partial and len(self._queue) < self._batch_spans):
                return None
            first = self.accepted - len(self._queue)
            spans: list[ReadableSpan] = []
            total = 0
            while self._queue and len(spans) < self._batch_spans:
                span, size = self._queue[0]
                if spans and total + size > self._batch_bytes:
                    break
                self._queue.popleft()
                spans.append(span)
                total += size
            self.taken_at = time.monotonic()
            batch = Batch(spans, first, total)
            self._out.add(batch)
            self._out_spans += len(spans)
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
            self._out_spans -= len(batch.spans)
            self._bytes -= batch.size_bytes
            return True


def size_of(span: ReadableSpan) -> int:
    """Return about how many bytes *span* takes in memory; it is the application's thread that waits for this."""
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
