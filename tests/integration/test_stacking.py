"""Our nodes around instrumented clients: a request is told once, whoever else tells it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest
from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor

from examples.provider import StandIn
from otel_obs.instrumentation import agent, embedding, llm, propagate, set_usage, tool
from otel_obs.otlp.sdk import SpanReader
from otel_obs.rows import CallRow
from tests.fix_kept import in_memory
from tests.fix_spans import Spans

pytestmark = pytest.mark.usefixtures("no_faults")

ASKED: Any = [{"role": "system", "content": "You are the triage agent."}, {"role": "user", "content": "?"}]


@pytest.fixture
def instrumented(spans: Spans) -> Iterator[Spans]:
    instrumentor = OpenAIInstrumentor()
    instrumentor.instrument(tracer_provider=spans.provider)
    yield spans
    instrumentor.uninstrument()


@pytest.fixture
def models() -> Iterator[StandIn]:
    with StandIn() as provider:
        yield provider


@pytest.fixture
def gpt(models: StandIn, instrumented: Spans) -> Iterator[openai.OpenAI]:
    assert instrumented.all == []
    with openai.OpenAI(api_key="none", base_url=models.openai_base_url, max_retries=0) as client:
        yield client


def calls(spans: Spans) -> list[CallRow]:
    """Return the rows that the spans become."""
    kept = in_memory()
    kept.write(SpanReader().decode(spans.all).spans)
    kept.settle()
    return kept.calls


def billed(rows: list[CallRow]) -> list[tuple[str | None, str | None, int | None, int | None]]:
    return sorted((row.response_id, row.model_name, row.input_tokens, row.output_tokens) for row in rows)


def served(models: StandIn) -> list[tuple[str | None, str | None, int | None, int | None]]:
    return sorted((call.response_id, call.model, call.input_tokens, call.output_tokens) for call in models.served)


def test_a_request_inside_a_model_node_is_one_span_and_one_row(
    models: StandIn, gpt: openai.OpenAI, instrumented: Spans
) -> None:
    @llm("triage")
    def ask() -> str | None:
        return gpt.chat.completions.create(model="gpt-5-mini", messages=ASKED).choices[0].message.content

    assert ask()

    (span,) = instrumented.all
    told: dict[str, Any] = dict(span.attributes or {})
    assert told["otel_obs.node.name"] == "triage"
    assert told["gen_ai.provider.name"] == "openai"
    assert told["gen_ai.usage.cost"] > 0
    (row,) = calls(instrumented)
    assert billed([row]) == served(models)
    assert row.cost_source == "computed"


def test_a_node_that_shows_its_answer_too_does_not_count_twice(
    models: StandIn, gpt: openai.OpenAI, instrumented: Spans
) -> None:
    @llm("triage", model="gpt-5-mini")
    def ask() -> Any:
        return gpt.chat.completions.create(model="gpt-5-mini", messages=ASKED)

    assert ask().choices

    assert instrumented.names == ["chat gpt-5-mini"]
    assert billed(calls(instrumented)) == served(models)


@pytest.mark.parametrize("how", ["returned", "generated", "broken off"])
def test_a_stream_inside_a_model_node_is_counted_when_it_is_over(
    models: StandIn, gpt: openai.OpenAI, instrumented: Spans, how: str
) -> None:
    def stream() -> Any:
        return gpt.chat.completions.create(
            model="gpt-5-mini", messages=ASKED, stream=True, stream_options={"include_usage": True}
        )

    @llm("triage")
    def returned() -> Any:
        return stream()

    @llm("triage")
    def generated() -> Iterator[str]:
        for chunk in stream():
            if chunk.choices:
                yield chunk.choices[0].delta.content or ""

    if how == "broken off":
        with returned() as chunks:
            next(iter(chunks))
    else:
        assert list(returned() if how == "returned" else generated())

    assert instrumented.names == ["chat gpt-5-mini"]
    rows = calls(instrumented)
    if how == "broken off":
        ((row,), (truth,)) = rows, models.served
        assert (row.response_id, row.input_tokens, row.cost_reason) == (truth.response_id, None, "no_usage")
    else:
        assert billed(rows) == served(models)


@pytest.mark.parametrize("how", ["one after the other", "in threads"])
def test_several_requests_in_one_node_are_as_many_rows(
    models: StandIn, gpt: openai.OpenAI, instrumented: Spans, how: str
) -> None:
    def request(model: str) -> Any:
        return gpt.chat.completions.create(model=model, messages=ASKED)

    @llm("asks twice")
    def ask() -> Any:
        if how == "in threads":
            with ThreadPoolExecutor(2) as pool:
                return list(pool.map(propagate(request), ("gpt-5-mini", "gpt-5")))
        return [request("gpt-5-mini"), request("gpt-5")]

    ask()

    assert billed(calls(instrumented)) == served(models)
    assert len(models.served) == 2
    assert sorted(instrumented.names) == ["chat gpt-5", "chat gpt-5-mini", "model_node asks twice"]


@pytest.mark.parametrize("asks_itself", [True, False])
def test_a_request_that_outlives_its_node_is_a_row_all_the_same(
    models: StandIn, instrumented: Spans, asks_itself: bool
) -> None:
    async def main() -> None:
        async with openai.AsyncOpenAI(api_key="none", base_url=models.openai_base_url, max_retries=0) as client:
            later: list[asyncio.Task[Any]] = []

            @llm("ask")
            async def ask() -> Any:
                later.append(asyncio.create_task(second()))
                if not asks_itself:
                    return None
                return await client.chat.completions.create(model="gpt-5-mini", messages=ASKED)

            async def second() -> Any:
                await done.wait()
                return await client.chat.completions.create(model="gpt-5", messages=ASKED)

            done = asyncio.Event()
            await ask()
            done.set()
            await later[0]

    asyncio.run(main())

    assert len(models.served) == (2 if asks_itself else 1)
    assert billed(calls(instrumented)) == served(models)


def test_a_model_node_inside_a_model_node_is_one_request(
    models: StandIn, gpt: openai.OpenAI, instrumented: Spans
) -> None:
    @llm("inner")
    def inner() -> Any:
        return gpt.chat.completions.create(model="gpt-5-mini", messages=ASKED)

    @llm("outer")
    def outer() -> Any:
        return inner().choices[0].message.content

    outer()

    assert instrumented.names == ["chat gpt-5-mini"]
    assert billed(calls(instrumented)) == served(models)


def test_a_tool_that_a_model_node_runs_asks_on_its_own_account(
    models: StandIn, gpt: openai.OpenAI, instrumented: Spans
) -> None:
    @tool("look up")
    def look_up() -> Any:
        return gpt.chat.completions.create(model="gpt-5", messages=ASKED)

    @llm("ask")
    def ask() -> Any:
        look_up()
        return gpt.chat.completions.create(model="gpt-5-mini", messages=ASKED)

    ask()

    assert instrumented.parent("chat gpt-5") == "execute_tool look up"
    assert billed(calls(instrumented)) == served(models)


def test_an_agent_leaves_the_telling_of_requests_to_the_client(
    models: StandIn, gpt: openai.OpenAI, instrumented: Spans
) -> None:
    @agent("a")
    def run() -> Any:
        return gpt.chat.completions.create(model="gpt-5-mini", messages=ASKED)

    run()

    assert instrumented.parent("chat gpt-5-mini") == "invoke_agent a"
    assert instrumented.attributes("invoke_agent a").get("gen_ai.usage.input_tokens") is None
    (row,) = calls(instrumented)
    assert (row.agent_id, billed([row])) == ("a", served(models))


def test_a_request_that_fails_is_an_error_and_no_row(models: StandIn, gpt: openai.OpenAI, instrumented: Spans) -> None:
    @llm("ask")
    def ask() -> Any:
        return gpt.with_options(base_url="http://127.0.0.1:1/v1").chat.completions.create(
            model="gpt-5-mini", messages=ASKED
        )

    with pytest.raises(openai.APIConnectionError):
        ask()

    (span,) = instrumented.all
    assert "APIConnectionError" in str((span.attributes or {})["error.type"])
    assert calls(instrumented) == []
    assert models.served == []


def test_a_total_that_a_node_splits_is_a_row_that_says_so(spans: Spans) -> None:
    @llm("ask", model="gpt-4o-mini", provider="openai")
    def ask() -> str:
        set_usage(total_tokens=101)
        return "x"

    ask()

    (row,) = calls(spans)
    assert (row.input_tokens, row.output_tokens, row.usage_source) == (51, 50, "split")


def test_batches_of_embeddings_in_one_node_are_added_up(
    models: StandIn, gpt: openai.OpenAI, instrumented: Spans
) -> None:
    @embedding("embed", model="text-embedding-3-small")
    def embed(batches: list[list[str]]) -> list[Any]:
        return [gpt.embeddings.create(model="text-embedding-3-small", input=batch).data for batch in batches]

    embed([["one text"], ["another text", "and a third one"]])

    (span,) = instrumented.all
    assert (span.attributes or {})["gen_ai.usage.input_tokens"] == sum(call.input_tokens for call in models.served)
    assert len(models.served) == 2
    (row,) = calls(instrumented)
    assert row.input_tokens == sum(call.input_tokens for call in models.served)
