"""Microsoft Agent Framework (https://learn.microsoft.com/agent-framework/): workflows beside the GenAI convention."""

from __future__ import annotations

from otel_obs.dialects.content import Contents
from otel_obs.dialects.facts import Facts
from otel_obs.dialects.gen_ai import with_role
from otel_obs.dialects.names import Names
from otel_obs.model import Reading, Span

_SCOPE = "agent_framework"


def concerns(scope: str, names: Names) -> bool:
    """Tell whether a span may be one of the framework's."""
    del names
    return scope == _SCOPE


def read(span: Span, facts: Facts, contents: Contents) -> Reading | None:
    """Return what *span* means as a part of a workflow; None for spans that the convention covers."""
    del contents
    if span.scope.name != _SCOPE or facts.has("gen_ai.operation.name"):
        return None
    reading = Reading(dialect="agent_framework")
    if span.name.startswith("workflow.run"):
        return with_role(reading, "workflow", facts.text("workflow.name", "workflow.id"), facts)
    return reading
