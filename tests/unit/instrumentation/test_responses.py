"""Answers of the providers' own types are understood without configuration, whole and in chunks."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import AsyncIterator, Generator, Iterator
from typing import Any, cast

import pytest
from anthropic.types import Message, RawMessageDeltaEvent, RawMessageStartEvent, RawMessageStopEvent
from anthropic.types import Usage as AnthropicUsage
from google.genai.types import GenerateContentResponse
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, LLMResult
from openai.types import Completion, CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response as OpenAIResponse
from openai.types.responses import ResponseCompletedEvent, ResponseTextDeltaEvent

from otel_obs.instrumentation import embedding, llm, set_output, set_usage
from otel_obs.instrumentation.response import UNKNOWN, Stream, response_of
from otel_obs.instrumentation.usage import Tokens, tokens_of
from tests.fix_spans import Spans

pytestmark = pytest.mark.usefixtures("no_faults")

OPENAI = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-5-2025-08-07",
    "service_tier": "priority",
    "choices": [
        {
            "index": 0,
            "finish_reason": "tool_calls",
            "message": {"role": "assistant", "content": "Hello", "tool_calls": []},
        }
    ],
    "usage": {
        "prompt_tokens": 100,
        "completion_tokens": 50,
        "total_tokens": 150,
        "prompt_tokens_details": {"cached_tokens": 60, "audio_tokens": 7},
        "completion_tokens_details": {"reasoning_tokens": 30, "audio_tokens": 5},
    },
}
OPENAI_TOKENS = Tokens(
    input_tokens=100,
    output_tokens=50,
    total_tokens=150,
    cache_read_tokens=60,
    reasoning_tokens=30,
    billed_units={"input_audio_tokens": 7, "output_audio_tokens": 5},
)

ANTHROPIC_USAGE = {
    "input_tokens": 10,
    "cache_read_input_tokens": 1000,
    "cache_creation_input_tokens": 200,
    "cache_creation": {"ephemeral_5m_input_tokens": 50, "ephemeral_1h_input_tokens": 150},
    "output_tokens": 40,
    "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 0},
    "service_tier": "batch",
}
ANTHROPIC = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-haiku-4-5-20251001",
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "content": [{"type": "text", "text": "Hello"}, {"type": "text", "text": " you"}],
    "usage": ANTHROPIC_USAGE,
}
ANTHROPIC_TOKENS = Tokens(
    input_tokens=1210,
    output_tokens=40,
    cache_read_tokens=1000,
    cache_write_tokens=200,
    cache_write_1h_tokens=150,
    billed_units={"web_searches": 2},
)

GOOGLE = {
    "response_id": "g-1",
    "model_version": "gemini-2.5-pro",
    "candidates": [{"content": {"role": "model", "parts": [{"text": "Hello"}]}, "finish_reason": "STOP"}],
    "usage_metadata": {
        "prompt_token_count": 20,
        "tool_use_prompt_token_count": 5,
        "candidates_token_count": 8,
        "thoughts_token_count": 12,
        "cached_content_token_count": 15,
        "total_token_count": 45,
    },
}
GOOGLE_TOKENS = Tokens(input_tokens=25, output_tokens=20, total_tokens=45, cache_read_tokens=15, reasoning_tokens=12)

RESPONSES = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "model": "gpt-5-2025-08-07",
    "status": "completed",
    "parallel_tool_calls": False,
    "tool_choice": "auto",
    "tools": [],
    "output": [
        {
            "id": "m",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "Hello", "annotations": []}],
        }
    ],
    "usage": {
        "input_tokens": 100,
        "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 5},
        "output_tokens": 50,
        "output_tokens_details": {"reasoning_tokens": 30},
        "total_tokens": 150,
    },
}
RESPONSES_TOKENS = Tokens(
    input_tokens=100,
    output_tokens=50,
    total_tokens=150,
    cache_read_tokens=60,
    cache_write_tokens=5,
    reasoning_tokens=30,
)
LANGCHAIN = AIMessage(
    "Hello",
    id="run--123",
    response_metadata={"model_name": "gpt-5-2025-08-07", "id": "chatcmpl-1", "finish_reason": "stop"},
    usage_metadata={
        "input_tokens": 100,
        "output_tokens": 50,
        "total_tokens": 150,
        "input_token_details": {"cache_read": 60, "cache_creation": 5},
        "output_token_details": {"reasoning": 30},
    },
)
LANGCHAIN_TOKENS = Tokens(
    input_tokens=100,
    output_tokens=50,
    total_tokens=150,
    cache_read_tokens=60,
    cache_write_tokens=5,
    reasoning_tokens=30,
)

WHOLE = {
    "openai": (ChatCompletion.model_validate(OPENAI), "gpt-5-2025-08-07", "chatcmpl-1", "tool_calls", OPENAI_TOKENS),
    "openai responses": (
        OpenAIResponse.model_validate(RESPONSES),
        "gpt-5-2025-08-07",
        "resp_1",
        None,
        RESPONSES_TOKENS,
    ),
    "anthropic": (
        Message.model_validate(ANTHROPIC),
        "claude-haiku-4-5-20251001",
        "msg_1",
        "end_turn",
        ANTHROPIC_TOKENS,
    ),
    "google": (GenerateContentResponse.model_validate(GOOGLE), "gemini-2.5-pro", "g-1", "stop", GOOGLE_TOKENS),
    "langchain": (LANGCHAIN, "gpt-5-2025-08-07", "chatcmpl-1", "stop", LANGCHAIN_TOKENS),
    "langchain result": (
        LLMResult(generations=[[ChatGeneration(message=LANGCHAIN)]]),
        "gpt-5-2025-08-07",
        "chatcmpl-1",
        "stop",
        LANGCHAIN_TOKENS,
    ),
    "openai as a dict": (OPENAI, "gpt-5-2025-08-07", "chatcmpl-1", "tool_calls", OPENAI_TOKENS),
    "anthropic as a dict": (ANTHROPIC, "claude-haiku-4-5-20251001", "msg_1", "end_turn", ANTHROPIC_TOKENS),
}


@pytest.mark.parametrize("name", WHOLE)
def test_an_answer_tells_its_model_its_id_and_its_tokens(name: str) -> None:
    answer, model, response_id, finish_reason, tokens = WHOLE[name]

    found = response_of(answer)

    assert (found.model, found.response_id, found.finish_reason) == (model, response_id, finish_reason)
    assert found.tokens == tokens
    assert (found.text or "").startswith("Hello")


@pytest.mark.skipif(importlib.util.find_spec("litellm") is None, reason="litellm is not installed")
def test_litellm_counts_as_openai_does_and_its_cached_tokens_are_inside_the_input() -> None:
    from litellm import ModelResponse  # noqa: PLC0415
    from litellm import Usage as LiteLLMUsage  # noqa: PLC0415

    usage = LiteLLMUsage(prompt_tokens=100, completion_tokens=50, total_tokens=150, cache_read_input_tokens=60)
    found = response_of(ModelResponse(id="chatcmpl-1", model="claude-haiku-4-5", usage=usage))

    assert (found.model, found.response_id) == ("claude-haiku-4-5", "chatcmpl-1")
    assert (found.tokens.input_tokens, found.tokens.cache_read_tokens) == (100, 60)


LITELLM = {
    "id": "chatcmpl-1",
    "model": "claude-haiku-4-5",
    "object": "chat.completion",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hello"}}],
    "usage": {
        "prompt_tokens": 1210,
        "completion_tokens": 40,
        "total_tokens": 1250,
        "prompt_tokens_details": {"cached_tokens": 1000},
        "cache_read_input_tokens": 1000,
        "cache_creation_input_tokens": 200,
    },
}
"""As litellm dumps what Anthropic answered (https://docs.litellm.ai/docs/completion/prompt_caching)."""


def test_cached_tokens_are_inside_or_beside_the_input_as_the_total_shows() -> None:
    assert response_of(LITELLM).tokens == Tokens(
        input_tokens=1210, output_tokens=40, total_tokens=1250, cache_read_tokens=1000, cache_write_tokens=200
    )
    bedrock = {"inputTokens": 10, "outputTokens": 40, "totalTokens": 1250, "cacheReadInputTokens": 1000}
    assert tokens_of({**bedrock, "cacheWriteInputTokens": 200}) == Tokens(
        input_tokens=1210, output_tokens=40, total_tokens=1250, cache_read_tokens=1000, cache_write_tokens=200
    )
    assert tokens_of(AnthropicUsage(input_tokens=10, output_tokens=40)) == Tokens(input_tokens=10, output_tokens=40)


def chunk(**more: Any) -> ChatCompletionChunk:
    known = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-audio"}
    return ChatCompletionChunk.model_validate({**known, "choices": [], **more})


def said(text: str, reason: str | None = None) -> list[dict[str, Any]]:
    return [{"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": reason}]


def used(given: int, made: int) -> UsageMetadata:
    return cast("UsageMetadata", {"input_tokens": given, "output_tokens": made, "total_tokens": given + made})


STREAMS: dict[str, tuple[list[Any], str, str, Tokens]] = {
    "openai": (
        [
            chunk(choices=said("Hel")),
            chunk(choices=said("lo")),
            chunk(choices=said("", "stop")),
            chunk(usage=OPENAI["usage"]),
        ],
        "chatcmpl-1",
        "stop",
        OPENAI_TOKENS,
    ),
    "openai responses": (
        [
            ResponseTextDeltaEvent(
                type="response.output_text.delta",
                delta="Hello",
                content_index=0,
                item_id="m",
                logprobs=[],
                output_index=0,
                sequence_number=1,
            ),
            ResponseCompletedEvent(
                type="response.completed", sequence_number=2, response=OpenAIResponse.model_validate(RESPONSES)
            ),
        ],
        "resp_1",
        "",
        RESPONSES_TOKENS,
    ),
    "anthropic": (
        [
            RawMessageStartEvent(
                type="message_start",
                message=Message.model_validate(
                    {
                        **ANTHROPIC,
                        "content": [],
                        "stop_reason": None,
                        "usage": {**ANTHROPIC_USAGE, "output_tokens": 1, "server_tool_use": None},
                    }
                ),
            ),
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
            {"type": "content_block_stop", "index": 0},
            RawMessageDeltaEvent.model_validate(
                {
                    "type": "message_delta",
                    "delta": {"stop_reason": "end_turn", "stop_sequence": None},
                    "usage": {
                        "output_tokens": 40,
                        "input_tokens": 10,
                        "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 0},
                    },
                }
            ),
            RawMessageStopEvent(type="message_stop"),
        ],
        "msg_1",
        "end_turn",
        ANTHROPIC_TOKENS,
    ),
    "google": (
        [
            GenerateContentResponse.model_validate(
                {
                    **GOOGLE,
                    "candidates": [{"content": {"parts": [{"text": "Hel"}]}}],
                    "usage_metadata": {"prompt_token_count": 20, "candidates_token_count": 1, "total_token_count": 21},
                }
            ),
            GenerateContentResponse.model_validate(
                {
                    **GOOGLE,
                    "candidates": [{"content": {"parts": [{"text": "lo"}]}, "finish_reason": "STOP"}],
                }
            ),
        ],
        "g-1",
        "stop",
        GOOGLE_TOKENS,
    ),
    "langchain": (
        [
            AIMessageChunk(content="Hel", response_metadata={"model_name": "gpt-5-2025-08-07"}),
            AIMessageChunk(
                content="lo",
                response_metadata={"id": "chatcmpl-1", "finish_reason": "stop"},
                usage_metadata=used(100, 20),
            ),
            AIMessageChunk(
                content="",
                usage_metadata=used(0, 30),
            ),
        ],
        "chatcmpl-1",
        "stop",
        Tokens(input_tokens=100, output_tokens=50, total_tokens=150),
    ),
}


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("how", ["returned", "generated", "asynchronous", "awaited"])
def test_a_stream_is_counted_when_it_is_over(captured: Spans, name: str, how: str) -> None:
    chunks, response_id, reason, tokens = STREAMS[name]

    @llm("ask")
    def returned() -> Iterator[Any]:
        return iter(chunks)

    @llm("ask")
    def generated() -> Iterator[Any]:
        yield from chunks

    @llm("ask")
    async def asynchronous() -> AsyncIterator[Any]:
        for each in chunks:
            await asyncio.sleep(0)
            yield each

    @llm("ask")
    async def awaited() -> AsyncIterator[Any]:
        async def stream() -> AsyncIterator[Any]:
            for each in chunks:
                yield each

        await asyncio.sleep(0)
        return stream()

    async def consume() -> list[Any]:
        stream = asynchronous() if how == "asynchronous" else await awaited()
        return [each async for each in stream]

    if how in {"returned", "generated"}:
        got = list(returned() if how == "returned" else generated())
    else:
        got = asyncio.run(consume())

    assert got == chunks
    (span,) = captured.all
    told: dict[str, Any] = dict(span.attributes or {})
    assert told["gen_ai.response.id"] == response_id
    assert told["gen_ai.usage.input_tokens"] == tokens.input_tokens
    assert told["gen_ai.usage.output_tokens"] == tokens.output_tokens
    assert told.get("gen_ai.usage.cache_read.input_tokens") == tokens.cache_read_tokens
    assert told["gen_ai.usage.cost"] > 0
    assert told["gen_ai.request.stream"] is True
    assert list(told.get("gen_ai.response.finish_reasons", [""])) == [reason]
    assert "Hello" in str(told["gen_ai.output.messages"])


def test_a_stream_in_the_applications_own_words_is_counted_where_the_configuration_says(spans: Spans) -> None:
    @llm("ask", model="gpt-4o-mini", usage="result.consumed", response_id="result.request")
    def ask() -> Iterator[dict[str, Any]]:
        yield {"text": "Hel", "request": "r-1"}
        yield {"text": "lo", "consumed": {"input_tokens": 3, "output_tokens": 2}}
        yield {"done": True}

    assert len(list(ask())) == 3

    told = spans.attributes("chat gpt-4o-mini")
    assert (told["gen_ai.usage.input_tokens"], told["gen_ai.usage.output_tokens"]) == (3, 2)
    assert told["gen_ai.response.id"] == "r-1"


def test_what_a_generator_returns_is_its_result(spans: Spans) -> None:
    @llm("ask", model="gpt-5")
    def ask() -> Generator[str, None, ChatCompletion]:
        yield "thinking"
        return ChatCompletion.model_validate(OPENAI)

    assert list(ask()) == ["thinking"]
    assert spans.attributes("chat gpt-5")["gen_ai.usage.input_tokens"] == 100


def test_what_the_application_says_counts_before_what_the_answer_shows(spans: Spans) -> None:
    @llm("ask", model="gpt-5")
    def ask() -> ChatCompletion:
        set_usage(input_tokens=1, output_tokens=2)
        set_output("x")
        return ChatCompletion.model_validate(OPENAI)

    ask()

    told = spans.attributes("chat gpt-5")
    assert (told["gen_ai.usage.input_tokens"], told["gen_ai.usage.output_tokens"]) == (1, 2)
    assert "gen_ai.usage.cache_read.input_tokens" not in told
    assert told["gen_ai.response.id"] == "chatcmpl-1"


def test_embeddings_are_counted_and_priced(spans: Spans) -> None:
    @embedding("embed", model="text-embedding-3-small")
    def embed() -> CreateEmbeddingResponse:
        return CreateEmbeddingResponse.model_validate(
            {
                "object": "list",
                "data": [],
                "model": "text-embedding-3-small",
                "usage": {"prompt_tokens": 1000, "total_tokens": 1000},
            }
        )

    embed()

    told = spans.attributes("embeddings text-embedding-3-small")
    assert told["gen_ai.usage.input_tokens"] == 1000
    assert told["gen_ai.usage.cost"] == pytest.approx(0.00002)


def test_a_total_alone_is_split_and_one_with_a_part_is_not() -> None:
    usage, source = Tokens(total_tokens=11).billed()
    assert (usage.input_tokens, usage.output_tokens, source) == (6, 5, "split")

    usage, source = Tokens(total_tokens=11, output_tokens=4).billed()
    assert (usage.input_tokens, usage.output_tokens, source) == (7, 4, "reported")

    assert Tokens(input_tokens=0, output_tokens=0, total_tokens=0).billed()[1] is None


@pytest.mark.parametrize(
    "answer",
    [
        None,
        "text",
        b"bytes",
        3,
        [],
        {},
        object(),
        {"usage": {}},
        {"id": "x"},
        [1, 2],
        {"usage": {"input_tokens": -1}},
        {"usage": {"input_tokens": True}},
        {"usage": "much"},
        {"generations": []},
        {"content": "x"},
        UNKNOWN,
    ],
)
def test_what_is_no_answer_tells_nothing(answer: Any) -> None:
    assert not response_of(answer).tokens.known
    stream = Stream(with_text=True)
    stream.add(answer)
    assert not stream.response.tokens.known


def test_an_old_completion_is_understood_too() -> None:
    answer = Completion.model_validate(
        {
            "id": "cmpl-1",
            "object": "text_completion",
            "created": 1,
            "model": "gpt-3.5-turbo-instruct",
            "choices": [{"index": 0, "text": "Hello", "finish_reason": "length", "logprobs": None}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        }
    )

    found = response_of(answer)

    assert (found.text, found.finish_reason, found.provider) == ("Hello", "length", "openai")
    assert found.tokens.input_tokens == 3
