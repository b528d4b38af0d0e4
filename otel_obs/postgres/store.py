"""The store in PostgreSQL: a batch is written once, in one transaction, whatever is sent again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from threading import Lock
from typing import NamedTuple

import psycopg
import tenacity
from psycopg import errors
from psycopg.types.json import Jsonb
from psycopg_pool import ConnectionPool

from otel_obs.postgres import admission, partitions
from otel_obs.postgres.arrays import arrays
from otel_obs.postgres.contents import hashed, organizations_of, sealed
from otel_obs.postgres.copying import copy_batch
from otel_obs.postgres.merging import merge
from otel_obs.postgres.pool import at_once, translated, writing
from otel_obs.postgres.prices import Current, store_prices
from otel_obs.postgres.queries import load
from otel_obs.postgres.reporting import keep_reports
from otel_obs.postgres.settling import apply, claim, read, release
from otel_obs.postgres.tenants import Admitted, Tenants
from otel_obs.postgres.vault import Vault
from otel_obs.pricing.rows import PriceRow
from otel_obs.rows import CallRow
from otel_obs.rows.batch import Batch, Settling, Written

_WRITE = load("write")
_SETTLE = load("settle")

FEW = 12
"""So many events at most are stored with one statement; for more, COPY costs less."""
MAX_KNOWN_RESOURCES = 10_000
"""Resources that this process remembers having stored."""


_Put = Callable[[psycopg.Connection, Batch], Written]


class _Done(NamedTuple):
    """What one transaction did."""

    written: Written
    batch: Batch
    """The part of the batch that is stored now."""
    prices: set[str]
    messages: Mapping[tuple[str, str], int]
    """How much was sealed by (organization, key name)."""


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
        self._root_callers: set[tuple[str, str]] = set()
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
        with writing(self._pool) as connection:
            try:
                done = self._write_few(connection, batch) or self._write(connection, batch, _copy)
            except psycopg.OperationalError:
                # Away, too slow, locked, full, in a circle with others: another way of writing would fare no better.
                raise
            except psycopg.Error:
                connection.rollback()
                # Some of it is stored already, or counted elsewhere: it does not know all of its traces.
                done = self._write(connection, replace(batch, whole={}), merge)
        self._committed(done)
        return replace(done.written, duplicates=done.written.duplicates + batch.repeated)

    def _write_few(self, connection: psycopg.Connection, batch: Batch) -> _Done | None:
        """Store *batch* in a transaction that is one statement; None where nothing was done, for it takes more."""
        current = self._current
        operator_prices = len(current.book.own_ids) if current is not None and batch.calls else None
        if operator_prices and current is not None:
            batch = _at_prices(batch, current.repriced(connection, batch.calls, operator_prices))
        if not self._takes_one_statement(batch):
            return None
        with at_once(connection):
            if not admission.store(connection, batch, self._tenants.new_users(batch), operator_prices):
                return None
        return _Done(Written(stored=len(batch.events)), batch, set(), {})

    def _takes_one_statement(self, batch: Batch) -> bool:
        return (
            0 < len(batch.events) <= FEW
            and self._vault is None
            and not batch.reports
            and not batch.quarantined
            and not self._new_resources(batch)
            and not self._new_prices(batch.calls)
        )

    def _write(self, connection: psycopg.Connection, batch: Batch, put: _Put) -> _Done:
        """Store *batch* in the transaction that begins with its first statement; *put* stores the rows."""
        asked = admission.ask(connection, batch, self._tenants.new_users(batch))
        repriced = self._repriced(connection, batch, asked.operator_prices)
        if asked.is_admitted:
            admitted = Admitted(repriced, {})
            if changed := batch.whole.keys() - repriced.whole.keys():
                admission.mark_in_parts(connection, changed)
        else:
            admitted = self._tenants.admit(connection, repriced)
            admission.mark(connection, admitted.batch, self._tenants.new_users(admitted.batch))
        rows, messages = self._sealed(connection, admitted.batch)
        written = put(connection, rows)
        self._store_resources(connection, rows)
        _store_quarantined(connection, rows)
        prices = self._store_prices(connection, rows.calls)
        return _Done(replace(written, refused=admitted.refused), admitted.batch, prices, messages)

    def _repriced(self, connection: psycopg.Connection, batch: Batch, operator_prices: int) -> Batch:
        if self._current is None or not batch.calls:
            return batch
        return _at_prices(batch, self._current.repriced(connection, batch.calls, operator_prices))

    def _sealed(self, connection: psycopg.Connection, batch: Batch) -> tuple[Batch, Mapping[tuple[str, str], int]]:
        if self._vault is None:
            return batch, {}
        return sealed(batch, self._vault.in_force(connection, organizations_of(batch)))

    def _committed(self, done: _Done) -> None:
        """Remember what is stored now."""
        self._tenants.committed(done.batch)
        if len(self._resources) > MAX_KNOWN_RESOURCES:
            self._resources.clear()
            self._root_callers.clear()
        for key in done.batch.resources:
            self._resources[key] = self._resources.get(key, frozenset()) | done.batch.call_scopes.get(key, frozenset())
        self._root_callers |= done.batch.root_callers
        self._prices |= done.prices
        if self._vault is not None:
            self._vault.count(self._pool, done.messages)

    def _store_resources(self, connection: psycopg.Connection, batch: Batch) -> None:
        new = self._new_resources(batch)
        if new:
            rows = [
                (
                    *key,
                    Jsonb(batch.resources[key]),
                    Jsonb(sorted(batch.call_scopes.get(key, ()))),
                    key in batch.root_callers,
                )
                for key in sorted(new)
            ]
            names = ("organization_ids", "hashes", "attributes", "call_scopes", "root_calls")
            connection.execute(_WRITE["store_resources"], arrays(names, rows))

    def _new_resources(self, batch: Batch) -> set[tuple[str, str]]:
        """Return the senders of *batch* that are new, or report calls by a scope, or as roots, which is."""
        return {
            key
            for key in batch.resources
            if key not in self._resources
            or not batch.call_scopes.get(key, frozenset()) <= self._resources[key]
            or (key in batch.root_callers and key not in self._root_callers)
        }

    def _store_prices(self, connection: psycopg.Connection, calls: Iterable[CallRow]) -> set[str]:
        """Keep the prices of *calls*; return their ids, stored once this is committed."""
        new = self._new_prices(calls)
        if new:
            store_prices(connection, [row for price_id in sorted(new) if (row := self._price(price_id)) is not None])
        return new

    def _new_prices(self, calls: Iterable[CallRow]) -> set[str]:
        return {call.price_id for call in calls if call.price_id is not None} - self._prices

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
            for organization_id, traces in claimed.open.items():
                rows = read(connection, organization_id, traces, settling, self._vault)
                changes = settling.settle(rows)
                apply(connection, organization_id, changes, self._vault)
                prices |= self._store_prices(connection, (*changes.new_calls, *changes.changed_calls))
                release(connection, organization_id, traces)
        self._prices |= prices
        return claimed.due


_giving_way = tenacity.Retrying(
    retry=tenacity.retry_if_exception_type((errors.DeadlockDetected, errors.SerializationFailure)),
    stop=tenacity.stop_after_attempt(5),
    wait=tenacity.wait_random(0, 0.1),
    reraise=True,
)
"""Whoever waits in a circle is told to give way, and then finds the way free."""


def _copy(connection: psycopg.Connection, batch: Batch) -> Written:
    """Store *batch*, of which nothing is stored; if something is, that is an error."""
    copy_batch(connection, batch)
    keep_reports(connection, batch.reports, {(c.trace_id, c.event_id) for c in batch.calls})
    return Written(stored=len(batch.events))


def _at_prices(batch: Batch, calls: Sequence[CallRow]) -> Batch:
    """Return *batch* with *calls* at other prices: what runs cost in all is to be settled where one changed."""
    if calls is batch.calls:
        return batch
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
