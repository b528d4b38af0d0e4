"""Semantic Kernel (https://learn.microsoft.com/semantic-kernel/): the GenAI convention, plugins in names of tools."""

from __future__ import annotations

from otel_obs.dialects.content import Contents
from otel_obs.dialects.facts import Facts
from otel_obs.dialects.gen_ai import read_role, with_role
from otel_obs.dialects.names import Names
from otel_obs.model import Reading, Span

_FUNCTION = "semantic_kernel.function.invocation.name"
"""What Semantic Kernel for Java says of a function that is invoked."""


def concerns(scope: str, names: Names) -> bool:
    """Tell whether a span may be one of Semantic Kernel's."""
    return scope.startswith("semantic_kernel") or _FUNCTION in names.all


def read(span: Span, facts: Facts, contents: Contents) -> Reading | None:
    """Return what the call of a tool means, by the function's own name; None for spans that the convention covers."""
    del contents
    if facts.has(_FUNCTION):
        return with_role(Reading(dialect="semantic_kernel"), "tool", facts.text(_FUNCTION), facts)
    if not span.scope.name.startswith("semantic_kernel") or facts.text("gen_ai.operation.name") != "execute_tool":
        return None
    name = facts.text("gen_ai.tool.name") or span.name.removeprefix("execute_tool ")
    # It is called Plugin-function; functions' names have no dash.
    reading = read_role(span, facts, "tool", dialect="semantic_kernel")
    return with_role(reading, "tool", name.rpartition("-")[2], facts)
