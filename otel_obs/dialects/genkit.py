"""Genkit, in JavaScript, Go and Python (https://genkit.dev/docs/observability/).

A span is an action; what kind of action its subtype tells. Input and output are the action's own, as JSON: the usage of
a request to a model stands in its output.
"""

from __future__ import annotations

from dataclasses import replace

from otel_obs.dialects.answer import Answer, answer_of
from otel_obs.dialects.call import call_reading
from otel_obs.dialects.content import Contents
from otel_obs.dialects.facts import Facts, mapping_of, text_of
from otel_obs.dialects.gen_ai import with_role
from otel_obs.dialects.names import Names
from otel_obs.dialects.provider import bills_cache_apart, provider_name
from otel_obs.dialects.usage import cache_is_apart, merged, usage_of
from otel_obs.model import Call, EventType, Reading, Span

_MARKS = ("genkit:path", "genkit:type")
_KIND = ("genkit:metadata:subtype", "genkit:subtype", "genkit:type")
_REQUESTS = {"model": "chat", "background-model": "chat", "embedder": "embeddings", "reranker": "rerank"}
_ROLES: dict[str, EventType] = {
    "flow": "workflow",
    "agent": "agent",
    "tool": "tool",
    "retriever": "retrieval",
    "evaluator": "evaluation",
}


def concerns(scope: str, names: Names) -> bool:
    """Tell whether a span may be one of Genkit's."""
    del scope
    return not names.all.isdisjoint(_MARKS)


def read(span: Span, facts: Facts, contents: Contents) -> Reading | None:
    """Return what *span* means to Genkit; None if it is not one of its spans."""
    if not facts.has(*_MARKS):
        return None
    kind = (facts.text(*_KIND) or "").partition(".")[0]
    name = facts.text("genkit:name") or span.name
    if kind in _REQUESTS:
        reading = _call(span, facts, contents, name, _REQUESTS[kind])
    elif kind in _ROLES:
        reading = with_role(Reading(dialect="genkit"), _ROLES[kind], name, facts)
    else:
        # Helpers around a request give its answer back, usage and all.
        reading = Reading(dialect="genkit", is_rollup="usage" in facts.mapping("genkit:output"))
    return replace(reading, failed=_failed(facts), conversation_id=facts.text("genkit:sessionId"))


def _failed(facts: Facts) -> bool:
    return facts.text("genkit:state") == "error"


def _call(span: Span, facts: Facts, contents: Contents, name: str, operation: str) -> Reading:
    """Return the reading of a request: its own usage, or the provider's where the plugin hands on the answer."""
    output = facts.mapping("genkit:output")
    prefix, slash, model = name.partition("/")
    provider = provider_name(prefix) if slash else None
    answer = _provider_answer(output, facts)
    reported = mapping_of(output.get("usage"))
    apart = bills_cache_apart(provider, model) or cache_is_apart(reported)
    usage = merged(answer.usage, usage_of(reported, facts, apart=apart))
    call = Call(
        operation=operation,
        provider=provider,
        request_model=model if slash else name,
        response_model=answer.model,
        response_id=answer.response_id,
        usage=usage,
        failed=span.status_code == 2 or _failed(facts),
        finish_reason=answer.finish_reason or text_of(output.get("finishReason")),
    )
    return call_reading(
        call,
        facts,
        dialect="genkit",
        has_output=contents.of("output") is not None,
        said_usage=bool(reported),
    )


def _provider_answer(output: object, facts: Facts) -> Answer:
    """Return what the provider's own answer says, which plugins keep beside Genkit's."""
    said = mapping_of(output)
    found = [answer_of(mapping_of(said.get(name)), facts) for name in ("raw", "custom")]
    custom = mapping_of(said.get("custom"))
    answer = next((one for one in found if one.usage.known), found[0] if found[0].model else found[1])
    return Answer(
        response_id=answer.response_id or text_of(custom.get("id")) or text_of(custom.get("responseId")),
        model=answer.model or text_of(custom.get("model")) or text_of(custom.get("modelVersion")),
        usage=answer.usage,
        finish_reason=answer.finish_reason,
    )
