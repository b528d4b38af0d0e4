"""Programs that tell by log records what they ask of models: coding agents in a terminal."""

from __future__ import annotations

from typing import Any

import pytest

from otel_obs.dialects.reading import read, read_log
from otel_obs.model import Reading, Usage
from tests.builders import make_log, make_span

CODEX = {
    "event.name": "codex.sse_event", "event.kind": "response.completed", "input_token_count": "983",
    "output_token_count": "61", "cached_token_count": 317, "reasoning_token_count": 13, "tool_token_count": "1044",
    "ttft_ms": 12, "model": "gpt-5-codex", "conversation.id": "c-1",
}  # fmt: skip
RESPONSE = {
    "event.name": "gemini_cli.api_response", "session.id": "s-1", "prompt_id": "p-1", "auth_type": "gemini-api-key",
    "model": "gemini-2.5-flash-001", "input_token_count": 983, "output_token_count": 48, "thoughts_token_count": 13,
    "cached_content_token_count": 317, "tool_token_count": 0, "total_token_count": 1044, "finish_reasons": ["stop"],
}  # fmt: skip
TOKENS = Usage(input_tokens=983, cache_read_tokens=317, output_tokens=61, reasoning_tokens=13)


def understood(attributes: dict[str, Any], *, scope: str = "", event_name: str = "") -> Reading:
    return read_log(make_log(attributes, scope=scope, event_name=event_name))


def usage_of(reading: Reading) -> Usage:
    assert reading.call is not None
    return reading.call.usage


def test_codex_tells_a_request_by_the_record_of_its_last_event() -> None:
    reading = understood(CODEX, scope="codex_otel.log_only")

    assert usage_of(reading) == Usage(input_tokens=983, cache_read_tokens=317, output_tokens=61, reasoning_tokens=13)
    assert reading.call is not None
    assert (reading.call.request_model, reading.call.is_stream, reading.call.time_to_first_token_ms) == (
        "gpt-5-codex", True, 12,
    )  # fmt: skip
    assert (reading.event_type, reading.agent_id, reading.conversation_id) == ("log", "codex", "c-1")


@pytest.mark.parametrize("kind", ["response.created", "response.output_text.delta", "response.completed"])
def test_events_of_a_stream_without_tokens_are_no_calls(kind: str) -> None:
    assert understood({"event.name": "codex.sse_event", "event.kind": kind, "model": "gpt-5-codex"}).call is None


def test_whoever_is_logged_in_to_openai_asks_openai() -> None:
    asked = understood({**CODEX, "auth_mode": "Chatgpt", "user.account_id": "u-1"})
    elsewhere = understood(CODEX)

    assert asked.call is not None
    assert elsewhere.call is not None
    assert (asked.call.provider, asked.user_id) == ("openai", "u-1")
    assert elsewhere.call.provider is None


@pytest.mark.parametrize(
    "attributes",
    [
        {"event.name": "codex.api_request", "http.response.status_code": 429},
        {"event.name": "codex.api_request", "error.message": "connection refused"},
        {"event.name": "codex.sse_event", "event.kind": "response.failed"},
        {"event.name": "gemini_cli.api_error", "session.id": "s-1", "prompt_id": "p-1", "status_code": 500},
    ],
    ids=["status", "message", "stream", "gemini"],
)
def test_a_request_that_failed_is_an_error_and_no_call(attributes: dict[str, Any]) -> None:
    reading = understood(attributes)

    assert reading.failed
    assert reading.call is None


def test_a_place_in_the_source_is_no_name() -> None:
    at = "event otel/src/events/session_telemetry.rs:1187"

    assert understood(CODEX, event_name=at).name == "codex.sse_event"
    assert understood({}, event_name=at).name == at


@pytest.mark.parametrize("prefix", ["gemini_cli", "qwen-code", "a_fork"])
def test_the_family_tells_a_request_by_its_response(prefix: str) -> None:
    reading = understood({**RESPONSE, "event.name": f"{prefix}.api_response"})

    assert usage_of(reading) == TOKENS
    assert reading.call is not None
    assert (reading.call.provider, reading.call.response_model) == ("gcp.gemini", "gemini-2.5-flash-001")
    assert (reading.call.finish_reason, reading.conversation_id) == ("stop", "s-1")


