"""Embabel (https://docs.embabel.com): Spring AI observed, with agents and what they do in words of its own.

Requests are Spring AI's spans; what Embabel itself says that a model cost repeats them.
"""

from __future__ import annotations

from otel_obs.dialects.content import Contents
from otel_obs.dialects.facts import Facts
from otel_obs.dialects.gen_ai import read_role, with_role
from otel_obs.dialects.names import Names
from otel_obs.model import Reading, Span

_AGENT = "embabel.agent.name"


def concerns(scope: str, names: Names) -> bool:
    """Tell whether a span may be one of Embabel's."""
    del scope
    return "embabel" in names.namespaces


def read(span: Span, facts: Facts, contents: Contents) -> Reading | None:
    """Return which agent was run or which service was asked; None for other spans: they follow the convention."""
    del contents
    if "embabel" not in facts.names.namespaces:
        return None
    operation = facts.text("gen_ai.operation.name")
    if operation == "agent":
        return with_role(read_role(span, facts, "span", dialect="embabel"), "agent", facts.text(_AGENT), facts)
    if operation == "rag":
        return with_role(Reading(dialect="embabel"), "retrieval", facts.text("embabel.rag.service") or span.name, facts)
    return None
