"""The floor plan, and other rules that hold across the package."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "otel_obs"
MODULES = sorted(PACKAGE.rglob("*.py"))

READS_ENVIRON = {"cli", "client.py", "server.py", "exporter.py", "processor"}
"""The edges where the settings come in; the SDK makes exporter and processor without telling them anything."""
ALSO_EDGES = {"instrumentation/instrumentor.py", "instrumentation/command.py"}
"""What OpenTelemetry starts, and a command that an application's environment is enough for."""
ENVIRON_FOR_SUBPROCESSES = {"postgres/embedded.py"}
"""It hands the environment on to PostgreSQL's programs."""
STATEMENT = re.compile(
    r"^\s*(SELECT|INSERT|UPDATE|DELETE\s+FROM|COPY|CREATE|ALTER|DROP|WITH|TRUNCATE)\s", re.IGNORECASE
)


def test_imports_go_down_the_floor_plan() -> None:
    # In a process of its own: the linter sets logging up anew, and would silence ours for the tests that follow.
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_environment_is_read_at_the_edges_only(module: Path) -> None:
    where = module.relative_to(PACKAGE)

    if where.parts[0] in READS_ENVIRON or str(where) in ENVIRON_FOR_SUBPROCESSES | ALSO_EDGES:
        return

    assert "os.environ" not in module.read_text()


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_sql_stands_in_its_own_files(module: Path) -> None:
    """Python may only put together what holds names of tables and partitions (``psycopg.sql``)."""
    tree = ast.parse(module.read_text())
    composed = {
        id(argument)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "SQL"
        for argument in node.args
    }
    texts = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in composed
    ]

    statements = [str(text.value) for text in texts if STATEMENT.match(str(text.value))]

    assert [text for text in statements if not _is_prose(text)] == []


def _is_prose(text: str) -> bool:
    return text.rstrip().endswith((".", ":")) or "``" in text or "\n\n" in text


def test_importing_the_rules_drags_in_no_driver() -> None:
    for layer in ("dialects", "rows", "pipeline", "otlp"):
        for module in (PACKAGE / layer).rglob("*.py"):
            assert "psycopg" not in module.read_text(), module


CALLS_OUT = {
    "maintenance/webhooks.py": "where an administrator said, and to no private address",
    "cli/tail.py": "the address that whoever runs it names",
}
"""Modules that may open connections over HTTP, and to where."""
CLIENTS = {"urllib3", "requests", "httpx", "aiohttp", "http.client", "urllib.request", "ftplib", "smtplib"}


def test_nothing_that_was_sent_to_us_is_ever_called() -> None:
    # An address in a span, a prompt or a flag is text: what could fetch it is imported at two places only.
    found = {
        str(module.relative_to(PACKAGE))
        for module in MODULES
        for node in ast.walk(ast.parse(module.read_text()))
        for name in _imported(node)
        if name in CLIENTS or name.split(".")[0] in CLIENTS
    }

    assert found == set(CALLS_OUT)


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module is not None:
        return [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []
