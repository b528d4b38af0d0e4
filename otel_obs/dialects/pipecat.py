"""Pipecat (https://docs.pipecat.ai/server/utilities/opentelemetry): what it asks of models is told by the convention.

Around that are a span of the conversation and one of each turn, which alone say which conversation it is.
"""

from __future__ import annotations

from dataclasses import replace

from otel_obs.dialects.content import Contents
from otel_obs.dialects.facts import Facts
from otel_obs.dialects.gen_ai import with_role
from otel_obs.dialects.names import Names
from otel_obs.model import Reading, Span

SCOPE = "pipecat.turn"


def concerns(scope: str, names: Names) -> bool:
    """Tell whether a span may be a conversation, or a turn of one."""
    del names
    return scope == SCOPE


def read(span: Span, facts: Facts, contents: Contents) -> Reading | None:
    """Return what *span* means to Pipecat; None if it is not one of its own."""
    del contents
    if span.scope.name != SCOPE:
        return None
    reading = replace(Reading(dialect="pipecat"), conversation_id=facts.text("conversation.id"))
    return with_role(reading, "workflow", span.name, facts) if span.parent_span_id is None else reading
