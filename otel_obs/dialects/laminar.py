"""Laminar's own spans (https://docs.laminar.sh/tracing/structure/observe); of models others tell, or the convention."""

from __future__ import annotations

from otel_obs.dialects.content import Contents
from otel_obs.dialects.facts import Facts
from otel_obs.dialects.gen_ai import OPERATIONS, with_role
from otel_obs.dialects.names import Names
from otel_obs.model import EventType, Reading, Span

_ASSOCIATION = "lmnr.association.properties."
USER: str = _ASSOCIATION + "user_id"
CONVERSATION: str = _ASSOCIATION + "session_id"
"""What its SDK puts on every span of a trace, whoever made it. Their type is said, as mypyc reads ``reading`` first."""
_TYPE = "lmnr.span.type"
_INPUT = "lmnr.span.input"
_ROLES: dict[str, EventType] = {"TOOL": "tool", "EVALUATOR": "evaluation", "HUMAN_EVALUATOR": "evaluation"}


def concerns(scope: str, names: Names) -> bool:
    """Tell whether a span may be one of Laminar's."""
    del scope
    return _TYPE in names.all or _INPUT in names.all


def read(span: Span, facts: Facts, contents: Contents) -> Reading | None:
    """Return what *span* means to Laminar; None if it is a request, or another's span that Laminar added to."""
    del contents
    kind = facts.text(_TYPE) or ("DEFAULT" if facts.has(_INPUT) else "LLM")
    if kind == "LLM" or facts.text("gen_ai.operation.name") in OPERATIONS or not span.scope.name.startswith("lmnr"):
        return None
    role = _ROLES.get(kind, "workflow" if span.parent_span_id is None else "span")
    return with_role(Reading(dialect="laminar"), role, span.name, facts)
