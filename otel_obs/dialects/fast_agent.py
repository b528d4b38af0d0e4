"""fast-agent (https://fast-agent.ai): its agents are told by names of spans, its models and tools by others."""

from __future__ import annotations

import re

from otel_obs.dialects.content import Contents
from otel_obs.dialects.facts import Facts
from otel_obs.dialects.gen_ai import with_role
from otel_obs.dialects.names import Names
from otel_obs.model import Reading, Span

_SCOPES = ("fast_agent.", "mcp_agent.")
"""How its modules are called, and were called before 0.3."""
_AGENT = re.compile(r"^Agent: '(.{1,200})' (?:generate|structured|structured_schema|apply_prompt_template)$")


def concerns(scope: str, names: Names) -> bool:
    """Tell whether a span may be one of fast-agent's."""
    del names
    return scope.startswith(_SCOPES)


def read(span: Span, facts: Facts, contents: Contents) -> Reading | None:
    """Return what *span* means to fast-agent; None if it is not one of its own."""
    del contents
    if not span.scope.name.startswith(_SCOPES):
        return None
    agent = _AGENT.match(span.name)
    reading = Reading(dialect="fast_agent")
    return reading if agent is None else with_role(reading, "agent", agent[1], facts)
