"""What instrumentations were seen to put on a span, one line of the field each, and what it means in tokens billed.

The call is always the same: 983 tokens in, 317 of them read from a cache and 113 written to it, 61 out, 13 of them
reasoning. Emitters say so in their own ways.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest

from otel_obs.dialects.reading import read, read_log
from otel_obs.model import Call, Scope, SpanEvent
from tests.builders import make_log, make_span

ANTHROPIC = {
    "input_tokens": 553, "cache_read_input_tokens": 317, "cache_creation_input_tokens": 113, "output_tokens": 61,
}  # fmt: skip
OPENAI = {
    "prompt_tokens": 983, "completion_tokens": 61, "total_tokens": 1044,
    "prompt_tokens_details": {"cached_tokens": 317}, "completion_tokens_details": {"reasoning_tokens": 13},
}  # fmt: skip
CHAT = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}
CACHE = {"gen_ai.usage.cache_read.input_tokens": 317, "gen_ai.usage.cache_creation.input_tokens": 113}
INCLUSIVE = {"gen_ai.usage.input_tokens": 983, "gen_ai.usage.output_tokens": 61}
EXCLUSIVE = {"gen_ai.usage.input_tokens": 553, "gen_ai.usage.output_tokens": 61}

WHOLE = (983, 317, 113, 61, None)
"""Input, cache read, cache written, output, reasoning."""
THOUGHT = (983, 317, None, 61, 13)
BLIND = (983, None, None, 61, None)
NOBODY_SAYS = (None, None, None, None, None)


@dataclass(frozen=True)
class Seen:
    """A span of the field."""

    id: str
    attributes: dict[str, Any]
    tokens: tuple[int | None, ...]
    scope: str = "test"
    version: str = ""
    name: str = "a span"
    provider: str | None = None
    response_id: str | None = None
    model: str | None = "m"
    operation: str = "chat"
    flags: tuple[str, ...] = field(default=())


def as_json(value: object) -> str:
    return json.dumps(value)


OI = {"openinference.span.kind": "LLM", "llm.model_name": "m", "output.value": "hello"}
OI_CACHE = {"llm.token_count.prompt_details.cache_read": 317, "llm.token_count.prompt_details.cache_write": 113}

FIELD = (
    Seen(
        "GenAI convention, cache_write", {
            **CHAT, **INCLUSIVE, "gen_ai.provider.name": "anthropic", "gen_ai.usage.cache_read.input_tokens": 317,
            "gen_ai.usage.cache_write.input_tokens": 113, "gen_ai.response.id": "msg_1",
        },
        WHOLE, provider="anthropic", response_id="msg_1",
    ),
    Seen(
        "GenAI convention, reasoning", {
            **CHAT, **INCLUSIVE, "gen_ai.provider.name": "openai", "gen_ai.usage.cache_read.input_tokens": 317,
            "gen_ai.usage.reasoning.output_tokens": 13,
        },
        THOUGHT, provider="openai",
    ),
    Seen(
        "openai-v2, default mode", {**CHAT, **INCLUSIVE, "gen_ai.system": "openai", "gen_ai.response.id": "c-1"},
        BLIND, scope="opentelemetry.instrumentation.openai_v2", provider="openai", response_id="c-1",
    ),
    Seen(
        "OpenLLMetry 0.40", {
            "llm.request.type": "chat", "gen_ai.system": "Anthropic", "gen_ai.request.model": "m",
            "gen_ai.usage.prompt_tokens": 983, "gen_ai.usage.completion_tokens": 61, "llm.usage.total_tokens": 1044,
            "gen_ai.usage.cache_read_input_tokens": 317, "gen_ai.usage.cache_creation_input_tokens": 113,
        },
        WHOLE, scope="opentelemetry.instrumentation.anthropic", provider="anthropic",
    ),
    Seen(
        "OpenLLMetry 0.62, reasoning", {
            **CHAT, **INCLUSIVE, "gen_ai.provider.name": "openai", "gen_ai.usage.total_tokens": 1044,
            "gen_ai.usage.cache_read.input_tokens": 317, "gen_ai.usage.reasoning_tokens": 13,
        },
        THOUGHT, scope="opentelemetry.instrumentation.openai.v1", provider="openai",
    ),
    Seen(
        "OpenLLMetry on Bedrock: a count of Bedrock's own, and a total that adds nothing", {
            **CHAT, **EXCLUSIVE, **CACHE, "gen_ai.provider.name": "aws.bedrock", "gen_ai.usage.total_tokens": 614,
        },
        WHOLE, scope="opentelemetry.instrumentation.bedrock", provider="aws.bedrock",
    ),
    Seen(
        "botocore, any model of Bedrock", {
            **CHAT, **CACHE, "gen_ai.system": "aws.bedrock", "gen_ai.usage.input_tokens": 553,
            "gen_ai.usage.output_tokens": 61,
        },
        WHOLE, scope="opentelemetry.instrumentation.botocore.bedrock-runtime", provider="aws.bedrock",
    ),
    Seen(
        "OpenInference", {
            **OI, **OI_CACHE, "llm.provider": "anthropic", "llm.token_count.prompt": 983,
            "llm.token_count.completion": 61, "llm.token_count.total": 1044,
        },
        WHOLE, scope="openinference.instrumentation.anthropic", version="3.1.0", provider="anthropic",
    ),
    Seen(
        "OpenInference 0.1 of Anthropic, a stream", {
            **OI, **OI_CACHE, "llm.provider": "anthropic", "llm.token_count.prompt": 553,
            "llm.token_count.completion": 61,
        },
        WHOLE, scope="openinference.instrumentation.anthropic", version="0.1.18", provider="anthropic",
    ),
    Seen(
        "OpenInference of agno: what agno was given", {
            **OI, **OI_CACHE, "llm.provider": "Anthropic", "llm.token_count.prompt": 553,
            "llm.token_count.completion": 61,
        },
        WHOLE, scope="openinference.instrumentation.agno", version="1.0.15", provider="anthropic",
    ),
    Seen(
        "a total that holds the cache on top", {
            **OI, **OI_CACHE, "llm.token_count.prompt": 553, "llm.token_count.completion": 61,
            "llm.token_count.total": 1044,
        },
        WHOLE, scope="somebody's",
    ),
    Seen(
        "a total that holds the reasoning on top", {
            **CHAT, "gen_ai.usage.input_tokens": 983, "gen_ai.usage.output_tokens": 48,
            "gen_ai.usage.total_tokens": 1044, "gen_ai.usage.cache_read.input_tokens": 317,
            "gen_ai.usage.reasoning.output_tokens": 13,
        },
        THOUGHT,
    ),
    Seen(
        "Pydantic AI 1.0", {
            **CHAT, **INCLUSIVE, "gen_ai.system": "anthropic",
            "gen_ai.usage.details.cache_read_input_tokens": 317,
            "gen_ai.usage.details.cache_creation_input_tokens": 113, "gen_ai.usage.details.input_tokens": 553,
            "gen_ai.usage.details.output_tokens": 61,
        },
        WHOLE, scope="pydantic-ai", provider="anthropic",
    ),
    Seen(
        "Logfire, the provider's own JSON", {
            **CHAT, **INCLUSIVE, "gen_ai.system": "openai", "gen_ai.usage.raw": as_json(OPENAI),
        },
        THOUGHT, scope="logfire.openai", name="Chat Completion with {request_data[model]!r}", provider="openai",
    ),
    Seen(
        "Logfire's OpenAI Agents", {
            "gen_ai.system": "openai", "gen_ai.request.model": "m", "response_id": "resp_1", **INCLUSIVE,
            "usage": as_json({
                "input_tokens": 983, "output_tokens": 61, "input_tokens_details": {"cached_tokens": 317},
                "output_tokens_details": {"reasoning_tokens": 13},
            }),
        },
        THOUGHT, scope="logfire.openai_agents", name="Responses API with {gen_ai.request.model!r}",
        provider="openai", response_id="resp_1",
    ),
    Seen(
        "Strands, every count under two names", {
            **CHAT, **INCLUSIVE, "gen_ai.system": "strands-agents", "gen_ai.usage.prompt_tokens": 983,
            "gen_ai.usage.completion_tokens": 61, "gen_ai.usage.cache_read_input_tokens": 317,
            "gen_ai.usage.cache_read.input_tokens": 317, "gen_ai.usage.cache_write_input_tokens": 113,
        },
        WHOLE, scope="strands.telemetry.tracer", name="chat",
    ),
    Seen(
        "Agent Development Kit 1, thoughts and cache in the answer", {
            "gen_ai.system": "gcp.vertex.agent", "gen_ai.request.model": "gemini-2.5-flash",
            "gen_ai.usage.input_tokens": 983, "gen_ai.usage.output_tokens": 48,
            "gcp.vertex.agent.llm_response": as_json({"usage_metadata": {
                "prompt_token_count": 983, "candidates_token_count": 48, "thoughts_token_count": 13,
                "cached_content_token_count": 317, "total_token_count": 1044,
            }}),
        },
        THOUGHT, scope="gcp.vertex.agent", name="call_llm", provider="gcp.gemini", model="gemini-2.5-flash",
        operation="generate_content",
    ),
    Seen(
        "Semantic Kernel", {**CHAT, **INCLUSIVE, "gen_ai.system": "openai", "gen_ai.response.id": "c-1"},
        BLIND, scope="semantic_kernel.utils.telemetry.model_diagnostics.decorators", provider="openai",
        response_id="c-1",
    ),
    Seen(
        "LiteLLM, usage as Python writes it", {
            **CHAT, **INCLUSIVE, "litellm.provider.model": "openai/m", "litellm.call_id": "id-of-its-own",
            "gen_ai.response.id": "c-1", "metadata.usage_object": str({**OPENAI, "cost": None}),
        },
        THOUGHT, scope="litellm", provider="openai", response_id="c-1",
    ),
    Seen(
        "LiteLLM, a stream whose tokens it counted itself", {
            **CHAT, "litellm.provider.model": "m", "litellm.call_id": "x", "gen_ai.request.stream": True,
            "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 7, "gen_ai.cost.total_cost": 0.01,
            "metadata.usage_object": str({
                "prompt_tokens": 10, "completion_tokens": 7, "prompt_tokens_details": None,
                "completion_tokens_details": {"text_tokens": 7, "reasoning_tokens": 0},
            }),
        },
        NOBODY_SAYS, scope="litellm", flags=("estimated_usage",),
    ),
    Seen(
        "OpenLIT 1.45 of Anthropic", {**CHAT, **EXCLUSIVE, **CACHE, "gen_ai.provider.name": "anthropic"},
        WHOLE, scope="openlit.instrumentation.anthropic", provider="anthropic",
    ),
    Seen(
        "OpenLIT 1.34 of OpenAI, a stream that it guesses", {
            **CHAT, "gen_ai.system": "openai", "gen_ai.request.is_stream": True, "gen_ai.usage.input_tokens": 12,
            "gen_ai.usage.output_tokens": 11, "gen_ai.usage.cost": 0,
        },
        NOBODY_SAYS, scope="openlit.otel.tracing", provider="openai", flags=("estimated_usage",),
    ),
    Seen(
        "OpenLIT 1.34 of Anthropic, a stream that it was told", {
            **CHAT, **INCLUSIVE, "gen_ai.system": "anthropic", "gen_ai.request.is_stream": True,
        },
        BLIND, scope="openlit.otel.tracing", provider="anthropic",
    ),
    Seen(
        "LangSmith", {
            "langsmith.span.kind": "llm", **CHAT, **INCLUSIVE, "gen_ai.system": "openai",
            "langsmith.metadata.usage_metadata": as_json({
                "input_tokens": 983, "output_tokens": 61, "input_token_details": {"cache_read": 317},
                "output_token_details": {"reasoning": 13},
            }),
        },
        THOUGHT, scope="langsmith", provider="openai",
    ),
    Seen(
        "MLflow since 3.12, whole figures beside Anthropic's own", {
            "mlflow.spanType": '"CHAT_MODEL"', "mlflow.llm.provider": '"anthropic"', "mlflow.llm.model": '"m"',
            "mlflow.chat.tokenUsage": as_json({**ANTHROPIC, "input_tokens": 983, "total_tokens": 1044}),
            "mlflow.spanOutputs": as_json({"id": "msg_1", "model": "m", "usage": ANTHROPIC, "content": []}),
        },
        WHOLE, provider="anthropic", response_id="msg_1",
    ),
    Seen(
        "MLflow before, Anthropic's own figures twice", {
            "mlflow.spanType": '"CHAT_MODEL"', "mlflow.llm.provider": '"anthropic"', "mlflow.llm.model": '"m"',
            "mlflow.chat.tokenUsage": as_json({**ANTHROPIC, "total_tokens": 614}),
            "mlflow.spanOutputs": as_json({"id": "msg_1", "model": "m", "usage": ANTHROPIC, "content": []}),
        },
        WHOLE, provider="anthropic", response_id="msg_1",
    ),
    Seen(
        "Haystack", {
            "haystack.component.type": "OpenAIChatGenerator",
            "haystack.component.output": as_json({"replies": [{"meta": {"model": "m", "usage": OPENAI}}]}),
        },
        THOUGHT, name="haystack.component.run",
    ),
    Seen(
        "AI SDK 5, figures of Anthropic in what the provider said", {
            "ai.operationId": "ai.generateText.doGenerate", "gen_ai.system": "anthropic.messages",
            "gen_ai.request.model": "m", "ai.usage.promptTokens": 553, "ai.usage.completionTokens": 61,
            "ai.response.providerMetadata": as_json({"anthropic": {"usage": ANTHROPIC}}),
        },
        WHOLE, scope="ai", provider="anthropic",
    ),
    Seen(
        "AI SDK 7 with legacy attributes", {
            "ai.operationId": "ai.streamText.doStream", "gen_ai.system": "openai.chat", "gen_ai.request.model": "m",
            "ai.usage.inputTokens": 983, "ai.usage.outputTokens": 61,
            "ai.usage.inputTokenDetails.cacheReadTokens": 317, "ai.usage.outputTokenDetails.reasoningTokens": 13,
        },
        THOUGHT, scope="ai", provider="openai",
    ),
    Seen(
        "Claude Code", {
            "span.type": "llm_request", "gen_ai.request.model": "m", "input_tokens": 553, "output_tokens": 61,
            "cache_read_tokens": 317, "cache_creation_tokens": 113,
        },
        WHOLE, scope="com.anthropic.claude_code.tracing", name="claude_code.llm_request", provider="anthropic",
    ),
    Seen(
        "a router's name of the model", {
            **CHAT, **INCLUSIVE, "gen_ai.provider.name": "openai", "gen_ai.request.model": "openai/gpt-4o",
        },
        BLIND, provider="openai", model="gpt-4o",
    ),
    Seen(
        "odd values beside good ones", {
            **CHAT, **INCLUSIVE, "gen_ai.usage.cache_read.input_tokens": True, "gen_ai.usage.cost": "nan",
        },
        BLIND, flags=("bad_usage", "bad_cost"),
    ),
    Seen(
        "Spring AI 2: all as text, a count of Anthropic's own", {
            **CHAT, "gen_ai.system": "anthropic",
            "gen_ai.usage.input_tokens": "553", "gen_ai.usage.output_tokens": "61",
            "gen_ai.usage.cache_read.input_tokens": "317", "gen_ai.usage.cache_creation.input_tokens": "113",
            "gen_ai.usage.total_tokens": "614", "gen_ai.response.model": "none", "gen_ai.response.id": "msg_1",
        },
        WHOLE, scope="org.springframework.boot", version="4.0.7", provider="anthropic", response_id="msg_1",
    ),
    Seen(
        "Quarkus LangChain4j", {
            "gen_ai.request.model": "m", "gen_ai.usage.prompt_tokens": 983, "gen_ai.usage.completion_tokens": 61,
            "gen_ai.response.id": "c-1", "gen_ai.client.estimated_cost": "0.00020175USD",
        },
        BLIND, scope="io.quarkus.opentelemetry", response_id="c-1",
    ),
    Seen(
        "OpenLLMetry for Go", {
            "llm.vendor": "openai", "llm.request.type": "chat", "llm.request.model": "m",
            "llm.usage.prompt_tokens": 983, "llm.usage.completion_tokens": 61, "llm.usage.total_tokens": 1044,
        },
        BLIND, scope="traceloop.tracer", provider="openai",
    ),
    Seen(
        "Bifrost: no operation, the usage object of OpenAI spelled out", {
            "gen_ai.provider.name": "openai", "gen_ai.request.model": "m", "gen_ai.usage.prompt_tokens": 983,
            "gen_ai.usage.completion_tokens": 61, "gen_ai.usage.total_tokens": 1044,
            "gen_ai.usage.prompt_token_details.cached_read_tokens": 317,
            "gen_ai.usage.completion_token_details.reasoning_tokens": 13, "gen_ai.response.id": "c-1",
        },
        THOUGHT, scope="bifrost", provider="openai", response_id="c-1",
    ),
    Seen(
        "an answer of OpenAI spelled out as it is", {
            **CHAT, "gen_ai.operation.name": "call_llm", "gen_ai.usage.prompt_tokens": 983,
            "gen_ai.usage.completion_tokens": 61, "gen_ai.usage.prompt_tokens_details.cached_tokens": 317,
            "gen_ai.usage.completion_tokens_details.reasoning_tokens": 13,
        },
        THOUGHT,
    ),
    Seen(
        "Genkit for Go: its own view of OpenAI's usage", {
            "genkit:type": "action", "genkit:name": "openai/m", "genkit:path": "/{openai/m,t:action,s:model}",
            "genkit:metadata:subtype": "model", "genkit:output": as_json({
                "usage": {"inputTokens": 983, "outputTokens": 61, "totalTokens": 1044, "cachedContentTokens": 317,
                          "thoughtsTokens": 13},
                "custom": {"id": "c-1", "model": "m"}, "message": {"role": "model"},
            }),
        },
        THOUGHT, scope="genkit-tracer", provider="openai", response_id="c-1",
    ),
    Seen(
        "Genkit: Google's own answer", {
            "genkit:type": "action", "genkit:name": "googleai/m", "genkit:path": "/{googleai/m,t:action,s:model}",
            "genkit:metadata:subtype": "model", "genkit:output": as_json({
                "usage": {"inputTokens": 983, "outputTokens": 48, "cachedContentTokens": 317, "thoughtsTokens": 13},
                "custom": {"candidates": [], "usageMetadata": {
                    "promptTokenCount": 983, "cachedContentTokenCount": 317, "candidatesTokenCount": 48,
                    "thoughtsTokenCount": 13, "totalTokenCount": 1044,
                }},
            }),
        },
        THOUGHT, scope="genkit-tracer", provider="gcp.gemini",
    ),
    Seen(
        "Genkit: Anthropic's own answer", {
            "genkit:type": "action", "genkit:name": "anthropic/m", "genkit:path": "/{anthropic/m,t:action,s:model}",
            "genkit:metadata:subtype": "model", "genkit:output": as_json({
                "raw": {"id": "msg_1", "type": "message", "content": [], "usage": ANTHROPIC},
                "usage": {"inputTokens": 553, "outputTokens": 61},
            }),
        },
        WHOLE, scope="genkit-tracer", provider="anthropic", response_id="msg_1",
    ),
)  # fmt: skip


def call_of(seen: Seen) -> Call:
    found = read(make_span(seen.attributes, scope=Scope(seen.scope, seen.version), name=seen.name)).call
    assert found is not None
    return found


@pytest.mark.parametrize("seen", FIELD, ids=lambda seen: seen.id)
def test_each_emitter_s_way_of_saying_it_means_the_tokens_that_were_billed(seen: Seen) -> None:
    found = call_of(seen)
    usage = found.usage

    assert (
        usage.input_tokens, usage.cache_read_tokens, usage.cache_write_tokens, usage.output_tokens,
        usage.reasoning_tokens,
    ) == seen.tokens  # fmt: skip
    assert (found.provider, found.response_id) == (seen.provider, seen.response_id)
    assert (found.response_model or found.request_model, found.operation) == (seen.model, seen.operation)


@pytest.mark.parametrize("seen", [seen for seen in FIELD if seen.flags], ids=lambda seen: seen.id)
def test_what_cannot_be_believed_is_flagged(seen: Seen) -> None:
    flags = read(make_span(seen.attributes, scope=seen.scope, name=seen.name)).flags

    assert set(seen.flags) <= set(flags)
    assert call_of(seen).reported_cost_usd is None


@pytest.mark.parametrize(
    ("attributes", "scope", "name", "agent"),
    [
        ({}, "gcp.vertex.agent", "agent_run [weather_agent]", "weather_agent"),
        ({"openinference.span.kind": "AGENT", "session.id": "s", "input.value": "x"}, "a", "agent_run [w]", "w"),
        (
            {"mlflow.spanType": '"CHAIN"', "metadata": '{"lc_agent_name": "weather_agent"}'},
            "mlflow.tracing.provider",
            "weather_agent",
            "weather_agent",
        ),
        (
            {
                "traceloop.span.kind": "task",
                "traceloop.entity.name": "weather_agent",
                "traceloop.entity.input": '{"inputs": {}, "metadata": {"lc_agent_name": "weather_agent"}}',
            },
            "opentelemetry.instrumentation.langchain",
            "weather_agent.task",
            "weather_agent",
        ),
    ],
    ids=["Agent Development Kit 1", "OpenInference of it", "LangChain by MLflow", "LangChain by OpenLLMetry 0.40"],
)
def test_agents_are_found_where_older_emitters_name_them(
    attributes: dict[str, Any], scope: str, name: str, agent: str
) -> None:
    found = read(make_span(attributes, scope=scope, name=name, parent="a"))

    assert (found.event_type, found.agent_name) == ("agent", agent)


@pytest.mark.parametrize(
    ("attributes", "scope", "name", "tool"),
    [
        (
            {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "Weather-get_weather"},
            "semantic_kernel.functions.kernel_function",
            "execute_tool Weather-get_weather",
            "get_weather",
        ),
        (
            {"traceloop.span.kind": "tool", "gen_ai.completion.tool.name": "get_weather"},
            "opentelemetry.instrumentation.openai_agents",
            "get_weather.tool",
            "get_weather",
        ),
        (
            {
                "haystack.component.type": "ToolInvoker",
                "haystack.component.output": as_json(
                    {"tool_messages": [{"content": [{"tool_call_result": {"origin": {"tool_name": "get_weather"}}}]}]}
                ),
            },
            "haystack",
            "haystack.component.run",
            "get_weather",
        ),
    ],
    ids=["a plugin's function", "OpenAI Agents by OpenLLMetry 0.44", "Haystack 2"],
)
def test_tools_are_called_as_the_program_calls_them(
    attributes: dict[str, Any], scope: str, name: str, tool: str
) -> None:
    found = read(make_span(attributes, scope=scope, name=name)).step

    assert found is not None
    assert (found.kind, found.name) == ("tool", tool)


def test_an_event_of_inference_without_an_operation_is_a_call() -> None:
    found = read_log(make_log(INCLUSIVE, event_name="gen_ai.client.inference.operation.details")).call

    assert found is not None
    assert (found.usage.input_tokens, found.usage.output_tokens) == (983, 61)


def test_why_an_answer_ended_proves_that_there_was_one() -> None:
    found = read(make_span({**CHAT, "gen_ai.response.finish_reasons": ["stop"]})).call

    assert found is not None
    assert not found.usage.known


@pytest.mark.parametrize(
    ("sent", "reason"),
    [(["STOP"], "stop"), ('["TOOL_CALLS"]', "tool_calls"), ("FinishReason.STOP", "stop"), ("toolUse", "toolUse")],
)
def test_enumerations_that_shout_mean_the_same_reason(sent: Any, reason: str) -> None:
    found = read(make_span({**CHAT, "gen_ai.response.finish_reasons": sent})).call

    assert found is not None
    assert found.finish_reason == reason


def test_an_exception_in_the_place_of_an_answer_is_a_failure_and_beside_one_is_none() -> None:
    exception = [SpanEvent("exception", 0, {"exception.type": "RateLimitException"})]

    failed, answered = (read(make_span(said, events=exception)) for said in (CHAT, {**CHAT, **INCLUSIVE}))

    assert failed.failed
    assert failed.call is not None
    assert failed.call.failed
    assert not answered.failed
    assert answered.call is not None
    assert not answered.call.failed


def test_a_cost_may_name_its_currency() -> None:
    found = read(make_span({**CHAT, **INCLUSIVE, "gen_ai.client.estimated_cost": "0.00020175USD"})).call

    assert found is not None
    assert found.reported_cost_usd == Decimal("0.00020175")


SPRING_AI = {"gen_ai.operation.name": "framework", "gen_ai.system": "spring_ai"}


def test_an_advisor_of_spring_ai_is_a_mere_span_and_names_the_conversation() -> None:
    named, unnamed = (
        read(make_span({**SPRING_AI, "spring.ai.kind": "chat_client", "spring.ai.chat.client.conversation.id": name}))
        for name in ("conv-42", "default")
    )

    assert (named.event_type, named.conversation_id) == ("span", "conv-42")
    assert unnamed.conversation_id is None


def test_a_vector_store_that_is_asked_is_a_retrieval_and_one_that_is_filled_is_none() -> None:
    store = {"spring.ai.kind": "vector_store", "db.collection.name": "docs", "db.vector.query.content": "a question"}

    asked, filled = (read(make_span({**store, "db.operation.name": name})) for name in ("query", "add"))

    assert asked.step is not None
    assert (asked.step.kind, asked.step.name) == ("retrieval", "docs")
    assert [(content.part, content.body) for content in asked.contents] == [("input", "a question")]
    assert filled.step is None


def test_flows_of_genkit_are_workflows_and_helpers_repeat_what_is_below() -> None:
    said = {"genkit:path": "/{f,t:flow}", "genkit:name": "f", "genkit:output": as_json({"usage": {"inputTokens": 1}})}

    flow, helper = (read(make_span({**said, "genkit:metadata:subtype": kind})) for kind in ("flow", "util"))

    assert flow.run is not None
    assert (flow.run.kind, flow.run.name) == ("workflow", "f")
    assert helper.call is None
    assert helper.is_rollup


def test_a_step_of_genkit_fails_as_its_state_says() -> None:
    said = {"genkit:path": "/{t,t:action}", "genkit:metadata:subtype": "tool.v2", "genkit:sessionId": "s-1"}

    found = read(make_span({**said, "genkit:state": "error"}))

    assert (found.event_type, found.failed, found.conversation_id) == ("tool", True, "s-1")


def test_vectors_are_no_content() -> None:
    said = {
        "genkit:path": "/{e,t:action}",
        "genkit:metadata:subtype": "embedder",
        "genkit:input": as_json({"input": 1}),
    }

    found = read(make_span({**said, "genkit:output": as_json({"embeddings": [[0.1]]})}))

    assert [content.part for content in found.contents] == ["input"]
    assert "genkit:output" in found.content_keys


def test_tools_that_ran_beside_each_other_are_told_once_each() -> None:
    merged = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "(merged tools)"}

    assert read(make_span(merged, scope="gcp.vertex.agent")).step is None
