"""What is configured, and what is said of what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from otel_obs.errors import ConfigurationError
from otel_obs.instrumentation.configuration import Configuration, configuration, configured
from otel_obs.instrumentation.paths import MISSING, found, source
from otel_obs.instrumentation.spec import KINDS, spec

TOML = """
threads = false
send_baggage = ["otel_obs.workspace.id"]
workspace_resolver = "app:resolver"

[[executors]]
target = "engine:Engine.run"
kind = "workflow"
id = ["args.workflow.id", "args.workflow_id"]
"""


def targets(found: Configuration) -> list[tuple[str, str]]:
    return [(executor.target, executor.spec.kind) for executor in found.executors]


def test_a_toml_file_is_read_where_the_variable_says_or_under_its_usual_name(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(TOML)
    (tmp_path / "otel_obs.toml").write_text(TOML.replace("engine", "usual"))

    named = configuration({"OTEL_OBS_EXECUTORS": "mine.toml"}, tmp_path)

    assert targets(named) == [("engine:Engine.run", "workflow")]
    assert (named.threads, named.send_baggage, named.problems) == (False, ("otel_obs.workspace.id",), ())
    assert named.workspace_resolver == "app:resolver"
    assert targets(configuration({}, tmp_path)) == [("usual:Engine.run", "workflow")]


def test_a_section_of_pyproject_is_read(tmp_path: Path) -> None:
    assert configuration({}, tmp_path) == Configuration()
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\n')
    assert configuration({}, tmp_path) == Configuration()
    (tmp_path / "pyproject.toml").write_text('[[tool.otel_obs.executors]]\ntarget = "a.b.c"\nkind = "tool"\n')
    assert targets(configuration({}, tmp_path)) == [("a.b.c", "tool")]


@pytest.mark.parametrize("text", ['tool = "x"', "tool = [", "[tool]\notel_obs = 3"])
def test_a_strange_pyproject_is_none_of_our_business(tmp_path: Path, text: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text)

    assert configuration({}, tmp_path).executors == ()


@pytest.mark.parametrize(
    "text",
    [
        "engine:Engine.run=workflow, engine:ask=llm",
        "workflow=engine:Engine.run,llm=engine:ask,",
        json.dumps([{"target": "engine:Engine.run", "kind": "workflow"}, {"target": "engine:ask", "kind": "llm"}]),
        json.dumps(
            {
                "executors": [
                    {"target": "engine:Engine.run", "kind": "workflow"},
                    {"target": "engine:ask", "kind": "llm"},
                ]
            }
        ),
    ],
)
def test_the_variable_may_hold_the_executors_themselves(tmp_path: Path, text: str) -> None:
    found = configuration({"OTEL_OBS_EXECUTORS": text}, tmp_path)

    assert targets(found) == [("engine:Engine.run", "workflow"), ("engine:ask", "llm")]
    assert found.problems == ()


@pytest.mark.parametrize(
    "text", ["nowhere.toml", "[broken", "engine:run", "engine:run=robot", '{"target": 3}', "  x  "]
)
def test_what_cannot_be_read_is_said_and_nothing_is_raised(tmp_path: Path, text: str) -> None:
    found = configuration({"OTEL_OBS_EXECUTORS": text}, tmp_path)

    assert len(found.problems) == 1
    assert found.executors == ()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"executors": [{"target": "a:b", "kind": "robot"}]}, "kind = 'robot': one of workflow, agent"),
        ({"executors": [{"kind": "tool"}]}, "target = None"),
        ({"executors": [{"target": "a b", "kind": "tool"}]}, "target = 'a b'"),
        ({"executors": ["a:b"]}, "a table with target and kind is expected"),
        ({"executors": 3}, "a table with target and kind is expected"),
        ({"executors": [{"target": "a:b", "kind": "tool", "colour": "red"}]}, "'colour' is nothing"),
        ({"executors": [{"target": "a:b", "kind": "tool", "name": 3}]}, "name = 3"),
        ({"executors": [{"target": "a:b", "kind": "tool", "name": "args"}]}, "'args' is no path"),
        ({"executors": [{"target": "a:b", "kind": "tool", "name": "result.x"}]}, "no result yet"),
        ({"executors": [{"target": "a:b", "kind": "tool", "input": "self.__class__"}]}, "is no path"),
        ({"threads": True, "colour": 1}, "'colour' is none of executors"),
        ({"send_baggage": "x"}, "a list of names is expected"),
        ({"price": 3}, "module:callable is expected"),
    ],
)
def test_each_problem_is_one_sentence_and_the_rest_is_used(content: dict[str, Any], problem: str) -> None:
    entries = content.get("executors", [])
    good = [{"target": "good:one", "kind": "tool"}]
    if isinstance(entries, list):
        content = {**content, "executors": [*entries, *good]}

    found = configured(content, "x.toml")

    assert len(found.problems) == 1
    assert problem in found.problems[0]
    assert found.problems[0].startswith("x.toml: ")
    assert targets(found) == ([("good:one", "tool")] if isinstance(entries, list) else [])


class Model:
    name = "m"
    items = ("a", {"deep": 1})

    @property
    def broken(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("plain text", "plain text"),
        ("self", Model),
        ("self.name", "m"),
        ("self.items.1.deep", 1),
        ("self.items.7", MISSING),
        ("self.broken", MISSING),
        ("self.broken.deeper", MISSING),
        ("args.node.id", "n-1"),
        ("args.absent", MISSING),
        ("args.none.id", MISSING),
        ("result.x", MISSING),
    ],
)
def test_a_path_leads_somewhere_or_nowhere_and_never_raises(path: str, value: object) -> None:
    call = {"args": {"node": {"id": "n-1"}, "none": None}, "self": Model(), "result": 3}

    got = found(source(path), call)

    assert isinstance(got, Model) if value is Model else got == value


@pytest.mark.parametrize("path", ["args", "args.", "args..x", "self.__dict__", "result.a.__class__", "args.x."])
def test_what_begins_like_a_path_and_is_none_is_refused(path: str) -> None:
    with pytest.raises(ConfigurationError):
        source(path)


def test_every_kind_takes_every_field() -> None:
    for kind in KINDS:
        assert spec(kind, {"name": "n", "id": "args.id", "output": ["result.text", "result"]}).kind == kind
