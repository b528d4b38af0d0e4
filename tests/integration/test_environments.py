"""Runs and calls of one environment: told by their own rows, or by their events where they were written before that."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import psycopg
import pytest

from otel_obs.analytics import agents
from otel_obs.analytics.filters import Filters
from otel_obs.analytics.spend import spend
from otel_obs.maintenance.rollups import roll_up
from otel_obs.postgres import partitions
from otel_obs.postgres.pool import conninfo, open_pool
from otel_obs.postgres.reading import Reader, read_as

NOW = datetime.now(tz=timezone.utc)

# Every tenth trace is of staging, every seventh says no environment; the name of an agent changed, and some have none.
EVENTS = """
INSERT INTO event_logs (organization_id, workspace_id, trace_id, span_id, event_id, "timestamp", received_at,
    event_type, name, status, latency_ms, agent_id, environment, inherited, context)
SELECT organization_id, 'ws', md5(n::text), substr(md5(n::text), 1, 16), substr(md5(n::text), 1, 16),
    %(now)s::timestamptz - n * interval '1 hour', %(now)s, 'agent', 'name',
    CASE WHEN mod(n, 5) = 0 THEN 'error' ELSE 'ok' END,
    CASE WHEN mod(n, 9) > 0 THEN mod(n * 37, 400) END, 'agent' || mod(n, 3),
    CASE WHEN mod(n, 10) = 0 THEN 'staging' WHEN mod(n, 7) > 0 THEN 'production' END, 256, '{}'
FROM generate_series(1, 400) AS n, unnest('{new,mixed,old}'::text[]) AS organization_id
"""
RUNS = """
INSERT INTO agent_trace_history (organization_id, workspace_id, trace_id, span_id, event_id, "timestamp", received_at,
    agent_id, agent_name, status, latency_ms, execution_nodes, input_tokens, cost_cents,
    environment)
SELECT organization_id, workspace_id, trace_id, span_id, event_id, "timestamp", received_at, agent_id,
    CASE WHEN "timestamp" < %(now)s::timestamptz - interval '90 hours' THEN 'Old name'
        WHEN "timestamp" < %(now)s::timestamptz - interval '50 hours' THEN 'Name of ' || environment END,
    status, latency_ms, '[]', 10, 0.1,
    CASE WHEN organization_id = 'new' THEN coalesce(environment, '')
        WHEN organization_id = 'mixed' AND "timestamp" > %(now)s::timestamptz - interval '100 hours'
        THEN coalesce(environment, '') END
FROM event_logs
"""

CALLS = """
INSERT INTO model_cost_logs (organization_id, workspace_id, user_id, trace_id, span_id, event_id, "timestamp",
    received_at, agent_id, model_name, operation, input_tokens, is_batch, cost_usd, cost_source, status, environment)
SELECT e.organization_id, e.workspace_id, e.status, e.trace_id, e.span_id, e.event_id, e."timestamp", e.received_at,
    e.agent_id, 'm' || length(e.status), 'chat', 10, false, 0.5, 'computed', e.status, r.environment
FROM event_logs AS e JOIN agent_trace_history AS r USING (organization_id, "timestamp", trace_id, event_id)
"""
OF_EVENTS = """
SELECT coalesce({key}, ''), count(*), count(*) * 0.5 FROM event_logs
WHERE organization_id = %(organization_id)s AND "timestamp" >= %(since)s AND "timestamp" < %(until)s
    AND (%(environment)s::text IS NULL OR environment = %(environment)s)
GROUP BY 1 ORDER BY 1
"""
KEYS = {
    "agent": "agent_id",
    "day": """to_char("timestamp" AT TIME ZONE 'UTC', 'YYYY-MM-DD')""",
    "user": "status",
    "environment": "environment",
}
"""A key of costs, and what it is in the rows above; roll-ups know no users."""
OLDER_ROLLUPS = """
WITH gone AS (DELETE FROM usage_rollups WHERE organization_id <> 'new' RETURNING *)
INSERT INTO usage_rollups (organization_id, workspace_id, day, hour, model_name, agent_id, calls, calls_with_usage,
    failed_calls, unpriced_calls, estimated_calls, input_tokens, cost_cents)
SELECT organization_id, workspace_id, day, hour, model_name, agent_id, sum(calls), sum(calls_with_usage),
    sum(failed_calls), 0, 0, sum(input_tokens), sum(cost_cents)
