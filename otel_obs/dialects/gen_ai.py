"""OpenTelemetry GenAI conventions, in all their ages.

https://github.com/open-telemetry/semantic-conventions-genai and, before it,
https://github.com/open-telemetry/semantic-conventions/tree/v1.36.0/docs/gen-ai
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import NamedTuple

from otel_obs.dialects.call import EMBEDDING, call_reading, endpoint_of, finish_reason_of, spelled_reason
from otel_obs.dialects.content import Contents
from otel_obs.dialects.facts import Facts, text_of
from otel_obs.dialects.gen_ai_usage import TOTAL, said_usage, usage_by_convention, usage_by_event
from otel_obs.dialects.guardrail import check_of
from otel_obs.dialects.names import Names
from otel_obs.dialects.provider import is_known, provider_name
from otel_obs.dialects.usage import NO_USAGE, merged
from otel_obs.model import Call, EventType, Reading, Run, Span, Step, Usage
from otel_obs.remembering import remembered

OPERATIONS = {
    "chat": "chat",
    "completion": "text_completion",
    "text.completions": "text_completion",
    "completions": "text_completion",
    "chat_completion": "chat",
    "chat_completions": "chat",
    "chat.completions": "chat",
    "responses": "chat",
    "messages": "chat",
    "converse": "chat",
    "call_llm": "chat",
    "summarize": "chat",
    "llm_response": "chat",
    "text_completion": "text_completion",
    "generate_content": "generate_content",
    "embed": "embeddings",
    "embedding": "embeddings",
    "embeddings": "embeddings",
    "rerank": "rerank",
    "reranking": "rerank",
    "rerank_documents": "rerank",
    "image": "image",
    "image_generation": "image",
    "generate_image": "image",
    "speech": "speech",
    "tts": "speech",
    "text_to_speech": "speech",
    "audio": "speech",
    "transcription": "transcription",
    "stt": "transcription",
    "speech_to_text": "transcription",
    "moderation": "moderation",
    "video": "video",
    "video_generation": "video",
}
"""What is asked of a model, under the names that emitters use."""

_METHODS = {
    "chat": "chat", "completions": "chat", "messages": "chat", "responses": "chat", "embeddings": "embeddings",
    "images": "image", "moderations": "moderation", "rerank": "rerank", "speech": "speech",
    "transcriptions": "transcription", "translations": "transcription", "generate_content": "generate_content",
    "generate_content_stream": "generate_content", "converse": "chat", "invoke_model": "chat",
}  # fmt: skip
"""Words in the name of a client library's method -> what it asks for."""

_ROLES: dict[str, EventType] = {
    "invoke_agent": "agent",
    "agent": "agent",
    "invoke_workflow": "workflow",
    "execute_tool": "tool",
    "tool": "tool",
    "workflow": "workflow",
    "retrieval": "retrieval",
    "retrieve": "retrieval",
    "rag": "retrieval",
    "apply_guardrail": "guardrail",
    "run_guardrail": "guardrail",
    "guardrail": "guardrail",
    "evaluate": "evaluation",
    "evaluation": "evaluation",
}
"""Operations that are no request to a model. Any other operation is a step of a framework: a span."""

