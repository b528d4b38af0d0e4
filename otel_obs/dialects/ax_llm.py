"""Ax (https://axllm.dev): requests follow the GenAI convention, tools have words of their own."""

from __future__ import annotations

from dataclasses import replace

from otel_obs.dialects.content import Contents
from otel_obs.dialects.facts import Facts
from otel_obs.dialects.gen_ai import with_role
from otel_obs.dialects.names import Names
from otel_obs.model import Reading, Span

_NAME = "tool.name"
_CALL_ID = "function.id"
_NAMES = frozenset({_NAME, _CALL_ID})


def concerns(scope: str, names: Names) -> bool:
    """Tell whether a span may be that of a tool that Ax ran."""
    del scope
    return names.all >= _NAMES


def read(span: Span, facts: Facts, contents: Contents) -> Reading | None:
    """Return which tool was run; None if *span* is another."""
    del contents
    if not span.name.startswith("Tool: ") or not facts.names.all >= _NAMES:
        return None
    reading = with_role(Reading(dialect="ax_llm"), "tool", facts.text(_NAME), facts)
    if reading.step is None:
        return reading
    return replace(reading, step=replace(reading.step, call_id=facts.text(_CALL_ID)))
