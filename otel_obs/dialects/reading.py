"""What does this span, or this log record, mean?"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple, Protocol

from otel_obs.dialects import (
    ag2,
    agent_framework,
    ax_llm,
    beeai,
    claude_code,
    codex,
    effect,
    embabel,
    fast_agent,
    gemini_cli,
    gen_ai,
    genkit,
    google_adk,
    guardrails,
    haystack,
    laminar,
    langfuse,
    langsmith,
    litellm,
    livekit,
    llama_index,
    logfire,
    logs,
    mastra,
    mcp,
    mlflow,
    monocle,
    openinference,
    openlit,
    openllmetry,
    pipecat,
    pydantic_ai,
    semantic_kernel,
    spring_ai,
    strands,
    tanstack,
    upsonic,
    vendors,
    vercel_ai,
    voltagent,
)
from otel_obs.dialects.call import is_conversation
from otel_obs.dialects.content import Contents, EventNames, Layout, Part, body_of, event_part, layout_of
from otel_obs.dialects.facts import Facts
from otel_obs.dialects.guardrail import is_check
from otel_obs.dialects.names import Names, names_of
from otel_obs.model import Content, LogRecord, Reading, Span
from otel_obs.remembering import remembered
from otel_obs.semconv import NODE_ID, RUN_ID, WORKFLOW_ID


class Dialect(Protocol):
    """A module that reads the spans of one instrumentation, or of many that speak alike."""

    def concerns(self, scope: str, names: Names) -> bool:
        """Tell whether spans of *scope* whose attributes have these *names* may be its own; if in doubt they may."""
        ...

    def read(self, span: Span, facts: Facts, contents: Contents) -> Reading | None:
        """Return what *span* means; None if it is not its own after all."""
        ...


DIALECTS: tuple[Dialect, ...] = (
    claude_code,
    gemini_cli,
    litellm,
    openlit,
    ag2,
    strands,
    logfire,
    pydantic_ai,
    agent_framework,
    google_adk,
    semantic_kernel,
    langsmith,
    langfuse,
    laminar,
    mlflow,
    mastra,
    genkit,
    voltagent,
    monocle,
    vercel_ai,
    guardrails,
    beeai,
    openinference,
    mcp,
    haystack,
    llama_index,
    embabel,
    spring_ai,
    livekit,
    pipecat,
    fast_agent,
    upsonic,
    openllmetry,
    ax_llm,
    effect,
    tanstack,
    vendors,
    gen_ai,
)
"""In order of trust: the first dialect that recognises a span is believed; the general convention is last."""


class LogDialect(Protocol):
    """A module that reads the log records of one program."""

    CONTENT: dict[str, Part | None]
    """Names of attributes that hold content on its records only."""

    def tells(self, scope: str, name: str, facts: Facts) -> bool:
        """Tell whether a record of *scope*, an event called *name*, is one of the program's."""
        ...

    def read_log(self, record: LogRecord, name: str, facts: Facts, contents: Contents) -> Reading:
        """Return what *record*, an event called *name*, means."""
        ...


LOG_DIALECTS: dict[str, LogDialect] = {"claude_code": claude_code, "codex": codex, "gemini_cli": gemini_cli}
"""Programs that tell by records what they ask of models, each in words of its own."""


class Kind(NamedTuple):
    """What is known of spans of one instrumentation with attributes of the same names, whatever their values."""

    names: Names
    layout: Layout
    dialects: tuple[Dialect, ...]
    """Who may understand them; to ask the others would be in vain."""


@remembered(2048)
def kind_of(scope: str, names: tuple[str, ...]) -> Kind:
    """Return what is known of spans of *scope* whose attributes have these *names*, in their order."""
    known = names_of(names)
    concerned = tuple(dialect for dialect in DIALECTS if dialect.concerns(scope, known))
    return Kind(known, layout_of(names, _content_names(scope, known), _event_names(scope)), concerned)


