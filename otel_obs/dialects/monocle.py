"""Monocle (https://github.com/monocle2ai/monocle): entities are numbered, what was said and used stands in events."""

from __future__ import annotations

from otel_obs.dialects.call import call_reading
from otel_obs.dialects.content import Contents
from otel_obs.dialects.facts import Facts, text_of
from otel_obs.dialects.gen_ai import with_role
from otel_obs.dialects.names import Names
from otel_obs.dialects.provider import bills_cache_apart, provider_name
from otel_obs.dialects.usage import usage_of
from otel_obs.model import Attributes, Call, EventType, Reading, Span, Usage

_MARK = "monocle_apptrace.version"
_REQUESTS = {"inference": "chat", "inference.framework": "chat", "embedding": "embeddings"}
_ROLES: dict[str, EventType] = {
    "workflow": "workflow",
    "agentic.invocation": "agent",
    "agentic.tool.invocation": "tool",
    "agentic.mcp.invocation": "tool",
    "retrieval": "retrieval",
}
_ENTITIES = tuple(f"entity.{number}.type" for number in range(1, 10))


def concerns(scope: str, names: Names) -> bool:
    """Tell whether a span may be one of Monocle's."""
    del scope
    return _MARK in names.all


def read(span: Span, facts: Facts, contents: Contents) -> Reading | None:
    """Return what *span* means to Monocle; None if it is not one of its spans."""
    if not facts.has(_MARK):
        return None
    kind = facts.text("span.type") or ""
    if kind in _REQUESTS:
        return _call(span, facts, contents, _REQUESTS[kind])
    role = _ROLES.get(kind, "span")
    if role == "workflow" and span.parent_span_id is not None:
        role = "span"
    name = {
        "agent": _entity(facts, "agent."),
        "tool": _entity(facts, "tool."),
        "workflow": facts.text("workflow.name"),
    }.get(role)
    return with_role(Reading(dialect="monocle"), role, name or span.name, facts)


def _call(span: Span, facts: Facts, contents: Contents, operation: str) -> Reading:
    said = _metadata(span)
    kind = next((facts.text(name) for name in facts.sent(*_ENTITIES) if _begins(facts, name, "inference.")), None)
    provider = provider_name((kind or "").removeprefix("inference.")) or provider_name(
        facts.text("entity.1.provider_name")
    )
    model = _entity(facts, "model.")
    call = Call(
        operation=operation,
        provider=provider,
        request_model=model,
        # The figures are those that the provider gives.
        usage=usage_of(said, facts, apart=bills_cache_apart(provider, model)) if said else Usage(),
        failed=span.status_code == 2,
        finish_reason=text_of(said.get("finish_reason")),
    )
    return call_reading(
        call, facts, dialect="monocle", has_output=contents.of("output") is not None, said_usage=bool(said)
    )


def _metadata(span: Span) -> Attributes:
    return next((event.attributes for event in span.events if event.name == "metadata"), {})


def _entity(facts: Facts, beginning: str) -> str | None:
    """Return the name of the first entity whose type begins so."""
    for name in facts.sent(*_ENTITIES):
        if _begins(facts, name, beginning):
            return text_of(facts.attributes.get(name.replace(".type", ".name")))
    return None


def _begins(facts: Facts, name: str, beginning: str) -> bool:
    return str(facts.attributes[name]).startswith(beginning)
