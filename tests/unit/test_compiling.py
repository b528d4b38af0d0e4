"""What is compiled says the same as its source, and is told apart from it."""

from __future__ import annotations

import ast
import copy
import inspect
import pickle
from dataclasses import MISSING, fields, replace
from pathlib import Path

import pytest

from hatch_build import COMPILED, spelled_out
from otel_obs import model
from otel_obs.cli.built import how_built
from otel_obs.otlp.decode import decode_traces
from tests.builders import chat, make_span

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(path for pattern in COMPILED for path in ROOT.glob(pattern) if path.name != "__init__.py")
SOURCE = '''
from otel_obs.frozen import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A span."""

    name: str
    attributes: dict[str, int] = field(default_factory=dict)
    kind: int = 0


LAST = 3
'''
SPELLED_OUT = '''
from dataclasses import dataclass


@dataclass(init=False, unsafe_hash=True)
class Span:
    """A span."""

    name: str
    attributes: dict[str, int] = field(default_factory=dict)
    kind: int = 0
    def __init__(self, name: str, attributes: dict[str, int] | None = None, kind: int = 0) -> None: ASSIGNMENTS
    def __reduce__(self) -> tuple[object, ...]: return type(self), (self.name, self.attributes, self.kind, )
LAST = 3
'''
ASSIGNMENTS = "self.name = name; self.attributes = dict() if attributes is None else attributes; self.kind = kind"


def test_a_dataclass_is_spelled_out_on_the_lines_behind_it() -> None:
    assert spelled_out(SOURCE).rstrip() == SPELLED_OUT.replace("ASSIGNMENTS", ASSIGNMENTS).rstrip()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_compiled_stands_on_the_lines_of_its_source(path: Path) -> None:
    source = path.read_text()

    assert placed(source) <= placed(spelled_out(source))


def placed(source: str) -> set[tuple[int, str]]:
    """Return functions and classes with their lines, which a traceback names."""
    kinds = (ast.FunctionDef, ast.ClassDef)
    return {(node.lineno, node.name) for node in ast.walk(ast.parse(source)) if isinstance(node, kinds)}


def test_what_runs_is_what_is_said_to_run() -> None:
    assert (how_built() == "pure Python") == inspect.isfunction(decode_traces)


def test_values_can_be_copied_and_pickled() -> None:
    span = chat()

    assert copy.copy(span) == pickle.loads(pickle.dumps(span)) == span  # noqa: S301  # our own


def test_values_can_be_replaced_and_compared() -> None:
    span = make_span(name="a")

    assert replace(span, name="b") != span
    assert replace(replace(span, name="b"), name="a") == span


def test_values_with_nothing_to_say_are_apart() -> None:
    defaults = [field.name for field in fields(model.Span) if field.default_factory is not MISSING]

    one, other = (model.Span(trace_id="a" * 32, span_id="b" * 16) for _ in range(2))

    assert defaults
    assert one == other
    assert one.attributes is not other.attributes