def test_thoughts_that_are_in_the_output_are_not_added_to_it() -> None:
    inside = {**RESPONSE, "auth_type": "openai", "output_token_count": 61, "response_id": "chatcmpl-1"}
    reading = understood(inside, scope="qwen-code")

    assert usage_of(reading) == TOKENS
    assert reading.call is not None
    assert (reading.call.provider, reading.call.response_id) == (None, "chatcmpl-1")


def test_what_tools_said_to_the_model_is_input_where_the_total_has_it_on_top() -> None:
    on_top = {**RESPONSE, "tool_token_count": 40, "total_token_count": 1084}

    assert usage_of(understood(on_top)).input_tokens == 1023
    assert usage_of(understood({**on_top, "total_token_count": 1044})).input_tokens == 983


def test_what_the_same_program_tells_again_by_the_convention_is_not_counted() -> None:
    details = {
        "event.name": "gen_ai.client.inference.operation.details", "session.id": "s-1", "gen_ai.response.id": "r",
        "gen_ai.response.model": "gemini-2.5-flash-001", "gen_ai.usage.input_tokens": 983,
        "gen_ai.usage.output_tokens": 48,
    }  # fmt: skip

    told_again, told_elsewhere = understood(details, scope="gemini-cli"), understood(details, scope="another")

    assert (told_again.call, told_again.is_rollup) == (None, True)
    assert told_elsewhere.call is not None


def test_its_spans_are_steps_and_repeat_the_tokens() -> None:
    call = read(make_span({
        "gen_ai.operation.name": "llm_call", "gen_ai.agent.name": "gemini-cli", "gen_ai.usage.input_tokens": 983,
    }, scope="gemini-cli"))  # fmt: skip
    tool = read(make_span({
        "gen_ai.operation.name": "tool_call", "gen_ai.tool.name": "run_shell_command", "gen_ai.tool.call_id": "t-1",
        "gen_ai.input.messages": "what", "gen_ai.output.messages": "that",
    }, scope="gemini-cli"))  # fmt: skip
    prompt = read(make_span({
        "gen_ai.operation.name": "user_prompt", "gen_ai.agent.name": "gemini-cli",
    }, scope="gemini-cli"))  # fmt: skip

    assert (call.event_type, call.call, call.is_rollup) == ("llm", None, True)
    assert tool.step is not None
    assert (tool.step.name, tool.step.call_id) == ("run_shell_command", "t-1")
    assert {content.part: content.body for content in tool.contents} == {
        "tool_arguments": "what", "tool_result": "that",
    }  # fmt: skip
    assert prompt.run is not None
    assert prompt.run.name == "gemini-cli"


@pytest.mark.parametrize(
    ("attributes", "parts"),
    [
        ({"event.name": "codex.user_prompt", "prompt": "secret"}, {"input": "secret"}),
        (
            {"event.name": "codex.tool_result", "arguments": "secret", "output": "secret too"},
            {"tool_arguments": "secret", "tool_result": "secret too"},
        ),
        ({**RESPONSE, "response_text": "secret"}, {"output": "secret"}),
        (
            {"event.name": "qwen-code.tool_call", "session.id": "s", "prompt_id": "p", "function_args": "secret"},
            {"tool_arguments": "secret"},
        ),
    ],
    ids=["prompt", "tool", "response", "fork"],
)
def test_what_was_said_is_content_and_nothing_else(attributes: dict[str, Any], parts: dict[str, str]) -> None:
    reading = understood(attributes)

    assert {content.part: content.body for content in reading.contents} == parts
    assert {name for name, value in attributes.items() if "secret" in str(value)} == reading.content_keys


def test_the_same_words_elsewhere_are_no_content() -> None:
    assert understood({"event.name": "a.job", "output": "a file", "arguments": "-v", "prompt": "$"}).contents == ()
