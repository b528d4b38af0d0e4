"""OpenAI's Codex CLI (https://developers.openai.com/codex/config-advanced#observability-and-telemetry): log records.

A request is told by the record of its last event, which names the model and the tokens, and belongs to no trace. Its
spans repeat the tokens without the model, so they stay mere spans: what is counted comes from records alone.
"""

from __future__ import annotations

from dataclasses import replace

from otel_obs.dialects.call import call_reading
from otel_obs.dialects.content import Contents, Part
from otel_obs.dialects.facts import Facts
from otel_obs.dialects.usage import Counts, usage
from otel_obs.model import Call, LogRecord, Reading

CONTENT: dict[str, Part | None] = {
    "prompt": "input",
    "arguments": "tool_arguments",
    "output": "tool_result",
}
"""Names that hold content on its records only."""

_AGENT = "codex"
_FAILED_FROM = 400
"""HTTP status codes of errors."""


def tells(scope: str, name: str, facts: Facts) -> bool:
    """Tell whether a record of *scope*, an event called *name*, is one of Codex's."""
    del scope, facts
    return name.startswith("codex.")


def read_log(record: LogRecord, name: str, facts: Facts, contents: Contents) -> Reading:
    """Return what *record* means to Codex."""
    del record, name, contents
    reading = Reading(event_type="log", dialect="codex")
    if facts.has("input_token_count", "output_token_count"):
        reading = replace(_call(facts), event_type="log")
    status = facts.tokens("http.response.status_code") or 0
    return replace(
        reading,
        failed=status >= _FAILED_FROM or facts.has("error.message") or facts.text("event.kind") == "response.failed",
        agent_id=_AGENT,
        agent_name=_AGENT,
        conversation_id=facts.text("conversation.id"),
        user_id=facts.text("user.account_id", "user.email"),
    )


def _call(facts: Facts) -> Reading:
    """Return the reading of a request; who asks OpenAI has logged in to it, and other providers are not named."""
    model = facts.text("model")
    counts = Counts(
        input=facts.tokens("input_token_count"),
        output=facts.tokens("output_token_count"),
        cache_read=facts.tokens("cached_token_count"),
        cache_write=facts.tokens("cache_write_token_count"),
        reasoning=facts.tokens("reasoning_token_count"),
    )
    call = Call(
        operation="chat",
        provider="openai" if facts.has("auth_mode") else None,
        request_model=model,
        response_model=model,
        usage=usage(counts, apart=False),
        is_stream=True,
        time_to_first_token_ms=facts.number("ttft_ms"),
    )
    return call_reading(call, facts, dialect="codex", has_output=False, said_usage=True)
