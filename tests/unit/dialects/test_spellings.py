"""What the convention says, and emitters of other languages spell as their enumerations and adapters do."""

from __future__ import annotations

import json
from typing import Any

import pytest

from otel_obs.dialects.provider import provider_name
from otel_obs.dialects.reading import read
from otel_obs.model import Call, SpanEvent, Usage
from tests.builders import make_span

USAGE = {"gen_ai.usage.input_tokens": 871, "gen_ai.usage.output_tokens": 103}
CACHE = {"gen_ai.usage.cache_read.input_tokens": 419, "gen_ai.usage.cache_creation.input_tokens": 191}
CHAT = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m", **USAGE}


def call_of(attributes: dict[str, Any], *, scope: str = "test", name: str = "a span") -> Call:
    found = read(make_span(attributes, scope=scope, name=name)).call
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("operation", "meant"),
    [
        ("Chat", "chat"), ("TextCompletion", "text_completion"), ("GenerateContent", "generate_content"),
        ("text-completion", "text_completion"), ("CHAT", "chat"), ("summarize", "chat"),
        ("chat.completions", "chat"), ("text.completions", "text_completion"),
    ],
)  # fmt: skip
def test_an_operation_is_one_however_its_words_are_joined(operation: str, meant: str) -> None:
    assert call_of({**CHAT, "gen_ai.operation.name": operation}).operation == meant


@pytest.mark.parametrize(
    ("operation", "role"),
    [
        ("InvokeAgent", "agent"), ("ExecuteTool", "tool"), ("invoke-workflow", "workflow"), ("workflow", "workflow"),
        ("retrieve", "retrieval"), ("rag", "retrieval"), ("agent", "agent"), ("tool", "tool"),
        ("OutputMessages", "span"),
    ],
)  # fmt: skip
def test_what_asks_nothing_of_a_model_is_known_so_too(operation: str, role: str) -> None:
    found = read(make_span({"gen_ai.operation.name": operation, **USAGE}))

    assert (found.event_type, found.call) == (role, None)


@pytest.mark.parametrize(
    ("said", "provider"),
    [
        ("OPEN_AI", "openai"), ("AZURE_OPEN_AI", "azure.ai.openai"), ("GOOGLE_AI_GEMINI", "gcp.gemini"),
        ("GOOGLE_VERTEX_AI_GEMINI", "gcp.vertex_ai"), ("AMAZON_BEDROCK", "aws.bedrock"), ("OTHER", None),
        ("openai-chat", "openai"), ("anthropic-messages", "anthropic"), ("xai-responses", "x_ai"),
        ("mistral-chat", "mistral_ai"), ("claude", "anthropic"), ("eino", None), ("trpc.go.agent", None),
        ("amazon-bedrock", "aws.bedrock"), ("google-vertex", "gcp.vertex_ai"), ("open-chat", "open-chat"),
        ("vendor-chat", "vendor-chat"),
    ],
)  # fmt: skip
def test_a_provider_is_one_however_it_is_called(said: str, provider: str | None) -> None:
    assert provider_name(said) == provider


@pytest.mark.parametrize(
    ("model", "said", "serves"),
    [
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "anthropic", "aws.bedrock"),
        ("amazon.nova-lite-v1:0", "anthropic", "aws.bedrock"),
        ("claude-sonnet-4-5", "anthropic", "anthropic"),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "gateway", "gateway"),
    ],
)
def test_bedrock_serves_the_models_that_it_names_whoever_made_them(model: str, said: str, serves: str) -> None:
    assert call_of({**CHAT, "gen_ai.request.model": model, "gen_ai.system": said}).provider == serves


def test_a_model_that_is_not_known_has_no_name() -> None:
    found = call_of({**CHAT, "gen_ai.provider.name": "OPEN_AI", "gen_ai.response.model": "unknown"})

    assert (found.provider, found.request_model, found.response_model) == ("openai", "m", None)


def test_rounds_of_tanstack_are_requests_as_their_provider_counts_them() -> None:
    found = call_of({**CHAT, **CACHE, "gen_ai.system": "anthropic", "tanstack.ai.iteration": 0})

    assert found.usage == Usage(input_tokens=1481, cache_read_tokens=419, cache_write_tokens=191, output_tokens=103)


def test_thoughts_are_in_what_tanstack_says_of_google_s_output() -> None:
    found = call_of(
        {**CHAT, "gen_ai.system": "gemini", "tanstack.ai.iteration": 0, "gen_ai.usage.reasoning.output_tokens": 29}
    )

    assert (found.usage.output_tokens, found.usage.reasoning_tokens) == (103, 29)


