"""The store in PostgreSQL: a batch is written once, in one transaction, whatever is sent again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from threading import Lock

import psycopg
import tenacity
from psycopg import errors
from psycopg.types.json import Jsonb
from psycopg_pool import ConnectionPool

from otel_obs.postgres import partitions
from otel_obs.postgres.arrays import arrays
from otel_obs.postgres.contents import hashed, organizations_of, sealed
from otel_obs.postgres.copying import copy_batch
from otel_obs.postgres.merging import merge
from otel_obs.postgres.pool import translated, writing
from otel_obs.postgres.prices import Current, store_prices
from otel_obs.postgres.queries import load
from otel_obs.postgres.reporting import keep_reports
from otel_obs.postgres.rollups import touch_days
from otel_obs.postgres.settling import apply, claim, read, release
from otel_obs.postgres.tenants import Admitted, Tenants
from otel_obs.postgres.vault import Vault
from otel_obs.pricing.rows import PriceRow
from otel_obs.rows import CallRow
from otel_obs.rows.batch import Batch, Settling, Written

_WRITE = load("write")
_SETTLE = load("settle")

MAX_KNOWN_RESOURCES = 10_000
"""Resources that this process remembers having stored."""


class PostgresStore:
    """Rows in PostgreSQL.

    *price* returns the price that has an id, for those that calls were priced with. With *current* nothing is written
    at prices that operators have replaced before. With *vault* content is sealed before it is written.
    """

    def __init__(
        self,
        pool: ConnectionPool,
        price: Callable[[str], PriceRow | None] = lambda _: None,
        *,
        current: Current | None = None,
        vault: Vault | None = None,
    ) -> None:
        self._pool = pool
        self._price = price
        self._current = current
        self._vault = vault
        self._prices: set[str] = set()
        self._tenants = Tenants()
        self._resources: dict[tuple[str, str], frozenset[str]] = {}
        self._covered: tuple[datetime, datetime] | None = None
        self._covering = Lock()

    def write(self, batch: Batch) -> Written:
        """Store *batch* in one transaction, durable when this returns.

        An event that is stored already changes nothing, except that a finished span replaces an
        unfinished one. Rows of deleted tenants go to quarantine.

        Raises:
            StorageUnavailableError, KeysUnavailableError: nothing was stored; the same batch may be sent again.
            StorageRejectedError: nothing was stored; sending it again will not help.
        """
        with translated():
            self._cover(event.timestamp for event in batch.events)
            return _giving_way(self._write_once, batch)

    def _write_once(self, batch: Batch) -> Written:
        with writing(self._pool) as connection, connection.transaction():
            if self._current is not None and batch.calls:
                batch = _repriced(batch, self._current.repriced(connection, batch.calls))
            admitted = self._tenants.admit(connection, batch)
            rows, messages = self._sealed(connection, admitted.batch)
            written = self._write(connection, rows)
            touch_days(connection, admitted.batch.events)
            prices = self._store_prices(connection, admitted.batch.calls)
        self._committed(admitted)
        self._prices |= prices
        if self._vault is not None:
            self._vault.count(self._pool, messages)
        return Written(
            stored=written.stored,
            duplicates=written.duplicates + batch.repeated,
            replaced=written.replaced,
            conflicts=written.conflicts,
            refused=admitted.refused,
        )

    def _sealed(self, connection: psycopg.Connection, batch: Batch) -> tuple[Batch, Mapping[tuple[str, str], int]]:
        if self._vault is None:
            return batch, {}
        return sealed(batch, self._vault.in_force(connection, organizations_of(batch)))

    def _committed(self, admitted: Admitted) -> None:
        self._tenants.committed(admitted)
        if len(self._resources) > MAX_KNOWN_RESOURCES:
            self._resources.clear()
        for key in admitted.batch.resources:
            scopes = admitted.batch.call_scopes.get(key, frozenset())
            self._resources[key] = self._resources.get(key, frozenset()) | scopes

    def _write(self, connection: psycopg.Connection, batch: Batch) -> Written:
        _mark_unsettled(connection, batch)
        try:
            with connection.transaction():
                copy_batch(connection, batch)
                keep_reports(connection, batch.reports, {(c.trace_id, c.event_id) for c in batch.calls})
                written = Written(stored=len(batch.events))
        except psycopg.Error:
            if connection.closed or connection.broken:
                raise
            _mark_in_parts(connection, batch)
            written = merge(connection, batch)
        self._store_resources(connection, batch)
        _store_quarantined(connection, batch)
        return written

    def _store_resources(self, connection: psycopg.Connection, batch: Batch) -> None:
        rows = [
            (*key, Jsonb(batch.resources[key]), Jsonb(sorted(scopes)))
            for key in sorted(batch.resources)
            if not (scopes := batch.call_scopes.get(key, frozenset())) <= self._resources.get(key, frozenset())
            or key not in self._resources
        ]
        if rows:
            names = ("organization_ids", "hashes", "attributes", "call_scopes")
            connection.execute(_WRITE["store_resources"], arrays(names, rows))

    def _store_prices(self, connection: psycopg.Connection, calls: Iterable[CallRow]) -> set[str]:
        """Keep the prices of *calls*; return their ids, stored once this is committed."""
        new = {call.price_id for call in calls if call.price_id is not None} - self._prices
        if new:
            store_prices(connection, [row for price_id in sorted(new) if (row := self._price(price_id)) is not None])
        return new

    def _cover(self, timestamps: Iterable[datetime]) -> None:
        """See to it that each week inside the window has its partitions."""
        now = datetime.now(tz=timezone.utc)
        inside = [at for at in timestamps if at > now - partitions.WINDOW]
        if not inside:
            return
        covered = self._covered
        if covered is not None and covered[0] <= min(inside) and min(max(inside), now) < covered[1]:
            return
        with self._covering, writing(self._pool) as connection:
            self._covered = partitions.ensure(connection, inside, now)

    def settle(self, settling: Settling, *, limit: int, all_now: bool = False) -> int:
        """Bring up to *limit* quiet traces (*all_now*: any) into their final form; return how many.

        Raises:
            StorageUnavailableError: nothing was changed.
        """
        with translated():
            return _giving_way(self._settle_once, settling, limit, all_now=all_now)

    def _settle_once(self, settling: Settling, limit: int, *, all_now: bool) -> int:
        prices: set[str] = set()
        with self._pool.connection() as connection:
            connection.execute(_SETTLE["mark_touched"])
        with self._pool.connection() as connection, connection.transaction():
            claimed = claim(connection, limit=limit, all_now=all_now, quiet=settling.quiet, patience=settling.patience)
            if claimed.open and self._current is not None:
                self._current.refresh(connection)
            for organization_id, trace_ids in claimed.open.items():
                rows = read(connection, organization_id, trace_ids, settling, self._vault)
                changes = settling.settle(rows)
                apply(connection, organization_id, changes, self._vault)
                prices |= self._store_prices(connection, (*changes.new_calls, *changes.changed_calls))
            release(connection, claimed)
        self._prices |= prices
        return len(claimed.traces)


_giving_way = tenacity.Retrying(
    retry=tenacity.retry_if_exception_type((errors.DeadlockDetected, errors.SerializationFailure)),
    stop=tenacity.stop_after_attempt(5),
    wait=tenacity.wait_random(0, 0.1),
    reraise=True,
)
"""Whoever waits in a circle is told to give way, and then finds the way free."""


def _mark_unsettled(connection: psycopg.Connection, batch: Batch) -> None:
    # Without a trace only reports of calls have anything to be settled; all else there would be read again and again.
    traces = sorted(
        {(event.organization_id, event.trace_id) for event in batch.events if event.trace_id or event.cost_state}
    )
    if traces:
        rows = [(*trace, *batch.whole.get(trace, (None, None))) for trace in traces]
        names = ("organization_ids", "trace_ids", "events", "resource_hashes")
        connection.execute(_WRITE["mark_unsettled"], arrays(names, rows))


def _mark_in_parts(connection: psycopg.Connection, batch: Batch) -> None:
    """Have all traces of *batch* settled: it does not know all of them."""
    if batch.whole:
        connection.execute(_WRITE["not_whole"], arrays(("organization_ids", "trace_ids"), sorted(batch.whole)))


def _repriced(batch: Batch, calls: Sequence[CallRow]) -> Batch:
    """Return *batch* with *calls* at other prices: what runs cost in all is to be settled where one changed."""
    changed = {
        (call.organization_id, call.trace_id) for call, old in zip(calls, batch.calls, strict=True) if call != old
    }
    return replace(
        batch, calls=calls, whole={trace: count for trace, count in batch.whole.items() if trace not in changed}
    )


def _store_quarantined(connection: psycopg.Connection, batch: Batch) -> None:
    if not batch.quarantined:
        return
    names = (
        "organization_ids", "workspace_ids", "received_at", "signals", "reasons", "details", "payloads",
        "formats", "encrypted", "hashes",
    )  # fmt: skip
    rows = [
        (item.organization_id, item.workspace_id, item.received_at, item.signal, item.reason, item.detail,
         item.payload, item.format, item.payload_encrypted, hashed(item))
        for item in batch.quarantined
    ]  # fmt: skip
    connection.execute(_WRITE["store_quarantined"], arrays(names, rows))
