"""How do spans get from memory to their destination, or to disk while it is away?

The thread of the sender alone calls the exporter, one call at a time. A batch that the destination does not take goes
to disk at once rather than wait in memory, and the thread that keeps time puts there what a slow call holds up;
trying again, with longer and longer pauses, is sending the oldest record on disk. That is why retrying is not a loop
around a call here (and tenacity not what does it): the sender has to go on saving spans between two tries.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel_obs.errors import ObsError
from otel_obs.pipeline.sealing import Sealer
from otel_obs.pipeline.segment import Record
from otel_obs.pipeline.spool import Spool, Ticket
from otel_obs.processor.buffer import Batch, Buffer
from otel_obs.processor.counts import Announcer, Counts
from otel_obs.processor.encoding import decode, encode_each
from otel_obs.processor.wire import encode
from otel_obs.sealing import SealedError

ADOPT_EVERY_S = 5.0
"""How often folders of dead processes are looked for."""
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 10.0
GIVE_UP_AFTER_S = 300.0
"""How long a batch is tried that cannot be put on disk (as the Collector's ``max_elapsed_time``)."""
RECORDS_FOR_EACH_BATCH = 2
"""So what waits on disk becomes less while as much comes in."""
SUSPICIOUS_AFTER = 3
"""Failures after which it may be the record's fault, not the destination's."""


@dataclass(slots=True)
class Pause:
    """When to try again: soon at first, then later and later, and not all processes at once."""

    until: float = 0.0
    failures: int = 0

    def lengthen(self, now: float) -> None:
        """Note that it failed again."""
        pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(self.failures, 10))
        self.failures += 1
        self.until = now + pause * random.uniform(0.5, 1.0)  # noqa: S311  # no secret

    def end(self) -> None:
        """Note that it succeeded."""
        self.until, self.failures = 0.0, 0


