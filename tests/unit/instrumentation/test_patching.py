"""Executors that are only named: found whenever they are imported, and put back as they were."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from otel_obs.instrumentation import ExecutorInstrumentor
from otel_obs.instrumentation.configuration import Configuration, configured
from tests.fix_spans import Spans

ENGINE = """
import functools

def run(text, workspace_id=None):
    return inner(text)

def inner(text):
    return text.upper()

class Base:
    def inherited(self):
        return type(self).__name__

class Engine(Base):
    limit = 3
    partial = functools.partial(max, 3)

    async def arun(self, text):
        return text

    def stream(self):
        yield from "ab"

    async def astream(self):
        yield "a"
        yield "b"

    @staticmethod
    def static(value):
        return value

    @classmethod
    def of_class(cls):
        return cls

    @property
    def answer(self):
        return 42

    class Inner:
        def deep(self):
            return "deep"

@functools.lru_cache
def cached(value):
    return value
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Give the name of a package with modules ``engine`` and ``user``."""
    name = f"pkg_{tmp_path.name.replace('-', '_')}"
    folder = tmp_path / name
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "engine.py").write_text(ENGINE)
    (folder / "user.py").write_text(f"from {name}.engine import inner, run\nheld = [run]\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield name
    for module in [module for module in sys.modules if module.partition(".")[0] == name]:
        del sys.modules[module]


@pytest.fixture
def instrument(spans: Spans) -> Iterator[Callable[..., ExecutorInstrumentor]]:
    instrumentor = ExecutorInstrumentor()

    def begin(*executors: dict[str, Any], **more: Any) -> ExecutorInstrumentor:
        found = configured({"executors": list(executors), **more}, "test.toml")
        instrumentor.instrument(configuration=found, tracer_provider=spans.provider)
        return instrumentor

    yield begin
    if instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.uninstrument()


def tool(target: str, **more: Any) -> dict[str, Any]:
    return {"target": target, "kind": "tool", **more}


def engine_of(package: str) -> ModuleType:
    return importlib.import_module(f"{package}.engine")


Instrument = Callable[..., ExecutorInstrumentor]


@pytest.mark.parametrize("first", ["configuration", "imports"])
def test_the_order_of_imports_does_not_matter(package: str, instrument: Instrument, spans: Spans, first: str) -> None:
    if first == "imports":
        importlib.import_module(f"{package}.user")
    instrument(tool(f"{package}.engine:run", name="run"), tool(f"{package}.engine.inner", name="inner"))
    user = importlib.import_module(f"{package}.user")

    assert user.run("x") == "X"

    assert spans.names == ["execute_tool inner", "execute_tool run"]
    assert spans.parent("execute_tool inner") == "execute_tool run"


def test_methods_of_every_kind_are_found_and_stay_what_they_are(
    package: str, instrument: Instrument, spans: Spans, caplog: pytest.LogCaptureFixture
) -> None:
    names = ["arun", "stream", "astream", "static", "of_class", "inherited", "Inner.deep"]
    instrument(*(tool(f"{package}.engine:Engine.{name}") for name in names))
    cls = engine_of(package).Engine
    engine = cls()

    async def astream() -> list[str]:
        return [text async for text in engine.astream()]

    assert inspect.iscoroutinefunction(cls.arun)
    assert inspect.isgeneratorfunction(cls.stream)
    assert inspect.isasyncgenfunction(cls.astream)
    assert asyncio.run(engine.arun("x")) == "x"
    assert list(engine.stream()) == ["a", "b"]
    assert asyncio.run(astream()) == ["a", "b"]
    assert (cls.static(1), engine.static(2), cls.of_class(), engine.of_class()) == (1, 2, cls, cls)
    assert engine.inherited() == "Engine"
    assert engine_of(package).Base().inherited() == "Base"
    assert cls.Inner().deep() == "deep"
    assert str(inspect.signature(cls.arun)) == "(self, text)"
    assert [name.removeprefix("execute_tool ") for name in spans.names] == [
        "Engine.arun", "Engine.stream", "Engine.astream", "Engine.static", "Engine.static", "Engine.of_class",
        "Engine.of_class", "Base.inherited", "Engine.Inner.deep",
    ]  # fmt: skip
    assert caplog.text == ""


def test_what_was_wrapped_can_still_be_pickled(package: str, instrument: Instrument, spans: Spans) -> None:
    targets = ("run", "cached", "Engine.inherited", "Engine.static", "Engine.of_class")
    instrument(*(tool(f"{package}.engine:{target}") for target in targets))
    engine = engine_of(package)

    for function in (
        engine.run,
        engine.cached,
        engine.Engine.static,
        engine.Engine().inherited,
        engine.Engine.of_class,
    ):
        assert callable(pickle.loads(pickle.dumps(function)))
    assert pickle.loads(pickle.dumps(engine.run)) is engine.run
    assert engine.cached(1) == engine.cached(1) == 1
    assert engine.cached.cache_info().hits == 1


@pytest.mark.parametrize("imported", ["before", "after"])
def test_uninstrumenting_restores_everything(package: str, spans: Spans, imported: str) -> None:
    targets = ("run", "cached", "Engine.inherited", "Engine.static", "Engine.of_class", "run")
    if imported == "before":
        importlib.import_module(f"{package}.user")
    plain: dict[str, Any] = dict(vars(engine_of(package))) if imported == "before" else {}
    plain_engine = dict(vars(plain["Engine"])) if plain else {}
    instrumentor = ExecutorInstrumentor()
    found = configured({"executors": [tool(f"{package}.engine:{target}") for target in targets]}, "x")
    instrumentor.instrument(configuration=found, tracer_provider=spans.provider)
    user, engine = importlib.import_module(f"{package}.user"), engine_of(package)
    held = user.run
    assert held("x") == "X"
    assert len(spans.all) == 2

    instrumentor.uninstrument()

    assert held("x") == user.held[0]("x") == engine.run("x") == "X"
    assert not hasattr(engine.run, "__wrapped__")
    assert len(spans.all) == 2
    if plain:
        assert {name: value for name, value in vars(engine).items() if name in plain} == plain
        assert dict(vars(engine.Engine)) == plain_engine
        assert user.run is plain["run"]
    assert "inherited" not in vars(engine.Engine)


def test_what_somebody_else_wraps_over_us_is_left_to_them(package: str, instrument: Instrument, spans: Spans) -> None:
    instrumentor = instrument(tool(f"{package}.engine:run"))
    engine: Any = engine_of(package)
    ours = engine.run
    theirs: Any = lambda text: ours(text) + "!"  # noqa: E731
    engine.run = theirs

    instrumentor.uninstrument()

    assert engine.run is theirs
    assert engine.run("x") == "X!"
    assert spans.all == []


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("nowhere_at_all:run", "there is no module 'nowhere_at_all'"),
        ("{}.typo:run", "has no 'typo'"),
        ("{}.engine:rnu", "has no 'rnu'"),
        ("{}.engine.rnu", "has no 'rnu'"),
        ("{}.engine:Engine.rnu", "has no 'Engine.rnu'"),
        ("{}.engine:Enigne.run", "has no 'Enigne'"),
        ("{}.engine:Engine", "is no function"),
        ("{}.engine:Engine.answer", "is no function"),
        ("{}.engine:Engine.limit", "is no function"),
        ("__main__:run", "has no name to import"),
    ],
)
def test_a_wrong_path_is_one_clear_warning(
    package: str, instrument: Instrument, caplog: pytest.LogCaptureFixture, target: str, why: str
) -> None:
    target = target.format(package)

    instrument(tool(target), tool(f"{package}.engine:run"))
    engine = engine_of(package)

    assert engine.run("x") == "X"
    (record,) = caplog.records
    assert record.getMessage().startswith(f"otel_obs cannot report {target}: ")
    assert why in record.getMessage()


def test_a_module_that_fails_to_import_fails_as_it_would_without_us(
    package: str, instrument: Instrument, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / package / "broken.py").write_text("raise ZeroDivisionError\n")
    instrument(tool(f"{package}.broken:run"))

    with pytest.raises(ZeroDivisionError):
        importlib.import_module(f"{package}.broken")
    assert caplog.text == ""


def test_what_is_wrong_with_the_configuration_is_said_once(
    instrument: Instrument, caplog: pytest.LogCaptureFixture
) -> None:
    instrument({"target": "a:b", "kind": "robot"}, send_baggage=["colour"], price="nowhere:price")

    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2
    assert "kind = 'robot'" in messages[0]
    assert "'colour' is not one of" in messages[1]


def test_ids_are_found_by_configured_paths(package: str, instrument: Instrument, spans: Spans) -> None:
    instrument({
        "target": f"{package}.engine:run", "kind": "workflow", "name": "the workflow", "id": "args.text",
        "workspace_id": "acme", "user_id": ["args.user", "args.text"],
    })  # fmt: skip
    engine_of(package).run("wf-1")

    assert spans.attributes("invoke_workflow the workflow").items() >= {
        "otel_obs.workflow.id": "wf-1", "otel_obs.workspace.id": "acme", "user.id": "wf-1",
    }.items()  # fmt: skip


def test_a_call_is_given_its_workspace_only_where_that_is_asked_for(
    package: str, instrument: Instrument, tmp_path: Path
) -> None:
    (tmp_path / package / "nodes.py").write_text(
        "def a(workspace_id=None): return workspace_id\nb = lambda workspace_id=None: workspace_id\n"
    )
    instrument(
        {"target": f"{package}.nodes:a", "kind": "workflow", "workspace_id": "ws"},
        {"target": f"{package}.nodes:b", "kind": "workflow", "workspace_id": "ws", "pass_workspace": True},
    )
    nodes = importlib.import_module(f"{package}.nodes")

    assert (nodes.a(), nodes.b(), nodes.b("own")) == (None, "ws", "own")


def test_nothing_configured_changes_nothing(instrument: Instrument, caplog: pytest.LogCaptureFixture) -> None:
    import threading  # noqa: PLC0415

    start = threading.Thread.start

    instrument()

    assert threading.Thread.start is start
    assert caplog.text == ""
    assert Configuration().executors == ()