_LONGEST_TYPE = 80
"""Characters of a name of an error that has a space in it: ``<class 'openai.RateLimitError'>``."""
_USERS = (
    "user.id", "enduser.id", "gen_ai.user.id", "gen_ai.request.user", "openai.request.user", laminar.USER,
    "trpc.go.agent.runner.user_id",
)  # fmt: skip
_CONVERSATIONS = (
    "gen_ai.conversation.id", "session.id", "gen_ai.session.id", laminar.CONVERSATION, "nat.conversation.id",
)  # fmt: skip


def is_mere(span: Span) -> bool:
    """Tell whether no dialect can understand *span*, as its kind shows before it is read."""
    return span.name != litellm.RAW_REQUEST and not kind_of(span.scope.name, tuple(span.attributes)).dialects


def read(span: Span) -> Reading:
    """Return what *span* means; a span of no dialect is a mere span."""
    kind = kind_of(span.scope.name, tuple(span.attributes))
    facts = Facts(span.attributes, kind.names)
    contents = kind.layout.contents(span.attributes, span.events)
    reading = _first(asked(span, kind), span, facts, contents)
    if reading.event_type == "span" and reading.call is None and is_check(facts):
        reading = gen_ai.with_role(reading, "guardrail", None, facts)
    return _completed(reading, span, facts, contents)


def asked(span: Span, kind: Kind) -> tuple[Dialect, ...]:
    """Return the dialects that may understand *span*, which is of this *kind*."""
    return DIALECTS if span.name == litellm.RAW_REQUEST else kind.dialects


def _first(dialects: Iterable[Dialect], span: Span, facts: Facts, contents: Contents) -> Reading:
    for dialect in dialects:
        found = dialect.read(span, facts, contents)
        if found is not None:
            return found
    return NO_DIALECT


NO_DIALECT = Reading()


def _completed(reading: Reading, span: Span, facts: Facts, contents: Contents) -> Reading:
    """Return *reading* with what every dialect says in the same way."""
    flags = (*reading.flags, *[flag for flag in facts.flags if flag not in reading.flags])
    is_agent = reading.run is not None and reading.run.kind == "agent"
    node_id = facts.text(NODE_ID) if is_agent else None
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
        error_type=reading.error_type or _error_type(facts),
        agent_id=node_id or reading.agent_id,
        agent_name=reading.agent_name,
        flow_id=_flow(reading, span, facts),
        run_id=facts.text(RUN_ID),
        conversation_id=_conversation(reading, facts),
        user_id=reading.user_id or _user(facts),
        contents=_parts(reading, contents),
        content_keys=contents.keys,
        content_event_keys=contents.event_keys,
        body_is_content=reading.body_is_content,
        flags=flags,
    )


def _error_type(facts: Facts) -> str | None:
    """Return the kind of the error; some emitters put there all that was said of it, which names no kind."""
    found = facts.text("error.type", "gen_ai.error.type")
    return None if found is not None and len(found) > _LONGEST_TYPE and " " in found else found


def _user(facts: Facts) -> str | None:
    found = facts.text(*_USERS)
    return None if found == "unknown" else found


def _conversation(reading: Reading, facts: Facts) -> str | None:
    found = reading.conversation_id
    if found is not None and is_conversation(found):
        return found
    for name in _CONVERSATIONS:
        found = (facts.text(name) or "").strip('"')
        if found and is_conversation(found):
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
        if not said.isdisjoint(_AS_TOOL):
            parts = tuple(
                Content(_AS_TOOL.get(content.part, content.part), content.body)
                for content in parts
                if _AS_TOOL.get(content.part) not in said
            )
    if reading.event_type == "embedding":
        # What comes back are vectors.
        parts = tuple(content for content in parts if content.part != "output")
    if reading.check is not None and reading.check.flagged_reference:
        parts = (*parts, Content("reference", reading.check.flagged_reference))
    return parts


