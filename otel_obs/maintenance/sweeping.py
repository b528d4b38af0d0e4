"""Deleting by name: rows of an organization, a workspace, a user or a trace, in batches, wherever they are.

Triggers do that too, in one transaction, for whoever deletes with plain SQL. Here the transactions are small, so that
nobody waits; and what a writer left that was about to commit when the tenant was deleted is found again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import psycopg
from psycopg import sql
from psycopg_pool import ConnectionPool

from otel_obs.postgres.partitions import HOT_TABLES, listed
from otel_obs.postgres.queries import load

_RETENTION = load("retention")

InTransaction = Callable[[Callable[[psycopg.Connection], Any]], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Whose rows: an organization's, or those of one workspace, user or trace of it."""

    organization_id: str
    workspace_id: str | None = None
    user_id: str | None = None
    trace_id: str | None = None

    def names(self) -> dict[str, str]:
        """Return the columns that say so, with their values."""
        columns = ("organization_id", "workspace_id", "user_id", "trace_id")
        return {name: value for name in columns if (value := getattr(self, name)) is not None}

    def condition(self) -> sql.Composable:
        """Return it as a condition with the columns' names as parameters."""
        return sql.SQL(" AND ").join(
            sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in self.names()
        )


def sweep(subject: Subject, in_transaction: InTransaction, batch: int = 10_000) -> int:
    """Delete all rows of *subject* from the hot tables and what hangs on them; return how many rows of hot tables.

    Days whose calls go are computed again.
    """
    total = 0
    for table in HOT_TABLES:
        if not in_transaction(lambda connection, table=table: _has_rows(connection, table, subject)):  # type: ignore[misc]
            continue
        for partition in in_transaction(lambda connection, table=table: listed(connection, table)):  # type: ignore[misc]
            rows = batch
            while rows == batch:
                rows = in_transaction(
                    lambda connection, name=partition.name, table=table: _delete(  # type: ignore[misc]
                        connection, table, name, subject, batch
                    )
                )
                total += rows
    return total


def has_rows(connection: psycopg.Connection, subject: Subject) -> bool:
    """Tell whether a hot table has a row of *subject*."""
    return any(_has_rows(connection, table, subject) for table in HOT_TABLES)


def _has_rows(connection: psycopg.Connection, table: str, subject: Subject) -> bool:
    statement = sql.SQL("SELECT FROM {} WHERE {} LIMIT 1").format(sql.Identifier(table), subject.condition())
    return connection.execute(statement, subject.names()).fetchone() is not None


def _delete(connection: psycopg.Connection, table: str, partition: str, subject: Subject, batch: int) -> int:
    statement = sql.SQL(
        """
        WITH gone AS (
            DELETE FROM {partition} WHERE ctid = ANY(ARRAY(
                SELECT ctid FROM {partition} WHERE {condition} LIMIT {batch}
            ))
            RETURNING {columns}
        ) {after} SELECT count(*) FROM gone
        """
    ).format(
        partition=sql.Identifier(partition),
        condition=subject.condition(),
        batch=sql.Literal(batch),
        columns=_RETURNED.get(table, sql.SQL("1")),
        after=_AFTER.get(table, sql.SQL("")),
    )
    row = connection.execute(statement, subject.names()).fetchone()
    return 0 if row is None else int(row[0])


_RETURNED: Mapping[str, sql.SQL] = {
    "event_logs": sql.SQL("organization_id, trace_id, event_id"),
    "model_cost_logs": sql.SQL('organization_id, response_id, trace_id, event_id, "timestamp"'),
}
_AFTER: Mapping[str, sql.SQL] = {
    "event_logs": sql.SQL(
        ", reports AS (DELETE FROM call_reports AS t USING gone AS g WHERE t.organization_id = g.organization_id "
        "AND t.trace_id = g.trace_id AND t.event_id = g.event_id)"
    ),
    "model_cost_logs": sql.SQL(
        ", touched AS (INSERT INTO touched_days (organization_id, day) "
        "SELECT DISTINCT organization_id, (\"timestamp\" AT TIME ZONE 'UTC')::date FROM gone)"
        ", registry AS (DELETE FROM call_registry AS t USING gone AS g WHERE t.organization_id = g.organization_id "
        "AND t.response_id = g.response_id AND t.trace_id = g.trace_id AND t.event_id = g.event_id)"
    ),
}


def unswept(pool: ConnectionPool) -> list[Subject]:
    """Return the deleted tenants that a writer may still have added to when they were last looked for."""
    with pool.connection() as connection:
        rows = connection.execute(_RETENTION["unswept"]).fetchall()
    return [Subject(organization_id=row[0], workspace_id=row[1] or None, user_id=row[2] or None) for row in rows]


def swept(connection: psycopg.Connection, subject: Subject) -> None:
    """Remember that *subject* was looked for, and finish deleting an organization that somebody began to delete."""
    names = {"workspace_id": "", "user_id": "", **subject.names()}
    if subject.workspace_id is None and subject.user_id is None:
        connection.execute(_RETENTION["finish_organization"], names)
    connection.execute(_RETENTION["swept"], {**names, "now": datetime.now(tz=timezone.utc)})
