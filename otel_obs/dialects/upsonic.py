"""Upsonic (https://docs.upsonic.ai): requests by the convention, agents and tools under a name of its own."""

from __future__ import annotations

from otel_obs.dialects.content import Contents, Part
from otel_obs.dialects.facts import Facts
from otel_obs.dialects.gen_ai import OPERATIONS, with_role
from otel_obs.dialects.names import Names
from otel_obs.model import Reading, Span

SCOPE = "upsonic"
_AGENT, _TOOL = "upsonic.agent.name", "upsonic.tool.name"
CONTENT: dict[str, Part | None] = {
    "upsonic.input": "input",
    "upsonic.output": "output",
    "upsonic.tools_called": None,
    "upsonic.tool.definitions": "tools",
    "langfuse.trace.name": None,
}
"""Its attributes that hold content: a trace is called by what was asked."""


def concerns(scope: str, names: Names) -> bool:
    """Tell whether a span may be one of an agent or a tool."""
    return scope == SCOPE and (_AGENT in names.all or _TOOL in names.all)


def read(span: Span, facts: Facts, contents: Contents) -> Reading | None:
    """Return what *span* means to Upsonic; None if it is neither an agent nor a tool."""
    del contents
    if span.scope.name != SCOPE or facts.text("gen_ai.operation.name") in OPERATIONS:
        return None
    told = facts.has_any("gen_ai.usage.", "gen_ai.aggregated_usage.", "upsonic.usage.")
    if (tool := facts.text(_TOOL)) is not None:
        return with_role(
            Reading(dialect="upsonic", failed=facts.truth("upsonic.tool.success") is False), "tool", tool, facts
        )
    if (agent := facts.text(_AGENT)) is not None:
        return with_role(Reading(dialect="upsonic", is_rollup=told), "agent", agent, facts)
    return None
