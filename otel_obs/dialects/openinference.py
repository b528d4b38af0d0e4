"""OpenInference (Arize Phoenix and its instrumentations).

https://github.com/Arize-ai/openinference/blob/main/spec/semantic_conventions.md
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from otel_obs.dialects import google_adk
from otel_obs.dialects.answer import NOTHING, Answer, answer_of
from otel_obs.dialects.call import EMBEDDING, call_reading, finish_reason_of
from otel_obs.dialects.content import Contents
from otel_obs.dialects.facts import Facts, parse, text_of
from otel_obs.dialects.gen_ai import OPERATIONS, embeds, with_role
from otel_obs.dialects.names import Names
from otel_obs.dialects.provider import bills_cache_apart, provider_name, routed_to, served_by
from otel_obs.dialects.usage import Counts, merged, usage, with_thoughts
from otel_obs.model import TOLD_AGAIN, Call, EventType, Reading, Span, Usage

_KIND = "openinference.span.kind"
_GENERATIONS = "nat.metadata"
"""NVIDIA's NeMo Agent Toolkit hands on there what LangChain got; beside it is only the text of the answer."""
_EVENT_PATH = "metadata.path"
"""BeeAI's events, such as each piece of a stream, are spans of the kind of what they happened to."""
_ROLES: dict[str, EventType] = {
    "AGENT": "agent",
    "TOOL": "tool",
    "RETRIEVER": "retrieval",
    "GUARDRAIL": "guardrail",
    "EVALUATOR": "evaluation",
}
_REQUESTS = frozenset({"LLM", "EMBEDDING"})
_METHOD = re.compile(r"\.(?:a?run(?:_stream)?|a?kickoff|_execute_core|a?invoke|a?call)$|\.[\w-]+\._execute_core$")
"""Instrumentations of classes name a span after the method: ``Researcher.research._execute_core``."""
_PRIVATE_STEP = re.compile(r"(?:^|\.)_[a-z]\w*$")
"""A private method prepares a request; it sends none."""
_STREAM = re.compile(r"(?:[a-z]S|[._]s|^s)tream(?:ing)?$")
"""Instrumentations of clients name a request after the method: ``converse_stream``, ``GenerateContentStream``."""
_AGENT_RUN = re.compile(r"(?:Agent|AgentWorkflow)\.a?run$")
_INVOKED = "bedrock.invoke_agent"
"""The request to an agent of Bedrock's, which has its id and the session's among its parameters."""
AGENTS_OF_BEDROCK = "@arizeai/openinference-instrumentation-bedrock-agent"
"""It puts into ``metadata`` what the model thought."""
_AGENT_NAMES = ("agent.name", "gen_ai.agent.name", "graph.node.id")
_FRAMED = frozenset(
    {"openinference.instrumentation.openai_agents", "@arizeai/openinference-instrumentation-openai-agents"}
)
"""They tell a run of agents as an agent, and say below it which agents ran."""
_CURRENT_AGENT = re.compile(r"current_agent_name=(['\"])(.{1,200}?)\1")


def concerns(scope: str, names: Names) -> bool:
    """Tell whether a span may be one of OpenInference's."""
    del scope
    return _KIND in names.all


def read(span: Span, facts: Facts, contents: Contents) -> Reading | None:
    """Return what *span* means by its OpenInference attributes; None if it has none."""
    kind = facts.text(_KIND)
    if kind is None:
        return None
    kind = kind.upper()
    if _EVENT_PATH in facts.names.all:
        return Reading(dialect="openinference")
    if kind in _REQUESTS and facts.text("gen_ai.operation.name") in OPERATIONS:
        # Something has added these names to another emitter's span, whose own say more.
        return None
    if kind == "LLM" and not _is_private_step(span, facts):
        return read_request(span, facts, contents)
    if kind == "EMBEDDING":
        return _with_owner(_embedding(span, facts, contents), facts)
    if kind == "RERANKER":
        return _with_owner(_rerank(span, facts, contents), facts)
    role, name = _role(span, facts, kind, contents)
    conversation = None
    if role == "agent" and span.name == _INVOKED:
        asked = facts.mapping("llm.invocation_parameters")
        name, conversation = text_of(asked.get("agentId")) or name, text_of(asked.get("sessionId"))
    agent = _current_agent(contents) if kind == "CHAIN" else None
    if kind == "CHAIN" and _metadata(facts).get("lc_agent_name") == span.name:
        role, name, agent = "agent", span.name, span.name
        facts.flag(TOLD_AGAIN)
    reading = Reading(
        dialect="openinference",
        is_rollup=facts.has("llm.token_count.prompt", "llm.token_count.total"),
        agent_id=agent,
        agent_name=agent,
        conversation_id=conversation,
    )
    return _with_owner(with_role(reading, role, name, facts), facts)


def read_request(span: Span, facts: Facts, contents: Contents) -> Reading:
    """Return what *span* means, a request by whatever kind it says."""
    return _with_owner(_llm(span, facts, contents), facts)


