"""From the OpenTelemetry SDK straight into PostgreSQL, without a gateway.

``OTEL_TRACES_EXPORTER=otel_obs`` makes the SDK use it. It never starts a server and never raises into the
application: without a database it warns once, and counts what it drops.
"""

from __future__ import annotations

import logging
import os
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from functools import partial
from threading import Lock

import psycopg
import tenacity
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, detach, set_value
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from psycopg_pool import ConnectionPool

from otel_obs.errors import ConfigurationError, ObsError
from otel_obs.otlp.sdk import SpanReader
from otel_obs.pipeline.ingest import Mapping, Received, receive, reprice
from otel_obs.pipeline.mapping import mapping_of
from otel_obs.pipeline.queue import CommitQueue, Settler
from otel_obs.pipeline.standing import Standing
from otel_obs.pipeline.stored import settling
from otel_obs.postgres.embedded import running_dsn
from otel_obs.postgres.policies import read_policies
from otel_obs.postgres.pool import conninfo, open_pool, translated
from otel_obs.postgres.prices import Current
from otel_obs.postgres.store import PostgresStore
from otel_obs.postgres.vault import vault_of
from otel_obs.postgres.workflows import bindings
from otel_obs.pricing.book import PriceBook
from otel_obs.pricing.catalog import default_catalog
from otel_obs.rows.policy import Rules, rule_of
from otel_obs.settings import Settings
from otel_obs.tenancy import Limits, Sender

_log = logging.getLogger(__name__)

RETRY_FOR_S = 20.0
"""A batch that PostgreSQL does not take is offered again for this long."""
WARN_EVERY_S = 20.0
"""How often a log line says that spans are dropped."""
SETTLE_AT_ONCE = 200
AT_A_TIME = 32
"""Of so many spans rows are made at once."""
RULES_EVERY_S = 5.0
"""How often it is asked what tenants have decided about their content."""


@dataclass(slots=True)
class ExportCounts:
    """What became of the spans that were handed over."""

    stored: int = 0
    duplicate: int = 0
    rejected: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    """Spans that are not stored, by reason."""

    def drop(self, reason: str, count: int) -> None:
        """Count dropped spans."""
        self.dropped[reason] = self.dropped.get(reason, 0) + count