_CONTENT_OF: tuple[tuple[Callable[[str], bool], Mapping[str, Part | None]], ...] = (
    (logfire.is_logfire, logfire.CONTENT),
    (pydantic_ai.is_pydantic_ai, pydantic_ai.CONTENT),
    (claude_code.is_claude_code, claude_code.CONTENT),
    (openlit.is_openlit, openlit.CONTENT),
    (voltagent.is_voltagent, voltagent.CONTENT),
    (beeai.is_beeai, beeai.CONTENT),
    (mastra.is_version_0, mastra.CONTENT),
)
_CONTENT_OF_SCOPE: Mapping[str, Mapping[str, Part | None]] = {
    guardrails.SCOPE: guardrails.CONTENT,
    livekit.SCOPE: livekit.CONTENT,
    upsonic.SCOPE: upsonic.CONTENT,
    openinference.AGENTS_OF_BEDROCK: {"metadata": None},
    "promptflow": {"inputs": "input", "output": "output"},
}
_CONTENT_OF_MODULES: Mapping[str, Mapping[str, Part | None]] = {
    "autogen": {"message": None},
    # Until 0.3 every method of the server is a span that says what went in and what came out.
    "llama_stack.": {"__args__": "input", "output": "output"},
}
"""By how a scope begins."""


def _content_names(scope: str, names: Names) -> Mapping[str, Part | None] | None:
    """Return the names that hold content where *scope* is the instrumentation, and elsewhere do not."""
    if effect.runs_tool(names):
        return effect.CONTENT
    if scope in _CONTENT_OF_SCOPE:
        return _CONTENT_OF_SCOPE[scope]
    for is_theirs, content in _CONTENT_OF:
        if is_theirs(scope):
            return content
    return next((content for start, content in _CONTENT_OF_MODULES.items() if scope.startswith(start)), None)


def _event_names(scope: str) -> EventNames | None:
    """Return what span events say where *scope* is a program with events of its own."""
    return llama_index.EVENTS if scope == llama_index.SCOPE else None


def read_log(record: LogRecord) -> Reading:
    """Return what *record* means; a record of no convention is a log."""
    names = tuple(record.attributes)
    facts = Facts(record.attributes, names_of(names))
    name = _event_name(record, facts)
    program = _program(record.scope.name, name, facts)
    contents = _layout_of_log(program, names).contents(record.attributes)
    teller = LOG_DIALECTS.get(program)
    read_as = logs.read_log if teller is None else teller.read_log
    reading = read_as(record, name, facts, contents)
    part = event_part(name)
    parts = contents.parts if part is None else (Content(part, body_of(record.body)),)
    return replace(
        reading,
        name=reading.name or name or None,
        run_id=facts.text(RUN_ID),
        flow_id=facts.text(WORKFLOW_ID),
        conversation_id=_conversation(reading, facts),
        user_id=reading.user_id or _user(facts),
        contents=parts,
        content_keys=contents.keys,
        body_is_content=part is not None,
        flags=tuple(facts.flags),
    )


_CALLSITE = re.compile(r"^event .+:[0-9]+$")
"""How Rust's ``tracing`` calls an event that nobody has named: by its place in the source."""


def _event_name(record: LogRecord, facts: Facts) -> str:
    named = facts.text("event.name") or ""
    if record.event_name and not (named and _CALLSITE.match(record.event_name)):
        return record.event_name
    return named


def _program(scope: str, name: str, facts: Facts) -> str:
    """Return who tells an event called *name* in words of its own; '' where nobody known does."""
    return next((program for program, dialect in LOG_DIALECTS.items() if dialect.tells(scope, name, facts)), "")


@remembered(2048)
def _layout_of_log(program: str, names: tuple[str, ...]) -> Layout:
    """Return where records of *program* with these *names* have their content."""
    dialect = LOG_DIALECTS.get(program)
    return layout_of(names, None if dialect is None else dialect.CONTENT)
