"""What spans mean: rules that captures forced, one by one."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from otel_obs.dialects.reading import read, read_log
from otel_obs.model import Scope, SpanEvent
from tests.builders import agent, chat, make_log, make_span, tool


@pytest.mark.parametrize(
    ("operation", "event_type", "is_call"),
    [
        ("chat", "llm", True),
        ("generate_content", "llm", True),
        ("text_completion", "llm", True),
        ("embeddings", "embedding", True),
        ("execute_tool", "tool", False),
        ("invoke_agent", "agent", False),
        ("invoke_workflow", "workflow", False),
        ("retrieval", "retrieval", False),
        ("apply_guardrail", "guardrail", False),
        ("create_agent", "span", False),
        ("plan", "span", False),
        ("search_memory", "span", False),
        ("fetch_response", "span", False),
        ("agent_step", "span", False),
        ("something new", "span", False),
    ],
)
def test_the_operation_says_the_role_and_only_requests_are_calls(
    operation: str, event_type: str, is_call: bool
) -> None:
    found = read(make_span({**chat(response_id="r"), "gen_ai.operation.name": operation}))

    assert (found.event_type, found.call is not None) == (event_type, is_call)


@pytest.mark.parametrize(
    "attributes",
    [
        agent("a", **{"gen_ai.usage.input_tokens": 5}),
        agent("a", **{"gen_ai.aggregated_usage.input_tokens": 5}),
        {"openinference.span.kind": "AGENT", "llm.token_count.prompt": 5, "agent.name": "a"},
        {"ai.operationId": "ai.generateText", "ai.usage.promptTokens": 5},
        {"gen_ai.operation.name": "agent_step", "gen_ai.usage.input_tokens": 5},
    ],
    ids=["an agent", "aggregated", "an agent of OpenInference", "a loop of the AI SDK", "a step"],
)
def test_sums_that_agents_and_steps_repeat_are_rollups(attributes: dict[str, Any]) -> None:
    found = read(make_span(attributes))

    assert found.is_rollup
    assert found.call is None


def test_a_span_of_no_dialect_is_a_mere_span() -> None:
    found = read(make_span({"http.request.method": "POST", "url.full": "http://example.com"}))

    assert (found.event_type, found.dialect, found.call) == ("span", "", None)


def test_a_request_without_usage_output_id_or_failure_is_no_call() -> None:
    assert read(make_span({"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"})).call is None


@pytest.mark.parametrize(
    ("attributes", "status_code"),
    [
        ({"gen_ai.response.id": "r"}, 0),
        ({"gen_ai.output.messages": "[]x"}, 0),
        ({"gen_ai.usage.input_tokens": 0, "gen_ai.usage.output_tokens": 0}, 0),
        ({}, 2),
    ],
    ids=["an id", "an output", "zeros", "a failure"],
)
def test_a_request_that_was_answered_is_a_call_whose_usage_is_unknown(
    attributes: dict[str, Any], status_code: int
) -> None:
    found = read(make_span({"gen_ai.operation.name": "chat", **attributes}, status_code=status_code)).call

    assert found is not None
    assert not found.usage.known


def test_of_only_a_total_each_half_is_input_and_output() -> None:
    found = read(make_span({"gen_ai.operation.name": "chat", "gen_ai.usage.total_tokens": 101})).call

    assert found is not None
    assert (found.usage.input_tokens, found.usage.output_tokens, found.usage_source) == (51, 50, "split")


@pytest.mark.parametrize(
    ("name", "conventional"),
    [
        ("openai", "openai"), ("OpenAI", "openai"), ("Anthropic", "anthropic"), ("gemini", "gcp.gemini"),
        ("vertex_ai", "gcp.vertex_ai"), ("az.ai.openai", "azure.ai.openai"), ("openai.chat", "openai"),
        ("anthropic.messages", "anthropic"), ("aws.bedrock", "aws.bedrock"), ("xai", "x_ai"),
        ("strands-agents", None), ("langchain", None), ("microsoft.agent_framework", None),
    ],
)  # fmt: skip
def test_providers_have_their_conventional_names_and_frameworks_are_none(name: str, conventional: str | None) -> None:
    found = read(make_span(chat(more={"gen_ai.provider.name": name}))).call

    assert found is not None
    assert found.provider == conventional


def test_old_names_of_the_convention_are_read() -> None:
    attributes = {
        "gen_ai.system": "openai", "gen_ai.operation.name": "chat", "gen_ai.request.model": "m",
        "gen_ai.usage.prompt_tokens": 10, "gen_ai.usage.completion_tokens": 5,
        "gen_ai.usage.cache_read_input_tokens": 3, "gen_ai.usage.cache_creation.input_tokens": 2,
        "gen_ai.openai.response.service_tier": "flex",
    }  # fmt: skip

    found = read(make_span(attributes)).call

    assert found is not None
    assert (found.usage.input_tokens, found.usage.output_tokens) == (10, 5)
    assert (found.usage.cache_read_tokens, found.usage.cache_write_tokens) == (3, 2)
    assert found.service_tier == "flex"


@pytest.mark.parametrize(
    ("scope", "provider", "input_tokens"),
    [
        ("opentelemetry.instrumentation.genai.anthropic", "anthropic", 500),
        ("openlit.instrumentation.anthropic", "anthropic", 900),
        ("openlit.instrumentation.openai", "openai", 500),
    ],
)
def test_cached_tokens_are_inside_the_input_unless_the_emitter_counts_as_anthropic_does(
    scope: str, provider: str, input_tokens: int
) -> None:
    more = {
        "gen_ai.provider.name": provider,
        "gen_ai.usage.cache_read.input_tokens": 300,
        "gen_ai.usage.cache_creation.input_tokens": 100,
    }

    found = read(make_span(chat(500, 10, more=more), scope=scope)).call

    assert found is not None
    assert found.usage.input_tokens == input_tokens


def test_the_ai_sdk_before_version_6_leaves_anthropics_cached_tokens_out() -> None:
    raw = {"input_tokens": 500, "output_tokens": 10, "cache_read_input_tokens": 300, "cache_creation_input_tokens": 100}
    attributes = {
        "ai.operationId": "ai.generateText.doGenerate", "ai.model.id": "claude-sonnet-4-5",
        "gen_ai.system": "anthropic.messages", "gen_ai.usage.input_tokens": 500, "gen_ai.usage.output_tokens": 10,
        "ai.response.providerMetadata": json.dumps({"anthropic": {"usage": raw}}),
    }  # fmt: skip

    found = read(make_span(attributes)).call

    assert found is not None
    assert (found.usage.input_tokens, found.usage.cache_read_tokens, found.usage.cache_write_tokens) == (900, 300, 100)


def test_streams_of_openinferences_first_anthropic_instrumentation_leave_cached_tokens_out() -> None:
    attributes = {
        "openinference.span.kind": "LLM", "llm.provider": "anthropic", "llm.token_count.prompt": 500,
        "llm.token_count.completion": 5, "llm.token_count.prompt_details.cache_read": 300, "output.value": "hello",
    }  # fmt: skip
    scope = "openinference.instrumentation.anthropic"

    old = read(make_span(attributes, scope=Scope(scope, "0.1.18"))).call
    new = read(make_span(attributes, scope=Scope(scope, "3.1.0"))).call

    assert old is not None
    assert new is not None
    assert (old.usage.input_tokens, new.usage.input_tokens) == (800, 500)


@pytest.mark.parametrize("cached", [True, False])
def test_a_guess_of_openlit_is_not_usage(cached: bool) -> None:
    more: dict[str, Any] = {"gen_ai.request.stream": True}
    if cached:
        more["gen_ai.usage.cache_read.input_tokens"] = 0

    found = read(make_span(chat(12, 19, response_id="r", more=more), scope="openlit.instrumentation.openai"))

    assert found.call is not None
    assert found.call.usage.known == cached
    assert ("estimated_usage" in found.flags) != cached


@pytest.mark.parametrize(
    ("agent_id", "stable"),
    [
        ("asst_5j66UpCpwteGg4YSxUnt7lPY", "asst_5j66UpCpwteGg4YSxUnt7lPY"),
        ("be9263bd-0615-4937-94f3-43b5b9f0ef72", "writer"),
        ("writer_f4e519b5-9708-4f1e-bb38-f24c3ec08c9f/x", "writer"),
        ("agent", "writer"),
        ("span_7f993e8be4ef46ada844c668", "writer"),
        (None, "writer"),
    ],
)
def test_an_agents_id_is_its_name_unless_it_has_one_that_lasts(agent_id: str | None, stable: str) -> None:
    more = {} if agent_id is None else {"gen_ai.agent.id": agent_id}

    assert read(make_span(agent("writer", **more))).agent_id == stable


def test_a_node_of_the_platform_names_its_agent() -> None:
    found = read(make_span(agent("writer", **{"otel_obs.node.id": "node-7"})))

    assert (found.agent_id, found.agent_name) == ("node-7", "writer")


@pytest.mark.parametrize("sent", ["resp_123", "chatcmpl-123", "msg_01"])
def test_a_response_id_is_no_conversation(sent: str) -> None:
    assert read(make_span(chat(more={"gen_ai.conversation.id": sent, "session.id": "s"}))).conversation_id == "s"


def test_only_a_workflow_and_a_root_say_which_workflow_it_is() -> None:
    """Emitters leak the name to spans of other workflows."""
    root = make_span({"traceloop.span.kind": "task", "traceloop.workflow.name": "right"})
    below = make_span({"traceloop.span.kind": "task", "traceloop.workflow.name": "leaked"}, parent=root)

    assert read(root).flow_id == "right"
    assert read(below).flow_id is None


@pytest.mark.parametrize(
    "attributes",
    [
        {"mcp.method.name": "tools/call", "gen_ai.tool.name": "search"},
        tool("search"),
        {"openinference.span.kind": "TOOL", "tool.name": "search"},
        {"traceloop.span.kind": "tool", "traceloop.entity.name": "search"},
        {"langsmith.span.kind": "tool", "gen_ai.tool.name": "search"},
        {"ai.operationId": "ai.toolCall", "ai.toolCall.name": "search"},
        {"haystack.tool.name": "search"},
        {"spring.ai.kind": "tool_call", "spring.ai.tool.definition.name": "search", "spring.ai.tool.call.id": "c-1"},
        {"genkit:path": "/{search}", "genkit:name": "search", "genkit:metadata:subtype": "tool.v2"},
    ],
    ids=["mcp", "gen_ai", "openinference", "openllmetry", "langsmith", "ai sdk", "haystack", "spring ai", "genkit"],
)
def test_tools_are_known_by_their_names(attributes: dict[str, Any]) -> None:
    found = read(make_span(attributes))

    assert found.step is not None
    assert (found.event_type, found.step.name) == ("tool", "search")


def test_a_handoff_is_no_tool() -> None:
    assert read(make_span({"openinference.span.kind": "TOOL"}, name="handoff to writer")).step is None


def test_a_guardrails_verdict_is_read_from_either_proposal_and_kept_as_it_is() -> None:
    ours = read(make_span({"otel_obs.guardrail.name": "g", "otel_obs.guardrail.similarity_score": "0.9"})).check
    theirs = read(
        make_span({"gen_ai.operation.name": "apply_guardrail", "gen_ai.guardrail.result.value": "GUARDRAIL_INTERVENED"})
    ).check

    assert ours is not None
    assert theirs is not None
    assert (ours.guardrail_name, ours.similarity_score) == ("g", 0.9)
    assert theirs.action_taken == "GUARDRAIL_INTERVENED"


CONTENT = [
    ("gen_ai.input.messages", "input"), ("gen_ai.output.messages", "output"), ("gen_ai.prompt.0.content", "input"),
    ("gen_ai.completion.0.content", "output"), ("llm.input_messages.0.message.content", "input"),
    ("input.value", "input"), ("output.value", "output"), ("traceloop.entity.input", "input"),
    ("ai.prompt.messages", "input"), ("ai.response.text", "output"), ("mlflow.spanInputs", "input"),
    ("gen_ai.system_instructions", "system"), ("gen_ai.tool.definitions", "tools"),
    ("haystack.component.output", "output"), ("langfuse.observation.input", "input"),
    ("mastra.agent_run.input", "input"), ("mastra.workflow_step.output", "output"), ("genkit:input", "input"),
    ("lmnr.span.output", "output"), ("gen_ai.response.text", "output"), ("gen_ai.request.messages", "input"),
    ("gen_ai.embeddings.input", "input"), ("system_prompt", "system"), ("gen_ai.tool.input", "tool_arguments"),
    ("db.vector.query.response.documents", "output"), ("crewai.task.description", "input"),
    ("gen_ai.crewai.task.description", "input"), ("crewai.crew.result", "output"), ("crewai.agent.tools", "tools"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "part"), CONTENT, ids=[key for key, _ in CONTENT])
def test_content_is_known_by_its_name_whatever_dialect_the_span_speaks(key: str, part: str) -> None:
    for attributes in ({}, chat(), {"openinference.span.kind": "LLM"}, {"unheard.of": 1}):
        found = read(make_span({**attributes, key: "a secret prompt"}))

        assert key in found.content_keys
        assert any(content.part == part and "a secret prompt" in content.body for content in found.contents)


def test_what_goes_into_a_tool_are_its_arguments() -> None:
    attributes = {"openinference.span.kind": "TOOL", "tool.name": "t", "input.value": "in", "output.value": "out"}

    found = read(make_span(attributes))

    assert {content.part: content.body for content in found.contents} == {"tool_arguments": "in", "tool_result": "out"}


def test_in_version_0_of_mastra_content_is_where_elsewhere_anything_may_be() -> None:
    attributes = {"mastra.span.type": "tool_call", "input": "in", "output": "out", "body": "all of it"}

    theirs = read(make_span(attributes, scope="@mastra/otel"))
    others = read(make_span(attributes, scope="test"))
    job = read(make_span({"span.type": "job", "input": "in", "output": "out", "body": "all of it"}, scope="test"))

    assert theirs.content_keys == {"input", "output", "body"}
    assert others.content_keys == {"input", "output"}
    assert job.content_keys == frozenset()


def test_content_on_span_events_is_content() -> None:
    events = [
        SpanEvent("gen_ai.user.message", 0, {"gen_ai.system": "openai", "content": "a secret prompt"}),
        SpanEvent("gen_ai.choice", 0, {"message": "a secret answer"}),
    ]

    found = read(make_span({"gen_ai.operation.name": "chat"}, events=events))

    assert found.content_event_keys == {"content", "message"}
    assert {content.part for content in found.contents} == {"input", "output"}


def test_the_body_of_a_message_event_is_content() -> None:
    found = read_log(make_log(event_name="gen_ai.user.message", body={"content": "a secret prompt"}))

    assert found.body_is_content
    assert "a secret prompt" in found.contents[0].body


@pytest.mark.parametrize(
    ("event_name", "event_type"),
    [
        ("gen_ai.evaluation.result", "evaluation"),
        ("gen_ai.guardrail.result", "guardrail"),
        ("feature_flag.evaluation", "feature_flag"),
        ("device.app.lifecycle", "log"),
        ("", "log"),
    ],
)
def test_log_events_are_known_by_their_names(event_name: str, event_type: str) -> None:
    assert read_log(make_log(event_name=event_name)).event_type == event_type


def test_a_template_is_not_a_name() -> None:
    span = make_span(
        chat(more={"logfire.msg": "Chat with 'gpt-4o'"}), name="Chat with {model!r}", scope="logfire.openai"
    )

    assert read(span).name == "Chat with 'gpt-4o'"


def test_an_id_that_a_framework_gave_its_own_run_is_no_response_id() -> None:
    message = {"kwargs": {"id": "lc_run--1", "response_metadata": {"model_name": "gpt-4o", "id": "chatcmpl-1"}}}
    attributes = {
        "openinference.span.kind": "LLM",
        "output.value": json.dumps({"generations": [[{"message": message}]]}),
    }

    found = read(make_span(attributes)).call

    assert found is not None
    assert (found.response_id, found.response_model) == ("chatcmpl-1", "gpt-4o")


def test_a_client_that_says_all_went_well_was_served() -> None:
    request = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}

    client = replace(make_span(request, status_code=1), kind=3)

    assert read(client).call is not None
    assert read(replace(client, status_code=0)).call is None
    assert read(replace(client, kind=1)).call is None


def test_the_name_of_a_span_says_the_model_where_nothing_else_does() -> None:
    found = read(make_span({"gen_ai.response.id": "r-1", "gen_ai.response.model": "m-2026-01-01"}, name="chat m"))

    assert found.call is not None
    assert (found.call.request_model, found.call.response_model) == ("m", "m-2026-01-01")


@pytest.mark.parametrize(("method", "is_stream"), [("ConverseStream", True), ("InvokeModel", False)])
def test_the_method_of_aws_tells_a_stream_and_how_often_it_was_tried(method: str, is_stream: bool) -> None:
    found = read(make_span({**chat(response_id="r"), "rpc.method": method, "retry_attempts": 2}))

    assert found.call is not None
    assert (found.call.is_stream, found.call.attempts) == (is_stream, 3)


@pytest.mark.parametrize("address", ["api.mistral.ai", "api.mistral.ai:443", "https://api.mistral.ai:443/v1"])
def test_an_endpoint_has_its_port_once(address: str) -> None:
    found = read(make_span({**chat(response_id="r"), "server.address": address, "server.port": 443}))

    assert found.call is not None
    assert found.call.endpoint == "api.mistral.ai:443"


@pytest.mark.parametrize(
    ("model", "provider", "name"),
    [
        ("openai/gpt-4o", "openai", "gpt-4o"),
        ("azure/gpt-4o", "azure.ai.openai", "gpt-4o"),
        ("openai/gpt-oss-120b", None, "openai/gpt-oss-120b"),
        ("meta-llama/Llama-3.3-70B", None, "meta-llama/Llama-3.3-70B"),
        ("gpt-4o", None, "gpt-4o"),
        ("projects/p/locations/l/publishers/google/models/gemini-2.5-flash", "gcp.vertex_ai", "gemini-2.5-flash"),
        ("projects/p/locations/l/endpoints/1", None, "projects/p/locations/l/endpoints/1"),
    ],
)
def test_a_routers_prefix_names_the_provider_and_a_makers_does_not(model: str, provider: str | None, name: str) -> None:
    found = read(make_span({"gen_ai.operation.name": "chat", "gen_ai.request.model": model, "gen_ai.response.id": "r"}))

    assert found.call is not None
    assert (found.call.provider, found.call.request_model) == (provider, name)


def test_a_master_key_of_a_proxy_is_no_user() -> None:
    found = read(make_span({**chat(), "litellm.call_id": "c", "metadata.user_api_key_user_id": "default_user_id"}))

    assert found.user_id is None


def test_a_span_that_the_traceloop_sdk_only_marked_is_read_as_what_it_is() -> None:
    marked = {"traceloop.workflow.name": "w", "traceloop.association.properties.user_id": "alice"}

    agent_run = read(make_span({**agent("writer"), **marked}))
    vendors = read(make_span({"unseen.span.type": "tool", **marked}, name="lookup"))

    assert agent_run.run is not None
    assert (agent_run.agent_name, agent_run.user_id) == ("writer", "alice")
    assert (vendors.event_type, vendors.user_id) == ("tool", "alice")


def test_an_id_like_a_spans_names_no_agent_that_has_a_name() -> None:
    named = read(make_span({**agent("writer"), "gen_ai.agent.id": "8bf411005ed9d04f"}))
    stable = read(make_span({**agent("writer"), "gen_ai.agent.id": "writer-7"}))

    assert (named.agent_id, stable.agent_id) == ("writer", "writer-7")
