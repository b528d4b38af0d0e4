"""Spans straight from an application: the same rows as through a gateway, and never an exception."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_obs.exporter import PostgresSpanExporter

ROOT = Path(__file__).resolve().parents[2]
NO_SERVER = "postgresql://nobody@127.0.0.1:1/none"

APPLICATION = """
import openai
from examples.provider import StandIn
with StandIn() as models, openai.OpenAI(api_key="none", base_url=models.openai_base_url) as client:
    client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "Hello"}])
"""


@pytest.fixture
def exporter(database: str) -> Iterator[PostgresSpanExporter]:
    found = PostgresSpanExporter(database)
    yield found
    found.shutdown()


def spans_of(*names: str) -> list[ReadableSpan]:
    exported = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource.create({"service.name": "app"}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exported))
    tracer = provider.get_tracer("tests")
    for name in names:
        attributes: dict[str, Any] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": "gpt-4o-mini",
            "gen_ai.usage.input_tokens": 1000,
            "gen_ai.usage.output_tokens": 100,
        }
        with tracer.start_as_current_span(name, attributes=attributes):
            pass
    return list(exported.get_finished_spans())


def test_spans_are_stored_and_priced(exporter: PostgresSpanExporter, connection: psycopg.Connection) -> None:
    result = exporter.export(spans_of("one", "two"))

    assert result == SpanExportResult.SUCCESS
    assert exporter.counts.stored == 2
    rows = connection.execute("SELECT input_tokens, cost_cents FROM model_costs").fetchall()
    assert [(tokens, float(cents)) for tokens, cents in rows] == [(1000, 0.021)] * 2


def test_exporting_again_stores_nothing_twice(exporter: PostgresSpanExporter, connection: psycopg.Connection) -> None:
    spans = spans_of("one")

    exporter.export(spans)
    exporter.export(spans)

    assert (exporter.counts.stored, exporter.counts.duplicate) == (1, 1)
    assert connection.execute("SELECT count(*) FROM event_logs").fetchone() == (1,)


def test_a_flush_settles_what_was_exported(exporter: PostgresSpanExporter, connection: psycopg.Connection) -> None:
    exporter.export(spans_of("one"))

    assert exporter.force_flush()

    assert connection.execute("SELECT count(*) FROM unsettled_traces").fetchone() == (0,)


def test_without_a_database_spans_are_counted_and_one_warning_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_OBS_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("OTEL_OBS_DATABASE_URL", raising=False)
    exporter = PostgresSpanExporter()

    with caplog.at_level(logging.WARNING, "otel_obs"):
        results = [exporter.export(spans_of("one", "two")) for _ in range(3)]

    assert results == [SpanExportResult.FAILURE] * 3
    assert exporter.counts.dropped == {"no_database": 6}
    assert [record.message.count("OTEL_OBS_DATABASE_URL") for record in caplog.records] == [1]
    assert not any(tmp_path.iterdir())


def test_a_database_that_stays_away_costs_spans_but_never_an_exception(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("otel_obs.exporter._retrying.stop", lambda _: True)
    exporter = PostgresSpanExporter(NO_SERVER)

    with caplog.at_level(logging.ERROR, "psycopg.pool"):
        result = exporter.export(spans_of("one"))
        exporter.shutdown()

    assert result == SpanExportResult.FAILURE
    assert exporter.counts.dropped == {"StorageUnavailable": 1}


def test_a_setting_that_cannot_be_used_costs_spans_but_never_an_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_OBS_CONTENT", "perhaps")
    exporter = PostgresSpanExporter(NO_SERVER)

    assert exporter.export(spans_of("one")) == SpanExportResult.FAILURE
    assert exporter.counts.dropped == {"Configuration": 1}


def test_after_shutdown_spans_are_counted_as_dropped(exporter: PostgresSpanExporter) -> None:
    exporter.shutdown()

    assert exporter.export(spans_of("one")) == SpanExportResult.FAILURE
    assert exporter.counts.dropped == {"after_shutdown": 1}


def test_a_forked_child_writes_through_connections_of_its_own(
    exporter: PostgresSpanExporter, connection: psycopg.Connection
) -> None:
    exporter.export(spans_of("parent"))
    child = os.fork()
    if child == 0:
        os._exit(0 if exporter.export(spans_of("child")) == SpanExportResult.SUCCESS else 1)

    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert exporter.export(spans_of("parent again")) == SpanExportResult.SUCCESS
    names = connection.execute("SELECT name FROM event_logs ORDER BY name").fetchall()
    assert names == [("child",), ("parent",), ("parent again",)]


def test_no_line_of_code_is_needed(database: str, tmp_path: Path, connection: psycopg.Connection) -> None:
    program = tmp_path / "app.py"
    program.write_text(APPLICATION)
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OTEL_OBS_DATABASE_URL": database,
        "OTEL_TRACES_EXPORTER": "otel_obs",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_SERVICE_NAME": "app",
    }
    instrument = str(Path(sys.executable).parent / "opentelemetry-instrument")

    done = subprocess.run(
        [instrument, sys.executable, str(program)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert "Traceback" not in done.stderr
    rows = connection.execute(
        "SELECT e.service_name, m.model_name, m.cost_source FROM model_cost_logs AS m"
        ' JOIN event_logs AS e USING (organization_id, "timestamp", trace_id, event_id)'
    ).fetchall()
    assert rows == [("app", "gpt-4o-mini-2024-07-18", "computed")]
    assert connection.execute("SELECT count(*) FROM unsettled_traces").fetchone() == (0,)
