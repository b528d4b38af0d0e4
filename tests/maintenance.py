"""Rows of a moment, and jobs at a moment."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import psycopg
from psycopg_pool import ConnectionPool

from otel_obs.maintenance.jobs import run
from otel_obs.maintenance.work import Done, Work
from otel_obs.postgres import partitions
from otel_obs.pricing.book import PriceBook
from otel_obs.pricing.catalog import default_catalog

HOT = partitions.HOT_TABLES
_STATEMENTS = (
    """
    INSERT INTO event_logs (organization_id, workspace_id, user_id, trace_id, span_id, event_id, "timestamp",
        received_at, event_type, name, status, context)
    SELECT o, w, u, t, 's', 'e', at, received, 'llm', 'a call', 'ok', '{}' FROM new
    """,
    """
    INSERT INTO model_cost_logs (organization_id, workspace_id, user_id, trace_id, span_id, event_id, "timestamp",
        received_at, operation, model_name, response_id, input_tokens, output_tokens, is_batch, cost_usd, cost_source,
        status)
    SELECT o, w, u, t, 's', 'e', at, received, 'chat', 'm', t, 10, 1, false, 0.5, 'computed', 'ok' FROM new
    """,
    """
    INSERT INTO agent_trace_history (organization_id, workspace_id, user_id, trace_id, span_id, event_id, "timestamp",
        received_at, status, execution_nodes)
    SELECT o, w, u, t, 's', 'e', at, received, 'ok', '[]' FROM new
    """,
    """
    INSERT INTO prompt_similarity_logs (organization_id, workspace_id, user_id, trace_id, span_id, event_id,
        "timestamp", received_at)
    SELECT o, w, u, t, 's', 'e', at, received FROM new
    """,
    """
    INSERT INTO span_contents (organization_id, workspace_id, user_id, trace_id, span_id, event_id, "timestamp",
        received_at, part, body, bytes, sha256, truncated)
    SELECT o, w, u, t, 's', 'e', at, received, 'input', repeat('x', 100), 100, '', false FROM new
    """,
    """
    INSERT INTO call_registry (organization_id, response_id, "timestamp", trace_id, event_id)
    SELECT o, t, at, t, 'e' FROM new
    """,
    """
    INSERT INTO quarantine (organization_id, workspace_id, received_at, signal, reason, payload)
    SELECT o, w, received, 'traces', 'odd', 'x' FROM new
    """,
)
_NEW = """
    WITH new AS (
        SELECT * FROM unnest(%(o)s::text[], %(w)s::text[], %(u)s::text[], %(t)s::text[], %(at)s::timestamptz[],
            %(received)s::timestamptz[]) AS n (o, w, u, t, at, received)
    )
"""
_number = itertools.count(1)


def fill(
    connection: psycopg.Connection,
    rows: Iterable[tuple[str, datetime]],
    *,
    workspace: str = "w",
    user: str | None = None,
    received: datetime | None = None,
) -> None:
    """Write a row of each (organization, moment) into each hot table, the registry and quarantine."""
    found = list(rows)
    parameters: dict[str, Any] = {
        "o": [row[0] for row in found],
        "w": [workspace for _ in found],
        "u": [user for _ in found],
        "t": [f"{next(_number):032x}" for _ in found],
        "at": [row[1] for row in found],
        "received": [received or row[1] for row in found],
    }
    for statement in _STATEMENTS:
        connection.execute(_NEW + statement, parameters)


def cover(connection: psycopg.Connection, moments: Iterable[datetime], now: datetime) -> None:
    """Make the weeks of *moments*."""
    partitions.ensure(connection, moments, now)


def work(pool: ConnectionPool, now: datetime, **more: Any) -> Work:
    """Return what jobs need at *now*."""
    return Work(pool=pool, book=PriceBook(default_catalog()), now=now, now_is_given=True, **more)


def done(pool: ConnectionPool, now: datetime, *names: str, **more: Any) -> dict[str, Done]:
    """Run jobs as of *now*, each of which must end well, and return what they did."""
    found = {item.job: item for item in run(names, work(pool, now, **more))}
    assert [item.error for item in found.values() if item.error] == []
    return found


def present(connection: psycopg.Connection, table: str, organization: str) -> list[datetime]:
    """Return the moments of an organization's rows."""
    column = "received_at" if table == "quarantine" else '"timestamp"'
    statement = f"SELECT {column} FROM {table} WHERE organization_id = %s ORDER BY 1"  # noqa: S608  # our own names
    return [row[0] for row in connection.execute(statement, (organization,))]


def counts(connection: psycopg.Connection, organization: str) -> dict[str, int]:
    """Return how many rows each table that names organizations has of one."""
    tables = connection.execute(
        """
        SELECT c.relname FROM pg_class AS c
        JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'organization_id'
        WHERE c.relnamespace = 'otel_obs'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
        ORDER BY 1
        """
    ).fetchall()
    found = {}
    for (table,) in tables:
        row = connection.execute(
            f"SELECT count(*) FROM {table} WHERE organization_id = %s",  # noqa: S608  # our own names
            (organization,),
        ).fetchone()
        found[table] = 0 if row is None else row[0]
    return found


def set_plan(
    connection: psycopg.Connection, organization: str, plan: str | None, at: datetime, days: int | None = None
) -> None:
    """Give an organization a plan as of *at*."""
    with connection.transaction():
        connection.execute("SELECT set_config('otel_obs.now', %s, true)", (at.isoformat(),))
        connection.execute(
            """
            INSERT INTO organizations (id, plan, retention_days) VALUES (%s, %s, %s)
            ON CONFLICT (id) DO UPDATE SET plan = EXCLUDED.plan, retention_days = EXCLUDED.retention_days
            """,
            (organization, plan, days),
        )


def week(partition: str) -> datetime:
    """Return the first moment of a partition called so."""
    return datetime.fromisoformat(f"{partition[-8:-4]}-{partition[-4:-2]}-{partition[-2:]}T00:00:00+00:00")


DAY = timedelta(days=1)