def _is_private_step(span: Span, facts: Facts) -> bool:
    return bool(_PRIVATE_STEP.search(span.name)) and not facts.has("llm.token_count.prompt", "llm.token_count.total")


def _role(span: Span, facts: Facts, kind: str, contents: Contents) -> tuple[EventType, str | None]:
    if kind == "AGENT":
        if _is_bare_root(span):
            return "workflow", google_adk.unwrapped(span.name)
        return "agent", _agent_name(span, facts)
    if kind == "CHAIN":
        if _AGENT_RUN.search(span.name):
            # A class is no name; the steps below name the agent.
            return "agent", _current_agent(contents)
        if span.parent_span_id is not None:
            return "span", None
        return "workflow", _METHOD.sub("", google_adk.unwrapped(span.name))
    if kind == "TOOL":
        tool = facts.text("tool.name")
        if span.name.startswith("handoff") and (tool is None or tool.startswith("handoff")):
            return "span", None
        return "tool", tool or _METHOD.sub("", span.name)
    return _ROLES.get(kind, "span"), span.name


def _is_bare_root(span: Span) -> bool:
    """Tell whether *span* is the frame that an agent framework puts around its agents: it names none itself."""
    if span.parent_span_id is not None:
        return False
    said = span.attributes.keys()
    if span.scope.name in _FRAMED:
        return said.isdisjoint(_AGENT_NAMES)
    return not (said - {_KIND, "session.id", "user.id", "metadata"})


def _agent_name(span: Span, facts: Facts) -> str:
    return (
        facts.text(*_AGENT_NAMES)
        or text_of(_metadata(facts).get("lc_agent_name"))
        or _METHOD.sub("", google_adk.unwrapped(span.name))
    )


def _current_agent(contents: Contents) -> str | None:
    """Return the agent that LlamaIndex names in what goes through a step of its run."""
    for content in contents.parts:
        found = _CURRENT_AGENT.search(content.body)
        if found is not None:
            return found[2]
    return None


def _llm(span: Span, facts: Facts, contents: Contents) -> Reading:
    answer = _answer(facts)
    parameters = facts.mapping("llm.invocation_parameters")
    model = facts.text("llm.model_name")
    request_model = text_of(parameters.get("model")) or text_of(parameters.get("model_name"))
    provider = (
        _provider(span, facts, model) or answer.provider or provider_name(text_of(_metadata(facts).get("ls_provider")))
    )
    if provider == "aws.bedrock":
        model = _bedrock_model(facts, model)
    call = Call(
        operation=EMBEDDING if embeds(model) else "chat",
        provider=provider,
        request_model=request_model or model,
        response_model=answer.model or model,
        response_id=answer.response_id,
        usage=answer.usage if answer.says_billed else _usage_of_call(span, facts, answer, provider, model),
        failed=span.status_code == 2,
        service_tier=answer.service_tier,
        is_stream=_is_stream(span, parameters.get("stream"), answer),
        finish_reason=finish_reason_of(facts) or answer.finish_reason,
        prompt_name=facts.text("llm.prompt_template.name"),
        prompt_version=facts.text("llm.prompt_template.version"),
    )
    if span.status_code == 0 and call.is_stream and not call.usage.known:
        facts.flag("abandoned")
    return call_reading(
        call,
        facts,
        dialect="openinference",
        total_tokens=facts.tokens("llm.token_count.total"),
        has_output=contents.of("output") is not None,
        said_usage=facts.has("llm.token_count.prompt", "llm.token_count.completion", "llm.token_count.total"),
    )


def _provider(span: Span, facts: Facts, model: str | None) -> str | None:
    """Return who serves *model*; of Google's kit its instrumentation says Google, whoever does."""
    is_kit = span.scope.name in (google_adk.SCOPE, "openinference.instrumentation.google_adk")
    return (
        provider_name(facts.text("gen_ai.provider.name"))
        or (routed_to(model) if is_kit else None)
        or provider_name(facts.text("llm.provider"))
        or served_by(span.name.partition(".")[0])
        or provider_name(facts.text("llm.system"))
    )


def _answer(facts: Facts) -> Answer:
    value = parse(facts.attributes.get("output.value"))
    if isinstance(value, list) and value:
        value = value[0]
    if isinstance(value, dict):
        return answer_of(value, facts)
    generations = facts.mapping(_GENERATIONS).get("chat_responses")
    return answer_of({"generations": generations}, facts) if generations else NOTHING


def _metadata(facts: Facts) -> Mapping[str, object]:
    return facts.mapping("metadata")


def _bedrock_model(facts: Facts, model: str | None) -> str | None:
    """Return Bedrock's own name of the model: an emitter cuts it at its dots, and may keep the vendor only.

    What was asked stands in the input; else the vendor is put back before the name.
    """
    asked = text_of(facts.mapping("input.value").get("modelId"))
    vendor = facts.text("llm.system")
    if asked is not None or model is None or vendor is None or "." in model:
        return asked or model
    return None if model == vendor else f"{vendor}.{model}"


