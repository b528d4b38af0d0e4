"""The exporters of the Python and the JavaScript SDK, straight to our gateway."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import psycopg
import pytest
from opentelemetry.sdk.trace.export import SpanExportResult

from otel_obs.postgres.pool import conninfo
from tests.command import ROOT
from tests.fix_collector import Behind
from tests.sending import ids, sdk, spans

JS = ROOT / "tests" / "js"
CALL = ("openai", "gpt-4o-mini", 1000, 10, "computed")


def calls(behind: Behind) -> dict[str, tuple[Any, ...]]:
    with psycopg.connect(conninfo(behind.database)) as connection:
        rows = connection.execute(
            "SELECT span_id, provider, model_name, input_tokens, output_tokens, cost_source "
            "FROM model_cost_logs WHERE organization_id = 'acme'"
        ).fetchall()
    return {span_id: tuple(rest) for span_id, *rest in rows}


@pytest.mark.parametrize("over", ["grpc", "http"])
def test_python_exporters_are_answered_once_it_is_stored(over: str, behind: Behind) -> None:
    batch = spans(5)

    with sdk(behind.grpc if over == "grpc" else behind.http, behind.key("acme"), over=over) as exporter:
        assert exporter.export(batch) is SpanExportResult.SUCCESS

    assert calls(behind) == dict.fromkeys(ids(batch), CALL)


@pytest.fixture(scope="session")
def node_modules() -> Path:
    if shutil.which("npm") is None:
        pytest.skip("Node.js is not installed here: its exporters are fetched with npm")
    # As the lock says, once; npm writes this file last.
    done = JS / "node_modules" / ".package-lock.json"
    if not done.exists() or done.stat().st_mtime < (JS / "package-lock.json").stat().st_mtime:
        subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=JS, check=True)
    return done.parent


def test_javascript_exporters_are_answered_once_it_is_stored(node_modules: Path, behind: Behind) -> None:
    done = subprocess.run(
        [
            "node", "send.mjs", f"http://127.0.0.1:{behind.http}", f"http://127.0.0.1:{behind.grpc}",
            f"Bearer {behind.key('acme')}",
        ],
        cwd=node_modules.parent, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert {name: (answer["code"], answer.get("error")) for name, answer in told.items()} == {
        "json": (0, None), "protobuf": (0, None), "grpc": (0, None),
    }  # fmt: skip
    assert calls(behind) == {answer["span_id"]: CALL for answer in told.values()}
