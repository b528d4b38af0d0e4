"""History comes in from what the Collector's file exporter wrote, once however often."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_obs.cli.main import command as otel_obs
from tests.otlp_json import as_json

CORPUS = Path(__file__).resolve().parents[1] / "data" / "corpus" / "claude-code"


@pytest.fixture
def run(database: str) -> Callable[..., Result]:
    def run(*arguments: str, **more: Any) -> Result:
        return CliRunner().invoke(
            otel_obs, ["import", *arguments, "--json", "--database-url", database], standalone_mode=False, **more
        )

    return run


def lines() -> list[bytes]:
    """Return requests of traces and of logs, each in a line."""
    traces = [ExportTraceServiceRequest.FromString(path.read_bytes()) for path in sorted(CORPUS.glob("0*.pb"))]
    logs = [ExportLogsServiceRequest.FromString(path.read_bytes()) for path in sorted(CORPUS.glob("logs_*.pb"))]
    assert traces
    assert logs
    return [as_json(message) for message in (*traces, *logs)]


def rows(connection: psycopg.Connection) -> list[tuple[Any, ...]]:
    return connection.execute("SELECT organization_id, workspace_id, count(*) FROM event_logs GROUP BY 1, 2").fetchall()


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_a_file_comes_in_and_again_changes_nothing(
    suffix: str, run: Callable[..., Result], connection: psycopg.Connection, tmp_path: Path
) -> None:
    file = tmp_path / f"history{suffix}"
    content = b"\n".join(lines()) + b"\n"
    file.write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)

    first = run(str(file), "--org", "acme", "--workspace", "history")
    again = run(str(file), "--org", "acme", "--workspace", "history")

    told, twice = json.loads(first.stdout), json.loads(again.stdout)
    assert (first.return_value, told["unreadable_lines"], told["rejected"]) == (0, 0, 0)
    assert told["lines"] == len(lines())
    assert (twice["stored"], twice["duplicates"]) == (0, told["stored"])
    assert rows(connection) == [("acme", "history", told["stored"])]
    assert connection.execute("SELECT count(*) > 0, bool_and(input_tokens > 0) FROM model_cost_logs").fetchone() == (
        True, True,
    )  # fmt: skip
    assert connection.execute("SELECT count(*) FROM unsettled_traces").fetchone() == (0,)


def test_lines_that_cannot_be_read_are_named_and_the_others_come_in(
    run: Callable[..., Result], connection: psycopg.Connection
) -> None:
    odd = [b"no json", b'{"resourceMetrics": []}', b"", b'{"resourceSpans": 1}']
    content = b"\n".join([odd[0], *lines(), *odd[1:]])

    done = run("-", input=content)

    told = json.loads(done.stdout)
    assert (done.return_value, told["unreadable_lines"], told["lines"]) == (1, 3, len(lines()) + 3)
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == [
        "line 1", f"line {len(lines()) + 2}", f"line {len(lines()) + 4}",
    ]  # fmt: skip
    assert rows(connection) == [("default", "default", told["stored"])]
