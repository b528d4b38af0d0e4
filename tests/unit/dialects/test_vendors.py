"""Spans that say their kind in a word of their vendor's, and content under any vendor's name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from otel_obs.dialects.content import layout_of
from otel_obs.dialects.reading import read
from otel_obs.model import Call, Reading, SpanEvent
from tests.builders import make_span


def call_of(reading: Reading) -> Call:
    assert reading.call is not None
    return reading.call


def reading_of(attributes: dict[str, Any], **more: Any) -> Reading:
    return read(make_span(attributes=attributes, **more))


@pytest.mark.parametrize(
    ("attributes", "event_type"),
    [
        ({"langwatch.span.type": "tool"}, "tool"),
        ({"lmnr.span.type": "TOOL"}, "tool"),
        ({"agentops.span.kind": "AgentOpsSpanKindValues.TOOL"}, "tool"),
        ({"agentops.span.kind": "agent", "operation.name": "a span"}, "agent"),
        ({"honeyhive_event_type": "tool"}, "tool"),
        ({"braintrust.span_attributes": '{"type": "tool"}'}, "tool"),
        ({"gen_ai.span.kind": "RETRIEVER"}, "retrieval"),
        ({"unseen.span_kind": "guardrail"}, "guardrail"),
        ({"unseen.span.type": "chain"}, "span"),
    ],
)
def test_a_kind_is_read_under_any_vendors_name(attributes: dict[str, Any], event_type: str) -> None:
    reading = reading_of(attributes, parent="b7ad6b7169203331")

    assert reading.event_type == event_type


def test_the_outermost_step_of_a_trace_is_its_workflow() -> None:
    reading = reading_of({"lmnr.span.type": "DEFAULT"}, name="my flow")

    assert (reading.event_type, reading.flow_id) == ("workflow", "my flow")


@pytest.mark.parametrize(
    ("operation", "event_type"), [("embeddings", "embedding"), ("execute_tool", "tool"), ("invoke_agent", "agent")]
)
def test_what_the_convention_says_is_believed_before_a_vendors_kind(operation: str, event_type: str) -> None:
    reading = reading_of(
        {"unseen.span.type": "llm", "gen_ai.operation.name": operation, "gen_ai.request.model": "m"},
        parent="b7ad6b7169203331",
    )

    assert reading.event_type == event_type


@pytest.mark.parametrize("attributes", [{"span.kind": "client"}, {"unseen.event_type": "click"}, {"span.type": "web"}])
def test_an_unknown_kind_says_nothing(attributes: dict[str, Any]) -> None:
    assert reading_of(attributes).dialect == ""


@pytest.mark.parametrize(
    "attributes",
    [
        {
            "langwatch.span.type": "llm", "gen_ai.request.model": "openai/gpt-4o",
            "langwatch.metrics": '{"prompt_tokens": 983, "completion_tokens": 61, "reasoning_tokens": 13}',
        },
        {
            "honeyhive_event_type": "model", "honeyhive_config.model": "openai/gpt-4o",
            "honeyhive_metadata.prompt_tokens": 983, "honeyhive_metadata.completion_tokens": 61,
            "honeyhive_metadata.reasoning_tokens": 13,
        },
        {
            "braintrust.span_attributes": '{"type": "llm"}', "braintrust.metadata": '{"model": "openai/gpt-4o"}',
            "braintrust.metrics": '{"prompt_tokens": 983, "completion_tokens": 61, "completion_reasoning_tokens": 13}',
        },
    ],
)  # fmt: skip
def test_usage_and_model_stand_under_the_vendors_name(attributes: dict[str, Any]) -> None:
    call = call_of(reading_of(attributes))

    assert (call.usage.input_tokens, call.usage.output_tokens, call.usage.reasoning_tokens) == (983, 61, 13)
    assert (call.provider, call.request_model) == ("openai", "gpt-4o")


def test_datadogs_kind_says_more_than_its_type_and_its_client_more_than_its_convention() -> None:
    reading = reading_of(
        {
            "span.type": "llm", "_dd.llmobs.span_kind": "embedding", "gen_ai.operation.name": "llm",
            "gen_ai.provider.name": "unknown", "gen_ai.request.model": "m-2026", "gen_ai.usage.input_tokens": 52,
            "openai.request.model": "m", "openai.request.provider": "OpenAI", "_dd.llmobs.session_id": "s-1",
            "_llmobs": b"hello",
        }
    )  # fmt: skip
    call = call_of(reading)

    assert (call.operation, call.provider, call.request_model) == ("embeddings", "openai", "m")
    assert (reading.event_type, reading.conversation_id) == ("embedding", "s-1")
    assert reading.content_keys == {"_llmobs"}


def test_a_whole_answer_is_believed_before_the_figures_beside_it() -> None:
    usage = {
        "input_tokens": 553,
        "cache_read_input_tokens": 317,
        "cache_creation_input_tokens": 113,
        "output_tokens": 61,
    }
    call = call_of(
        reading_of(
            {
                "gen_ai.span.kind": "LLM",
                "gen_ai.provider.name": "anthropic",
                "gen_ai.request.model": "claude-haiku-4-5-20251001",
                "gen_ai.request.parameters": '{"model": "claude-haiku-4-5", "stream": false}',
                "gen_ai.usage.input_tokens": 553,
                "gen_ai.usage.output_tokens": 61,
                "output.value": json.dumps({"id": "msg_1", "content": [], "usage": usage}),
            }
        )
    )

    assert (call.usage.input_tokens, call.usage.cache_read_tokens, call.usage.cache_write_tokens) == (983, 317, 113)
    assert (call.response_id, call.is_stream) == ("msg_1", False)
    assert (call.request_model, call.response_model) == ("claude-haiku-4-5", "claude-haiku-4-5-20251001")


@pytest.mark.parametrize(
    "owner",
    [
        {"lmnr.association.properties.user_id": "alice", "lmnr.association.properties.session_id": "s-1"},
        {"lmnr.metadata": '{"user_id": "alice", "thread_id": "s-1"}'},
        {"metadata": '{"user_id": "alice", "session_id": "s-1"}'},
    ],
)
def test_user_and_conversation_stand_beside_the_kind(owner: dict[str, Any]) -> None:
    reading = reading_of({"lmnr.span.type": "DEFAULT", **owner})

    assert (reading.user_id, reading.conversation_id) == ("alice", "s-1")


def test_a_models_wish_for_a_tool_is_no_run_of_it() -> None:
    reading = reading_of(
        {"agentops.span.kind": "tool", "tool.name": "weather"},
        name="tool_call.weather",
        parent="b7ad6b7169203331",
    )

    assert reading.step is None


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("langwatch.input", "input"),
        ("lmnr.span.output", "output"),
        ("braintrust.input_json", "input"),
        ("honeyhive_inputs.question", "input"),
        ("honeyhive_outputs.result", "output"),
        ("gen_ai.workflow.input_data", "input"),
        ("gen_ai.input.unseen.output", "output"),
        ("gen_ai.output.messages.0.message.content", "output"),
    ],
)
def test_what_was_said_is_content_under_any_vendors_name(name: str, part: str) -> None:
    (found,) = layout_of((name,)).contents({name: "hello"}).parts

    assert found.part == part


@pytest.mark.parametrize(
    "name",
    [
        "gen_ai.usage.input_tokens", "unseen.usage.input", "unseen.input.cost", "gen_ai.output.type", "input.mime_type",
        "input", "gen_ai.usage.details.input", "http.request.body.size", "unseen.output.token_count",
    ],
)  # fmt: skip
def test_counts_and_kinds_are_no_content(name: str) -> None:
    assert layout_of((name,)).keys == frozenset()


def test_monocle_says_usage_and_content_in_events() -> None:
    metadata: dict[str, Any] = {
        "prompt_tokens": 666,
        "completion_tokens": 61,
        "cache_read_input_tokens": 317,
        "finish_reason": "end_turn",
    }
    span = make_span(
        attributes={
            "monocle_apptrace.version": "0.8.15", "span.type": "inference", "entity.1.type": "inference.anthropic",
            "entity.2.type": "model.llm.claude-haiku-4-5", "entity.2.name": "claude-haiku-4-5",
        },
        events=[
            SpanEvent("data.input", 1, {"input": '["{\\"user\\": \\"hello\\"}"]'}),
            SpanEvent("data.output", 2, {"response": "good day"}),
            SpanEvent("metadata", 3, metadata),
        ],
    )  # fmt: skip

    reading = read(span)
    call = call_of(reading)

    assert (call.provider, call.request_model, call.finish_reason) == ("anthropic", "claude-haiku-4-5", "end_turn")
    assert (call.usage.input_tokens, call.usage.cache_read_tokens, call.usage.output_tokens) == (983, 317, 61)
    assert {content.part for content in reading.contents} == {"input", "output"}
    assert reading.content_event_keys == {"input", "response"}


@pytest.mark.parametrize(
    "attributes",
    [
        {"span.type": "web", "http.route": "/"}, {"event_type": "session"}, {"shop.event_type": "pipeline", "shop": 1},
        {"span.kind": "function"}, {"car.span.type": "model"}, {"job.event_type": "score"},
    ],
    ids=lambda said: next(iter(said.values())),
)  # fmt: skip
def test_spans_of_other_programs_have_kinds_too(attributes: dict[str, Any]) -> None:
    reading = reading_of(attributes)

    assert (reading.event_type, reading.dialect) == ("span", "")


def test_what_programs_that_ask_no_models_put_out_is_no_content() -> None:
    assert reading_of({"ffmpeg.output": "film.mp4", "job.input": "film.mov"}).content_keys == frozenset()
    assert reading_of({"ffmpeg.output": "film.mp4", "gen_ai.tool.name": "ffmpeg"}).content_keys == {"ffmpeg.output"}


def event_of(attributes: dict[str, Any], said: dict[str, Any]) -> Reading:
    return reading_of(attributes, events=[SpanEvent("something", 0, said)])


def test_what_an_event_says_is_content_of_a_span_about_models_alone() -> None:
    said = {"content": "a secret", "chunk.text": "a se", "token_count": 3, "chunk_size": 4, "level": "info"}

    of_a_tool, of_a_film = event_of({"gen_ai.tool.name": "search"}, said), event_of({"film.id": 7}, said)

    assert of_a_tool.content_event_keys == {"content", "chunk.text"}
    assert [content.body for content in of_a_tool.contents] == ["a secret"]
    assert (of_a_film.content_event_keys, of_a_film.contents) == (frozenset(), ())
