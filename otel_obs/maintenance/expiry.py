"""Deleting what is too old from one partition: all of it at once where nothing is kept, else in batches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import psycopg
from psycopg import sql

from otel_obs.postgres.partitions import AHEAD, WEEK, WINDOW, Partition
from otel_obs.postgres.queries import load

_RETENTION = load("retention")

LOCK_TIMEOUT_MS = 2_000


@dataclass(frozen=True, slots=True)
class Size:
    """What a partition takes on disk, with its indexes and TOAST."""

    bytes: int
    row_bytes: float
    """A row's share of it."""


def organizations_in(connection: psycopg.Connection, partitions: Iterable[Partition]) -> dict[str, list[str]]:
    """Return whose rows partitions hold, by the partitions' names; empty ones are left out."""
    names = [partition.name for partition in partitions]
    found: dict[str, list[str]] = {}
    for name, organization_id in connection.execute(_RETENTION["organizations_of"], {"partitions": names}):
        found.setdefault(name, []).append(organization_id)
    return found


def size_of(connection: psycopg.Connection, partition: Partition) -> Size:
    """Return what the partition takes; its rows are counted where PostgreSQL has no idea."""
    row = connection.execute(_RETENTION["size"], {"partition": partition.name}).fetchone()
    total, rows = (0, 0) if row is None else row
    if rows <= 0:
        counted = connection.execute(
            sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(partition.name))
        ).fetchone()
        rows = 0 if counted is None else counted[0]
    return Size(total, total / rows if rows else 0.0)


def _age(partition: Partition) -> sql.Composable:
    """Return the time that a row's age is counted from.

    In an edge partition a row whose own time makes no sense is as old as its arrival; one whose week is not there
    (any more) is as old as it says.
    """
    if not partition.is_edge:
        return sql.SQL('"timestamp"')
    return sql.SQL(
        'CASE WHEN "timestamp" > received_at - {window}::interval AND "timestamp" < received_at + {ahead}::interval '
        'THEN "timestamp" ELSE received_at END'
    ).format(window=sql.Literal(WINDOW), ahead=sql.Literal(AHEAD + WEEK))


def count_expired(
    connection: psycopg.Connection, partition: Partition, cutoffs: Mapping[str, datetime]
) -> dict[str, int]:
    """Return how many rows are too old, by organization."""
    statement = sql.SQL(
        """
        SELECT p.organization_id, count(*)
        FROM {table} AS p
        JOIN unnest(%(ids)s::text[], %(cutoffs)s::timestamptz[]) AS c (id, cutoff) ON c.id = p.organization_id
        WHERE {age} < c.cutoff
        GROUP BY p.organization_id
        """
    ).format(table=sql.Identifier(partition.name), age=_age(partition))
    ids = sorted(cutoffs)
    rows = connection.execute(statement, {"ids": ids, "cutoffs": [cutoffs[name] for name in ids]}).fetchall()
    return dict(rows)


def delete_expired(
    connection: psycopg.Connection, partition: Partition, organization_id: str, cutoff: datetime, limit: int
) -> int:
    """Delete up to *limit* rows of an organization that are older than *cutoff*; return how many."""
    statement = sql.SQL(
        """
        DELETE FROM {table} WHERE ctid = ANY(ARRAY(
            SELECT ctid FROM {table} WHERE organization_id = %(organization_id)s AND {age} < %(cutoff)s LIMIT %(limit)s
        ))
        """
    ).format(table=sql.Identifier(partition.name), age=_age(partition))
    return connection.execute(
        statement, {"organization_id": organization_id, "cutoff": cutoff, "limit": limit}
    ).rowcount


def is_expired(partition: Partition, cutoffs: Iterable[datetime | None]) -> bool:
    """Tell whether no row of those whose *cutoffs* they are can be kept in the partition."""
    if partition.end is None or partition.start is None:
        return False
    return all(cutoff is not None and cutoff >= partition.end for cutoff in cutoffs)


def lock_whole(connection: psycopg.Connection, partition: Partition) -> None:
    """Have the partition for this transaction alone.

    Raises:
        psycopg.errors.LockNotAvailable: others use it just now; whoever waited longer would make all others wait.
    """
    connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(LOCK_TIMEOUT_MS)))
    connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(sql.Identifier(partition.name)))


def empty(connection: psycopg.Connection, partition: Partition) -> None:
    """Remove all rows at once; the disk comes back at commit."""
    connection.execute(sql.SQL("TRUNCATE TABLE {}").format(sql.Identifier(partition.name)))


def is_due(partition: Partition, cutoff: datetime) -> bool:
    """Tell whether rows older than *cutoff* may lie in the partition."""
    return partition.is_edge or (partition.start is not None and partition.start < cutoff)


def is_finished(partition: Partition, cutoffs: Iterable[datetime], now: datetime) -> bool:
    """Tell whether it is cold, and no cut-off will lie inside it tomorrow: what goes from it now is gone."""
    if partition.start is None or partition.end is None or partition.end > now - 2 * WEEK:
        return False
    return not any(partition.start < cutoff < partition.end - timedelta(microseconds=1) for cutoff in cutoffs)
