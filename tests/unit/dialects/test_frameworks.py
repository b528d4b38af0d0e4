"""Frameworks that tell of themselves in words of their own, or put the convention's words in places of their own."""

from __future__ import annotations

import json
from typing import Any

import pytest

from otel_obs.dialects.provider import provider_name
from otel_obs.dialects.reading import read
from otel_obs.model import TOLD_AGAIN, Call, Reading, SpanEvent
from tests.builders import make_span

PARENT = "b7ad6b7169203331"
CHAT = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 983}


def call_of(reading: Reading) -> Call:
    assert reading.call is not None
    return reading.call


def reading_of(attributes: dict[str, Any], **more: Any) -> Reading:
    return read(make_span(attributes, **more))


@pytest.mark.parametrize(
    ("said", "provider"),
    [
        ("api.openai.com", "openai"),
        ("my-resource.openai.azure.com", "azure.ai.openai"),
        ("bedrock-runtime.us-east-1.amazonaws.com", "aws.bedrock"),
        ("runtime.sagemaker.us-east-1.amazonaws.com", None),
        ("us-central1-aiplatform.googleapis.com", "gcp.vertex_ai"),
        ("generativelanguage.googleapis.com", "gcp.gemini"),
        ("api.together.xyz:443", "together_ai"),
        ("api.x.ai", "x_ai"),
        ("127.0.0.1:8000", None),
        ("localhost:11434", None),
        ("localhost", None),
        ("llm.example.com", None),
        ("openai.chat", "openai"),
        ("ibm.watsonx.ai", "ibm.watsonx.ai"),
        ("z.ai", "z"),
    ],
)
def test_a_host_in_the_place_of_a_provider_is_whose_it_is_and_else_nobody(said: str, provider: str | None) -> None:
    assert provider_name(said) == provider


def test_livekit_before_it_spoke_by_the_convention_tells_the_rest_in_one_object() -> None:
    told = {
        "request_id": "chatcmpl-1", "ttft": 0.25, "completion_tokens": 61, "prompt_tokens": 983,
        "prompt_cached_tokens": 317, "total_tokens": 1044,
        "metadata": {"model_name": "gpt-4o", "model_provider": "api.openai.com"},
    }  # fmt: skip
    attributes = {
        "gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 983, "gen_ai.usage.output_tokens": 61,
        "lk.llm_metrics": json.dumps(told),
    }  # fmt: skip

    call = call_of(reading_of(attributes, scope="livekit-agents", name="llm_request"))

    assert (call.provider, call.response_id, call.is_stream) == ("openai", "chatcmpl-1", True)
    assert (call.usage.input_tokens, call.usage.cache_read_tokens, call.usage.output_tokens) == (983, 317, 61)
    assert call.time_to_first_token_ms == 250


def test_livekits_models_that_hear_and_speak_tell_their_audio() -> None:
    attributes = {
        "gen_ai.operation.name": "generate_content", "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-realtime", "gen_ai.response.model": "unknown", "gen_ai.usage.input_tokens": 983,
        "gen_ai.usage.output_tokens": 61, "gen_ai.usage.cache_read.input_tokens": 317,
        "gen_ai.usage.input_audio_tokens": 500, "gen_ai.usage.output_audio_tokens": 50,
        "gen_ai.usage.audio.cache_read.input_tokens": 100,
    }  # fmt: skip

    call = call_of(reading_of(attributes, scope="livekit-agents", name="realtime_inference"))

    assert call.usage.billed_units == {
        "input_audio_tokens": 500,
        "output_audio_tokens": 50,
        "cache_audio_read_tokens": 100,
    }
    assert call.response_model is None


def test_an_attempt_that_failed_is_no_second_request_of_livekit() -> None:
    attributes = {"gen_ai.request.model": "gpt-4o", "gen_ai.provider.name": "openai", "lk.retry_count": 0}

    attempt = reading_of(attributes, scope="livekit-agents", name="llm_request_run", parent=PARENT, status_code=2)
    request = reading_of({**CHAT, "error.type": "503"}, scope="livekit-agents", name="llm_request", status_code=2)

    assert (attempt.event_type, attempt.call) == ("span", None)
    assert call_of(request).failed


