"""Each question that tenants ask is answered through an index: no statement reads a big table from end to end."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import psycopg
import pytest

from otel_obs.analytics.filters import Filters
from otel_obs.postgres import partitions
from otel_obs.postgres.pool import conninfo
from otel_obs.postgres.queries import load

NOW = datetime.now(tz=timezone.utc)
FILES = (
    "metrics", "errors", "events", "traces", "agents", "costs", "live", "budgets", "recommendations", "keeping",
    "upkeep",
)  # fmt: skip
OF_OPERATORS = {
    ("traces", "newest_trace"), ("traces", "nodes_of_trace"), ("traces", "checks_of_trace"),
    ("upkeep", "organization_ids"), ("upkeep", "jobs"),
}  # fmt: skip
"""Asked as the owner: by the demo on a database of its own, by the dashboard about small tables."""

ROWS = """
INSERT INTO event_logs (organization_id, workspace_id, user_id, trace_id, span_id, event_id, "timestamp", received_at,
    event_type, name, status, latency_ms, agent_id, flow_id, conversation_id, inherited, context)
SELECT 'org' || mod(n, 40), 'ws' || mod(n, 7), 'user' || mod(n, 90), md5((n / 10)::text), substr(md5(n::text), 1, 16),
    substr(md5(n::text), 1, 16), %(now)s::timestamptz - n * interval '40 seconds', %(now)s,
    (ARRAY['workflow', 'agent', 'llm', 'tool', 'span', 'feature_flag', 'evaluation'])[1 + mod(n, 7)], 'name',
    CASE WHEN mod(n, 50) = 0 THEN 'error' ELSE 'unset' END, n, 'agent' || mod(n, 12),
    'flow' || mod(n, 5), 'talk' || mod(n, 500),
    CASE WHEN mod(n, 10) = 0 THEN 256 ELSE 0 END, '{}'
FROM generate_series(1, 40000) AS n
"""
CALLS = """
INSERT INTO model_cost_logs (organization_id, workspace_id, user_id, trace_id, span_id, event_id, "timestamp",
    received_at, agent_id, flow_id, conversation_id, provider, model_name, operation, input_tokens, output_tokens,
    is_batch, cost_usd, cost_source, status)
SELECT organization_id, workspace_id, user_id, trace_id, span_id, event_id, "timestamp", received_at, agent_id, flow_id,
    conversation_id, 'openai', 'gpt-4o', 'chat', 1, 1, false, 1, 'computed', 'unset'
FROM event_logs
"""
RUNS = """
INSERT INTO agent_trace_history (organization_id, workspace_id, user_id, trace_id, span_id, event_id, "timestamp",
    received_at, agent_id, agent_name, status, execution_nodes, environment)
SELECT organization_id, workspace_id, user_id, trace_id, span_id, event_id, "timestamp", received_at, agent_id, 'a',
    status, '[]', CASE WHEN latency_ms > 50 THEN 'production' END
FROM event_logs
"""
CONTENTS = """
INSERT INTO span_contents (organization_id, workspace_id, trace_id, span_id, event_id, "timestamp", received_at, part,
    body, bytes, sha256, truncated)
SELECT organization_id, workspace_id, trace_id, span_id, event_id, "timestamp", received_at, 'input', 'x', 1, '', false
FROM event_logs
"""
CHECKS = """
INSERT INTO prompt_similarity_logs (organization_id, workspace_id, trace_id, span_id, event_id, "timestamp",
    received_at)
SELECT organization_id, workspace_id, trace_id, span_id, event_id, "timestamp", received_at FROM event_logs
"""
ROLLUPS = """
INSERT INTO usage_rollups (organization_id, workspace_id, day, model_name, calls, calls_with_usage, failed_calls,
    unpriced_calls, estimated_calls)
SELECT 'org' || mod(n, 40), 'ws' || mod(n, 7), %(now)s::date - n / 100, 'm' || n, 1, 1, 0, 0, 0
FROM generate_series(1, 20000) AS n
"""
QUARANTINE = """
INSERT INTO quarantine (organization_id, workspace_id, received_at, signal, reason)
SELECT 'org' || mod(n, 40), 'ws' || mod(n, 7), %(now)s::timestamptz - n * interval '40 seconds', 'traces',
    'span_too_large'