def _is_stream(span: Span, parameter: object, answer: Answer) -> bool | None:
    """Tell whether the answer came in pieces; that LangChain was not set up for it does not say that it did not."""
    if any(event.name == "First Token Stream Event" for event in span.events) or answer.is_stream:
        return True
    if parameter is False and "langchain" in span.scope.name:
        return None
    if isinstance(parameter, bool):
        return parameter
    return True if _STREAM.search(span.name) else None


_HANDS_ON_RAW_COUNTS = frozenset(
    {"openinference.instrumentation.agno", "@arizeai/openinference-instrumentation-bedrock"}
)
"""They tell the usage that they were given, as the provider counts it."""


def _cache_is_apart(span: Span, answer: Answer, provider: str | None, model: str | None) -> bool:
    """Tell whether cached tokens are beside the input tokens.

    Measured: 0.1.x of the Anthropic instrumentation reports streams (which it cannot give a response id)
    as Anthropic counts, everything else with cached tokens inside; 3.1 always has them inside.
    """
    scope = span.scope
    if scope.name in _HANDS_ON_RAW_COUNTS:
        return bills_cache_apart(provider, model)
    return (
        scope.name == "openinference.instrumentation.anthropic"
        and scope.version.startswith("0.")
        and answer.response_id is None
    )


def _usage_of_call(span: Span, facts: Facts, answer: Answer, provider: str | None, model: str | None) -> Usage:
    """Return the usage; where the provider's own answer says that the attributes leave cached tokens out, with them."""
    told, whole = _usage(facts, apart=_cache_is_apart(span, answer, provider, model), model=model), answer.usage
    cached = (whole.cache_read_tokens or 0) + (whole.cache_write_tokens or 0)
    if (
        cached
        and bills_cache_apart(provider, model)
        and told.output_tokens == whole.output_tokens
        and told.input_tokens == (whole.input_tokens or 0) - cached
    ):
        return whole
    total = facts.tokens("llm.token_count.total")
    if total and provider == "aws.bedrock" and told.cache_read_tokens is None and told.cache_write_tokens is None:
        # Its total holds cached tokens, which its input does not.
        return replace(told, input_tokens=max(told.input_tokens or 0, total - (told.output_tokens or 0)))
    return merged(told, whole)


def _usage(facts: Facts, *, apart: bool, model: str | None = None) -> Usage:
    prefix = "llm.token_count."
    units = {
        "input_audio_tokens": facts.tokens(prefix + "prompt_details.audio"),
        "output_audio_tokens": facts.tokens(prefix + "completion_details.audio"),
    }
    counts = Counts(
        input=facts.tokens(prefix + "prompt"),
        output=facts.tokens(prefix + "completion"),
        total=facts.tokens(prefix + "total"),
        cache_read=facts.tokens(prefix + "prompt_details.cache_read", prefix + "prompt_details.cache_input"),
        cache_write=facts.tokens(prefix + "prompt_details.cache_write"),
        reasoning=facts.tokens(prefix + "completion_details.reasoning"),
        billed_units={unit: count for unit, count in units.items() if count},
    )
    return usage(with_thoughts(counts) if "gemini" in (model or "") else counts, apart=apart)


def _embedding(span: Span, facts: Facts, contents: Contents) -> Reading:
    answer = _answer(facts)
    model = facts.text("embedding.model_name", "llm.model_name")
    parameters = facts.mapping("embedding.invocation_parameters", "llm.invocation_parameters")
    call = Call(
        operation="embeddings",
        provider=_provider(span, facts, model),
        request_model=text_of(parameters.get("model")) or model,
        response_model=answer.model or model,
        usage=merged(_usage(facts, apart=False), answer.usage),
        failed=span.status_code == 2,
    )
    return call_reading(
        call,
        facts,
        dialect="openinference",
        total_tokens=facts.tokens("llm.token_count.total"),
        has_output=contents.of("output") is not None
        or any(key.endswith(".embedding.vector") for key in span.attributes),
        said_usage=facts.has("llm.token_count.prompt", "llm.token_count.total"),
    )


def _rerank(span: Span, facts: Facts, contents: Contents) -> Reading:
    model = facts.text("reranker.model_name")
    call = Call(
        operation="rerank",
        provider=_provider(span, facts, model),
        request_model=model,
        response_model=model,
        usage=_usage(facts, apart=False),
        failed=span.status_code == 2,
    )
    return call_reading(
        call,
        facts,
        dialect="openinference",
        has_output=contents.of("output") is not None,
        said_usage=facts.has("llm.token_count.prompt"),
    )


def _with_owner(reading: Reading, facts: Facts) -> Reading:
    """Return *reading* with the session and the user that LangChain puts into ``metadata``."""
    metadata = _metadata(facts)
    if not metadata:
        return reading
    return replace(
        reading,
        conversation_id=reading.conversation_id
        or text_of(metadata.get("session_id"))
        or text_of(metadata.get("thread_id"))
        or text_of(metadata.get("conversation_id")),
        user_id=reading.user_id or text_of(metadata.get("user_id")),
    )
