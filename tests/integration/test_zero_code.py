"""``opentelemetry-instrument python app.py``: programs that know nothing of us, run as their authors run them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fix_kept import in_memory
from tests.sink import Sink, otlp_sink

ROOT = Path(__file__).resolve().parents[2]

ENGINE = """
import asyncio
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

from opentelemetry import trace  # a library that reports spans of its own

class Engine:
    def __init__(self, model):
        self.model = model

    def execute_workflow(self, workflow, text, workspace_id=None):
        return self.agent({"id": "n-1", "label": "writer"}, text), workspace_id

    def agent(self, node, text):
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(self.ask, text).result()

    def ask(self, text):
        with trace.get_tracer("a library").start_as_current_span("of a library"):
            return {"said": text.upper(), "spent": {"input_tokens": 3, "output_tokens": 2}}

    async def aworkflow(self, text):
        return [chunk async for chunk in self.astream(text)]

    async def astream(self, text):
        for character in text:
            await asyncio.sleep(0)
            yield character

    def stream(self, text):
        yield from text

def shout(text):
    return text.upper()

def in_a_process(text):
    with ProcessPoolExecutor(1) as pool:
        return pool.submit(shout, text).result()
"""
APP = """
import asyncio, inspect, json, sys
from engine import Engine, in_a_process, shout

engine = Engine("gpt-4o-mini")
print(json.dumps([
    engine.execute_workflow({"id": "wf-1"}, "hello", workspace_id="acme"),
    asyncio.run(engine.aworkflow("ab")),
    list(engine.stream("cd")),
    in_a_process("e"),
    inspect.iscoroutinefunction(Engine.aworkflow), inspect.isasyncgenfunction(Engine.astream),
    inspect.isgeneratorfunction(Engine.stream), str(inspect.signature(Engine.ask)),
]))
"""
SAID = [
    [{"said": "HELLO", "spent": {"input_tokens": 3, "output_tokens": 2}}, "acme"], ["a", "b"], ["c", "d"], "E",
    True, True, True, "(self, text)",
]  # fmt: skip
EXECUTORS = """
[[{0}executors]]
target = "engine:Engine.execute_workflow"
kind = "workflow"
id = "args.workflow.id"

[[{0}executors]]
target = "engine:Engine.agent"
kind = "agent"
id = "args.node.id"
name = "args.node.label"

[[{0}executors]]
target = "engine.Engine.ask"
kind = "llm"
model = "self.model"
usage = "result.spent"
output = "result.said"

[[{0}executors]]
target = "engine:Engine.aworkflow"
kind = "workflow"
name = "asynchronous"

[[{0}executors]]
target = "engine:Engine.astream"
kind = "tool"
name = "astream"

[[{0}executors]]
target = "engine:Engine.stream"
kind = "tool"
name = "stream"

[[{0}executors]]
target = "engine:in_a_process"
kind = "agent"
name = "starts processes"