_CHAIN = "chain"
_REQUEST_MODEL = ("gen_ai.request.model", "llm.request.model")
_RESPONSE_MODEL = ("gen_ai.response.model", "llm.response.model")
"""Names that begin with ``llm`` are those from before the convention; OpenLLMetry for Go sends them still."""
_PROVIDER = ("gen_ai.provider.name", "gen_ai.system", "llm.vendor")
_STREAM = (
    "gen_ai.request.stream", "gen_ai.request.is_stream", "gen_ai.request.streaming", "llm.is_streaming",
    "gen_ai.is_streaming", "gen_ai.is_stream", "gen_ai.request.llm_is_streaming", "stream",
)  # fmt: skip
_BEDROCK_STREAMS = {
    "Converse": False, "ConverseStream": True, "InvokeModel": False, "InvokeModelWithResponseStream": True,
}  # fmt: skip
"""Operations of Bedrock: do they answer in pieces?"""
_RAW_COUNTS = (
    "agentscope", "opentelemetry.instrumentation.ag2", "opentelemetry.instrumentation.bedrock",
    "opentelemetry.instrumentation.botocore.bedrock-runtime", "opentelemetry.instrumentation.genai.bedrock",
    "io.opentelemetry.aws-sdk-2.2", "@traceloop/instrumentation-", "respan_instrumentation_anthropic.",
    "trpc.agent.go", "paid.node", "paid.python",
)  # fmt: skip
"""Beginnings of instrumentations that hand on what the provider counts, whatever the convention says."""
_CAPITAL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
"""Where a word begins in names such as enumerations have them: ``GenerateContent``."""
_PAYLOAD = "gen_ai.execution.payload"
_FIRST_PIECE = "gen_ai.response.time_to_first_token"
"""Of answers in pieces only, and a whole number: LoongSuite, whose convention is Alibaba Cloud's, counts nanoseconds.

https://github.com/alibaba/loongsuite-python-agent
"""
_ADDRESS = re.compile(r"^\d{14,15}$")
"""Python's ``id()`` of an object."""
_STABLE_ID = re.compile(r"^(?!.*[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}).+$", re.IGNORECASE)
"""An id with a UUID in it was made for one object or one run, and names no agent."""
_SPAN_ID = re.compile(r"^(?:[0-9a-f]{16}|span_[0-9a-f]{24})$")
"""An agent with a name whose id looks like a span's, or like one of the OpenAI Agents SDK's, has it for one run."""
_SHORT_UUID = re.compile(r"^(?=.*[2-9])(?=.*[A-Z])(?=.*[a-z])[2-9A-HJ-NP-Za-km-z]{22}$")
"""So does one of https://github.com/skorokithakis/shortuuid, which makes one for each object."""
_UUID_DIGITS = 32
_NOBODY = frozenset({"agent", "default"})
"""Ids of agents that were given none."""
_SERVERS = frozenset({"vllm", "sglang"})
_CLIENT = 3
"""Kind of a span: https://github.com/open-telemetry/opentelemetry-proto/blob/main/opentelemetry/proto/trace/v1/trace.proto"""


def concerns(scope: str, names: Names) -> bool:
    """Tell whether a span may follow the convention."""
    del scope
    return "gen_ai" in names.namespaces


def read(span: Span, facts: Facts, contents: Contents) -> Reading | None:
    """Return what *span* means by its GenAI attributes; None if it has none."""
    operation = facts.text("gen_ai.operation.name")
    if operation is None:
        return _without_operation(span, facts, contents)
    asked = asked_for(operation)
    if asked is not None:
        return read_call(span, facts, contents, asked)
    if operation == "execute_tool" and span.name.startswith("handoff") and not facts.has("gen_ai.tool.name"):
        return read_role(span, facts, "span")
    return read_role(span, facts, "workflow" if _is_bare_root(span, facts, operation) else role_of(operation) or "span")


def _is_bare_root(span: Span, facts: Facts, operation: str) -> bool:
    """Tell whether *span* is the frame around agents, told as an agent's run: no agent and no model is named.

    So is the outermost of the steps that LangChain calls chains.
    """
    if operation == _CHAIN:
        return span.parent_span_id is None
    if operation != "invoke_agent" or span.parent_span_id is not None or span.name.startswith(operation):
        return False
    return not facts.has("gen_ai.agent.name", "gen_ai.agent.id", *_REQUEST_MODEL)


def role_of(operation: str) -> EventType | None:
    """Return what a span is whose *operation* asks nothing of a model; None if the convention knows no such."""
    return _ROLES.get(operation) or _ROLES.get(in_words(operation))


