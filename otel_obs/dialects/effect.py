"""Effect (https://effect.website): requests to models follow the GenAI convention, tools have words of their own.

Spans of an application have its name as their scope.
"""

from __future__ import annotations

from otel_obs.dialects.content import Contents, Part
from otel_obs.dialects.facts import Facts
from otel_obs.dialects.gen_ai import with_role
from otel_obs.dialects.names import Names
from otel_obs.model import Reading, Span

_TOOL = "tool"
_ARGUMENTS = "parameters"
_NAMES = frozenset({_TOOL, _ARGUMENTS})
CONTENT: dict[str, Part | None] = {_ARGUMENTS: "tool_arguments"}
"""Attributes that hold content on spans of tools."""


def runs_tool(names: Names) -> bool:
    """Tell whether a span may be that of a tool that Effect ran."""
    return names.all >= _NAMES


def concerns(scope: str, names: Names) -> bool:
    """Tell whether a span may be that of a tool that Effect ran."""
    del scope
    return runs_tool(names)


def read(span: Span, facts: Facts, contents: Contents) -> Reading | None:
    """Return which tool was run; None if *span* is another."""
    del contents
    if span.name != "Toolkit.handle" or not runs_tool(facts.names):
        return None
    return with_role(Reading(dialect="effect"), "tool", facts.text(_TOOL), facts)
