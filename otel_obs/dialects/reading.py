"""What does this span, or this log record, mean?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from otel_obs.dialects import (
    agent_framework,
    claude_code,
    gen_ai,
    google_adk,
    haystack,
    langfuse,
    langsmith,
    litellm,
    logfire,
    logs,
    mcp,
    mlflow,
    openinference,
    openlit,
    openllmetry,
    pydantic_ai,
    semantic_kernel,
    strands,
    vercel_ai,
)
from otel_obs.dialects.call import is_conversation
from otel_obs.dialects.content import Contents, Part, body_of, contents_of, event_part
from otel_obs.dialects.facts import Facts
from otel_obs.dialects.guardrail import REFERENCES, is_check
from otel_obs.model import Content, LogRecord, Reading, Span
from otel_obs.semconv import NODE_ID, RUN_ID, WORKFLOW_ID

Dialect = Callable[[Span, Facts, Contents], "Reading | None"]

DIALECTS: tuple[Dialect, ...] = (
    claude_code.read,
    litellm.read,
    openlit.read,
    strands.read,
    logfire.read,
    pydantic_ai.read,
    agent_framework.read,
    google_adk.read,
    semantic_kernel.read,
    langsmith.read,
    langfuse.read,
    mlflow.read,
    vercel_ai.read,
    openinference.read,
    mcp.read,
    openllmetry.read,
    haystack.read,
    gen_ai.read,
)
"""In order of trust: the first dialect that recognises a span is believed; the general convention is last."""

_USERS = ("user.id", "enduser.id", "gen_ai.user.id", "gen_ai.request.user", "openai.request.user")
_CONVERSATIONS = ("gen_ai.conversation.id", "session.id")


def read(span: Span) -> Reading:
    """Return what *span* means; a span of no dialect is a mere span."""
    facts = Facts(span.attributes)
    contents = contents_of(span.attributes, span.events, more=_content_names(span))
    reading = _first(span, facts, contents)
    if reading.event_type == "span" and reading.call is None and is_check(facts):
        reading = gen_ai.with_role(reading, "guardrail", None, facts)
    return _completed(reading, span, facts, contents)


def _first(span: Span, facts: Facts, contents: Contents) -> Reading:
    for dialect in DIALECTS:
        found = dialect(span, facts, contents)
        if found is not None:
            return found
    return NO_DIALECT


NO_DIALECT = Reading()


def _completed(reading: Reading, span: Span, facts: Facts, contents: Contents) -> Reading:
    """Return *reading* with what every dialect says in the same way."""
    flags = (*reading.flags, *(flag for flag in facts.flags if flag not in reading.flags))
    node_id = facts.text(NODE_ID)
    is_agent = reading.run is not None and reading.run.kind == "agent"
    return Reading(
        event_type=reading.event_type,
        dialect=reading.dialect,
        name=reading.name or _text_of_template(span, facts),
        call=reading.call,
        run=reading.run,
        step=reading.step,
        check=reading.check,
        is_rollup=reading.is_rollup,
        failed=reading.failed,
        error_type=reading.error_type or facts.text("error.type"),
        agent_id=node_id if is_agent and node_id else reading.agent_id,
        agent_name=reading.agent_name,
        flow_id=_flow(reading, span, facts),
        run_id=facts.text(RUN_ID),
        conversation_id=_conversation(reading, facts),
        user_id=reading.user_id or facts.text(*_USERS),
        contents=_parts(reading, contents),
        content_keys=contents.keys if reading.check is None else contents.keys | REFERENCES,
        content_event_keys=contents.event_keys,
        body_is_content=reading.body_is_content,
        flags=flags,
    )


def _conversation(reading: Reading, facts: Facts) -> str | None:
    found = reading.conversation_id
    if found is not None and is_conversation(found):
        return found
    for name in _CONVERSATIONS:
        found = facts.text(name)
        if found is not None and is_conversation(found):
            return found
    return None


def _flow(reading: Reading, span: Span, facts: Facts) -> str | None:
    """Return the workflow's id; only a workflow's own span and a root say its name truly.

    Emitters hand the name of a workflow down in their own ways, and leak it to spans of others.
    """
    named = facts.text(WORKFLOW_ID)
    if named is not None:
        return named
    if reading.run is not None and reading.run.kind == "workflow":
        return reading.run.name
    if span.parent_span_id is None:
        return facts.text("gen_ai.workflow.name", "traceloop.workflow.name")
    return None


def _text_of_template(span: Span, facts: Facts) -> str | None:
    return facts.text("logfire.msg") if "{" in span.name else None


_AS_TOOL: dict[str, Part] = {"input": "tool_arguments", "output": "tool_result"}


def _parts(reading: Reading, contents: Contents) -> tuple[Content, ...]:
    """Return the contents under the names of what the span is; what a guardrail flagged is content too."""
    parts = contents.parts
    if reading.step is not None and reading.step.kind == "tool":
        said = {content.part for content in parts}
        parts = tuple(
            Content(_AS_TOOL.get(content.part, content.part), content.body)
            for content in parts
            if _AS_TOOL.get(content.part) not in said
        )
    if reading.check is not None and reading.check.flagged_reference:
        parts = (*parts, Content("reference", reading.check.flagged_reference))
    return parts


def _content_names(span: Span) -> Mapping[str, Part | None] | None:
    scope = span.scope.name
    if logfire.is_logfire(span):
        return logfire.CONTENT
    if pydantic_ai.is_pydantic_ai(span):
        return pydantic_ai.CONTENT
    if claude_code.is_claude_code(scope):
        return claude_code.CONTENT
    if scope.startswith("autogen"):
        return {"message": None}
    return None


def read_log(record: LogRecord) -> Reading:
    """Return what *record* means; a record of no convention is a log."""
    facts = Facts(record.attributes)
    is_claude = claude_code.is_claude_code(record.scope.name)
    contents = contents_of(record.attributes, more=claude_code.CONTENT if is_claude else None)
    name = record.event_name or facts.text("event.name") or ""
    reading = claude_code.read_log(record, facts) or logs.read_log(record, name, facts, contents)
    part = event_part(name)
    parts = contents.parts if part is None else (Content(part, body_of(record.body)),)
    return replace(
        reading,
        name=reading.name or name or None,
        run_id=facts.text(RUN_ID),
        flow_id=facts.text(WORKFLOW_ID),
        conversation_id=_conversation(reading, facts),
        user_id=reading.user_id or facts.text(*_USERS),
        contents=parts,
        content_keys=contents.keys,
        body_is_content=part is not None,
        flags=tuple(facts.flags),
    )