def asked_for(operation: str) -> str | None:
    """Return what *operation* asks of a model; None if it asks nothing.

    Some emitters put there the method that was called: ``openai.responses.create``.
    """
    found = OPERATIONS.get(operation)
    if found is not None or operation in _ROLES:
        return found
    words = in_words(operation)
    if "." in words:
        return next((_METHODS[word] for word in words.split(".") if word in _METHODS), None)
    return OPERATIONS.get(words)


@remembered(256)
def in_words(operation: str) -> str:
    """Return *operation* as the convention spells it: ``text_completion`` for ``TextCompletion``."""
    return _CAPITAL.sub("_", operation).replace("-", "_").lower()


def _without_operation(span: Span, facts: Facts, contents: Contents) -> Reading | None:
    """Read a span of an emitter older than ``gen_ai.operation.name``, or one that forgot it."""
    if facts.has("gen_ai.tool.name") and facts.has("gen_ai.tool.call.id", "gen_ai.tool.call.arguments"):
        return read_role(span, facts, "tool")
    if facts.has("gen_ai.request.model", "gen_ai.response.model") and not span.name.endswith("count_tokens"):
        # Who asks how many tokens a prompt has asks nothing of the model.
        request = asked_for(facts.text("gen_ai.request.type", "llm.request.type") or "")
        # Of a model of which only the name is known: those that make embeddings are called so.
        return read_call(span, facts, contents, request or (EMBEDDING if embeds(_model_of(facts)) else "chat"))
    if "gen_ai" in facts.names.namespaces:
        return read_role(span, facts, "span")
    return None


def _model_of(facts: Facts) -> str | None:
    return facts.text(*_RESPONSE_MODEL, *_REQUEST_MODEL)


def read_call(
    span: Span,
    facts: Facts,
    contents: Contents,
    operation: str,
    *,
    found: Usage = NO_USAGE,
    apart: bool = False,
    dialect: str = "gen_ai",
) -> Reading:
    """Return the reading of a request to a model.

    *found* is what the dialect knows of its usage beyond the convention; *apart* says that the emitter
    leaves cached tokens out of the input tokens.
    """
    apart = apart or span.scope.name.startswith(_RAW_COUNTS)
    provider, model = provider_of(facts) or _server(span), _model_of(facts)
    if operation == "text_completion" and embeds(model):
        operation = EMBEDDING
    used = merged(usage_by_convention(facts, provider, model, apart=apart), found)
    call = Call(
        operation=operation,
        provider=None if _names_itself(span, facts) else provider,
        request_model=facts.text(*_REQUEST_MODEL) or _model_in_name(span),
        response_model=facts.text(*_RESPONSE_MODEL),
        response_id=facts.text("gen_ai.response.id", "gen_ai.response_id") or _id_of_payload(facts),
        usage=used if used.known or not span.events else usage_by_event(span.events, provider),
        failed=span.status_code == 2,
        service_tier=_service_tier(facts),
        is_batch=False,
        is_stream=_is_stream(facts),
        attempts=_attempts(facts),
        endpoint=endpoint_of(facts),
        finish_reason=finish_reason_of(facts) or _reason_of_choice(span),
        time_to_first_token_ms=_first_token_ms(facts),
        prompt_name=facts.text("gen_ai.prompt.name", "traceloop.prompt.key"),
        prompt_version=_version(facts),
    )
    reading = _call_reading(call, span, facts, contents, dialect)
    if reading.call is None and any(event.name == "exception" for event in span.events):
        # An exception in the place of an answer: not every emitter sets the status.
        return replace(_call_reading(replace(call, failed=True), span, facts, contents, dialect), failed=True)
    return reading


def _id_of_payload(facts: Facts) -> str | None:
    """Return the id of the whole answer that Microsoft Agent 365 puts on its spans."""
    return text_of(facts.mapping(_PAYLOAD).get("id")) if facts.has(_PAYLOAD) else None