def test_a_loop_of_tanstack_repeats_its_rounds() -> None:
    found = read(
        make_span({"gen_ai.system": "openai", "gen_ai.request.model": "m", "tanstack.ai.iterations": 2, **USAGE})
    )

    assert (found.event_type, found.call, found.is_rollup) == ("span", None, True)


def test_a_tool_that_effect_ran_is_one_and_what_it_was_given_is_content() -> None:
    attributes = {"tool": "get_weather", "parameters": '{"city": "a secret"}'}

    found = read(make_span(attributes, scope="weather-app", name="Toolkit.handle"))

    assert found.step is not None
    assert (found.step.kind, found.step.name) == ("tool", "get_weather")
    assert [(content.part, content.body) for content in found.contents] == [("tool_arguments", '{"city": "a secret"}')]
    assert found.content_keys == {"parameters"}


def test_parameters_of_what_runs_no_tool_stay_where_they_are() -> None:
    assert read(make_span({"parameters": "a=1"}, name="Toolkit.handle")).content_keys == frozenset()


BEEAI = "@arizeai/openinference-instrumentation-beeai"


def test_that_a_backend_of_beeai_answered_is_the_request() -> None:
    answer = {"messages": [], "usage": {"promptTokens": 983, "completionTokens": 61}, "finishReason": "stop"}

    found = read(
        make_span({"target": "backend.openai.chat.success", "data": json.dumps({"value": answer})}, scope=BEEAI)
    )

    assert found.call is not None
    assert (found.call.provider, found.call.finish_reason) == ("openai", "stop")
    assert (found.call.usage.input_tokens, found.call.usage.output_tokens) == (983, 61)
    assert found.content_keys == {"data"}


@pytest.mark.parametrize(
    ("attributes", "event_type"),
    [
        ({"source": "OpenAIChatModel", "openinference.span.kind": "LLM"}, "span"),
        ({"target": "agent.react.update", "openinference.span.kind": "AGENT", "thought": "a secret"}, "span"),
        ({"target": "backend.openai.chat.start", "data": '{"input": "a secret"}'}, "span"),
        ({"source": "ReActAgent", "openinference.span.kind": "AGENT"}, "agent"),
        ({"source": "WeatherTool", "openinference.span.kind": "TOOL"}, "tool"),
    ],
    ids=["the frame of a request", "an event of an agent", "an event of a request", "an agent", "a tool"],
)
def test_what_else_beeai_tells_is_what_it_says(attributes: dict[str, Any], event_type: str) -> None:
    found = read(make_span(attributes, scope=BEEAI, name="beeai-framework-main"))

    assert (found.event_type, found.call) == (event_type, None)
    assert {name for name, value in attributes.items() if "secret" in value} == found.content_keys
    if found.run is not None:
        assert found.run.name == "ReActAgent"


@pytest.mark.parametrize(
    ("component", "kind", "event_type"),
    [
        ("ChatModel", "workflow", "llm"), ("ChatModel", "chatmodel", "llm"), ("Graph", "workflow", "workflow"),
        ("Graph", "graph", "span"), ("Tool", "tool", "tool"), ("Retriever", "retriever", "retrieval"),
    ],
)  # fmt: skip
def test_what_eino_runs_is_known_by_its_component(component: str, kind: str, event_type: str) -> None:
    usage = {"gen_ai.usage.prompt_tokens": 983, "gen_ai.usage.completion_tokens": 61}
    found = read(
        make_span(
            {
                "gen_ai.span.kind": kind, "runinfo.component": component, "gen_ai.system": "eino",
                "gen_ai.request.model": "m", "gen_ai.session.id": "s", "gen_ai.user.id": "u", **usage,
            },
            parent=None if kind == "workflow" else "00f067aa0ba902b7",
        )
    )  # fmt: skip

    assert (found.event_type, found.user_id, found.conversation_id) == (event_type, "u", "s")
    assert (found.call is not None) == (event_type == "llm")
    assert found.call is None or (found.call.provider, found.call.usage.input_tokens) == (None, 983)


