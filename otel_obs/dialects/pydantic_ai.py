"""Pydantic AI's own spans (https://ai.pydantic.dev/logfire/), before they followed the GenAI convention."""

from __future__ import annotations

from dataclasses import replace

from otel_obs.dialects.content import Contents, Part
from otel_obs.dialects.facts import Facts
from otel_obs.dialects.gen_ai import read_role, with_role
from otel_obs.dialects.names import Names
from otel_obs.model import Reading, Span

CONTENT: dict[str, Part | None] = {"events": "input"}
"""Names that hold content on these spans only."""


def is_pydantic_ai(scope: str) -> bool:
    """Tell whether Pydantic AI made a span of *scope*."""
    return scope == "pydantic-ai"


def concerns(scope: str, names: Names) -> bool:
    """Tell whether a span may be one of Pydantic AI's."""
    del names
    return is_pydantic_ai(scope)


def read(span: Span, facts: Facts, contents: Contents) -> Reading | None:
    """Return what *span* means if Pydantic AI made it without naming the operation; else None."""
    del contents
    if not is_pydantic_ai(span.scope.name) or facts.has("gen_ai.operation.name"):
        return None
    if facts.has("gen_ai.tool.name"):
        return read_role(span, facts, "tool", dialect="pydantic_ai")
    name = facts.text("gen_ai.agent.name", "agent_name")
    reading = read_role(span, facts, "span", dialect="pydantic_ai")
    if name is None:
        return reading
    return with_role(replace(reading, agent_id=name, agent_name=name), "agent", name, facts)