def test_what_livekits_agent_says_after_its_tools_is_part_of_its_turn() -> None:
    first = reading_of({"lk.user_input": "hi"}, scope="livekit-agents", name="assistant_turn", parent=PARENT)
    then = reading_of({"lk.response.text": "hello"}, scope="livekit-agents", name="assistant_turn", parent=PARENT)

    assert (first.event_type, then.event_type) == ("agent", "agent")
    assert TOLD_AGAIN not in first.flags
    assert TOLD_AGAIN in then.flags


def test_a_tool_of_livekit_that_failed_says_so() -> None:
    attributes = {
        "lk.function_tool.name": "get_weather", "lk.function_tool.arguments": "{}", "lk.function_tool.output": "no",
        "lk.function_tool.is_error": True,
    }  # fmt: skip

    found = reading_of(attributes, scope="livekit-agents", name="function_tool", parent=PARENT)

    assert found.step is not None
    assert (found.step.kind, found.step.name, found.failed) == ("tool", "get_weather", True)
    assert [content.part for content in found.contents] == ["tool_arguments", "tool_result"]


def test_what_is_marked_as_personal_is_content_under_any_name() -> None:
    found = reading_of({"unheard.pii.of": "somebody", "unheard.of": "nobody"})

    assert found.content_keys == {"unheard.pii.of"}


def test_what_was_said_under_bare_names_is_content_on_spans_about_models_only() -> None:
    said = {"input": "a prompt", "output": "an answer", "tools": "[1]", "transcript": "words", "input_tokens": 7}

    model = reading_of({**CHAT, **said})
    job = reading_of({"job.kind": "x", "span.type": "job", **said})

    assert model.content_keys == {"input", "output", "tools", "transcript"}
    assert {content.part: content.body for content in model.contents} == {
        "input": "a prompt",
        "output": "an answer",
        "tools": "[1]",
    }
    assert job.content_keys == frozenset()


def test_pipecat_says_that_a_model_streams_and_how_long_it_was_silent() -> None:
    call = call_of(reading_of({**CHAT, "stream": True, "metrics.ttfb": 0.25}, scope="pipecat", name="llm"))

    assert (call.is_stream, call.time_to_first_token_ms) == (True, 250)


def test_pipecats_voice_is_billed_by_its_characters() -> None:
    attributes = {
        "gen_ai.operation.name": "tts", "gen_ai.provider.name": "openai", "gen_ai.request.model": "tts-1",
        "gen_ai.output.type": "speech", "text": "Hello there", "metrics.character_count": 11, "metrics.ttfb": 0.25,
    }  # fmt: skip

    found = reading_of(attributes, scope="pipecat", name="tts")

    assert call_of(found).operation == "speech"
    assert call_of(found).usage.billed_units == {"characters": 11}
    assert found.content_keys == {"text"}


def test_of_pipecats_models_that_hear_and_speak_only_the_answer_is_a_request() -> None:
    asked = {
        "gen_ai.provider.name": "gcp.gemini", "gen_ai.request.model": "gemini-2.5-flash-live", "input": "a prompt",
    }  # fmt: skip
    used = {
        "gen_ai.usage.input_tokens": 983, "gen_ai.usage.output_tokens": 61, "gen_ai.usage.audio.input_tokens": 500,
    }  # fmt: skip

    kinds = ("llm_setup", "llm_request", "llm_tool_call")
    others = [reading_of({**asked, "gen_ai.operation.name": kind}, scope="pipecat", name=kind) for kind in kinds]
    answer = reading_of({**asked, **used, "gen_ai.operation.name": "llm_response"}, scope="pipecat")

    assert [other.call for other in others] == [None, None, None]
    assert call_of(answer).usage.billed_units == {"input_audio_tokens": 500}


def test_pipecats_ear_is_billed_by_the_second() -> None:
    attributes = {
        "gen_ai.operation.name": "stt", "gen_ai.provider.name": "deepgram", "gen_ai.request.model": "nova-3",
        "transcript": "Hello there", "metrics.audio_seconds": 3.7,
    }  # fmt: skip

    call = call_of(reading_of(attributes, scope="pipecat", name="stt"))

    assert (call.operation, call.provider, call.usage.billed_units) == ("transcription", "deepgram", {"seconds": 4})


