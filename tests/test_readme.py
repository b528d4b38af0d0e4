"""What the README says is true: its code runs, and it leaves nothing out."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from otel_obs.cli.main import COMMANDS, subcommand
from otel_obs.instrumentation.configuration import configured
from otel_obs.postgres.pool import conninfo
from otel_obs.server import Gateway, Listening
from otel_obs.settings import PREFIX, SETTINGS, Settings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
RUN_FOREVER_OR_ELSEWHERE = ("make demo", "make test", "otel-obs up")


@pytest.fixture
def gateway(database: str) -> Iterator[tuple[Gateway, Listening]]:
    settings = Settings.from_env({}, {"GRPC_ENDPOINT": "127.0.0.1:0", "HTTP_ENDPOINT": "127.0.0.1:0"})
    running = Gateway(settings, database)
    try:
        yield running, running.start()
    finally:
        running.stop()


def _blocks(language: str) -> list[str]:
    return [text for kind, text in BLOCKS if kind == language]


def test_the_ten_lines_work_and_the_commands_and_queries_after_them_answer(
    gateway: tuple[Gateway, Listening], database: str
) -> None:
    running, listening = gateway
    environment = {
        **os.environ,
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{listening.http}",
        "OTEL_OBS_DATABASE_URL": database,
        "PYTHONPATH": str(ROOT),
    }

    for program in _blocks("python"):
        subprocess.run([sys.executable, "-c", program], env=environment, check=True, cwd=ROOT, timeout=60)
    running.settle_all()

    for line in (line for block in _blocks("sh") for line in block.splitlines()):
        if line in RUN_FOREVER_OR_ELSEWHERE:
            continue
        name, *arguments = shlex.split(line)
        assert name == "otel-obs"
        done = subprocess.run(
            [sys.executable, "-m", "otel_obs", *arguments], env=environment, capture_output=True, text=True, check=True
        )
        assert done.stdout
        if arguments[0] == "costs" and "flag_variant" not in arguments:
            assert "gpt-4o-mini" in done.stdout or '"agent"' in done.stdout
    with psycopg.connect(conninfo(database)) as connection:
        for statement in (part for block in _blocks("sql") for part in block.split(";\n") if part.strip()):
            connection.execute(statement)
        row = connection.execute("SELECT model_name, cost_cents FROM model_costs").fetchone()
    assert row is not None
    assert row[0] == "gpt-4o-mini-2024-07-18"
    assert row[1] > 0


def test_its_configurations_of_executors_are_right() -> None:
    for block in _blocks("toml"):
        found = configured(tomllib.loads(block), "README.md")

        assert found.problems == ()
        assert found.executors


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_each_setting_has_its_row(setting: object) -> None:
    assert f"| `{PREFIX}{setting.name}` |" in README  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_each_command_has_its_row(name: str) -> None:
    assert f"| `otel-obs {name}" in README


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_each_command_explains_itself(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "otel_obs", name, "--help"], capture_output=True, text=True, check=True, cwd=ROOT
    )

    assert subcommand(name).get_short_help_str(200).split(":")[0][:40] in done.stdout
