"""OpenLLMetry and the Traceloop SDK.

https://www.traceloop.com/docs/openllmetry/contributing/semantic-conventions; since about 0.50 most of it is
said by the GenAI convention, which then is believed first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from otel_obs.dialects import gen_ai, vendors
from otel_obs.dialects.answer import answer_of
from otel_obs.dialects.call import ESTIMATED_USAGE
from otel_obs.dialects.content import Contents
from otel_obs.dialects.facts import Facts, mapping_of, text_of
from otel_obs.dialects.gen_ai import OPERATIONS, read_call, read_role, with_role
from otel_obs.dialects.names import Names
from otel_obs.dialects.usage import NO_USAGE
from otel_obs.model import TOLD_AGAIN, EventType, Reading, Span

_CREW = "crewai"
"""What names of attributes begin with that tell of a crew."""
_TOLD = ("llm.request.type", "gen_ai.workflow.nodes")
"""Names that tell of it where none begins with its own."""
_OWN = ("traceloop.span.kind", "traceloop.entity.name", *_TOLD)
"""Names that only its own spans have; the SDK writes workflow, agent and association on everybody's."""
_ASSOCIATION = "traceloop.association.properties."
_CONVERSATIONS = (
    "gen_ai.conversation.id", _ASSOCIATION + "session_id", _ASSOCIATION + "thread_id", _ASSOCIATION + "chat_id",
    _ASSOCIATION + "conversation_id", _ASSOCIATION + "sessionId", _ASSOCIATION + "threadId", _ASSOCIATION + "chatId",
    "respan.threads.thread_identifier", "respan.sessions.session_identifier",
    "keywordsai.thread_identifier",
)  # fmt: skip
_USERS = (
    _ASSOCIATION + "user_id", _ASSOCIATION + "userId", _ASSOCIATION + "user",
    "respan.customer_params.customer_identifier",
    "keywordsai.customer_params.customer_identifier",
)  # fmt: skip
"""Also under the names of Respan, whose SDK is built on OpenLLMetry's."""
_CREWAI = "opentelemetry.instrumentation.crewai"
_ROLES: dict[str, EventType] = {"workflow": "workflow", "agent": "agent", "tool": "tool", "task": "span"}
_REQUESTS = {"chat": "chat", "completion": "text_completion", "embedding": "embeddings", "rerank": "rerank"}
_JAVASCRIPT = "@traceloop/instrumentation-"
"""What the scopes of its instrumentations for JavaScript begin with."""
AGENT_NODES = frozenset({"model", "agent", "tools", "call_model"})
"""Nodes of the graph that LangChain's ready-made agents are; other graphs are workflows."""


def concerns(scope: str, names: Names) -> bool:
    """Tell whether a span may be one of OpenLLMetry's."""
    return (
        scope.startswith((_JAVASCRIPT, _CREWAI)) or "traceloop" in names.namespaces or not names.all.isdisjoint(_TOLD)
    )


def read(span: Span, facts: Facts, contents: Contents) -> Reading | None:
    """Return what *span* means to OpenLLMetry; None if it is not one of its spans."""
    if not _is_mine(span, facts):
        return None
    if not facts.sent(*_OWN) and not _is_of_crew(facts) and facts.text("gen_ai.operation.name") not in OPERATIONS:
        others = vendors.read(span, facts, contents) or gen_ai.read(span, facts, contents)
        return _with_owner(_with_answer(others or Reading(dialect="openllmetry"), facts), facts)
    request = facts.text("llm.request.type")
    operation = facts.text("gen_ai.operation.name")
    if operation in OPERATIONS or (operation is None and request in _REQUESTS):
        asked = OPERATIONS.get(operation or "") or _request(span, request or "")
        reading = read_call(span, facts, contents, asked, dialect="openllmetry")
        if span.scope.name == _JAVASCRIPT + "openai":
            reading = _without_estimate(reading, facts)
        if span.name.startswith("vertexai.") and reading.call is not None and reading.call.provider == "gcp.gemini":
            # It says Google, and means this service of Google's.
            reading = replace(reading, call=replace(reading.call, provider="gcp.vertex_ai"))
    else:
        reading = _role(span, facts, operation)
    return _with_owner(reading, facts)


def _is_mine(span: Span, facts: Facts) -> bool:
    if "traceloop" in facts.names.namespaces or span.scope.name.startswith((_JAVASCRIPT, _CREWAI)):
        return True
    return bool(facts.sent(*_TOLD)) and not span.scope.name.startswith("litellm")


def _without_estimate(reading: Reading, facts: Facts) -> Reading:
    """Return *reading* without usage that a tokenizer guessed, where it can be told.

    Of a stream the instrumentation counts the words of the messages, whatever usage OpenAI sends. OpenAI itself
    counts four tokens a message and three an answer on top
    (https://cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken), and a word is a token at least.
    """
    call = reading.call
    if call is None or call.usage.input_tokens is None or call.provider not in {"openai", "azure.ai.openai"}:
        return reading
    messages = facts.parsed("gen_ai.input.messages")
    if not isinstance(messages, list) or call.usage.input_tokens >= sum(map(_least_tokens, messages)) + 3:
        return reading
    facts.flag(ESTIMATED_USAGE)
    return replace(reading, call=replace(call, usage=NO_USAGE, usage_source=None))


