"""Giving disk back: a partition whose big delete is over is rewritten once, for VACUUM gives it nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg import sql
from psycopg_pool import ConnectionPool

from otel_obs.maintenance.expiry import is_finished, lock_whole, size_of
from otel_obs.postgres.partitions import Partition
from otel_obs.postgres.queries import load

_RETENTION = load("retention")


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """From when on a rewrite pays."""

    share: float = 0.25
    """Part of the partition's size that deleted rows left ..."""
    bytes: int = 1024 * 1024
    """... and how much that is at least."""


def worth_it(
    pool: ConnectionPool, partitions: Sequence[Partition], cutoffs: Iterable[datetime], now: datetime, worth: Worth
) -> list[Partition]:
    """Return the cold partitions from which nothing more goes soon, and much has gone."""
    limits = list(cutoffs)
    by_name = {partition.name: partition for partition in partitions}
    found = []
    with pool.connection() as connection:
        for name, _, left in connection.execute(_RETENTION["spaces"]).fetchall():
            partition = by_name.get(name)
            if partition is None:
                connection.execute(_RETENTION["no_space_left"], {"partition": name})
            elif (
                left >= worth.bytes
                and is_finished(partition, limits, now)
                and left >= worth.share * size_of(connection, partition).bytes
            ):
                found.append(partition)
    return found


def rewrite(connection: psycopg.Connection, partition: Partition) -> int:
    """Rewrite *partition*, which nobody reads or writes until commit; return how many bytes come back then.

    CLUSTER, because VACUUM FULL runs in no transaction, and outside of one neither the lease nor time-outs hold.

    Raises:
        psycopg.errors.LockNotAvailable: it is in use.
    """
    before = size_of(connection, partition).bytes
    lock_whole(connection, partition)
    connection.execute("SET LOCAL statement_timeout = 0")
    key = connection.execute(_RETENTION["primary_key"], {"partition": partition.name}).fetchone()
    if key is None:
        return 0
    connection.execute(sql.SQL("CLUSTER {} USING {}").format(sql.Identifier(partition.name), sql.Identifier(key[0])))
    connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(partition.name)))
    return before - size_of(connection, partition).bytes
