"""More agents than a page has: those that matter are shown, whatever they are called."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import httpx
import psycopg
import pytest

from otel_obs.analytics import agents
from otel_obs.analytics.filters import Filters
from otel_obs.postgres import partitions
from otel_obs.postgres.pool import conninfo
from otel_obs.postgres.reading import Reader, read_as
from otel_obs.settings import Settings
from otel_obs.web.server import ApiServer

NOW = datetime.now(tz=timezone.utc)

# Costs grow with the ids; the agent that fails most, and the one that ran last, stand somewhere between.
RUNS = """
INSERT INTO agent_trace_history (organization_id, workspace_id, trace_id, span_id, event_id, "timestamp", received_at,
    agent_id, status, latency_ms, execution_nodes, cost_cents)
SELECT 'acme', 'ws', md5(n::text), substr(md5(n::text), 1, 16), substr(md5(n::text), 1, 16),
    %(now)s::timestamptz - CASE WHEN n = 77 THEN interval '1 second' ELSE n * interval '1 minute' END, %(now)s,
    'agent' || lpad((n / 2)::text, 4, '0'), CASE WHEN n IN (600, 601) THEN 'error' ELSE 'unset' END, 5, '[]', n
FROM generate_series(2, 1401) AS n
"""
EVENTS = """
INSERT INTO event_logs (organization_id, workspace_id, trace_id, span_id, event_id, "timestamp", received_at,
    event_type, name, status, inherited, context)
SELECT organization_id, workspace_id, trace_id, span_id, event_id, "timestamp", received_at, 'agent', agent_id, status,
    256, '{}'
FROM agent_trace_history
"""


@pytest.fixture(scope="module")
def connection(module_database: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(conninfo(module_database), autocommit=True) as connection:
        partitions.ensure(connection, [NOW - timedelta(days=2), NOW], NOW)
        connection.execute(RUNS, {"now": NOW})
        connection.execute(EVENTS)
        yield connection


@pytest.mark.parametrize(
    ("most", "expected"),
    [
        ("cost", ["agent0700", "agent0699", "agent0698"]),
        ("failed", ["agent0300", "agent0001", "agent0002"]),
        ("runs", ["agent0001", "agent0002", "agent0003"]),
        ("last", ["agent0038", "agent0001", "agent0002"]),
    ],
)
def test_the_foremost_of_all_agents_come_first(
    most: agents.Most, expected: list[str], connection: psycopg.Connection
) -> None:
    asked = Filters(organization_id="acme", since=NOW - timedelta(days=2), until=NOW)

    with read_as(connection, Reader(organization_id="acme")):
        found = agents.foremost(connection, asked, most, limit=3)

    assert [agent.agent_id for agent in found] == expected


@pytest.mark.usefixtures("connection")
def test_the_dashboard_shows_the_dearest_of_all_agents(module_database: str) -> None:
    server = ApiServer(Settings.from_env({}, {"API_ENDPOINT": "127.0.0.1:0"}), module_database)
    try:
        with httpx.Client(base_url=f"http://{server.start()}", timeout=30) as client:
            overview, listed, runs = (
                client.get(path, params={"organization_id": "acme", "agent_id": agent})
                for path, agent in (("/", ""), ("/agents", ""), ("/agents/runs", "agent0700"))
            )
    finally:
        server.stop()

    for page in (overview, listed):
        shown = re.findall(r"agent_id=(agent\d+)", page.text)
        assert shown[:5] == ["agent0700", "agent0699", "agent0698", "agent0697", "agent0696"]
    assert "<dt>Runs</dt><dd>2</dd>" in runs.text
    assert "$28.01" in runs.text, "cents of its two runs, 1,400 and 1,401"
