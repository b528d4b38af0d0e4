"""Claude Code (https://docs.anthropic.com/en/docs/claude-code/monitoring-usage): spans, and often logs alone."""

from __future__ import annotations

from dataclasses import replace

from otel_obs.dialects.call import call_reading
from otel_obs.dialects.content import Contents, Part
from otel_obs.dialects.facts import Facts
from otel_obs.dialects.gen_ai import with_role
from otel_obs.dialects.names import Names
from otel_obs.dialects.provider import provider_name
from otel_obs.dialects.usage import Counts, usage
from otel_obs.model import Call, LogRecord, Reading, Span

SCOPE = "com.anthropic.claude_code"
CONTENT: dict[str, Part | None] = {
    "user_prompt": "input",
    "prompt": "input",
    "prompt_text": "input",
    "response": "output",
    "response_text": "output",
    "tool_input": "tool_arguments",
    "tool_parameters": "tool_arguments",
    "tool_result": "tool_result",
    "new_context": "input",
    "body": "input",
}
"""Names that hold content on its spans and records only."""

_AGENT = "claude-code"


def is_claude_code(scope: str) -> bool:
    """Tell whether Claude Code made a span or record of *scope*."""
    return scope.startswith(SCOPE)


def concerns(scope: str, names: Names) -> bool:
    """Tell whether a span may be one of Claude Code's."""
    del names
    return is_claude_code(scope)


def read(span: Span, facts: Facts, contents: Contents) -> Reading | None:
    """Return what *span* means to Claude Code; None if it is not one of its spans."""
    if not is_claude_code(span.scope.name):
        return None
    kind = facts.text("span.type") or span.name.removeprefix("claude_code.")
    reading = Reading(dialect="claude_code")
    if kind == "llm_request":
        failed = span.status_code == 2 or facts.truth("success") is False
        reading = replace(_call(facts, failed=failed, has_output=contents.of("output") is not None), failed=failed)
    elif kind == "interaction":
        reading = with_role(replace(reading, agent_id=_AGENT, agent_name=_AGENT), "agent", _AGENT, facts)
    elif kind == "tool":
        name = facts.text("gen_ai.tool.name", "tool_name", "tool.name")
        reading = with_role(reading, "tool", name or span.name, facts)
    return replace(reading, conversation_id=facts.text("gen_ai.conversation.id", "session.id"))


def tells(scope: str, name: str, facts: Facts) -> bool:
    """Tell whether a record of *scope* is one of Claude Code's."""
    del name, facts
    return is_claude_code(scope)


def read_log(record: LogRecord, name: str, facts: Facts, contents: Contents) -> Reading:
    """Return what *record*, an event called *name*, means to Claude Code."""
    del record, contents
    reading = Reading(event_type="log", dialect="claude_code")
    if name.removeprefix("claude_code.") == "api_request":
        reading = replace(_call(facts, failed=False, has_output=False), event_type="log")
    return replace(
        reading,
        failed=name.endswith("api_error"),
        agent_id=_AGENT,
        agent_name=_AGENT,
        conversation_id=facts.text("gen_ai.conversation.id", "session.id"),
    )


def _call(facts: Facts, *, failed: bool, has_output: bool) -> Reading:
    """Return the reading of a request: bare names, and Anthropic's own count with the cache apart."""
    model = facts.text("gen_ai.request.model", "model")
    counts = Counts(
        input=facts.tokens("input_tokens"),
        output=facts.tokens("output_tokens"),
        cache_read=facts.tokens("cache_read_tokens"),
        cache_write=facts.tokens("cache_creation_tokens"),
        cache_write_1h=facts.tokens("cache_creation_1h_tokens"),
    )
    call = Call(
        operation="chat",
        provider=provider_name(facts.text("gen_ai.provider.name", "gen_ai.system")) or "anthropic",
        request_model=model,
        response_model=facts.text("gen_ai.response.model", "model"),
        response_id=facts.text("gen_ai.response.id", "request_id"),
        usage=usage(counts, apart=True),
        failed=failed,
        attempts=facts.tokens("attempt"),
        finish_reason=facts.text("stop_reason"),
        time_to_first_token_ms=facts.number("ttft_ms"),
    )
    return call_reading(
        call, facts, dialect="claude_code", has_output=has_output, said_usage=facts.has("input_tokens", "output_tokens")
    )