def test_pipecats_conversation_says_which_it_is() -> None:
    found = reading_of({"conversation.id": "c"}, scope="pipecat.turn", name="conversation")
    turn = reading_of({"conversation.id": "c"}, scope="pipecat.turn", name="turn", parent=PARENT)

    assert (found.event_type, found.conversation_id) == ("workflow", "c")
    assert (turn.event_type, turn.conversation_id) == ("span", "c")


@pytest.mark.parametrize("scope", ["fast_agent.agents.llm_decorator", "mcp_agent.agents.base_agent"])
def test_fast_agents_agents_are_in_the_names_of_spans(scope: str) -> None:
    agent = reading_of({}, scope=scope, name="Agent: 'writer' generate")
    chain = reading_of({}, scope=scope, name="Chain: 'writer' generate")

    assert (agent.event_type, agent.agent_name) == ("agent", "writer")
    assert (chain.event_type, chain.agent_name) == ("span", None)


def test_promptflow_hands_on_the_whole_answer_of_the_provider() -> None:
    usage = {
        "prompt_tokens": 983, "completion_tokens": 61, "total_tokens": 1044,
        "prompt_tokens_details": {"cached_tokens": 317},
    }  # fmt: skip
    pieces = [
        {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "gpt-4o-1", "choices": [{"delta": {}}]},
        {"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [{"finish_reason": "stop"}], "usage": None},
        {"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [], "usage": usage},
    ]
    attributes = {
        "span_type": "LLM", "function": "openai.resources.chat.completions.Completions.create",
        "inputs": '{"model": "gpt-4o", "stream": true}', "output": json.dumps(pieces),
        "llm.response.model": "gpt-4o-1", "llm.generated_message": "{}",
    }  # fmt: skip

    found = reading_of(attributes, scope="promptflow", name="openai_chat", parent=PARENT)
    call = call_of(found)

    assert (call.provider, call.request_model, call.response_model) == ("openai", "gpt-4o", "gpt-4o-1")
    assert (call.response_id, call.is_stream, call.finish_reason) == ("chatcmpl-1", True, "stop")
    assert (call.usage.input_tokens, call.usage.cache_read_tokens, call.usage_source) == (983, 317, "reported")
    assert found.content_keys == {"inputs", "output", "llm.generated_message"}


def test_events_of_promptflow_say_what_was_said() -> None:
    events = [
        SpanEvent("promptflow.function.inputs", 0, {"payload": "in"}),
        SpanEvent("promptflow.retrieval.query", 0, {"payload": "a question"}),
        SpanEvent("another.inputs", 0, {"payload": "a parcel"}),
    ]

    found = reading_of({"span_type": "Function"}, scope="promptflow", events=events)

    assert {content.part: content.body for content in found.contents} == {"input": "in"}
    assert found.content_event_keys == {"payload"}


def test_agentscopes_counts_are_those_of_the_provider() -> None:
    attributes = {
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": "claude-sonnet-4-5", "gen_ai.usage.input_tokens": 553, "gen_ai.usage.output_tokens": 61,
        "agentscope.usage.cache_input_tokens": 317, "agentscope.usage.cache_creation_input_tokens": 113,
        "gen_ai.conversation.id": "[no_session_id]",
    }  # fmt: skip

    found = reading_of(attributes, scope="agentscope")
    usage = call_of(found).usage

    assert (usage.input_tokens, usage.cache_read_tokens, usage.cache_write_tokens) == (983, 317, 113)
    assert found.conversation_id is None


def test_an_id_made_for_one_object_names_no_agent_and_quotes_no_part_of_a_conversation() -> None:
    attributes = {
        "gen_ai.operation.name": "invoke_agent", "gen_ai.agent.id": "J23WW6afjDR7udr7AePZ4A",
        "gen_ai.agent.name": "writer", "gen_ai.conversation.id": '"3geXN5ocWKBXWL7KbCybuu"',
    }  # fmt: skip

    found = reading_of(attributes, scope="agentscope")

    assert (found.agent_id, found.agent_name) == ("writer", "writer")
    assert found.conversation_id == "3geXN5ocWKBXWL7KbCybuu"


def test_nemos_toolkit_says_in_its_metadata_who_answered() -> None:
    response = {"model_provider": "openai", "finish_reason": "stop", "model_name": "gpt-4o-1"}
    message = {"content": "a secret answer", "response_metadata": response, "id": "lc_run--1"}
    attributes = {
        "openinference.span.kind": "LLM", "llm.provider": "langchain", "llm.model_name": "gpt-4o",
        "llm.token_count.prompt": 983, "llm.token_count.completion": 61, "output.value": "a secret answer",
        "nat.metadata": json.dumps({"chat_responses": [{"message": message}]}), "nat.conversation.id": "c",
        "output.value_obj": '"a secret answer"',
    }  # fmt: skip

    found = reading_of(attributes, scope="nat")

    assert (call_of(found).provider, call_of(found).response_model) == ("openai", "gpt-4o-1")
    assert found.conversation_id == "c"
    assert found.content_keys == {"output.value", "output.value_obj", "nat.metadata"}


def test_deepeval_says_its_kind_usage_and_agent_under_its_own_name() -> None:
    llm = {
        "confident.span.type": "llm", "confident.llm.model": "gpt-4o", "confident.span.provider": "openai",
        "confident.llm.input_token_count": 983, "confident.llm.output_token_count": 61, "confident.span.input": "in",
        "confident.span.expected_output": "better", "confident.trace.thread_id": "t", "confident.trace.user_id": "u",
    }  # fmt: skip

    found = reading_of(llm)
    agent = reading_of({"confident.span.type": "agent", "confident.agent.name": "writer"}, name="run", parent=PARENT)
    call = call_of(found)

    assert (call.provider, call.request_model, call.usage.input_tokens) == ("openai", "gpt-4o", 983)
    assert (found.conversation_id, found.user_id) == ("t", "u")
    assert found.content_keys == {"confident.span.input", "confident.span.expected_output"}
    assert agent.agent_name == "writer"


def test_a_server_of_models_is_who_serves_them() -> None:
    attributes = {
        "gen_ai.response.model": "Qwen/Qwen3-0.6B", "gen_ai.usage.prompt_tokens": 983,
        "gen_ai.usage.completion_tokens": 61, "gen_ai.latency.time_to_first_token": 0.25,
    }  # fmt: skip

    call = call_of(reading_of(attributes, scope="vllm.llm_engine", name="llm_request"))

    assert (call.provider, call.time_to_first_token_ms) == ("vllm", 250)


def test_upsonics_agents_and_tools_have_names_of_their_own() -> None:
    told = {"upsonic.agent.name": "writer", "upsonic.usage.total_tokens": 1044, "langfuse.trace.name": "a prompt"}
    used = {"upsonic.tool.name": "get_weather", "upsonic.tool.success": False}

    agent = reading_of(told, scope="upsonic", name="agent.run")
    tool = reading_of(used, scope="upsonic", name="tool.execute", parent=PARENT)

    assert (agent.event_type, agent.agent_name, agent.is_rollup) == ("agent", "writer", True)
    assert agent.content_keys == {"langfuse.trace.name"}
    assert tool.step is not None
    assert (tool.step.name, tool.failed) == ("get_weather", True)


def test_what_goes_through_methods_of_llama_stack_is_content() -> None:
    attributes = {"__autotraced__": True, "__method__": "chat_completion", "__args__": "{}", "output": "an answer"}
    scope = "llama_stack.providers.inline.telemetry.meta_reference.telemetry"

    assert reading_of(attributes, scope=scope).content_keys == {"__args__", "output"}


def test_logfire_tells_a_stream_by_the_name_of_its_record() -> None:
    name = "streaming response from {request_data[model]!r} took {duration:.2f}s"

    assert call_of(reading_of(CHAT, scope="logfire.openai", name=name)).is_stream is True
    assert call_of(reading_of(CHAT, scope="logfire.openai", name="Chat Completion with {x}")).is_stream is None


def test_the_generator_that_answered_in_the_place_of_others_is_known() -> None:
    output = {
        "replies": [{"meta": {"model": "gpt-4o-1", "usage": {"prompt_tokens": 983, "completion_tokens": 61}}}],
        "meta": {"successful_chat_generator_class": "OpenAIChatGenerator"},
    }
    attributes = {
        "haystack.component.type": "FallbackChatGenerator",
        "haystack.component.output": json.dumps(output),
    }

    assert call_of(reading_of(attributes, name="haystack.component.run")).provider == "openai"