def test_trpc_hands_on_what_anthropic_counts() -> None:
    found = read(
        make_span(
            {
                **CHAT, "gen_ai.system": "trpc.go.agent", "gen_ai.request.model": "claude-sonnet-4-5",
                "gen_ai.usage.input_tokens.cached": 419, "gen_ai.usage.input_tokens.cache_read": 419,
                "gen_ai.usage.input_tokens.cache_creation": 191, "trpc.go.agent.runner.user_id": "u",
                "trpc_agent_go.client.time_to_first_token": 0.25, "trpc.go.agent.llm_request": "a secret",
            },
            scope="trpc.agent.go",
        )
    )  # fmt: skip

    assert found.call is not None
    assert found.call.usage == Usage(
        input_tokens=1481, cache_read_tokens=419, cache_write_tokens=191, output_tokens=103
    )
    assert (found.call.provider, found.call.time_to_first_token_ms, found.user_id) == (None, 250, "u")
    assert found.content_keys == {"trpc.go.agent.llm_request"}


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("ai.request.text", "input"), ("ai.documents", "input"), ("ai.ranking", "output"),
        ("ai.decision.answers", "output"), ("gen_ai.workflow.request", "input"),
        ("gen_ai.embeddings.response", "output"), ("documents.0.index", "input"),
        ("gen_ai.request.tool.definitions", "tools"), ("microsoft.a365.agent.thought.process", None),
        ("embabel.rag.query", "input"), ("embabel.action.result", "output"), ("embabel.replan.reason", None),
    ],
)  # fmt: skip
def test_what_was_said_is_content_under_these_names_too(name: str, part: str | None) -> None:
    found = read(make_span({"gen_ai.operation.name": "step", name: "a secret"}))

    assert found.content_keys == {name}
    assert [content.part for content in found.contents] == ([] if part is None else [part])


def test_a_request_s_settings_are_no_content() -> None:
    names = (
        "gen_ai.request.top_p", "gen_ai.response.id", "http.request.method", "documents.count",
        "llm.token_count.prompt", "llm.token_count.completion", "llm.cost.output", "llm.usage.completion",
    )  # fmt: skip

    assert read(make_span({**CHAT, **dict.fromkeys(names, "x")})).content_keys == frozenset()


def test_what_a_response_says_it_took_is_its_usage() -> None:
    counts = {"gen_ai.response.prompt_tokens": 983, "gen_ai.response.completion_tokens": 61}

    found = call_of({"gen_ai.operation.name": "chat.completions", "gen_ai.request.model": "m", **counts})

    assert (found.usage.input_tokens, found.usage.output_tokens) == (983, 61)


def test_a_function_that_semantic_kernel_for_java_invokes_is_a_tool() -> None:
    attributes = {
        "semantic_kernel.function.invocation.name": "get_weather",
        "semantic_kernel.function.invocation.plugin_name": "Weather",
    }

    found = read(make_span(attributes, scope="SemanticKernel", name="function_invocation Weather-get_weather")).step

    assert found is not None
    assert (found.kind, found.name) == ("tool", "get_weather")


def test_agents_of_embabel_are_runs_and_its_records_of_cost_are_no_requests() -> None:
    agent = {"gen_ai.operation.name": "agent", "embabel.agent.name": "researcher", "embabel.agent.status": "COMPLETED"}
    record = {"embabel.llm.model": "m", "embabel.llm.cost": "0.01", **USAGE}
    asked = {"gen_ai.operation.name": "rag", "embabel.rag.service": "docs", "embabel.rag.query": "a secret"}

    run, told, step = (read(make_span(attributes)) for attributes in (agent, record, asked))

    assert run.run is not None
    assert (run.run.kind, run.run.name, run.agent_id) == ("agent", "researcher", "researcher")
    assert (told.event_type, told.call, told.is_rollup) == ("span", None, True)
    assert step.step is not None
    assert (step.step.kind, step.step.name) == ("retrieval", "docs")


def test_an_agent_of_bedrock_s_is_who_was_asked_and_what_it_thought_is_content() -> None:
    asked = {"agentId": "AGENT1", "agentAliasId": "ALIAS1", "sessionId": "s"}
    scope = "@arizeai/openinference-instrumentation-bedrock-agent"
    run = {"openinference.span.kind": "AGENT", "llm.invocation_parameters": json.dumps(asked)}
    call = {
        "openinference.span.kind": "LLM", "llm.model_name": "m", "llm.token_count.prompt": 553,
        "llm.token_count.completion": 49, "metadata": json.dumps({"rationale": "a secret"}),
    }  # fmt: skip

    invoked = read(make_span(run, scope=scope, name="bedrock.invoke_agent"))
    thought = read(make_span(call, scope=scope, name="LLM"))

    assert invoked.run is not None
    assert (invoked.run.name, invoked.agent_id, invoked.conversation_id) == ("AGENT1", "AGENT1", "s")
    assert thought.content_keys == {"metadata"}
    assert thought.contents == ()


