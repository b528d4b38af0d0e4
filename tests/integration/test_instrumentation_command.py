"""``otel-obs instrumentation`` and ``python -m otel_obs.instrumentation``: what would be reported here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.command import ROOT, environment

ENGINE = """
from dataclasses import dataclass

@dataclass
class Workflow:
    id: str
    title: str

@dataclass
class Usage:
    prompt_tokens: int
    completion_tokens: int

@dataclass
class Answer:
    text: str
    usage: Usage

class Engine:
    async def run(self, workflow: Workflow, user_id: str, workspace_id: str | None = None) -> str: ...

def ask(model: str, prompt: str) -> Answer: ...
"""
CONFIGURATION = """
believe_baggage = ["user.id"]

[[executors]]
target = "engine:Engine.run"
kind = "workflow"
id = "args.workflow.id"
name = "args.workflow.titel"

[[executors]]
target = "engine:ask"
kind = "llm"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "engine.py").write_text(ENGINE)
    (tmp_path / "otel_obs.toml").write_text(CONFIGURATION)
    return tmp_path


def run(folder: Path, *arguments: str, module: str = "otel_obs", **more: str) -> subprocess.CompletedProcess[str]:
    command = ["instrumentation"] if module == "otel_obs" else []
    return subprocess.run(
        [sys.executable, "-P", "-m", module, *command, *arguments] if sys.version_info >= (3, 11)
        else [sys.executable, "-m", module, *command, *arguments],
        cwd=folder, env=environment(**more), capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


@pytest.mark.parametrize("module", ["otel_obs", "otel_obs.instrumentation"])
def test_it_shows_what_a_sample_call_would_tell(folder: Path, module: str) -> None:
    done = run(folder, "--json", module=module)

    assert (done.returncode, done.stderr) == (0, "")
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["configuration"] == str(folder / "otel_obs.toml")
    assert (told["problems"], told["content"], told["believe_baggage"]) == ([], "no_content", ["user.id"])
    workflow, ask = told["executors"]
    assert (workflow["state"], ask["state"]) == ("wrapped", "wrapped")
    assert workflow["found"].startswith("engine:Engine.run(self, workflow: engine.Workflow")
    assert workflow["fields"] == [
        {"field": "id", "places": ["args.workflow.id"], "value": "<args.workflow.id>"},
        {"field": "name", "places": ["args.workflow.titel"], "value": None},
    ]
    assert workflow["span"]["attributes"]["user.id"] == "<args.user_id>"
    assert workflow["span"]["attributes"]["otel_obs.workspace.id"] == "<args.workspace_id>"
    assert ask["span"]["name"] == "chat <args.model>"
    assert ask["span"]["attributes"]["gen_ai.usage.input_tokens"] == 1


def test_it_shows_what_is_found_in_a_call_of_ones_own(folder: Path) -> None:
    call = {
        "args": {"model": "gpt-4o-mini", "prompt": "Hello"},
        "result": {"id": "r-1", "model": "gpt-4o-mini", "usage": {"prompt_tokens": 1000, "completion_tokens": 1}},
    }

    done = run(folder, "engine:ask", "--call", json.dumps(call), "--json")

    assert done.returncode == 0
    ((ask,),) = (json.loads(done.stdout)["executors"],)
    assert ask["span"]["name"] == "chat gpt-4o-mini"
    assert ask["span"]["attributes"].items() >= {"gen_ai.response.id": "r-1", "gen_ai.usage.input_tokens": 1000}.items()
    assert ask["span"]["attributes"]["gen_ai.usage.cost"] == pytest.approx(0.0001506)


def test_for_people_it_is_text_and_what_is_wrong_is_told_by_the_exit_code_too(folder: Path) -> None:
    right = run(folder)
    assert right.returncode == 0
    assert "workflow  engine:Engine.run(" in right.stdout
    assert "args.workflow.titel" in right.stdout.split("nothing\n")[1] + right.stdout
    assert "span chat <args.model>" in right.stdout

    (folder / "broken.py").write_text("raise ZeroDivisionError('at import')\n")
    wrong = run(
        folder, OTEL_OBS_EXECUTORS="engine:nope=tool,nowhere:x=tool,broken:x=tool,engine:ask=robot,engine:ask=llm"
    )
    assert wrong.returncode == 1
    for said in (
        "engine has no 'nope'", "there is no module 'nowhere'", "ZeroDivisionError('at import')", "kind = 'robot'",
        "span chat <args.model>",
    ):  # fmt: skip
        assert said in wrong.stdout
    assert "Traceback" not in wrong.stderr


def test_nothing_configured_is_said(tmp_path: Path) -> None:
    done = run(tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Nothing is configured: OTEL_OBS_EXECUTORS")
    assert json.loads(run(tmp_path, "--json").stdout)["executors"] == []


@pytest.mark.parametrize("call", ["[1]", "{", '{"arguments": {}}', '{"args": 3}'])
def test_a_sample_that_is_none_is_refused(folder: Path, call: str) -> None:
    done = run(folder, "--call", call)

    assert done.returncode == 2
    assert "--call" in done.stderr


def test_an_executor_that_is_not_configured_is_said(folder: Path) -> None:
    done = run(folder, "engine:other")

    assert done.returncode == 1
    assert "'engine:other' is not configured" in done.stdout


def test_the_example_is_wholly_found() -> None:
    done = run(ROOT, "--json", OTEL_OBS_EXECUTORS="examples/platform_engine.toml")

    told = json.loads(done.stdout)
    assert done.returncode == 0
    assert {executor["state"] for executor in told["executors"]} == {"wrapped"}
    assert [found for executor in told["executors"] for found in executor["fields"] if found["value"] is None] == []