class PostgresSpanExporter(SpanExporter):
    """Writes spans to PostgreSQL, as a gateway would; settings are the ``OTEL_OBS_*`` variables.

    The database is *database_url*, else ``OTEL_OBS_DATABASE_URL``, else the embedded server of the data
    folder if it is running.
    """

    def __init__(self, database_url: str | None = None) -> None:
        self.counts = ExportCounts()
        self._database_url = database_url
        self._lock = Lock()
        self._writer: _Writer | None = None
        self._warned_at = 0.0
        self._stopped = False
        after_fork = weakref.WeakMethod(self._begin_in_child)
        os.register_at_fork(after_in_child=lambda: (again := after_fork()) and again())

    def _begin_in_child(self) -> None:
        """Leave the parent's connections to the parent; a lock of its may have been held while it forked."""
        self._lock = Lock()
        _LEFT_ALONE.append(self._writer)
        self._writer = None
        self.counts = ExportCounts()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Store *spans*; return FAILURE where they are dropped. Never raises."""
        token = attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
        try:
            return self._export(spans)
        except Exception as error:  # noqa: BLE001  # telemetry never breaks the application
            self._dropped(_reason(error), len(spans), error)
            return SpanExportResult.FAILURE
        finally:
            detach(token)

    def _export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if self._stopped:
            self._dropped("after_shutdown", len(spans))
            return SpanExportResult.FAILURE
        writer = self._current_writer()
        if writer is None:
            self._dropped("no_database", len(spans))
            return SpanExportResult.FAILURE
        written = writer.write(spans)
        with self._lock:
            self.counts.stored += written.stored
            self.counts.duplicate += written.duplicate
            self.counts.rejected += written.rejected
            for reason, count in written.dropped.items():
                self.counts.drop(reason, count)
        return SpanExportResult.SUCCESS

    def _current_writer(self) -> _Writer | None:
        """Return the writer of this process; after a fork the parent's must not be touched."""
        with self._lock:
            if self._writer is not None and self._writer.pid == os.getpid():
                return self._writer
            settings = Settings.from_env(os.environ, {"DATABASE_URL": self._database_url})
            database_url = settings.database_url or running_dsn(settings.data_dir)
            self._writer = None if database_url is None else _Writer(settings, database_url)
            return self._writer

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Bring what was stored into its final form; return False if that did not succeed in time."""
        writer = self._writer
        if writer is None or writer.pid != os.getpid():
            return True
        try:
            return writer.settle_all(time.monotonic() + timeout_millis / 1000)
        except Exception as error:  # noqa: BLE001  # telemetry never breaks the application
            _log.debug("settling failed: %s", type(error).__name__)
            return False

    def shutdown(self) -> None:
        """Commit and settle what was handed over, and let go of the database."""
        self._stopped = True
        self.force_flush()
        with self._lock:
            writer, self._writer = self._writer, None
        if writer is not None and writer.pid == os.getpid():
            writer.close()

    def _dropped(self, reason: str, count: int, error: Exception | None = None) -> None:
        with self._lock:
            self.counts.drop(reason, count)
            now = time.monotonic()
            quiet = self._warned_at and now - self._warned_at < WARN_EVERY_S
            if not quiet:
                self._warned_at = now
        if not quiet:
            _log.warning(
                "spans are not stored: %s (%s so far)", error or _ADVICE.get(reason, reason), self.counts.dropped
            )


_LEFT_ALONE: list[_Writer | None] = []
"""Writers of parent processes: collected as garbage they would close what is not theirs any more."""

_ADVICE = {
    "no_database": "set OTEL_OBS_DATABASE_URL, or run `otel-obs up` with the same OTEL_OBS_DATA_DIR",
    "after_shutdown": "the exporter is shut down",
}


def _reason(error: Exception) -> str:
    return type(error).__name__.removesuffix("Error") if isinstance(error, ObsError) else "internal_error"


class _Writer:
    """Everything that one process needs to write."""

    def __init__(self, settings: Settings, database_url: str) -> None:
        self.pid = os.getpid()
        prices = PriceBook(default_catalog())
        self._standing = Standing(rule_of(settings.content), Limits())
        self._asked_at = -RULES_EVERY_S
        self._mapping = _mapping(settings, prices, self._standing.rules)
        self._pool: ConnectionPool = open_pool(database_url, max_size=2, writes=True)
        repriced = partial(reprice, price=self._mapping.price)
        self._store = PostgresStore(self._pool, prices.row, current=Current(prices, repriced), vault=vault_of(settings))
        self._queue = CommitQueue(self._store, self._mapping.price)
        self._settling = settling(repriced)
        self._settler = Settler(self._settle_some)
        self._settler.start()

    def write(self, spans: Sequence[ReadableSpan]) -> ExportCounts:
        """Return what became of *spans* once they are committed."""
        self._learn()
        received = self._received(spans)
        counts = ExportCounts(rejected=len(received.quarantined))
        if received.dropped:
            counts.drop("not_genai", received.dropped)
        if received.records or received.quarantined:
            written = _retrying(self._queue.submit, received)
            counts.rejected += sum(key in written.refused for key in _keys(received))
            counts.stored, counts.duplicate = written.stored, written.duplicates
        return counts

    def _received(self, spans: Sequence[ReadableSpan]) -> Received:
        """Return the rows of *spans*, made of a few at a time.

        What lives long enough for the garbage collector to find it often makes it look through the whole application.
        """
        reader, now = SpanReader(), datetime.now(tz=timezone.utc)
        parts = [
            receive(reader.decode(spans[first : first + AT_A_TIME]), Sender(), now, self._mapping)
            for first in range(0, len(spans), AT_A_TIME)
        ]
        return Received(
            records=[record for part in parts for record in part.records],
            quarantined=[item for part in parts for item in part.quarantined],
            dropped=sum(part.dropped for part in parts),
        )

    def _learn(self) -> None:
        """Hear what tenants have decided about their content; nothing is written before that was heard once.

        Raises:
            StorageUnavailableError: it never was, and the database is away.
        """
        now = time.monotonic()
        if now - self._asked_at < RULES_EVERY_S:
            return
        if not self._standing.is_known:
            _retrying(self._ask)
        else:
            with suppress(ObsError):
                self._ask()
        self._asked_at = now

    def _ask(self) -> None:
        with translated(), self._pool.connection() as connection:
            self._standing.learn(read_policies(connection))

    def settle_all(self, until: float) -> bool:
        """Settle every trace now; return False if that took longer than *until*."""
        while self._store.settle(self._settling, limit=SETTLE_AT_ONCE, all_now=True):
            if time.monotonic() > until:
                return False
        return True

    def _settle_some(self) -> int:
        return self._store.settle(self._settling, limit=SETTLE_AT_ONCE)

    def close(self) -> None:
        """Stop the threads, and close the connections."""
        self._queue.close()
        self._settler.close()
        self._pool.close(1.0)


def bound_workflows() -> dict[tuple[str, str], str] | None:
    """Return the workspaces that the table ``workflows`` binds workflows to; None where no database is to be had.

    Keys are (organization id, workflow id), and ('', workflow id) for the organization of spans that name none.
    """
    settings = Settings.from_env(os.environ)
    database_url = settings.database_url or running_dsn(settings.data_dir)
    if database_url is None:
        return None
    token = attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
    try:
        with psycopg.connect(conninfo(database_url, settings={"statement_timeout": "3000ms"})) as connection:
            found = bindings(connection)
    finally:
        detach(token)
    own = {("", key[1]): workspace for key, workspace in found.items() if key[0] == settings.organization_id}
    return {**found, **own}


def _mapping(settings: Settings, prices: PriceBook, rules: Callable[[], Rules]) -> Mapping:
    """Return the mapping in force; without a tokenizer nothing is estimated, but all the rest is stored."""
    try:
        return mapping_of(settings, prices, rules)
    except ConfigurationError as error:
        _log.warning("%s", error)
        return mapping_of(replace(settings, estimate_tokens=False), prices, rules)


def _keys(received: Received) -> list[tuple[str, str, str]]:
    return [record.key for record in received.records]


_retrying = tenacity.Retrying(
    retry=tenacity.retry_if_exception(lambda error: isinstance(error, ObsError) and error.retryable),
    stop=tenacity.stop_after_delay(RETRY_FOR_S),
    wait=tenacity.wait_random_exponential(multiplier=0.2, max=3.0),
    reraise=True,
)
