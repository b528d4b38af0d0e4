"""Real client libraries and frameworks end in right rows: every served request once, every agent with its own cost."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import httpx
import psycopg
import pytest

from examples.provider import Served, StandIn
from otel_obs.server import Gateway, Listening
from otel_obs.settings import Settings
from tests.command import ROOT, environment

TOOLS = {"search_knowledge_base": 1, "look_up_order": 1}


@dataclass(frozen=True)
class Program:
    """An example, and the agents that it has."""

    name: str
    agents: dict[str, int]
    """Agent -> requests to models that are its own."""


PROGRAMS = (
    Program("with_openai", {"triage": 1, "researcher": 3, "writer": 1}),
    Program("with_anthropic", {"researcher": 2, "writer": 1}),
    Program("with_langgraph", {"researcher": 2, "writer": 1}),
    Program("with_openai_agents", {"researcher": 2, "writer": 1}),
    Program("with_pydantic_ai", {"researcher": 2, "writer": 1}),
)


@pytest.fixture
def gateway(database: str) -> Iterator[tuple[Gateway, Listening]]:
    settings = Settings.from_env({}, {"GRPC_ENDPOINT": "127.0.0.1:0", "HTTP_ENDPOINT": "127.0.0.1:0"})
    running = Gateway(settings, database)
    try:
        yield running, running.start()
    finally:
        running.stop()


@pytest.fixture
def models() -> Iterator[StandIn]:
    with StandIn() as provider:
        yield provider


@pytest.fixture
def surroundings(gateway: tuple[Gateway, Listening], models: StandIn, tmp_path: Any) -> dict[str, str]:
    return environment(
        OPENAI_BASE_URL=models.openai_base_url,
        OPENAI_API_KEY="none",
        ANTHROPIC_BASE_URL=models.anthropic_base_url,
        ANTHROPIC_API_KEY="none",
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://{gateway[1].http}",
        OTEL_OBS_DATA_DIR=str(tmp_path),
    )


def billed(served: Served) -> tuple[Any, ...]:
    """Return what is on the bill; Anthropic says nothing of reasoning."""
    reasoning = 0 if served.response_id.startswith("msg_") else served.reasoning_tokens
    return (served.response_id or None, served.model, served.input_tokens, served.cache_read_tokens,
            served.output_tokens, reasoning)  # fmt: skip


def stored(connection: psycopg.Connection) -> list[tuple[Any, ...]]:
    return connection.execute(
        "SELECT response_id, model_name, input_tokens, coalesce(cache_read_tokens, 0), coalesce(output_tokens, 0),"
        " coalesce(reasoning_tokens, 0) FROM model_cost_logs"
    ).fetchall()


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_a_frameworks_run_becomes_a_row_for_each_request_agent_and_tool(
    program: Program,
    gateway: tuple[Gateway, Listening],
    models: StandIn,
    surroundings: dict[str, str],
    connection: psycopg.Connection,
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"examples.{program.name}"],
        env=surroundings, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    gateway[0].settle_all()

    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert "refunded" in done.stdout
    assert Counter(stored(connection)) == Counter(map(billed, models.served))
    unpriced = connection.execute("SELECT count(*) FROM model_costs WHERE cost_source <> 'computed'").fetchone()
    assert unpriced == (0,)
    tools = connection.execute("SELECT name FROM event_logs WHERE event_type = 'tool'").fetchall()
    assert Counter(re.sub("^execute_tool ", "", name) for (name,) in tools) == TOOLS
    runs: dict[str, Decimal] = dict(
        connection.execute("SELECT agent_name, sum(cost_cents) FROM agent_trace_history GROUP BY agent_name").fetchall()
    )
    own = connection.execute("SELECT agent_id, count(*), sum(cost_cents) FROM model_costs GROUP BY agent_id").fetchall()
    assert {agent: count for agent, count, _ in own} == program.agents
    assert runs == {agent: cost for agent, _, cost in own}


@contextmanager
def service(name: str, **environ: str) -> Iterator[str]:
    """Give the address of one of the services."""
    command = [sys.executable, "-m", "uvicorn", "--factory", f"examples.services:{name}", "--port=0"]
    process = subprocess.Popen(command, env=environ, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        lines: list[str] = []
        while not (found := re.search(r"running on (http://\S+)", "".join(lines[-1:]))):
            lines.append(process.stderr.readline())
            assert lines[-1], "".join(lines)
        yield found[1]
    finally:
        process.terminate()
        _, errors = process.communicate(timeout=60)
    assert "Traceback" not in errors, errors


def test_two_services_make_one_trace_of_one_workspace_whatever_baggage_strangers_send(
    gateway: tuple[Gateway, Listening],
    models: StandIn,
    surroundings: dict[str, str],
    connection: psycopg.Connection,
) -> None:
    stranger = "otel_obs.workspace.id=theirs,otel_obs.organization.id=theirs,user.id=mallory"

    with service("back", **surroundings) as back, service("front", **surroundings, BACK=back) as front:
        asked = httpx.get(
            f"{front}/tickets",
            params={"question": "Why?"},
            headers={"x-api-key": "key-of-billing", "baggage": stranger},
            timeout=60,
        )
    gateway[0].settle_all()

    said = asked.raise_for_status().json()
    assert "refunded" in said["answer"]
    assert said["workspace"] == "billing-team"
    rows = connection.execute(
        "SELECT DISTINCT trace_id, organization_id, workspace_id, user_id FROM event_logs"
    ).fetchall()
    assert len(rows) == 1
    assert rows[0][1:] == ("default", "billing-team", "dana")
    services = connection.execute(
        "SELECT service_name, array_agg(DISTINCT event_type ORDER BY event_type) FROM event_logs GROUP BY service_name"
    ).fetchall()
    assert dict(services) == {"front": ["span", "workflow"], "back": ["agent", "llm", "span"]}
    assert stored(connection) == list(map(billed, models.served))
    call = connection.execute("SELECT workspace_id, user_id, flow_id, agent_id FROM model_cost_logs").fetchall()
    assert call == [("billing-team", "dana", "support", "writer")]
