"""LangSmith's OpenTelemetry exporter (https://docs.smith.langchain.com/observability/how_to_guides/trace_with_opentelemetry)."""

from __future__ import annotations

from dataclasses import replace

from otel_obs.dialects.answer import answer_of
from otel_obs.dialects.content import Contents
from otel_obs.dialects.facts import Facts
from otel_obs.dialects.gen_ai import read_call, with_role
from otel_obs.dialects.names import Names
from otel_obs.dialects.usage import merged, usage_of
from otel_obs.model import Call, EventType, Reading, Span, Usage

_KIND = "langsmith.span.kind"
_METADATA = "langsmith.metadata."
_ROLES: dict[str, EventType] = {"tool": "tool", "retriever": "retrieval"}


def concerns(scope: str, names: Names) -> bool:
    """Tell whether a span may be one of LangSmith's."""
    del scope
    return _KIND in names.all


def read(span: Span, facts: Facts, contents: Contents) -> Reading | None:
    """Return what *span* means to LangSmith; None if it is not one of its spans."""
    kind = facts.text(_KIND)
    if kind is None:
        return None
    if kind in {"llm", "embedding"}:
        reading = _call(span, facts, contents, "chat" if kind == "llm" else "embeddings")
    else:
        reading = _role(span, facts, kind)
    return replace(
        reading,
        conversation_id=facts.text(_METADATA + "session_id", _METADATA + "thread_id", _METADATA + "conversation_id"),
        user_id=facts.text(_METADATA + "user_id"),
    )


def _role(span: Span, facts: Facts, kind: str) -> Reading:
    reading = Reading(dialect="langsmith", is_rollup=facts.has("gen_ai.usage.input_tokens"))
    if facts.text(_METADATA + "lc_agent_name") == span.name:
        return with_role(replace(reading, agent_id=span.name, agent_name=span.name), "agent", span.name, facts)
    if kind in _ROLES:
        return with_role(reading, _ROLES[kind], facts.text("gen_ai.tool.name") or span.name, facts)
    if kind == "chain" and span.parent_span_id is None:
        return with_role(reading, "workflow", span.name, facts)
    return reading


def _call(span: Span, facts: Facts, contents: Contents, operation: str) -> Reading:
    answer = answer_of(facts.parsed("gen_ai.completion"), facts)
    reported = facts.mapping(_METADATA + "usage_metadata", "langsmith.usage_metadata")
    found = merged(usage_of(reported, facts, apart=False) if reported else Usage(), answer.usage)
    reading = read_call(span, facts, contents, operation, found=found, dialect="langsmith")
    if any(event.name == "exception" for event in span.events):
        # Its exporter leaves the status as it is when a model refuses.
        reading = replace(reading, failed=True, call=_failed(reading.call))
    if reading.call is None:
        return reading
    call = reading.call
    return replace(
        reading,
        call=replace(
            call,
            response_id=call.response_id or answer.response_id,
            response_model=call.response_model or answer.model,
            finish_reason=call.finish_reason or answer.finish_reason,
            is_stream=answer.is_stream
            or (facts.truth(_METADATA + "stream") if call.is_stream is None else call.is_stream),
        ),
    )


def _failed(call: Call | None) -> Call | None:
    return None if call is None else replace(call, failed=True)