FROM gone GROUP BY 1, 2, 3, 4, 5, 6
"""
UNTOLD = "SELECT count(DISTINCT (organization_id, day)) FROM usage_rollups WHERE environment IS NULL"


@pytest.fixture(scope="module")
def connection(module_database: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(conninfo(module_database), autocommit=True) as connection:
        partitions.ensure(connection, [NOW - timedelta(days=20), NOW], NOW)
        connection.execute(EVENTS, {"now": NOW})
        connection.execute(RUNS, {"now": NOW})
        yield connection


def _asked(organization_id: str, environment: str | None) -> Filters:
    return Filters(organization_id=organization_id, since=NOW - timedelta(days=20), until=NOW, environment=environment)


@pytest.mark.parametrize("environment", ["staging", "production", "nowhere", None])
@pytest.mark.parametrize("organization_id", ["new", "mixed", "old"])
def test_runs_are_those_whose_events_are_of_the_environment(
    organization_id: str, environment: str | None, connection: psycopg.Connection
) -> None:
    asked = _asked(organization_id, environment)
    expected = connection.execute(
        """
        SELECT agent_id, count(*), count(*) FILTER (WHERE status = 'error'),
            percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY latency_ms), max("timestamp")
        FROM event_logs
        WHERE organization_id = %(organization_id)s
            AND (%(environment)s::text IS NULL OR environment = %(environment)s)
        GROUP BY agent_id ORDER BY agent_id
        """,
        asked.parameters,
    ).fetchall()

    with read_as(connection, Reader(organization_id=organization_id)):
        found = agents.agents(connection, asked).items
        runs = {row[0]: len(agents.runs(connection, asked, row[0], limit=500).items) for row in expected}

    assert [(row.agent_id, row.runs, row.failed, row.latency_ms, row.last_run_at) for row in found] == expected
    assert runs == {row[0]: row[1] for row in expected}


def test_an_agent_has_the_newest_name_that_a_run_of_the_environment_told(connection: psycopg.Connection) -> None:
    with read_as(connection, Reader(organization_id="mixed")):
        found = agents.foremost(connection, _asked("mixed", "staging"), limit=5)

    assert {agent.agent_name for agent in found} == {"Name of staging"}


def _costs(connection: psycopg.Connection, asked: Filters, key: str) -> list[tuple[object, ...]]:
    with read_as(connection, Reader(organization_id=asked.organization_id)):
        found = spend(connection, asked, [key])
    return sorted((row.keys[0] or "", row.calls, row.cost_cents) for row in found.rows)


def test_costs_are_those_of_calls_whose_events_are_of_the_environment(database: str) -> None:
    """From rows, then from roll-ups, also where an older release made some of these, and once they are made anew."""
    pool = open_pool(database)
    with psycopg.connect(conninfo(database), autocommit=True) as connection:
        partitions.ensure(connection, [NOW - timedelta(days=20), NOW], NOW)
        connection.execute("INSERT INTO organizations (id) VALUES ('new'), ('mixed'), ('old')")
        for statement in (EVENTS, RUNS, CALLS):
            connection.execute(statement, {"now": NOW})
        connection.execute(
            "INSERT INTO touched_days SELECT DISTINCT organization_id, (\"timestamp\" AT TIME ZONE 'UTC')::date "
            "FROM event_logs"
        )

        def check() -> None:
            for organization_id in ("new", "mixed", "old"):
                for environment in ("staging", "production", "nowhere", None):
                    asked = _asked(organization_id, environment)
                    for key, expression in KEYS.items():
                        of_events = connection.execute(OF_EVENTS.format(key=expression).encode(), asked.parameters)
                        assert _costs(connection, asked, key) == of_events.fetchall(), (asked, key)

        check()
        roll_up(pool, NOW)
        check()
        assert connection.execute(UNTOLD).fetchone() == (0,)
        connection.execute(OLDER_ROLLUPS)
        check()
        untold = connection.execute(UNTOLD).fetchone()
        assert untold is not None
        assert untold[0] > 30
        assert roll_up(pool, NOW)["days"] == untold[0]
        assert connection.execute(UNTOLD).fetchone() == (0,)
        check()

        midnight = NOW.replace(hour=0, minute=0, second=0, microsecond=0)
        days = Filters(
            organization_id="old",
            since=midnight - timedelta(days=9),
            until=midnight - timedelta(days=2),
            environment="staging",
        )
        before = _costs(connection, days, "agent")
        connection.execute("DELETE FROM model_cost_logs")
        assert _costs(connection, days, "agent") == before != []
    pool.close(2.0)


def test_days_whose_rows_are_gone_by_age_are_not_rolled_up_again(database: str) -> None:
    pool = open_pool(database)
    day = (NOW - timedelta(days=5)).date()
    with psycopg.connect(conninfo(database), autocommit=True) as connection:
        connection.execute("INSERT INTO organizations (id) VALUES ('old'), ('aged')")
        connection.execute("INSERT INTO expired_rows VALUES ('aged', %s)", (NOW,))
        connection.execute(
            "INSERT INTO usage_rollups (organization_id, workspace_id, day, calls, calls_with_usage, failed_calls, "
            "unpriced_calls, estimated_calls) SELECT id, 'ws', %s, 1, 1, 0, 0, 0 FROM organizations",
            (day,),
        )

        assert roll_up(pool, NOW)["days"] == 1

        assert connection.execute("SELECT organization_id, calls FROM usage_rollups").fetchall() == [("aged", 1)]
    pool.close(2.0)
