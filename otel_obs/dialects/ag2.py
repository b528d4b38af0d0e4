"""AG2 (https://docs.ag2.ai/latest/docs/user-guide/tracing/): the GenAI convention, and spans that keep accounts."""

from __future__ import annotations

from otel_obs.dialects.content import Contents
from otel_obs.dialects.facts import Facts
from otel_obs.dialects.gen_ai import read_call
from otel_obs.dialects.names import Names
from otel_obs.model import Reading, Span

_TYPE = "ag2.span.type"
_TOLD_HERE_ONLY = frozenset({"compaction", "aggregation"})
"""What is spent on a conversation itself has no span of a request beside the account of it."""


def concerns(scope: str, names: Names) -> bool:
    """Tell whether a span may be an account of AG2's."""
    del scope
    return _TYPE in names.all


def read(span: Span, facts: Facts, contents: Contents) -> Reading | None:
    """Return what an account means; None for AG2's other spans: they follow the convention.

    Of a request, and of all that another agent asked for, the account repeats what other spans tell.
    """
    if facts.text(_TYPE) != "usage":
        return None
    if facts.text("ag2.usage.kind") in _TOLD_HERE_ONLY:
        return read_call(span, facts, contents, "chat", dialect="ag2")
    return Reading(dialect="ag2", is_rollup=True)