def _least_tokens(message: object) -> int:
    parts = mapping_of(message).get("parts")
    said = [text_of(mapping_of(part).get("content")) for part in parts] if isinstance(parts, list) else []
    return 4 + sum(len(text.split()) for text in said if text)


def _with_answer(reading: Reading, facts: Facts) -> Reading:
    """Return *reading* with what the model's own answer says, where the span has it and nothing else: SageMaker's."""
    call = reading.call
    if call is None or call.usage.known or not facts.has("traceloop.entity.output"):
        return reading
    answer = answer_of(facts.parsed("traceloop.entity.output"), facts)
    if not answer.usage.known:
        return reading
    told = replace(
        call,
        usage=answer.usage,
        usage_source="reported",
        response_model=call.response_model or answer.model,
        response_id=call.response_id or answer.response_id,
        finish_reason=call.finish_reason or answer.finish_reason,
    )
    return replace(reading, call=told)


def _request(span: Span, request: str) -> str:
    """Return the operation; for Anthropic's chats 0.40 says ``completion``."""
    return "chat" if span.name.endswith(".chat") else _REQUESTS[request]


def _role(span: Span, facts: Facts, operation: str | None) -> Reading:
    kind = facts.text("traceloop.span.kind")
    name = facts.text("traceloop.entity.name", "gen_ai.agent.name")
    reading = read_role(span, facts, "span", dialect="openllmetry")
    if _is_langchain_agent(facts, kind, name):
        return with_role(replace(reading, flags=(TOLD_AGAIN,), agent_id=name, agent_name=name), "agent", name, facts)
    if operation == "invoke_agent" and _is_of_crew(facts):
        return _of_crew(reading, facts, kind, name)
    if operation == "invoke_agent":
        graph = kind == "workflow" or _is_plain_graph(facts)
        return with_role(reading, "workflow" if graph else "agent", name, facts)
    if operation is not None:
        return read_role(span, facts, _by_operation(operation), dialect="openllmetry")
    role = _ROLES.get(kind or "", "span")
    if role == "tool":
        name = facts.text("gen_ai.tool.name", "gen_ai.completion.tool.name") or name
    if role == "agent":
        reading = replace(reading, agent_id=name, agent_name=name)
    return with_role(reading, role, name or span.name.removesuffix(f".{kind}"), facts)


def _is_of_crew(facts: Facts) -> bool:
    return _CREW in facts.names.namespaces


def _of_crew(reading: Reading, facts: Facts, kind: str | None, name: str | None) -> Reading:
    """Return what a span of CrewAI is: a crew, a task and an agent are all told as the run of an agent."""
    if kind == "agent":
        return with_role(replace(reading, agent_id=name, agent_name=name), "agent", name, facts)
    if kind == "task":
        # Its span is called by what the task says.
        return replace(reading, name=".".join(filter(None, (facts.text("crewai.task.agent"), "task"))))
    return with_role(reading, "workflow", facts.text("crewai.crew.name"), facts)


def _by_operation(operation: str) -> EventType:
    roles: dict[str, EventType] = {
        "invoke_workflow": "workflow",
        "execute_tool": "tool",
        "retrieval": "retrieval",
        "apply_guardrail": "guardrail",
    }
    return roles.get(operation, "span")


def _is_langchain_agent(facts: Facts, kind: str | None, name: str | None) -> bool:
    """Tell whether the span of a graph or a node is the run of an agent that LangChain made."""
    agent = facts.text(_ASSOCIATION + "lc_agent_name") or text_of(_langchain(facts).get("lc_agent_name"))
    return agent is not None and agent == name and kind in {"workflow", "task"}


def _is_plain_graph(facts: Facts) -> bool:
    nodes = facts.attributes.get("gen_ai.workflow.nodes")
    if not isinstance(nodes, list | tuple):
        return False
    return AGENT_NODES.isdisjoint(node for node in nodes if isinstance(node, str))


def _langchain(facts: Facts) -> Mapping[str, object]:
    """Return what LangChain says of a run; until 0.4x it stands beside the input only."""
    said = facts.text("traceloop.entity.input")
    if said is None or '"metadata"' not in said:
        return {}
    return mapping_of(facts.mapping("traceloop.entity.input").get("metadata"))


def _with_owner(reading: Reading, facts: Facts) -> Reading:
    said = _langchain(facts)
    return replace(
        reading,
        conversation_id=facts.text(*_CONVERSATIONS)
        or text_of(said.get("session_id"))
        or text_of(said.get("thread_id"))
        or reading.conversation_id,
        user_id=facts.text(*_USERS) or text_of(said.get("user_id")) or reading.user_id,
    )
