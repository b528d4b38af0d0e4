"""Runs of one environment: told by the run itself, or by its event where it was written before runs told that."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import psycopg
import pytest

from otel_obs.analytics import agents
from otel_obs.analytics.filters import Filters
from otel_obs.postgres import partitions
from otel_obs.postgres.pool import conninfo
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
