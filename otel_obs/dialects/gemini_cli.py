"""Gemini CLI (https://geminicli.com/docs/cli/telemetry), Qwen Code and other forks of it: log records, and spans.

A request is told by its record ``<tool>.api_response`` with all of its tokens. The same program tells it again by an
event of the GenAI convention and, with traces on, by a span, both without cached and thinking tokens: these are not
counted.
"""

from __future__ import annotations

from dataclasses import replace

from otel_obs.dialects.call import call_reading
from otel_obs.dialects.content import Contents, Part
from otel_obs.dialects.facts import Facts
from otel_obs.dialects.gen_ai import with_role
from otel_obs.dialects.names import Names
from otel_obs.dialects.usage import Counts, usage
from otel_obs.model import Call, LogRecord, Reading, Span

CONTENT: dict[str, Part | None] = {
    "prompt": "input",
    "request_text": "input",
    "response_text": "output",
    "function_args": "tool_arguments",
}
"""Names that hold content on its records only."""

_SCOPES = frozenset({"gemini-cli", "qwen-code"})
_EVENTS = frozenset({"api_request", "api_response", "api_error", "user_prompt", "tool_call"})
"""Last parts of its events' names, whatever a fork puts before them."""
_DETAILS = "gen_ai.client.inference.operation.details"
_CALL, _TOOL, _AGENT, _PROMPT = "llm_call", "tool_call", "agent_call", "user_prompt"
_OPERATIONS = frozenset({_CALL, _TOOL, _AGENT, _PROMPT, "schedule_tool_calls", "system_prompt"})
_PROVIDERS = {"gemini-api-key": "gcp.gemini", "oauth-personal": "gcp.gemini", "vertex-ai": "gcp.vertex_ai"}
"""How it has authenticated -> who serves; a key of OpenAI's protocol says nothing of who does."""


def tells(scope: str, name: str, facts: Facts) -> bool:
    """Tell whether a record of *scope*, an event called *name*, is one of the family's."""
    if scope in _SCOPES:
        return True
    return name.rpartition(".")[2] in _EVENTS and facts.has("prompt_id") and facts.has("session.id")


def read_log(record: LogRecord, name: str, facts: Facts, contents: Contents) -> Reading:
    """Return what *record*, an event called *name*, means to the family."""
    reading = Reading(event_type="log", dialect="gemini_cli")
    event = name.rpartition(".")[2]
    if event == "api_response":
        reading = replace(_call(facts, contents), event_type="log")
    elif name == _DETAILS:
        reading = replace(reading, is_rollup=facts.has("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"))
    agent = facts.text("subagent_name") or (record.scope.name if record.scope.name in _SCOPES else None)
    return replace(
        reading,
        failed=event == "api_error",
        agent_id=agent,
        agent_name=agent,
        conversation_id=facts.text("session.id"),
        user_id=facts.text("user.email"),
    )


def concerns(scope: str, names: Names) -> bool:
    """Tell whether a span may be one of the family's."""
    del names
    return scope in _SCOPES


def read(span: Span, facts: Facts, contents: Contents) -> Reading | None:
    """Return what *span* means to the family; None if it follows the convention."""
    del contents
    operation = facts.text("gen_ai.operation.name")
    if span.scope.name not in _SCOPES or operation not in _OPERATIONS:
        return None
    agent = facts.text("gen_ai.agent.name")
    reading = Reading(
        dialect="gemini_cli", agent_id=agent, agent_name=agent, conversation_id=facts.text("gen_ai.conversation.id")
    )
    if operation == _CALL:
        return replace(reading, event_type="llm", is_rollup=True)
    if operation == _TOOL:
        reading = with_role(reading, "tool", facts.text("gen_ai.tool.name"), facts)
        call_id = facts.text("gen_ai.tool.call_id", "gen_ai.tool.call.id")
        return replace(reading, step=None if reading.step is None else replace(reading.step, call_id=call_id))
    if operation in (_AGENT, _PROMPT):
        return with_role(reading, "agent", agent, facts)
    return reading


def _call(facts: Facts, contents: Contents) -> Reading:
    """Return the reading of a request; the total shows whether thinking and tools' prompts are on top of it."""
    model = facts.text("model")
    tools = facts.tokens("tool_token_count") or 0
    tokens, output = facts.tokens("input_token_count"), facts.tokens("output_token_count")
    thoughts, total = facts.tokens("thoughts_token_count"), facts.tokens("total_token_count")
    if tokens is not None and tools and total == tokens + tools + (output or 0) + (thoughts or 0):
        # What tools said is read by the model, and billed as input: toolUsePromptTokenCount of the Gemini API.
        tokens += tools
    counts = Counts(
        input=tokens,
        output=output,
        total=total,
        cache_read=facts.tokens("cached_content_token_count"),
        reasoning=thoughts,
    )
    call = Call(
        operation="chat",
        provider=_PROVIDERS.get(facts.text("auth_type") or ""),
        request_model=model,
        response_model=model,
        response_id=facts.text("response_id"),
        usage=usage(counts, apart=False),
        finish_reason=_first(facts.attributes.get("finish_reasons")),
    )
    return call_reading(
        call,
        facts,
        dialect="gemini_cli",
        has_output=contents.of("output") is not None,
        said_usage=facts.has("input_token_count", "output_token_count"),
    )


def _first(reasons: object) -> str | None:
    found = reasons[0] if isinstance(reasons, (list, tuple)) and reasons else None
    return found if isinstance(found, str) else None
