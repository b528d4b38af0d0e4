"""A platform's own engine, run without a line of telemetry in it, ends in right rows: sync and async, by both doors."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from otel_obs.postgres.pool import conninfo
from otel_obs.server import Gateway
from otel_obs.settings import Settings
from tests.fix_postgres import new_database

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = ("GRPC_ENDPOINT", "HTTP_ENDPOINT")


def run(module: str, **environ: str) -> str:
    """Run an example under ``opentelemetry-instrument``; return what it printed."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "OPENAI_"))}
    done = subprocess.run(
        [str(Path(sys.executable).parent / "opentelemetry-instrument"), sys.executable, "-m", module],
        cwd=ROOT,
        env={
            **clean,
            "OTEL_OBS_EXECUTORS": "examples/platform_engine.toml",
            "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "span_only",
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
            **environ,
        },
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


Rows = dict[str, list[dict[str, Any]]]
TABLES = ("event_logs", "agent_trace_history", "model_cost_logs", "prompt_similarity_logs", "span_contents")


@pytest.fixture(
    scope="module",
    params=[
        ("platform_engine", "otlp", "openai"),
        ("platform_engine", "otel_obs", ""),
        ("platform_engine_async", "otlp", ""),
        ("platform_engine_async", "otel_obs", "openai"),
    ],
    ids=lambda param: "-".join(filter(None, param)),
)
def told(request: pytest.FixtureRequest, server_dsn: str, template_database: str) -> Iterator[tuple[str, Rows]]:
    """The rows of one run, with OpenAI's own instrumentation stacked below (``openai``) or without."""
    example, door, stacked = request.param
    with new_database(server_dsn, template_database) as database:
        settings = Settings.from_env({}, {"DATABASE_URL": database, **dict.fromkeys(SETTINGS, "127.0.0.1:0")})
        gateway = Gateway(settings, database)
        listening = gateway.start()
        try:
            said = run(
                f"examples.{example}",
                OTEL_TRACES_EXPORTER=door,
                OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
                OTEL_EXPORTER_OTLP_ENDPOINT=f"http://{listening.http}",
                OTEL_OBS_DATABASE_URL=database,
                OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=f"anthropic,fastapi,httpx{'' if stacked else ',openai'}",
            )
            gateway.settle_all()
            with psycopg.connect(conninfo(database), row_factory=dict_row) as connection:
                rows = {
                    table: connection.execute(f'SELECT * FROM {table} ORDER BY "timestamp", span_id').fetchall()  # noqa: S608  # our own names
                    for table in TABLES
                }
        finally:
            gateway.stop()
        yield said, rows


def test_the_program_says_what_it_says_without_us(told: tuple[str, Rows]) -> None:
    said, _ = told

    assert "Hello Dana" in said
    assert "4 requests to models, workspace billing-team" in said


def test_each_node_is_an_event_of_its_type(told: tuple[str, Rows]) -> None:
    events = told[1]["event_logs"]

    assert sorted((event["event_type"], event["name"]) for event in events if event["event_type"] != "span") == [
        ("agent", "invoke_agent researcher"),
        ("guardrail", "apply_guardrail screen the ticket"),
        ("llm", "chat gpt-5"),
        ("llm", "chat gpt-5"),
        ("llm", "chat gpt-5"),
        ("llm", "chat gpt-5-mini"),
        ("tool", "execute_tool look_up_order"),
        ("tool", "execute_tool search_knowledge_base"),
        ("workflow", "invoke_workflow Support ticket"),
    ]
    assert {event["status"] for event in events} == {"unset"}
    assert len({event["trace_id"] for event in events}) == 1


def test_every_row_has_the_workspace_the_workflow_the_run_and_the_user(told: tuple[str, Rows]) -> None:
    rows = told[1]

    for table in TABLES:
        for row in rows[table]:
            assert (row["organization_id"], row["workspace_id"], row["user_id"]) == ("default", "billing-team", "dana")
    runs = {row["run_id"] for table in TABLES[:3] for row in rows[table]}
    assert len(runs) == 1
    assert None not in runs
    assert {row["flow_id"] for table in TABLES[:3] for row in rows[table]} == {"wf-support"}


def test_each_request_is_one_row_with_its_cost(told: tuple[str, Rows]) -> None:
    calls = told[1]["model_cost_logs"]

    assert sorted((call["model_name"], call["input_tokens"], call["output_tokens"]) for call in calls) == [
        ("gpt-5-2025-08-07", 1136, 486),
        ("gpt-5-2025-08-07", 2316, 138),
        ("gpt-5-2025-08-07", 2748, 104),
        ("gpt-5-mini-2025-08-07", 412, 148),
    ]
    assert {(call["cost_source"], call["usage_source"], call["provider"]) for call in calls} == {
        ("computed", "reported", "openai")
    }
    assert all(call["cost_usd"] > 0 and call["response_id"].startswith("chatcmpl-") for call in calls)
    for call in calls:
        # What the span said when it ended, in dollars, is what the database computes, in cents.
        assert float(call["reported_cost_cents"]) == pytest.approx(float(call["cost_usd"]))
    (written,) = [call for call in calls if call["output_tokens"] == 486]
    assert (written["cache_read_tokens"], written["reasoning_tokens"]) == (1024, 384)


def test_the_agents_run_has_its_tools_and_its_calls(told: tuple[str, Rows]) -> None:
    (agent,) = told[1]["agent_trace_history"]

    assert (agent["agent_id"], agent["agent_name"], agent["status"]) == ("n-research", "researcher", "unset")
    assert (agent["input_tokens"], agent["output_tokens"]) == (2316 + 2748, 138 + 104)
    nodes = agent["execution_nodes"]
    assert sorted((node["type"], node["name"]) for node in nodes if node["type"] != "span") == [
        ("llm", "chat gpt-5"),
        ("llm", "chat gpt-5"),
        ("tool", "look_up_order"),
        ("tool", "search_knowledge_base"),
    ]
    assert sum(node["cost_cents"] or 0 for node in nodes) == pytest.approx(float(agent["cost_cents"]))
    calls = [call for call in told[1]["model_cost_logs"] if call["agent_id"] == "n-research"]
    assert len(calls) == 2
    assert "charged twice" in agent["output_summary"]


def test_the_guardrail_is_a_row_with_its_verdict(told: tuple[str, Rows]) -> None:
    (check,) = told[1]["prompt_similarity_logs"]

    assert (check["guardrail_name"], check["action_taken"]) == ("screen the ticket", "allow")
    assert check["flagged_reference"] in {"override", "card"}
    assert 0 <= check["similarity_score"] < 0.8


def test_prompts_answers_and_tools_are_where_content_belongs(told: tuple[str, Rows]) -> None:
    rows = told[1]
    parts = {(row["span_id"], row["part"]): row["body"] for row in rows["span_contents"]}
    names = {event["span_id"]: event["name"] for event in rows["event_logs"]}

    found = {(names[span_id], part): body for (span_id, part), body in parts.items()}

    assert "charged twice" in found["execute_tool look_up_order", "tool_result"]
    assert "A-1042" in found["execute_tool look_up_order", "tool_arguments"]
    assert "I was charged twice" in found["invoke_workflow Support ticket", "input"]
    assert "Hello Dana" in found["invoke_workflow Support ticket", "output"]
    assert "Customer was charged twice" in found["chat gpt-5-mini", "output"]
    assert "charged twice" not in str([event["context"] for event in rows["event_logs"]])
