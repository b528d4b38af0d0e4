"""Genkit (https://genkit.dev/docs/observability/advanced-configuration): what a step was given and gave, as JSON.

Its SDKs for JavaScript, Go and Python use the same attributes.
"""

from __future__ import annotations

from dataclasses import replace

from otel_obs.dialects.answer import NOTHING, answer_of
from otel_obs.dialects.call import call_reading
from otel_obs.dialects.content import Contents
from otel_obs.dialects.facts import Facts, mapping_of, text_of
from otel_obs.dialects.gen_ai import with_role
from otel_obs.dialects.names import Names
from otel_obs.dialects.provider import provider_name
from otel_obs.dialects.usage import merged, usage_of
from otel_obs.model import Call, EventType, Reading, Span

_TYPE = "genkit:type"
_SUBTYPES = ("genkit:metadata:subtype", "genkit:subtype")
_REQUESTS = {"model": "chat", "background-model": "chat", "embedder": "embeddings", "reranker": "rerank"}
_ROLES: dict[str, EventType] = {
    "flow": "workflow",
    "tool": "tool",
    "tool.v2": "tool",
    "retriever": "retrieval",
    "evaluator": "evaluation",
}


def concerns(scope: str, names: Names) -> bool:
    """Tell whether a span may be one of Genkit's."""
    del scope
    return _TYPE in names.all


def read(span: Span, facts: Facts, contents: Contents) -> Reading | None:
    """Return what *span* means to Genkit; None if it is not one of its spans."""
    kind = facts.text(_TYPE)
    if kind is None:
        return None
    subtype = facts.text(*_SUBTYPES) or kind
    name = facts.text("genkit:name") or span.name
    if subtype in _REQUESTS:
        reading = _call(span, facts, contents, _REQUESTS[subtype], name)
    else:
        reading = with_role(Reading(dialect="genkit"), _ROLES.get(subtype, "span"), name, facts)
    return replace(
        reading,
        failed=reading.failed or facts.text("genkit:state") == "error",
        conversation_id=facts.text("genkit:sessionId"),
    )


def _call(span: Span, facts: Facts, contents: Contents, operation: str, name: str) -> Reading:
    """Read a request; the provider's own answer stands in ``raw``, or in ``custom``, beside Genkit's view of it."""
    plugin, _, model = name.rpartition("/")
    output = facts.mapping("genkit:output")
    own = next(
        (answer for key in ("raw", "custom") if (answer := answer_of(output.get(key), facts)) != NOTHING), NOTHING
    )
    seen = mapping_of(output.get("usage"))
    failed = span.status_code == 2 or facts.text("genkit:state") == "error"
    call = Call(
        operation=operation,
        provider=provider_name(plugin),
        request_model=model,
        response_model=own.model or model,
        response_id=own.response_id,
        usage=merged(own.usage, usage_of(seen, facts)),
        failed=failed,
        service_tier=own.service_tier,
        finish_reason=own.finish_reason or text_of(output.get("finishReason")),
    )
    return call_reading(
        call,
        facts,
        dialect="genkit",
        has_output=contents.of("output") is not None,
        said_usage=bool(seen),
    )
