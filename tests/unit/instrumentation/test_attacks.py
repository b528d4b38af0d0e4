"""Ways to make the instrumentation noticed by an application; none of them does."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import threading
import weakref
from collections.abc import AsyncIterator, Iterator
from typing import Any
from unittest.mock import MagicMock

import pytest
from opentelemetry import context as otel_context
from opentelemetry.sdk.trace import ReadableSpan, Span, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

from otel_obs.instrumentation import agent, current_run, guardrail, llm, telemetry, tool, workflow
from otel_obs.instrumentation.processor import TenantSpanProcessor
from tests.fix_spans import Spans


class BrokenExporter(SpanExporter):
    def export(self, spans: Any) -> SpanExportResult:
        raise RuntimeError("export")


class BrokenProcessor(SimpleSpanProcessor):
    def on_start(self, span: Span, parent_context: Any = None) -> None:
        raise RuntimeError("on_start")

    def on_end(self, span: ReadableSpan) -> None:
        raise RuntimeError("on_end")


@pytest.mark.parametrize("kind", [workflow, agent, llm, tool, guardrail])
def test_a_processor_that_fails_is_not_noticed(spans: Spans, kind: Any) -> None:
    provider = TracerProvider()
    provider.add_span_processor(BrokenProcessor(BrokenExporter()))
    telemetry.use(tracer_provider=provider)

    @kind("it")  # type: ignore[untyped-decorator]
    def works(value: int) -> int:
        return value

    @kind("it")  # type: ignore[untyped-decorator]
    def stream() -> Iterator[int]:
        yield from (1, 2)

    with kind("it"):
        assert works(1) == 1
    assert list(stream()) == [1, 2]
    assert otel_context.get_current() == otel_context.Context()


def test_a_logger_that_fails_is_not_noticed(spans: Spans) -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise RuntimeError

    handler = Broken()
    log = logging.getLogger("otel_obs.instrumentation")
    log.addHandler(handler)
    try:

        @workflow("w")
        def works(workspace_id: object) -> int:
            return 1

        assert works({"no": "id"}) == 1
    finally:
        log.removeHandler(handler)


def test_a_mock_that_answers_everything_is_no_answer(captured: Spans) -> None:
    anything = MagicMock()

    @llm("ask", model="gpt-4o", usage="result.usage", response_id="result.id")
    def ask(prompt: Any) -> Any:
        return prompt

    assert ask(anything) is anything
    told = captured.attributes("chat gpt-4o")
    assert "gen_ai.usage.input_tokens" not in told
    assert "gen_ai.response.id" not in told


class Stream:
    """A client's stream: iterable once, a context manager, with attributes of its own."""

    def __init__(self) -> None:
        self.response = object()
        self.closed = False
        self._items = iter("abc")

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        return next(self._items)

    def __enter__(self) -> Stream:  # noqa: PYI034  # as clients have it
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> str:
        self.closed = True
        return "closed"


def test_a_clients_stream_behaves_as_itself(spans: Spans) -> None:
    made: list[Stream] = []

    @llm("ask", model="gpt-4o")
    def ask() -> Stream:
        made.append(Stream())
        return made[-1]

    stream = ask()
    assert isinstance(stream, Stream)
    assert stream.response is made[0].response
    with stream as entered:
        assert entered is stream
        assert next(entered) == "a"
        assert spans.all == []
    assert made[0].closed
    assert stream.closed
    assert stream.close() == "closed"
    assert spans.names == ["chat gpt-4o"]

    assert "".join(ask()) == "abc"
    ask()
    gc.collect()
    assert spans.names == ["chat gpt-4o"] * 3


def test_a_stream_read_in_another_thread_is_counted(spans: Spans) -> None:
    @llm("ask", model="gpt-4o")
    def ask() -> Iterator[dict[str, Any]]:
        yield {"id": "r", "model": "gpt-4o", "usage": {"prompt_tokens": 3, "completion_tokens": 2}}

    stream = ask()
    got: list[Any] = []
    thread = threading.Thread(target=lambda: got.extend(stream))
    thread.start()
    thread.join(10)

    assert len(got) == 1
    assert spans.attributes("chat gpt-4o")["gen_ai.usage.input_tokens"] == 3


def test_generators_interleaved_keep_their_contexts_apart(spans: Spans) -> None:
    @workflow("w")
    def steps(workspace_id: str) -> Iterator[str | None]:
        for _ in range(3):
            yield current_run().workspace_id

    one, other = steps("one"), steps("other")
    seen = [next(generator) for _ in range(3) for generator in (one, other)]

    assert seen == ["one", "other"] * 3
    assert current_run().workspace_id is None


