"""Model Context Protocol (https://github.com/open-telemetry/semantic-conventions-genai/blob/main/docs/gen-ai/mcp.md)."""

from __future__ import annotations

from otel_obs.dialects.content import Contents
from otel_obs.dialects.facts import Facts
from otel_obs.dialects.gen_ai import with_role
from otel_obs.dialects.names import Names
from otel_obs.model import Reading, Span

_METHOD = "mcp.method.name"


def concerns(scope: str, names: Names) -> bool:
    """Tell whether a span may be a request of the protocol."""
    del scope
    return _METHOD in names.all


def read(span: Span, facts: Facts, contents: Contents) -> Reading | None:
    """Return what *span* means as a request of the protocol; None if it is none."""
    del contents
    method = facts.text(_METHOD)
    if method is None:
        return None
    reading = Reading(dialect="mcp", conversation_id=None, failed=facts.text("error.type") == "tool_error")
    if method == "tools/call":
        return with_role(reading, "tool", facts.text("gen_ai.tool.name") or span.name.rpartition(" ")[2], facts)
    return reading
