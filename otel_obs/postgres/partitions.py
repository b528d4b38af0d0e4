"""Weeks: one partition of each hot table for each week, without a gap, between two edge partitions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

import psycopg
from psycopg import sql

from otel_obs.postgres.queries import load

HOT_TABLES = ("event_logs", "model_cost_logs", "agent_trace_history", "prompt_similarity_logs", "span_contents")
WEEK = timedelta(days=7)
AHEAD = 4 * WEEK
"""Weeks are made this far ahead; what is later lies in the late edge partition."""
WINDOW = timedelta(days=800)
"""Weeks this far back are made on demand; what is older lies in the early edge partition."""

_PARTITIONS = load("partitions")
Bounds = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition of a hot table: a week, or an edge."""

    table: str
    name: str
    start: datetime | None
    """First moment inside; None for an edge."""
    end: datetime | None
    """First moment after; None for an edge."""

    @property
    def is_edge(self) -> bool:
        """Tell whether it holds what lies outside the weeks."""
        return self.start is None


def week_of(moment: datetime) -> datetime:
    """Return Monday 00:00 UTC of the week of *moment*."""
    day = moment.astimezone(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
    return day - timedelta(days=day.weekday())


def covered(connection: psycopg.Connection) -> Bounds | None:
    """Return the first moment of the first week and the first moment after the last; None without weeks."""
    row = connection.execute(_PARTITIONS["bounds"]).fetchone()
    return None if row is None or row[0] is None else (row[0], row[1])


def listed(connection: psycopg.Connection, table: str) -> list[Partition]:
    """Return the partitions of *table*: the weeks, the oldest first, then the edges."""
    rows = connection.execute(_PARTITIONS["listed"], {"table": table}).fetchall()
    return [Partition(table, row[0], row[1], None if row[1] is None else row[1] + WEEK) for row in rows]


def drop_empty(connection: psycopg.Connection, before: datetime) -> list[str]:
    """Drop the oldest weeks that end by *before* and hold no row in any table; return the partitions' names.

    In one transaction, under the lock of all who make weeks; the early edge grows up to the oldest week that stays.
    """
    with connection.transaction():
        connection.execute(_PARTITIONS["lock"])
        found = covered(connection)
        if found is None:
            return []
        start = found[0]
        while start + WEEK <= min(before, found[1] - WEEK) and _is_empty(connection, start):
            start += WEEK
        if start == found[0]:
            return []
        dropped = []
        for table in HOT_TABLES:
            early = f"{table}_early"
            _detach(connection, table, early, exists=True)
            week = found[0]
            while week < start:
                name = f"{table}_{week:%Y%m%d}"
                connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(name)))
                dropped.append(name)
                week += WEEK
            _attach_edge(connection, table, early, None, start, exists=True)
    return dropped


def _is_empty(connection: psycopg.Connection, week: datetime) -> bool:
    """Tell whether no table has a row of *week*; nobody adds one before this transaction ends."""
    for table in HOT_TABLES:
        name = sql.Identifier(f"{table}_{week:%Y%m%d}")
        if connection.execute(sql.SQL("SELECT FROM {} LIMIT 1").format(name)).fetchone() is not None:
            return False
    for table in HOT_TABLES:
        name = sql.Identifier(f"{table}_{week:%Y%m%d}")
        connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(name))
        if connection.execute(sql.SQL("SELECT FROM {} LIMIT 1").format(name)).fetchone() is not None:
            return False
    return True


def ensure(connection: psycopg.Connection, moments: Iterable[datetime], now: datetime) -> Bounds:
    """See to it that *moments* inside the window, and the weeks ahead of *now*, have their partitions.

    Rows that lie in an edge partition and belong to a new week move there in the same transaction.
    Returns what is covered then.
    """
    wanted = _wanted(moments, now)
    found = covered(connection)
    if found is not None and found[0] <= wanted[0] and wanted[1] <= found[1]:
        return found
    with connection.transaction():
        connection.execute(_PARTITIONS["lock"])
        found = covered(connection)
        start, end = wanted if found is None else (min(wanted[0], found[0]), max(wanted[1], found[1]))
        for table in HOT_TABLES:
            _extend(connection, table, found, (start, end))
    return start, end


def _wanted(moments: Iterable[datetime], now: datetime) -> Bounds:
    inside = [moment for moment in moments if now - WINDOW < moment < now + AHEAD]
    return week_of(min([now, *inside])), week_of(now) + WEEK + AHEAD


def _extend(connection: psycopg.Connection, table: str, found: Bounds | None, wanted: Bounds) -> None:
    early, late = f"{table}_early", f"{table}_late"
    if found is None or wanted[0] < found[0]:
        _detach(connection, table, early, exists=found is not None)
    if found is None or found[1] < wanted[1]:
        _detach(connection, table, late, exists=found is not None)
    week = wanted[0]
    while week < wanted[1]:
        if found is None or not found[0] <= week < found[1]:
            _create(connection, table, week)
        week += WEEK
    if found is None or wanted[0] < found[0]:
        _attach_edge(connection, table, early, None, wanted[0], exists=found is not None)
    if found is None or found[1] < wanted[1]:
        _attach_edge(connection, table, late, wanted[1], None, exists=found is not None)


def _detach(connection: psycopg.Connection, table: str, edge: str, *, exists: bool) -> None:
    if exists:
        connection.execute(
            sql.SQL("ALTER TABLE {} DETACH PARTITION {}").format(sql.Identifier(table), sql.Identifier(edge))
        )


def _create(connection: psycopg.Connection, table: str, week: datetime) -> None:
    name = f"{table}_{week:%Y%m%d}"
    connection.execute(
        sql.SQL("CREATE TABLE {} PARTITION OF {} FOR VALUES FROM ({}) TO ({})").format(
            sql.Identifier(name), sql.Identifier(table), sql.Literal(week), sql.Literal(week + WEEK)
        )
    )
    _protect(connection, name)


def _attach_edge(
    connection: psycopg.Connection,
    table: str,
    edge: str,
    start: datetime | None,
    end: datetime | None,
    *,
    exists: bool,
) -> None:
    """Attach the edge partition for what is before *end* or from *start* on, after moving out what is not."""
    lower = sql.SQL("MINVALUE") if start is None else sql.Literal(start)
    upper = sql.SQL("MAXVALUE") if end is None else sql.Literal(end)
    if not exists:
        connection.execute(
            sql.SQL("CREATE TABLE {} PARTITION OF {} FOR VALUES FROM ({}) TO ({})").format(
                sql.Identifier(edge), sql.Identifier(table), lower, upper
            )
        )
        _protect(connection, edge)
        return
    inside = (
        sql.SQL('"timestamp" >= {}').format(upper) if end is not None else sql.SQL('"timestamp" < {}').format(lower)
    )
    connection.execute(
        sql.SQL("WITH moved AS (DELETE FROM {} WHERE {} RETURNING *) INSERT INTO {} SELECT * FROM moved").format(
            sql.Identifier(edge), inside, sql.Identifier(table)
        )
    )
    connection.execute(
        sql.SQL("ALTER TABLE {} ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})").format(
            sql.Identifier(table), sql.Identifier(edge), lower, upper
        )
    )


def _protect(connection: psycopg.Connection, partition: str) -> None:
    """Let nobody but the owner read the partition by its own name."""
    connection.execute(sql.SQL("ALTER TABLE {} ENABLE ROW LEVEL SECURITY").format(sql.Identifier(partition)))
