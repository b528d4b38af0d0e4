"""Only dialects that may understand a span are asked, and nobody else would have answered."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import otel_obs.dialects
from otel_obs.dialects import reading
from otel_obs.dialects.facts import Facts
from otel_obs.dialects.reading import DIALECTS, asked, is_mere, kind_of
from otel_obs.model import Span
from tests.builders import make_span
from tests.corpus import NAMES, records_of


def texts_in_code() -> Iterator[str]:
    """Yield every text that the dialects mention: names of attributes, scopes and spans, and values."""
    for path in Path(str(otel_obs.dialects.__path__[0])).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) < 80:
                yield node.value


MENTIONED = sorted({*texts_in_code(), "", "0.1"})
EARLY = sorted(text for text in MENTIONED if "." in text or text.startswith(("llm", "ai", "mcp", "span", "traceloop")))
"""Texts that are likely to be names of attributes; hypothesis tries what is there at all as well."""
SCOPES = sorted({
    *(name for name in MENTIONED if name.replace(".", "").replace("_", "").replace("-", "").isalnum()),
    *(found + ".x" for found in ("strands", "logfire", "openlit", "semantic_kernel", "com.anthropic.claude_code")),
})  # fmt: skip

spans = st.builds(
    make_span,
    st.dictionaries(
        st.one_of(st.sampled_from(EARLY), st.sampled_from(MENTIONED)),
        st.one_of(
            st.sampled_from(MENTIONED), st.integers(-1, 5), st.booleans(), st.just('{"usage": {"input_tokens": 5}}'),
            st.just(["stop"]), st.none(),
        ),
        max_size=12,
    ),
    name=st.sampled_from(MENTIONED),
    scope=st.sampled_from(SCOPES),
    status_code=st.integers(0, 2),
)  # fmt: skip


def assert_nobody_else_answers(span: Span) -> None:
    kind = kind_of(span.scope.name, tuple(span.attributes))
    contents = kind.layout.contents(span.attributes, span.events)

    assert [
        dialect
        for dialect in DIALECTS
        if dialect not in asked(span, kind) and dialect.read(span, Facts(span.attributes), contents) is not None
    ] == []
    assert not (is_mere(span) and reading.read(span).dialect)


@given(spans)
@settings(max_examples=600, deadline=None)
def test_a_dialect_that_is_not_asked_would_not_have_answered(span: Span) -> None:
    assert_nobody_else_answers(span)


@pytest.mark.parametrize("name", NAMES)
def test_of_the_spans_of_a_capture_nobody_else_would_have_answered(name: str) -> None:
    for record in records_of(name):
        if isinstance(record, Span):
            assert_nobody_else_answers(record)


@given(spans, spans)
@settings(max_examples=200, deadline=None)
def test_what_a_span_means_does_not_depend_on_those_before_it(before: Span, span: Span) -> None:
    first = reading.read(span)
    reading.read(before)
    reading.kind_of.cache_clear()  # type: ignore[attr-defined]

    assert reading.read(span) == first


def test_names_in_another_order_mean_the_same() -> None:
    said: dict[str, Any] = {
        "gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 5,
        "gen_ai.usage.prompt_tokens": 6, "gen_ai.output.messages": "hello",
    }  # fmt: skip

    assert reading.read(make_span(said)) == reading.read(make_span(dict(reversed(said.items()))))