def test_what_a_vendor_adds_to_the_sdk_s_words_is_understood() -> None:
    found = read(
        make_span(
            {
                "ai.operationId": "ai.generateText.doGenerate", "ai.model.id": "m", "ai.usage.promptTokens": 983,
                "ai.usage.completionTokens": 61, "gen_ai.usage.input_tokens": 983, "gen_ai.usage.output_tokens": 61,
                "gen_ai.usage.cache_read_input_tokens": 317, "gen_ai.usage.reasoning_tokens": 13,
                "ai.telemetry.metadata.raindrop.ai.userId": "u", "ai.telemetry.metadata.raindrop.convoId": "s",
            },
            scope="raindrop.ai-sdk",
        )
    )  # fmt: skip

    assert found.call is not None
    assert found.call.usage == Usage(input_tokens=983, cache_read_tokens=317, output_tokens=61, reasoning_tokens=13)
    assert (found.user_id, found.conversation_id) == ("u", "s")


@pytest.mark.parametrize(
    "told",
    [
        {"judgment.usage.metadata": json.dumps({"prompt_tokens": 983, "completion_tokens": 61, "total_tokens": 1044,
                                                "prompt_tokens_details": {"cached_tokens": 317}})},
        {"judgment.usage.non_cached_input_tokens": 666, "judgment.usage.output_tokens": 61,
         "judgment.usage.cache_read_input_tokens": 317},
    ],
    ids=["the provider's object", "each count"],
)  # fmt: skip
def test_what_was_not_cached_is_part_of_the_input_that_judgment_tells(told: dict[str, Any]) -> None:
    found = read(
        make_span(
            {"judgment.span_kind": "llm", "judgment.llm.model": "m", "judgment.customer_id": "u",
             "judgment.session_id": "s", **told},
            scope="judgeval", name="OPENAI_API_CALL",
        )
    )  # fmt: skip

    assert found.call is not None
    assert found.call.usage == Usage(input_tokens=983, cache_read_tokens=317, output_tokens=61)
    assert (found.call.provider, found.call.request_model) == ("openai", "m")
    assert (found.user_id, found.conversation_id) == ("u", "s")


def test_paid_hands_on_what_anthropic_counts() -> None:
    counts = {"gen_ai.usage.cache_read_input_tokens": 419, "gen_ai.usage.cache_creation_input_tokens": 191}

    found = call_of({**CHAT, **counts, "gen_ai.system": "anthropic"}, scope="paid.node")

    assert found.usage.input_tokens == 1481


@pytest.mark.parametrize(
    ("provider", "told", "usage"),
    [
        (
            "OpenAI", {"input_tokens": 666, "output_tokens": 61, "total_tokens": 1044},
            Usage(input_tokens=983, cache_read_tokens=317, output_tokens=61),
        ),
        (
            "Anthropic", {"input_tokens": 553, "output_tokens": 61, "total_tokens": 1044},
            Usage(input_tokens=983, output_tokens=61),
        ),
        (
            "GoogleGeminiAI",
            {"input_tokens": 983, "output_tokens": 48, "total_tokens": 1044, "thoughts_tokens": 13},
            Usage(input_tokens=983, output_tokens=61, reasoning_tokens=13),
        ),
        ("OpenAI", {"input_tokens": 983, "output_tokens": 61}, Usage(input_tokens=983, output_tokens=61)),
    ],
    ids=["OpenAI", "Anthropic", "Google", "no total"],
)  # fmt: skip
def test_usage_that_an_event_tells_is_the_call_s(provider: str, told: dict[str, int], usage: Usage) -> None:
    attributes = {
        "gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "gen_ai.system": provider,
        "gen_ai.request.llm_is_streaming": True, "response.retries": 1,
    }  # fmt: skip
    events = [
        SpanEvent("gen_ai.usage", 1, {f"gen_ai.usage.{name}": count for name, count in told.items()}),
        SpanEvent("gen_ai.choice", 2, {"finish_reason": "stop"}),
        SpanEvent("gen_ai.choice", 3, {"finish_reason": None}),
    ]

    found = read(make_span(attributes, name="AI Chat Request", events=events)).call

    assert found is not None
    assert found.usage == usage
    assert (found.is_stream, found.finish_reason, found.attempts) == (True, "stop", 2)


def test_a_tool_that_ax_ran_is_one() -> None:
    attributes = {"tool.name": "get_weather", "tool.mode": "native", "function.id": "call_1", "session.id": ""}

    found = read(make_span(attributes, name="Tool: get_weather")).step

    assert found is not None
    assert (found.kind, found.name, found.call_id) == ("tool", "get_weather", "call_1")


def test_openllmetry_s_google_is_the_service_that_was_asked() -> None:
    attributes = {**CHAT, "gen_ai.system": "Google", "llm.request.type": "completion"}

    assert call_of(attributes, name="vertexai.completion").provider == "gcp.vertex_ai"
    assert call_of(attributes, name="gemini.generate_content").provider == "gcp.gemini"