def _call_reading(call: Call, span: Span, facts: Facts, contents: Contents, dialect: str) -> Reading:
    return call_reading(
        call,
        facts,
        dialect=dialect,
        total_tokens=facts.tokens(*TOTAL),
        has_output=contents.of("output") is not None or facts.has("gen_ai.embeddings.dimension.count"),
        said_usage=said_usage(facts) or _is_answered(span),
        agent=_owner_of(facts),
    )


def _reason_of_choice(span: Span) -> str | None:
    """Return why the answer ended, as the last event of an answer says that does."""
    for event in reversed(span.events):
        if event.name == "gen_ai.choice" and (found := spelled_reason(event.attributes.get("finish_reason"))):
            return found
    return None


def _service_tier(facts: Facts) -> str | None:
    found = facts.text(
        "openai.response.service_tier",
        "gen_ai.openai.response.service_tier",
        "anthropic.response.service_tier",
        "gen_ai.response.service_tier",
    )
    # OpenLIT puts the fingerprint of Azure's system there.
    return None if found is None or found.startswith("fp_") else found


def _version(facts: Facts) -> str | None:
    number = facts.attributes.get("traceloop.prompt.version")
    return facts.text("gen_ai.prompt.version", "traceloop.prompt.version_name") or (
        None if number is None else str(number)
    )


def read_role(span: Span, facts: Facts, role: EventType, *, dialect: str = "gen_ai") -> Reading:
    """Return the reading of a span that is no request to a model."""
    agent_id, agent_name = agent_of(facts) if role == "agent" else _owner_of(facts)
    name = _component(span, facts, role)
    if role == "agent":
        agent_id, agent_name = agent_id or name, agent_name or name
    return Reading(
        event_type=role,
        dialect=dialect,
        is_rollup=said_usage(facts),
        agent_id=agent_id,
        agent_name=agent_name,
        run=_run(role, name, agent_id, agent_name),
        step=_step(role, name, facts),
        check=check_of(facts, name) if role == "guardrail" else None,
    )


def with_role(reading: Reading, role: EventType, name: str | None, facts: Facts) -> Reading:
    """Return *reading* as that of a *role* called *name*."""
    agent_id, agent_name = reading.agent_id, reading.agent_name
    if role == "agent":
        agent_id, agent_name = agent_id or name, agent_name or name
    return replace(
        reading,
        event_type=role,
        agent_id=agent_id,
        agent_name=agent_name,
        run=_run(role, name, agent_id, agent_name) or reading.run,
        step=_step(role, name, facts) or reading.step,
        check=check_of(facts, name) if role == "guardrail" else reading.check,
    )


def _run(role: EventType, name: str | None, agent_id: str | None, agent_name: str | None) -> Run | None:
    if role == "agent":
        return Run(kind="agent", name=agent_name, agent_id=agent_id)
    return Run(kind="workflow", name=name) if role == "workflow" else None


def _step(role: EventType, name: str | None, facts: Facts) -> Step | None:
    if role in ("tool", "retrieval"):
        return Step(kind=role, name=name, call_id=facts.text("gen_ai.tool.call.id", "ai.toolCall.id"))
    return None


class Agent(NamedTuple):
    """An agent's stable id and its name."""

    agent_id: str | None
    agent_name: str | None


def agent_of(facts: Facts) -> Agent:
    """Return the agent that a span names: a stable id, else the name is the id."""
    name = facts.text("gen_ai.agent.name")
    agent_id = facts.text("gen_ai.agent.id")
    if agent_id is None or not _is_stable(agent_id) or (name is not None and _is_nobodys(agent_id)):
        agent_id = name
    return Agent(agent_id, name)


def _owner_of(facts: Facts) -> Agent:
    """Return the agent whose request or step a span is; nobody where its id stands for one that was not known.

    Then the run around it tells: Microsoft's distribution calls them all "OpenAI Agent", and ``agent``.
    """
    return Agent(None, None) if facts.text("gen_ai.agent.id") in _NOBODY else agent_of(facts)


