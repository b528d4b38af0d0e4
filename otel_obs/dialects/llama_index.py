"""LlamaIndex's own exporter, ``llama-index-observability-otel``.

https://docs.llamaindex.ai/en/stable/module_guides/observability/#opentelemetry. A span is a method of a class; what it
did stands in span events, whose attributes spell a nested object: ``response.raw.usage.prompt_tokens``.
"""

from __future__ import annotations

import re
from dataclasses import replace

from otel_obs.dialects.answer import NOTHING, answer_of
from otel_obs.dialects.call import call_reading
from otel_obs.dialects.content import Contents, EventNames
from otel_obs.dialects.facts import Facts, parse, text_of
from otel_obs.dialects.gen_ai import with_role
from otel_obs.dialects.names import Names
from otel_obs.dialects.provider import served_by
from otel_obs.model import Attributes, AttributeValue, Call, Reading, Span, SpanEvent

SCOPE = "llamaindex.opentelemetry.tracer"
EVENTS = EventNames(
    mark="class_name",
    parts={
        "messages": "input",
        "prompt": "input",
        "query.query_str": "input",
        "str_or_query_bundle.query_str": "input",
        "chunks": "input",
        "response.message.blocks": "output",
        "response.text": "output",
        "response.response": "output",
        "nodes": "output",
        "output": "output",
    },
    kept=(
        "class_name", "id_", "span_id", "timestamp", "model_dict.", "response.raw.id", "response.raw.model",
        "response.raw.usage", "response.raw.object", "response.raw.finish_reason", "tags.llamaindex.run_id",
        "tags.llamaindex.step.input_event",
    ),
)  # fmt: skip
"""What its span events say."""
_ASKED = {"LLMChatStartEvent": "chat", "LLMCompletionStartEvent": "chat", "EmbeddingStartEvent": "embeddings"}
"""The first event of a request -> what is asked."""
_ANSWERED = frozenset({"LLMChatEndEvent", "LLMCompletionEndEvent", "EmbeddingEndEvent"})
_RAW = "response.raw."
_SUMMARY = "llamaindex.step.input_summary"
_STREAM = re.compile(r"\.a?stream_")
_AGENT_RUN = re.compile(r"(?:Agent|AgentWorkflow)\.run$")
_TOOL_RUN = re.compile(r"Tool\.a?call$")
_AGENT = re.compile(r"current_agent_name='([^']{1,200})'")
_TOOL = re.compile(r"\btool_name='([^']{1,200})'")


def concerns(scope: str, names: Names) -> bool:
    """Tell whether a span may be one of the exporter's."""
    del names
    return scope == SCOPE


def read(span: Span, facts: Facts, contents: Contents) -> Reading | None:
    """Return what *span* means to LlamaIndex; None if its exporter did not make it."""
    del contents
    if span.scope.name != SCOPE:
        return None
    asked = next((event for event in span.events if event.name in _ASKED), None)
    if asked is not None:
        return _call(span, facts, asked)
    summary = facts.text(_SUMMARY) or ""
    agent = _named(_AGENT, summary)
    reading = Reading(dialect="llama_index", agent_id=agent, agent_name=agent)
    if _AGENT_RUN.search(span.name):
        # A class is no name; the steps below name the agent.
        return with_role(reading, "agent", agent, facts)
    if _TOOL_RUN.search(span.name):
        return with_role(reading, "tool", _named(_TOOL, summary) or span.name.partition(".")[0], facts)
    if span.name.endswith(".retrieve"):
        return with_role(reading, "retrieval", span.name.partition(".")[0], facts)
    return reading


def _named(pattern: re.Pattern[str], text: str) -> str | None:
    found = pattern.search(text)
    return found[1] if found is not None else None


def _call(span: Span, facts: Facts, asked: SpanEvent) -> Reading:
    answered = next((event for event in span.events if event.name in _ANSWERED), None)
    answer = answer_of(_raw_answer(answered.attributes), facts) if answered is not None else NOTHING
    operation = _ASKED[asked.name]
    failed = span.status_code == 2
    call = Call(
        operation=operation,
        provider=served_by(span.name.partition(".")[0]),
        request_model=text_of(asked.attributes.get("model_dict.model_name")),
        response_model=answer.model,
        response_id=answer.response_id,
        usage=answer.usage,
        failed=failed,
        service_tier=answer.service_tier,
        is_stream=operation == "chat" and _STREAM.search(span.name) is not None,
        finish_reason=answer.finish_reason,
    )
    # A stream ends without an event, and was served all the same.
    served = answered is not None or (bool(call.is_stream) and not failed)
    reading = call_reading(call, facts, dialect="llama_index", has_output=served, said_usage=False)
    agent = _named(_AGENT, facts.text(_SUMMARY) or "")
    return replace(reading, agent_id=agent, agent_name=agent)


def _raw_answer(attributes: Attributes) -> dict[str, object]:
    """Return the provider's answer, which the names of *attributes* spell out."""
    found: dict[str, object] = {}
    for name, value in attributes.items():
        if name.startswith(_RAW):
            _place(found, name.removeprefix(_RAW).split("."), value)
    return found


def _place(node: dict[str, object], steps: list[str], value: AttributeValue) -> None:
    for step in steps[:-1]:
        inner = node.setdefault(step, {})
        if not isinstance(inner, dict):
            return
        node = inner
    given = parse(value) if isinstance(value, str) and value[:1] in "[{" else value
    node.setdefault(steps[-1], value if given is None and value != "null" else given)
