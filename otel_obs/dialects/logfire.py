"""Logfire: its instrumentations of model clients and of OpenAI Agents.

https://logfire.pydantic.dev/docs/; a span's name is a template there, its text stands in ``logfire.msg``.
"""

from __future__ import annotations

from dataclasses import replace

from otel_obs.dialects.answer import answer_of
from otel_obs.dialects.content import Contents, Part
from otel_obs.dialects.facts import Facts, text_of
from otel_obs.dialects.gen_ai import OPERATIONS, read_call, with_role
from otel_obs.dialects.names import Names
from otel_obs.dialects.usage import merged, usage_of
from otel_obs.model import EventType, Reading, Span, Usage

CONTENT: dict[str, Part | None] = {
    "input": "input",
    "raw_input": "input",
    "output": "output",
    "response": "output",
    "events": "input",
    "model_settings": None,
    "model_config": None,
    "from_agent_input": None,
}
"""Names that hold content on Logfire's own spans only."""

_STREAMED = "streaming response from"
"""How spans are called that tell of an answer after its last piece."""
_REQUESTS = ("Responses API with", "Chat completion with", "Chat Completion with", _STREAMED,
             "Message with", "Embedding Creation with", "Completion with", "Image Generation with")  # fmt: skip
_ROLES: tuple[tuple[str, EventType], ...] = (
    ("OpenAI Agents trace:", "workflow"),
    ("Agent run:", "agent"),
    ("Function:", "tool"),
    ("Guardrail", "guardrail"),
)


def is_logfire(scope: str) -> bool:
    """Tell whether an instrumentation of Logfire made a span of *scope*."""
    return scope == "logfire" or scope.startswith("logfire.")


def concerns(scope: str, names: Names) -> bool:
    """Tell whether a span may be one of Logfire's."""
    del names
    return is_logfire(scope)


def read(span: Span, facts: Facts, contents: Contents) -> Reading | None:
    """Return what *span* means to Logfire; None if Logfire did not make it."""
    if not is_logfire(span.scope.name):
        return None
    operation = facts.text("gen_ai.operation.name")
    if operation in OPERATIONS or (operation is None and _is_request(span, facts)):
        return _call(span, facts, contents, OPERATIONS.get(operation or "", "chat"))
    if operation is not None:
        return None
    role = next((role for start, role in _ROLES if span.name.startswith(start)), None)
    if role is None and not facts.has("gen_ai.system"):
        return None
    return _with_owner(_role(facts, role or "span"), facts)


def _is_request(span: Span, facts: Facts) -> bool:
    return span.name.startswith(_REQUESTS) and facts.has("gen_ai.request.model", "request_data")


def _call(span: Span, facts: Facts, contents: Contents, operation: str) -> Reading:
    answer = answer_of(facts.parsed("response"), facts)
    found = merged(_raw_usage(facts), answer.usage)
    reading = read_call(span, facts, contents, operation, found=found, dialect="logfire")
    if reading.call is None:
        return reading
    response_id = reading.call.response_id or facts.text("response_id") or answer.response_id
    call = replace(reading.call, response_id=response_id)
    if span.name.startswith(_STREAMED):
        call = replace(call, is_stream=True)
    if reading.call.response_model is None and answer.model is not None:
        call = replace(call, response_model=answer.model)
    return replace(reading, call=call)


def _raw_usage(facts: Facts) -> Usage:
    raw = facts.mapping("usage")
    return usage_of(raw, facts) if raw else Usage()


def _role(facts: Facts, role: EventType) -> Reading:
    name = facts.text("name")
    reading = Reading(dialect="logfire", is_rollup=facts.has("usage"))
    if role == "agent":
        reading = replace(reading, agent_id=name, agent_name=name)
    elif agent := facts.text("agent_name"):
        reading = replace(reading, agent_id=agent, agent_name=agent)
    return with_role(reading, role, name, facts)


def _with_owner(reading: Reading, facts: Facts) -> Reading:
    metadata = facts.mapping("metadata")
    return replace(
        reading,
        conversation_id=facts.text("group_id"),
        user_id=text_of(metadata.get("user_id")) or text_of(metadata.get("user")),
    )