class Delivery:
    """What one process delivers with one exporter."""

    def __init__(
        self,
        exporter: Callable[[], SpanExporter],
        buffer: Buffer,
        spool: Spool | None,
        sealer: Sealer,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counts = Counts()
        self.announcer = Announcer(clock)
        self.calling_since: float | None = None
        """When the call of the exporter began that is under way."""
        self.exported_unflushed = False
        """True if the exporter was given spans since its last ``force_flush``."""
        self._exporter = exporter
        self._buffer = buffer
        self._spool = spool
        self._sealer = sealer
        self._clock = clock
        self._pause = Pause()
        self._saving = Lock()
        self._adopt_at = 0.0
        self._suspect: Ticket | None = None
        self._suspect_failures = 0
        self._held_since: float | None = None

    @property
    def pause_s(self) -> float:
        """Return how long nothing is to be sent, because the destination is away."""
        return max(0.0, self._pause.until - self._clock())

    def turn(self, *, partial: bool, drain: bool = True) -> bool:
        """Deliver a batch and some of what is on disk; return True if more can be done at once.

        Without *partial* spans wait for their batch to be full.
        """
        if self.pause_s > 0:
            return self._save_queue(partial=partial)
        drained = 0
        while drain and drained < RECORDS_FOR_EACH_BATCH and (stored := self._oldest()) is not None:
            if not self._send_stored(*stored):
                self._pause.lengthen(self._clock())
                return self._save_queue()
            drained += 1
        batch = self._buffer.take(partial=partial)
        if batch is not None and not self._send(batch):
            self._pause.lengthen(self._clock())
            self._save(batch)
            return self._save_queue()
        return batch is not None or drained > 0

    def _oldest(self) -> tuple[Ticket, Record] | None:
        if self._spool is None:
            return None
        try:
            if self._clock() >= self._adopt_at:
                self._adopt_at = self._clock() + ADOPT_EVERY_S
                self._spool.adopt()
            return self._spool.oldest()
        except OSError as error:
            self.announcer.warn("the spool cannot be read: %s", error.strerror)
            return None

    def _send(self, batch: Batch) -> bool:
        if not self._export(batch.spans):
            return False
        with self._buffer.lock:
            mine = self._buffer.settle(batch)
            self.counts.exported += len(batch.spans)
            if not mine:
                self.counts.spooled -= len(batch.spans)
        if not mine and self._spool is not None:
            for ticket in batch.tickets:
                self._spool.done(ticket)
        self._held_since = None
        self._pause.end()
        return True

    def _send_stored(self, ticket: Ticket, record: Record) -> bool:
        spool = self._spool
        if spool is None:
            return True
        try:
            spans = decode(self._sealer.open(record).body)
        except SealedError:
            # Its file is kept: whoever has the key can still read it.
            spool.done(ticket, unreadable=True)
            self.drop("sealed_with_another_key", int(record.header.get("spans") or 0))
            return True
        except Exception:  # noqa: BLE001  # whatever is wrong with it, others wait behind it
            spool.done(ticket)
            self.drop("not_decodable", int(record.header.get("spans") or 0))
            return True
        sent = len(spans) if self._export(spans) else self._send_apart(ticket, spans)
        if sent is None:
            return False
        spool.done(ticket)
        self.counts.drained += sent
        self._pause.end()
        return True

    def _send_apart(self, ticket: Ticket, spans: Sequence[ReadableSpan]) -> int | None:
        """Return how many of *spans* the destination takes, once it is known to take others; else None.

        Then it is the record: what is in the way of all that comes after it must not stay there for ever.
        """
        if ticket != self._suspect:
            self._suspect, self._suspect_failures = ticket, 0
        self._suspect_failures += 1
        if self._suspect_failures < SUSPICIOUS_AFTER or not self._takes_others():
            return None
        refused: list[ReadableSpan] = []
        sent = self._halves(spans, refused)
        if refused and not sent and self._suspect_failures <= SUSPICIOUS_AFTER:
            return None
        self.drop("refused", len(refused))
        return sent

    def _takes_others(self) -> bool:
        batch = self._buffer.take()
        if batch is None:
            return False
        if self._send(batch):
            return True
        self._save(batch)
        return False

    def _halves(self, spans: Sequence[ReadableSpan], refused: list[ReadableSpan]) -> int:
        middle = (len(spans) + 1) // 2
        sent = 0
        for half in (spans[:middle], spans[middle:]) if len(spans) > 1 else (spans,):
            if self._export(half):
                sent += len(half)
            elif len(half) == 1:
                refused += half
            else:
                sent += self._halves(half, refused)
        return sent

    def _export(self, spans: Sequence[ReadableSpan]) -> bool:
        self.calling_since = self._clock()
        try:
            exporter = self._exporter()
            succeeded = exporter.export(spans) is SpanExportResult.SUCCESS
            error: object = "the exporter reports a failure"
        except BaseException as raised:  # noqa: BLE001  # whatever it is, this thread has to go on
            succeeded, error = False, type(raised).__name__
        finally:
            self.calling_since = None
        if succeeded:
            self.exported_unflushed = True
        else:
            self.counts.failed += 1
            where = "kept in memory" if self._spool is None else "kept on disk"
            self.announcer.warn("spans cannot be sent (%s); they are " + where + " meanwhile", error)
        return succeeded

    def save_all(self, until: float) -> bool:
        """Put everything on disk that is in memory only; return False if that did not succeed by *until*.

        Any thread may call this.
        """
        if not self._saving.acquire(timeout=max(0.0, until - self._clock())):
            return False
        try:
            return all(self._clock() < until and self._to_disk(batch) for batch in self._buffer.taken()) and (
                self._queue_to_disk(until)
            )
        finally:
            self._saving.release()

    def _queue_to_disk(self, until: float) -> bool:
        while (batch := self._buffer.take()) is not None:
            if self._clock() > until or not self._to_disk(batch):
                self._buffer.hold(batch)
                return False
        return True

    def _save_queue(self, *, partial: bool = True) -> bool:
        """Put what is queued on disk; what does not go there stays where it is."""
        while (batch := self._buffer.take(partial=partial)) is not None:
            if not self._save(batch):
                break
        return False

    def _save(self, batch: Batch) -> bool:
        if self._to_disk(batch):
            return True
        now = self._clock()
        if self._held_since is None:
            self._held_since = now
        if now - self._held_since > GIVE_UP_AFTER_S:
            self._held_since = None
            if self._buffer.settle(batch):
                self.drop("retry_exhausted", len(batch.spans))
            return True
        self._buffer.hold(batch)
        return False

    def _to_disk(self, batch: Batch) -> bool:
        if batch.settled:
            return True
        if self._spool is None:
            return False
        records = self._records(batch)
        lost = len(batch.spans) - sum(int(record.header["spans"] or 0) for record in records)
        try:
            tickets = self._spool.append(records) if records else []
        except ObsError as error:
            self.announcer.warn("spans cannot be kept on disk: %s", error)
            return False
        with self._buffer.lock:
            mine = self._buffer.settle(batch)
            if mine:
                batch.tickets = tickets
                self.counts.spooled += len(batch.spans) - lost
        if not mine:
            for ticket in tickets:
                self._spool.done(ticket)
        elif lost:
            self.drop("not_encodable", lost)
        return True

    def _records(self, batch: Batch) -> list[Record]:
        try:
            records = [_record(len(batch.spans), encode(batch.spans))]
        except Exception:  # noqa: BLE001  # one span that cannot be encoded takes no other with it
            records = [_record(1, body) for body in encode_each(batch.spans)]
        return [self._sealer.seal(record) for record in records]

    def drop(self, reason: str, count: int) -> None:
        """Count spans that are lost, and say so once in a while."""
        if count:
            with self._buffer.lock:
                self.counts.drop(reason, count)
            self.announcer.warn("spans are lost: %s", self.counts.dropped)


def _record(spans: int, body: bytes) -> Record:
    return Record({"kind": "otlp_traces_protobuf", "spans": spans}, body)