def test_an_asynchronous_generator_left_to_the_loop_is_ended_by_it(spans: Spans) -> None:
    @agent("a")
    async def forever() -> AsyncIterator[int]:
        while True:
            yield 1

    async def main() -> None:
        async for _ in forever():
            break

    asyncio.run(main())
    gc.collect()

    assert spans.names == ["invoke_agent a"]


def test_a_task_group_that_fails_ends_every_span(spans: Spans) -> None:
    @agent("fails")
    async def fails() -> None:
        await asyncio.sleep(0)
        raise LookupError

    @agent("waits")
    async def waits() -> None:
        await asyncio.sleep(60)

    async def main() -> None:
        tasks = [asyncio.create_task(waits()), asyncio.create_task(fails())]
        try:
            await asyncio.gather(*tasks)
        finally:
            tasks[0].cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await tasks[0]

    with pytest.raises(LookupError):
        asyncio.run(main())

    assert sorted(spans.names) == ["invoke_agent fails", "invoke_agent waits"]


def test_a_context_manager_and_a_property_made_of_decorated_functions_work(spans: Spans) -> None:
    class Thing:
        @property
        @tool("read")
        def value(self) -> int:
            return 42

        @contextlib.contextmanager
        @tool("opened")
        def opened(self) -> Iterator[str]:
            yield "open"

    with Thing().opened() as state:
        assert state == "open"
        assert spans.all == []
    assert Thing().value == 42
    assert spans.names == ["execute_tool opened", "execute_tool read"]


def test_a_coroutine_that_is_never_awaited_warns_as_without_us(spans: Spans) -> None:
    @agent("a")
    async def never() -> None:
        pass

    with pytest.warns(RuntimeWarning, match="never awaited"):
        del [never()][0]


def test_a_long_task_holds_no_arguments_of_the_node_that_started_it(spans: Spans) -> None:
    class Big:
        pass

    async def main() -> bool:
        stop = asyncio.Event()
        tasks: list[asyncio.Task[Any]] = []

        @agent("a")
        async def starts(_: Big) -> None:
            tasks.append(asyncio.create_task(stop.wait()))

        big = Big()
        gone = weakref.ref(big)
        await starts(big)
        del big
        gc.collect()
        stop.set()
        await tasks[0]
        return gone() is None

    assert asyncio.run(main())


def test_many_at_once_are_told_apart(spans: Spans) -> None:
    @workflow("w")
    def run(workspace_id: str) -> list[str | None]:
        return [inner() for _ in range(5)]

    @agent("a")
    def inner() -> str | None:
        return current_run().workspace_id

    results: dict[str, list[str | None]] = {}

    def work(name: str) -> None:
        results[name] = run(name)

    threads = [threading.Thread(target=work, args=(f"ws-{number}",)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert results == {f"ws-{number}": [f"ws-{number}"] * 5 for number in range(20)}
    for span in spans.all:
        told = dict(span.attributes or {})
        above = [
            found
            for found in spans.all
            if found.context and span.parent and found.context.span_id == span.parent.span_id
        ]
        assert not above or dict(above[0].attributes or {})["otel_obs.workspace.id"] == told["otel_obs.workspace.id"]


def test_the_processor_survives_what_it_is_given() -> None:
    processor = TenantSpanProcessor()
    broken: Any = MagicMock(side_effect=RuntimeError)
    broken.set_attributes.side_effect = RuntimeError

    processor.on_start(broken)
    processor.on_end(broken)
    assert processor.force_flush()
    processor.shutdown()


def test_deep_recursion_fails_where_python_says_so(spans: Spans) -> None:
    depth: list[int] = []

    @tool("t")
    def deeper() -> None:
        depth.append(1)
        deeper()

    with pytest.raises(RecursionError):
        deeper()

    assert len(depth) > 100
    assert current_run().workspace_id is None
    assert otel_context.get_current() == otel_context.Context()


def test_reading_what_is_said_costs_a_stream_nothing_where_nobody_listens(spans: Spans) -> None:
    touched: list[str] = []

    class Chunk:
        def __getattr__(self, name: str) -> Any:
            touched.append(name)
            raise AttributeError(name)

    @tool("t")
    def stream() -> Iterator[Chunk]:
        yield Chunk()

    assert len(list(stream())) == 1
    assert touched == []