FROM generate_series(1, 20000) AS n
"""


@pytest.fixture(scope="module")
def filled(module_database: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(conninfo(module_database), autocommit=True) as connection:
        partitions.ensure(connection, [NOW - timedelta(days=20), NOW], NOW)
        for statement in (ROWS, CALLS, RUNS, CONTENTS, CHECKS, ROLLUPS, QUARANTINE):
            connection.execute(statement, {"now": NOW})
        connection.execute("ANALYZE")
        yield connection


def _statements() -> list[tuple[str, str]]:
    return [(file, name) for file in FILES for name in load(file) if (file, name) not in OF_OPERATORS]


ASKED: dict[str, Any] = {
    **Filters(organization_id="org1", since=NOW - timedelta(days=1), until=NOW).parameters,
    "step": "day", "limit": 50, "flag": "f", "trace_id": "1" * 32, "event_id": "1" * 16, "by": ["model"],
    "after_count": None, "after_error_type": None, "after_event_type": None, "after_node": None, "after_time": None,
    "after_trace": None, "after_event": None, "after_agent": None, "after_conversation": None,
    "rolled_days": [NOW.date()], "starts": [NOW - timedelta(hours=2)], "ends": [NOW],
    "first": NOW - timedelta(days=1), "last": NOW, "window": timedelta(seconds=8),
    "id": None, "after": None, "after_id": None, "budget_id": None, "min_calls": 20, "short_tokens": 150,
    "arrivals": 100, "trace_ids": None, "size": 400, "most": "cost", "has_undescribed": True,
    "period_since": NOW - timedelta(days=1), "period_until": NOW,
    "ids": ["x"], "organization_ids": ["org1"], "workspace_ids": [None], "user_ids": [None], "agent_ids": [None],
    "model_names": [None],
}  # fmt: skip


def _plan(connection: psycopg.Connection, statement: Any, asked: dict[str, Any]) -> list[str]:
    with connection.transaction(force_rollback=True):
        connection.execute("SELECT set_config('otel_obs.organization_id', 'org1', true)")
        connection.execute("SET LOCAL ROLE otel_obs_reader")
        return [row[0] for row in connection.execute("EXPLAIN " + statement, asked).fetchall()]


@pytest.mark.parametrize(("file", "name"), _statements())
def test_no_question_reads_a_big_table_from_end_to_end(file: str, name: str, filled: psycopg.Connection) -> None:
    asked = {**ASKED, "agent_id": "agent1"} if name in ("runs_of_agent", "agent_exists") else ASKED

    plan = _plan(filled, load(file)[name], asked)

    assert not _scanned(plan) & _big(filled), "\n".join(plan)


def _scanned(plan: list[str]) -> set[str]:
    return {match[1] for line in plan if (match := re.search(r"Seq Scan on (\w+)", line))}


def _big(connection: psycopg.Connection) -> set[str]:
    """Return the tables, partitions among them, that hold many rows; to read an empty one is free."""
    return {row[0] for row in connection.execute("SELECT relname FROM pg_class WHERE reltuples > 500").fetchall()}


@pytest.mark.parametrize(
    "more",
    [
        {"workspace_id": "ws1"}, {"user_id": "user1"}, {"agent_id": "agent1"}, {"flow_id": "flow1"},
        {"event_type": "tool"}, {"status": "error"}, {},
    ],
    ids=lambda more: "".join(more) or "time",
)  # fmt: skip
def test_each_pattern_has_its_index(more: dict[str, str], filled: psycopg.Connection) -> None:
    plan = _plan(filled, load("events")["events"], {**ASKED, **more})

    assert any("Index" in line for line in plan), "\n".join(plan)
    assert not _scanned(plan) & _big(filled), "\n".join(plan)


def test_a_question_without_an_index_would_be_found(filled: psycopg.Connection) -> None:
    plan = [row[0] for row in filled.execute("EXPLAIN SELECT FROM event_logs WHERE name = 'x'").fetchall()]

    assert _scanned(plan) & _big(filled)


@pytest.mark.parametrize(
    ("by", "names"),
    [
        ("workspace", {"workspace_ids": ["ws1"]}), ("agent", {"agent_ids": ["agent1"]}),
        ("user", {"user_ids": ["user1"]}), ("model", {"model_names": ["gpt-4o"]}), ("organization", {}),
    ],
)  # fmt: skip
def test_what_is_spent_of_a_budget_is_found_by_what_it_names(
    by: str, names: dict[str, list[str]], filled: psycopg.Connection
) -> None:
    asked = {**ASKED, **names, "starts": [NOW - timedelta(days=9)], "first": NOW - timedelta(days=9), "by": by}

    plan = _plan(filled, load("budgets")["spending"], asked)

    assert not _scanned(plan) & _big(filled), "\n".join(plan)
    if by not in ("user", "organization"):
        assert any(f"usage_rollups_{by}_idx" in line for line in plan), "\n".join(plan)
    if by != "organization":
        column = "model_name" if by == "model" else f"{by}_id"
        assert any("Index Cond" in line and column in line for line in plan), "\n".join(plan)


@pytest.mark.parametrize("name", ["executions", "executions_in_all"])
def test_executions_are_counted_without_their_rows(name: str, filled: psycopg.Connection) -> None:
    filled.execute("VACUUM event_logs")

    plan = _plan(filled, load("metrics")[name], {**ASKED, "since": NOW - timedelta(days=18)})

    assert any("Index Only Scan" in line and "workspace_id_timestamp_" in line for line in plan), "\n".join(plan)


def test_runs_of_an_environment_are_found_without_their_events(filled: psycopg.Connection) -> None:
    asked = {**ASKED, "environment": "production", "agent_id": "agent1"}

    plans = {
        (name, older): "\n".join(_plan(filled, load("agents")[name], {**asked, "has_undescribed": older}))
        for name in ("agents", "runs_of_agent")
        for older in (False, True)
    }

    assert {key for key, plan in plans.items() if "event_logs" in plan} == {
        ("agents", True),
        ("runs_of_agent", True),
    }


def test_errors_of_a_workspace_are_found_without_those_of_others(filled: psycopg.Connection) -> None:
    plan = _plan(filled, load("events")["events"], {**ASKED, "workspace_id": "ws1", "status": "error"})

    assert any("Index Cond" in line and "workspace_id" in line for line in plan), "\n".join(plan)
    assert not any("Filter" in line and "status" in line for line in plan), "\n".join(plan)


def test_a_trace_is_planned_for_its_own_weeks(filled: psycopg.Connection) -> None:
    plan = "\n".join(_plan(filled, load("traces")["trace_nodes"], ASKED))

    assert set(re.findall(r"(?:event_logs|model_cost_logs|span_contents)_(\d{8})", plan)) <= _weeks(ASKED)


def _weeks(asked: dict[str, Any]) -> set[str]:
    return {f"{partitions.week_of(asked[end]):%Y%m%d}" for end in ("first", "last")}


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT FROM event_logs WHERE organization_id = 'org1'",
        "SELECT FROM model_cost_logs WHERE organization_id = 'org1'",
        "SELECT FROM agent_trace_history WHERE organization_id = 'org1'",
        "SELECT FROM usage_rollups WHERE organization_id = 'org1'",
    ],
    ids=lambda statement: statement.split()[2],
)
def test_a_reader_is_planned_for_about_as_many_rows_as_there_are(statement: str, filled: psycopg.Connection) -> None:
    """Rows that the policy lets pass: sorting, hashing and workers are chosen by their number."""
    found = filled.execute(statement.encode()).rowcount
    plan = _plan(filled, statement, {})

    match = re.search(r"rows=(\d+)", plan[0])
    assert match is not None
    assert found / 4 < int(match[1]) < found * 4