def _is_nobodys(agent_id: str) -> bool:
    """Tell whether *agent_id* is worth less than a name."""
    return agent_id in _NOBODY or _SPAN_ID.match(agent_id) is not None or _SHORT_UUID.match(agent_id) is not None


def _is_stable(agent_id: str) -> bool:
    if len(agent_id) < _UUID_DIGITS:
        return agent_id.isprintable() and _ADDRESS.match(agent_id) is None
    return _STABLE_ID.match(agent_id) is not None


def provider_of(facts: Facts) -> str | None:
    """Return who serves the model, as the span says it in its new or old attribute."""
    return next((name for said in _PROVIDER if (name := provider_name(facts.text(said))) is not None), None)


def _names_itself(span: Span, facts: Facts) -> bool:
    """Tell whether an application's tracer names itself where the provider belongs, as Strands for TypeScript does."""
    said = facts.text("gen_ai.provider.name", "gen_ai.system")
    return said is not None and said == span.scope.name and not is_known(said)


def _server(span: Span) -> str | None:
    """Return the program that serves the model, where that reports the request: nobody sends a bill for it."""
    name = span.scope.name.partition(".")[0]
    return name if name in _SERVERS else None


def _component(span: Span, facts: Facts, role: EventType) -> str | None:
    """Return the name of the agent, workflow, tool ... that *span* is."""
    if role == "agent":
        return facts.text("gen_ai.agent.name") or _from_span_name(span, "invoke_agent", facts)
    if role == "workflow":
        return (
            facts.text("gen_ai.workflow.name")
            or _from_span_name(span, "invoke_workflow", facts)
            or _from_span_name(span, _CHAIN, facts)
            or span.name
        )
    if role == "tool":
        return facts.text("gen_ai.tool.name") or _from_span_name(span, "execute_tool", facts) or span.name
    if role == "retrieval":
        return facts.text("gen_ai.data_source.id") or _from_span_name(span, "retrieval", facts) or span.name
    return None


def _from_span_name(span: Span, operation: str, facts: Facts) -> str | None:
    """Return X of a span that is called ``{operation} X``, unless X is only the model."""
    head, _, name = span.name.partition(" ")
    return name if head == operation and name and name != facts.text("gen_ai.request.model") else None


def embeds(model: str | None) -> bool:
    """Tell whether *model* makes embeddings, as its name says."""
    return model is not None and "embed" in model.lower()


def _is_answered(span: Span) -> bool:
    """Tell whether a client's span says itself that all went well."""
    return span.kind == _CLIENT and span.status_code == 1


def _model_in_name(span: Span) -> str | None:
    """Return X of a span that is called ``chat X``, as the convention wants it."""
    operation, _, model = span.name.partition(" ")
    return model if operation in OPERATIONS and model and " " not in model else None


def _is_stream(facts: Facts) -> bool | None:
    """Return whether the answer came in pieces; of Bedrock the method tells."""
    streams = facts.truth(*_STREAM)
    if streams is None and facts.has(_FIRST_PIECE):
        return True
    return _BEDROCK_STREAMS.get(facts.text("rpc.method") or "") if streams is None else streams


def _attempts(facts: Facts) -> int | None:
    resent = facts.tokens("http.request.resend_count", "retry_attempts", "response.retries")
    return None if resent is None else min(resent + 1, 1_000_000)


def _first_token_ms(facts: Facts) -> float | None:
    nanoseconds = facts.attributes.get(_FIRST_PIECE)
    if isinstance(nanoseconds, int) and nanoseconds >= 0:
        return nanoseconds / 1e6
    seconds = facts.number(
        "gen_ai.response.time_to_first_chunk",
        "gen_ai.client.operation.time_to_first_chunk",
        "gen_ai.server.time_to_first_token",
        "trpc_agent_go.client.time_to_first_token",
        "gen_ai.latency.time_to_first_token",
        "metrics.ttfb",
    )
    return None if seconds is None or seconds < 0 else seconds * 1000
