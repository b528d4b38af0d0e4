"""Strands Agents (https://strandsagents.com): the GenAI convention, with milliseconds where it has seconds."""

from __future__ import annotations

from dataclasses import replace

from otel_obs.dialects.content import Contents
from otel_obs.dialects.facts import Facts
from otel_obs.dialects.gen_ai import OPERATIONS, read_call
from otel_obs.dialects.names import Names
from otel_obs.model import Reading, Span


def concerns(scope: str, names: Names) -> bool:
    """Tell whether a span may be one of Strands'."""
    del names
    return scope.startswith("strands.")


def read(span: Span, facts: Facts, contents: Contents) -> Reading | None:
    """Return what a request of Strands means; None for its other spans: they follow the convention."""
    operation = facts.text("gen_ai.operation.name")
    if not span.scope.name.startswith("strands.") or operation not in OPERATIONS:
        return None
    reading = read_call(span, facts, contents, OPERATIONS[operation], dialect="strands")
    if reading.call is None:
        return reading
    first_token_ms = facts.number("gen_ai.server.time_to_first_token")
    return replace(reading, call=replace(reading.call, time_to_first_token_ms=first_token_ms))