[[{0}executors]]
target = "engine:shout"
kind = "tool"
name = "shout"
"""


OTHERS = "openai,anthropic,fastapi,httpx"
"""They are left out: loading them takes most of the time."""


@pytest.fixture
def sink() -> Iterator[Sink]:
    with otlp_sink() as found:
        yield found


def run(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run Python in *folder* under ``opentelemetry-instrument``."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "PYTHON"))}
    return subprocess.run(
        [str(Path(sys.executable).parent / "opentelemetry-instrument"), sys.executable, *arguments],
        cwd=folder,
        env={**clean, "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": OTHERS, **environ},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("where", ["pyproject", "another folder"])
def test_a_program_is_reported_without_a_line_of_code(tmp_path: Path, sink: Sink, where: str) -> None:
    folder = tmp_path / "src" if where == "another folder" else tmp_path
    folder.mkdir(exist_ok=True)
    (folder / "engine.py").write_text(ENGINE)
    (folder / "app.py").write_text(APP)
    environ = sink.environment()
    if where == "pyproject":
        (tmp_path / "pyproject.toml").write_text(EXECUTORS.format("tool.otel_obs."))
        environ["OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"] = "span_only"
    else:
        (tmp_path / "executors.toml").write_text(EXECUTORS.format(""))
        environ["OTEL_OBS_EXECUTORS"] = "executors.toml"

    done = run(tmp_path, str((folder / "app.py").relative_to(tmp_path)), **environ)

    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == SAID
    assert sorted(sink.names) == [
        "chat gpt-4o-mini", "execute_tool astream", "execute_tool shout", "execute_tool stream",
        "invoke_agent starts processes", "invoke_agent writer", "invoke_workflow Engine.execute_workflow",
        "invoke_workflow asynchronous", "of a library",
    ]  # fmt: skip
    assert sink.parent("chat gpt-4o-mini") == "invoke_agent writer"
    assert sink.parent("of a library") == "chat gpt-4o-mini"
    assert sink.parent("execute_tool astream") == "invoke_workflow asynchronous"
    assert sink.parent("execute_tool shout") == "invoke_agent starts processes"
    for name in ("invoke_workflow Engine.execute_workflow", "invoke_agent writer", "chat gpt-4o-mini", "of a library"):
        told = sink.attributes(name)
        assert (told["otel_obs.workspace.id"], told["otel_obs.workflow.id"]) == ("acme", "wf-1")
    asked = sink.attributes("chat gpt-4o-mini")
    assert (asked["gen_ai.usage.input_tokens"], asked["gen_ai.usage.output_tokens"]) == (3, 2)
    assert asked["gen_ai.usage.cost"] > 0
    assert sink.attributes("invoke_agent writer")["otel_obs.node.id"] == "n-1"
    assert ("HELLO" in str(asked.get("gen_ai.output.messages"))) == (where == "pyproject")


def test_what_is_wrong_is_said_once_and_the_program_runs(tmp_path: Path, sink: Sink) -> None:
    (tmp_path / "engine.py").write_text("def run(): return 'ran'\ndef second(): return 2\n")
    (tmp_path / "app.py").write_text(
        "import engine\n\ndef inside(): return 1\n\nprint(engine.run(), engine.run(), inside())\n"
    )
    environ = sink.environment()
    environ["OTEL_OBS_EXECUTORS"] = "engine:run=tool, engine:rnu=tool, nowhere.at:all=tool, app:inside=tool, x=robot"

    done = run(tmp_path, "app.py", **environ)

    assert (done.returncode, done.stdout) == (0, "ran ran 1\n")
    said = done.stderr.splitlines()
    assert len(said) == 4, said
    assert "kind = 'robot'" in said[0]
    assert "nowhere.at:all: there is no module 'nowhere'" in said[1]
    assert "engine:rnu: engine has no 'rnu'" in said[2]
    assert "app:inside" in said[3]
    assert "was run as the program itself" in said[3]
    assert sink.names == ["execute_tool run", "execute_tool run"]


def test_an_error_of_the_program_ends_it_as_it_would_without_us(tmp_path: Path, sink: Sink) -> None:
    (tmp_path / "engine.py").write_text("def run(): raise SystemExit(7)\ndef fail(): raise LookupError('gone')\n")
    (tmp_path / "app.py").write_text(
        "import engine\ntry:\n    engine.fail()\nexcept LookupError as error:\n    print(repr(error))\nengine.run()\n"
    )
    environ = {**sink.environment(), "OTEL_OBS_EXECUTORS": "engine:run=workflow,engine:fail=agent"}

    done = run(tmp_path, "app.py", **environ)

    assert (done.returncode, done.stdout, done.stderr) == (7, "LookupError('gone')\n", "")
    assert sink.names == ["invoke_agent fail", "invoke_workflow run"]
    assert [span.status_code for span in sink.spans] == [2, 2]


def test_without_a_destination_the_program_runs_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "engine.py").write_text("def run(workspace_id=None): return workspace_id\n")
    (tmp_path / "app.py").write_text("import engine\nprint(engine.run())\n")

    done = run(
        tmp_path, "app.py", OTEL_OBS_EXECUTORS="engine:run=workflow", OTEL_TRACES_EXPORTER="none",
        OTEL_METRICS_EXPORTER="none", OTEL_LOGS_EXPORTER="none", OTEL_OBS_DATA_DIR=str(tmp_path / "data"),
        OTEL_OBS_DATABASE_URL="postgresql://nobody@127.0.0.1:1/none",
    )  # fmt: skip

    assert (done.returncode, done.stdout) == (0, "None\n")
    assert "reading the workspaces of workflows" in done.stderr or done.stderr == ""


ANTHROPIC = """
import json
from dataclasses import asdict

import anthropic

from examples.provider import StandIn
from engine import ask

with StandIn() as models:
    with anthropic.Anthropic(api_key="none", base_url=models.anthropic_base_url, max_retries=0) as client:
        ask(client)
        with ask(client, stream=True) as events:
            for _ in events:
                pass
print(json.dumps([asdict(call) for call in models.served]))
"""
ASK = """
def ask(client, **more):
    return client.messages.create(
        model="claude-haiku-4-5", max_tokens=100, system="You are the research agent.",
        messages=[{"role": "user", "content": "?"}], **more,
    )
"""


@pytest.mark.parametrize("stacked", [True, False], ids=["with its instrumentation", "without"])
def test_a_client_that_reports_its_own_requests_is_counted_once(tmp_path: Path, sink: Sink, stacked: bool) -> None:
    """Anthropic's client makes spans of its own, which nothing suppresses; its instrumentation makes others."""
    (tmp_path / "engine.py").write_text(ASK)
    (tmp_path / "app.py").write_text(ANTHROPIC)
    others = OTHERS.replace("anthropic,", "") if stacked else OTHERS
    done = run(
        tmp_path, "app.py", **sink.environment(), PYTHONPATH=str(ROOT), OTEL_OBS_EXECUTORS="engine:ask=llm",
        OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=others,
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (0, "")
    kept = in_memory()
    kept.write(sink.spans)
    kept.settle()
    rows = kept.calls
    served = json.loads(done.stdout)
    assert len(served) == 2
    assert sorted(
        (row.response_id, row.input_tokens, row.cache_write_tokens, row.output_tokens) for row in rows
    ) == sorted(
        (call["response_id"], call["input_tokens"], call["cache_write_tokens"], call["output_tokens"])
        for call in served
    )
