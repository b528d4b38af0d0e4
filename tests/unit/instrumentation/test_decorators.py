"""Decorators and blocks: what is reported, and that what is decorated remains what it was."""

from __future__ import annotations

import asyncio
import copy
import functools
import gc
import inspect
import pickle
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from typing import Any, ClassVar

import pytest
from opentelemetry import trace
from opentelemetry.trace import StatusCode

from otel_obs.instrumentation import (
    RunContext,
    agent,
    current_run,
    embedding,
    guardrail,
    llm,
    record_guardrail,
    retrieval,
    set_output,
    set_price,
    set_usage,
    tool,
    workflow,
)
from otel_obs.model import Call, Cost
from tests.fix_spans import Spans

pytestmark = pytest.mark.usefixtures("no_faults")


@tool
def look_up(order: str, *, twice: bool = False) -> str:
    """Look an order up."""
    return order * 2 if twice else order


class Engine:
    """An engine as platforms have one."""

    model = "gpt-4o-mini"

    @workflow
    def execute_workflow(self, workflow_id: str, workspace_id: str | None = None) -> tuple[str, str | None]:
        return self.run_agent(workflow_id), workspace_id

    @agent("researcher", id="args.node")
    def run_agent(self, node: str) -> str:
        return self.ask(node)

    @llm(model="self.model", provider="openai")
    def ask(self, prompt: str) -> str:
        set_usage(input_tokens=10, output_tokens=5)
        return prompt

    @staticmethod
    @tool
    def static(value: int) -> int:
        return value

    @tool
    @staticmethod
    def static_below(value: int) -> int:
        return value

    @classmethod
    @tool
    def of_class(cls, value: int) -> tuple[type, int]:
        return cls, value

    @tool
    @classmethod
    def of_class_below(cls, value: int) -> tuple[type, int]:
        return cls, value

    @property
    @tool
    def answer(self) -> int:
        return 42


def test_a_workflow_its_agent_and_its_model_call_are_a_tree_in_the_names_of_the_convention(spans: Spans) -> None:
    assert Engine().execute_workflow("wf-1", workspace_id="ws-1") == ("wf-1", "ws-1")

    root = "invoke_workflow Engine.execute_workflow"
    assert [spans.parent(name) for name in spans.names] == ["invoke_agent researcher", root, None]
    assert spans.names[0] == "chat gpt-4o-mini"
    run_id = spans.attributes(root)["otel_obs.workflow.run.id"]
    for name in spans.names:
        told = spans.attributes(name)
        assert told["otel_obs.workspace.id"] == "ws-1"
        assert told["otel_obs.workflow.id"] == "wf-1"
        assert told["otel_obs.workflow.run.id"] == run_id
    assert (
        spans.attributes("invoke_agent researcher").items()
        >= {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": "researcher",
            "otel_obs.node.id": "wf-1",
        }.items()
    )
    assert (
        spans.attributes("chat gpt-4o-mini").items()
        >= {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "gpt-4o-mini",
            "gen_ai.usage.input_tokens": 10,
            "gen_ai.usage.output_tokens": 5,
            "otel_obs.node.name": "Engine.ask",
        }.items()
    )


def test_each_kind_has_its_span(spans: Spans) -> None:
    for kind in (workflow, agent, llm, embedding, retrieval, tool, guardrail):
        decorated: Callable[[], int] = kind("it")(lambda: 1)
        assert decorated() == 1

    assert spans.names == [
        "invoke_workflow it", "invoke_agent it", "chat", "embeddings", "retrieval it", "execute_tool it",
        "apply_guardrail it",
    ]  # fmt: skip


def test_arguments_named_like_ids_are_found_by_themselves(spans: Spans) -> None:
    @workflow("w")
    def run(organization_id: str, workspace_id: str, user_id: int, execution_id: str, session_id: str) -> RunContext:
        return current_run()

    assert run("o", "ws", 7, "r-1", session_id="c") == RunContext(
        organization_id="o", workspace_id="ws", user_id="7", workflow_id="w", run_id="r-1", conversation_id="c"
    )
    assert spans.attributes("invoke_workflow w").items() >= {
        "otel_obs.organization.id": "o", "user.id": "7", "otel_obs.workflow.run.id": "r-1",
        "session.id": "c", "gen_ai.conversation.id": "c",
    }.items()  # fmt: skip
    assert current_run() == RunContext()


def test_a_workspace_that_is_known_is_given_to_those_that_ask_for_none(spans: Spans) -> None:
    @tool
    def inner(*, workspace_id: str | None = None) -> str | None:
        return workspace_id

    @tool
    def positional(text: str, workspace_id: str | None = None) -> tuple[str, str | None]:
        return text, workspace_id

    @workflow
    def run(workspace_id: str) -> list[Any]:
        return [inner(), inner(workspace_id=None), inner(workspace_id="own"), positional("a", None), positional("a")]

    assert run("ws") == ["ws", "ws", "own", ("a", "ws"), ("a", "ws")]
    assert inner() is None


class RefusedError(Exception):
    """What an application raises."""


@pytest.mark.parametrize("error", [RefusedError("no"), KeyboardInterrupt(), SystemExit(3), StopIteration(1)])
def test_what_is_raised_is_raised_unchanged(spans: Spans, error: BaseException) -> None:
    @tool("fails")
    def fails() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        fails()

    assert caught.value is error
    told = spans.one("execute_tool fails")
    assert told.status.status_code is StatusCode.ERROR
    assert str((told.attributes or {})["error.type"]).endswith(type(error).__name__)


def test_an_error_that_cannot_say_what_it_is_ends_the_span_all_the_same(spans: Spans) -> None:
    class UnspeakableError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("not even this")

    for kind in (tool, guardrail):

        @kind("fails")
        def fails() -> None:
            raise UnspeakableError

        with pytest.raises(UnspeakableError):
            fails()

    assert [span.status.status_code for span in spans.all] == [StatusCode.ERROR, StatusCode.ERROR]


def test_methods_of_all_kinds_stay_what_they_are(spans: Spans) -> None:
    engine = Engine()

    assert (Engine.static(1), engine.static(2), Engine.static_below(3), engine.static_below(4)) == (1, 2, 3, 4)
    assert (Engine.of_class(1), engine.of_class_below(2)) == ((Engine, 1), (Engine, 2))
    assert engine.answer == 42
    assert len(spans.all) == 7


def test_a_class_is_left_as_it_is_with_a_warning(spans: Spans, caplog: pytest.LogCaptureFixture) -> None:
    class Thing:
        pass

    assert agent(Thing) is Thing
    assert "it is no function" in caplog.text
    caplog.clear()


def test_signature_name_module_and_pickling_are_those_of_the_function(spans: Spans) -> None:
    assert str(inspect.signature(look_up)) == "(order: 'str', *, twice: 'bool' = False) -> 'str'"
    assert (look_up.__name__, look_up.__module__, look_up.__doc__) == ("look_up", __name__, "Look an order up.")
    assert pickle.loads(pickle.dumps(look_up)) is look_up
    assert pickle.loads(pickle.dumps(Engine().run_agent))("x") == "x"
    assert copy.deepcopy(look_up) is look_up
    assert look_up("a", twice=True) == "aa"


def test_a_wrong_call_fails_as_it_would_without_us(spans: Spans) -> None:
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'order'"):
        look_up()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        look_up("a", twicce=True)  # type: ignore[call-arg]


class AtLeast:
    """A callable that does not bind."""

    def __init__(self, least: int) -> None:
        self.least = least

    def __call__(self, value: int) -> int:
        return max(value, self.least)


@tool
@functools.lru_cache
def cached(value: int) -> int:
    return value * 2


def test_what_is_more_than_a_function_stays_itself(spans: Spans) -> None:
    class Cached:
        @tool
        @functools.lru_cache(maxsize=4)  # noqa: B019  # that is the point
        def method(self, value: int) -> int:
            return value

        unbound: ClassVar[Any] = tool(AtLeast(3))

    assert [cached(1), cached(1)] == [2, 2]
    assert cached.cache_info().hits == 1  # type: ignore[attr-defined]
    assert pickle.loads(pickle.dumps(cached)) is cached
    assert Cached().method(5) == 5
    assert Cached().unbound(4) == Cached.unbound(4) == 4
    assert Cached.unbound.least == 3
    assert tool(functools.partial(max, 3))(4) == 4
    assert len(spans.all) == 6


def test_a_bound_method_and_a_callable_object_are_reported(spans: Spans) -> None:
    class Callable_:  # noqa: N801
        async def __call__(self, text: str) -> str:
            return text

    bound = agent("bound")(Engine().ask)
    asynchronous = agent("object")(Callable_())

    assert bound("x") == "x"
    assert asyncio.run(asynchronous("y")) == "y"
    assert [name for name in spans.names if name.startswith("invoke")] == ["invoke_agent bound", "invoke_agent object"]


def test_a_coroutine_function_is_one_and_runs_in_its_node(spans: Spans) -> None:
    @agent("a")
    async def run(text: str) -> str:
        await asyncio.sleep(0)
        return await ask(text)

    @llm("ask", model="gpt-4o")
    async def ask(text: str) -> str:
        await asyncio.sleep(0)
        return text

    async def main() -> list[str]:
        return list(await asyncio.gather(run("x"), run("y")))

    assert inspect.iscoroutinefunction(run)
    assert asyncio.run(main()) == ["x", "y"]
    parents = {span.parent.span_id for span in spans.all if span.name == "chat gpt-4o" and span.parent}
    assert parents == {span.context.span_id for span in spans.all if span.name == "invoke_agent a" and span.context}


def test_a_cancelled_coroutine_ends_its_span_and_is_cancelled(spans: Spans) -> None:
    @agent("slow")
    async def slow() -> None:
        await asyncio.sleep(60)

    async def main() -> None:
        task = asyncio.create_task(slow())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())

    assert spans.one("invoke_agent slow").status.status_code is StatusCode.ERROR
    assert "CancelledError" in str(spans.attributes("invoke_agent slow")["error.type"])


def test_a_coroutine_that_nobody_goes_on_with_leaves_no_trace_in_the_context(spans: Spans) -> None:
    @agent("left")
    async def left() -> None:
        await asyncio.sleep(60)

    async def begin() -> Any:
        running = left()
        running.send(None)
        return running

    async def main() -> None:
        running = await asyncio.create_task(begin())
        running.close()
        assert current_run() == RunContext()
        assert not trace.get_current_span().is_recording()

    asyncio.run(main())
    assert spans.names == ["invoke_agent left"]


def test_generators_run_in_their_node_step_by_step_and_can_be_sent_to(spans: Spans) -> None:
    @agent("counting")
    def counting(limit: int) -> Generator[int, int, str]:
        total = 0
        while total < limit:
            look_up("a")
            total += (yield total) or 1
        return "done"

    assert inspect.isgeneratorfunction(counting)
    running = counting(10)
    assert [next(running), running.send(5), next(running)] == [0, 5, 6]
    assert current_run() == RunContext()
    assert not trace.get_current_span().is_recording()
    with pytest.raises(StopIteration) as end:
        running.send(4)
    assert end.value.value == "done"
    assert spans.names.count("execute_tool look_up") == 3
    assert {spans_parent(spans, span) for span in spans.all if span.name == "execute_tool look_up"} == {
        "invoke_agent counting"
    }


def spans_parent(spans: Spans, span: Any) -> str:
    return next(found.name for found in spans.all if found.context and found.context.span_id == span.parent.span_id)


def test_a_generator_closed_early_cleans_up_and_is_no_failure(spans: Spans) -> None:
    cleaned = []

    @llm("stream", model="gpt-4o")
    def stream() -> Iterator[str]:
        try:
            yield from ("a", "b")
        finally:
            cleaned.append(True)

    for _ in stream():
        break
    gc.collect()

    assert cleaned == [True]
    assert spans.one("chat gpt-4o").status.status_code is StatusCode.UNSET


def test_what_is_thrown_into_a_generator_arrives_there(spans: Spans) -> None:
    @tool("t")
    def patient() -> Generator[str, None, None]:
        try:
            yield "first"
        except RefusedError:
            yield "caught"

    running = patient()
    assert next(running) == "first"
    assert running.throw(RefusedError()) == "caught"
    with pytest.raises(RefusedError):
        running.throw(RefusedError())
    assert spans.one("execute_tool t").status.status_code is StatusCode.ERROR


def test_a_generator_that_refuses_to_close_raises_as_it_would_without_us(spans: Spans) -> None:
    @tool("t")
    def stubborn() -> Iterator[int]:
        try:
            yield 1
        except GeneratorExit:
            yield 2

    running = stubborn()
    next(running)
    with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
        running.close()  # type: ignore[attr-defined]
    assert spans.names == ["execute_tool t"]


def test_asynchronous_generators_run_in_their_node(spans: Spans) -> None:
    closed = []

    @agent("streaming")
    async def streaming() -> AsyncIterator[str]:
        try:
            for text in ("a", "b", "c"):
                await asyncio.sleep(0)
                look_up(text)
                yield text
        finally:
            closed.append(True)

    async def main() -> list[str]:
        all_of_it = [text async for text in streaming()]
        early = streaming()
        async for _ in early:
            break
        await early.aclose()  # type: ignore[attr-defined]
        return all_of_it

    assert inspect.isasyncgenfunction(streaming)
    assert asyncio.run(main()) == ["a", "b", "c"]
    assert closed == [True, True]
    assert [span.status.status_code for span in spans.all if span.name == "invoke_agent streaming"] == [
        StatusCode.UNSET, StatusCode.UNSET,
    ]  # fmt: skip
    assert {spans_parent(spans, span) for span in spans.all if span.name == "execute_tool look_up"} == {
        "invoke_agent streaming"
    }


def test_a_function_that_returns_a_generator_ends_with_it(spans: Spans) -> None:
    @agent("lazy")
    def lazy() -> Iterator[str]:
        return (look_up(text) for text in "ab")

    assert list(lazy()) == ["a", "b"]
    assert spans.names == ["execute_tool look_up", "execute_tool look_up", "invoke_agent lazy"]
    assert spans_parent(spans, spans.all[0]) == "invoke_agent lazy"


def test_recursion_is_a_tree_as_deep_as_it_went(spans: Spans) -> None:
    @agent("again")
    def again(depth: int) -> int:
        return depth if depth == 0 else again(depth - 1)

    assert again(100) == 0
    assert len(spans.all) == 101
    assert len({span.parent.span_id for span in spans.all if span.parent}) == 100


def test_a_block_is_a_node_also_with_others_in_other_threads_and_tasks(spans: Spans) -> None:
    block = agent("block")
    ready = threading.Barrier(3)

    def work() -> None:
        with block:
            ready.wait(10)
            look_up("a")
            ready.wait(10)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    async def main() -> None:
        async with agent("asynchronous"):
            look_up("b")

    asyncio.run(main())
    by_parent = [spans_parent(spans, span) for span in spans.all if span.name == "execute_tool look_up"]
    assert by_parent == ["invoke_agent block"] * 3 + ["invoke_agent asynchronous"]
    assert len({span.parent.span_id for span in spans.all if span.parent}) == 4


def test_a_block_lets_errors_through(spans: Spans) -> None:
    with pytest.raises(RefusedError), workflow("w", workspace_id="ws"):
        raise RefusedError

    assert spans.one("invoke_workflow w").status.status_code is StatusCode.ERROR
    assert spans.attributes("invoke_workflow w")["otel_obs.workspace.id"] == "ws"
    assert current_run() == RunContext()


def test_what_is_said_in_a_node_is_told_of_it(captured: Spans) -> None:
    @llm("ask", model="my-model")
    def ask(prompt: str) -> object:
        set_usage({"prompt_tokens": 3, "completion_tokens": 4}, model="my-model-1", response_id="r-1", cost_usd=0.5)
        set_output("the answer")
        return object()

    ask("the question")

    told = captured.attributes("chat my-model")
    assert told.items() >= {
        "gen_ai.usage.input_tokens": 3, "gen_ai.usage.output_tokens": 4, "gen_ai.response.model": "my-model-1",
        "gen_ai.response.id": "r-1", "gen_ai.usage.cost": 0.5,
    }.items()  # fmt: skip
    assert "the question" in str(told["gen_ai.input.messages"])
    assert "the answer" in str(told["gen_ai.output.messages"])


def test_content_is_told_only_where_the_standard_variable_says_so(spans: Spans) -> None:
    Engine().execute_workflow("secret words", workspace_id="ws")
    look_up("secret words")

    for span in spans.all:
        told = dict(span.attributes or {})
        assert [name for name in told if "messages" in name or "arguments" in name or "result" in name] == []


def test_what_is_said_outside_of_a_node_is_left_out(spans: Spans, caplog: pytest.LogCaptureFixture) -> None:
    set_usage(total_tokens=3)
    set_output("x")

    assert "outside of a model call" in caplog.text
    assert "outside of a node" in caplog.text
    assert spans.all == []
    caplog.clear()


def test_a_total_alone_is_split_and_marked(spans: Spans) -> None:
    @llm("ask", model="gpt-4o-mini")
    def ask() -> None:
        set_usage(total_tokens=101)

    ask()

    told = spans.attributes("chat gpt-4o-mini")
    assert (told["gen_ai.usage.input_tokens"], told["gen_ai.usage.output_tokens"]) == (51, 50)
    assert told["otel_obs.usage.source"] == "split"


def test_the_cost_is_on_the_span_when_it_ends_as_the_host_says_or_the_installed_prices(spans: Spans) -> None:
    ask = llm("ask", model="gpt-4o-mini", provider="openai")(lambda: set_usage(input_tokens=1000, output_tokens=100))

    ask()
    assert spans.attributes("chat gpt-4o-mini")["gen_ai.usage.cost"] == pytest.approx(1000 * 0.15e-6 + 100 * 0.6e-6)

    spans.memory.clear()
    asked: list[tuple[str | None, str]] = []

    def price(call: Call, _: object, organization_id: str) -> Cost:
        asked.append((call.request_model, organization_id))
        return Cost(cents=None, reason="unknown_model")

    set_price(price)
    ask()
    assert "gen_ai.usage.cost" not in spans.attributes("chat gpt-4o-mini")
    assert asked == [("gpt-4o-mini", "default")]


def test_a_price_that_fails_costs_nothing_but_the_cost(spans: Spans, caplog: pytest.LogCaptureFixture) -> None:
    def price(*_: object) -> Cost:
        raise RefusedError

    set_price(price)

    @llm("ask", model="gpt-4o-mini")
    def ask() -> int:
        set_usage(input_tokens=1, output_tokens=1)
        return 1

    assert ask() == 1
    assert spans.attributes("chat gpt-4o-mini")["gen_ai.usage.output_tokens"] == 1
    assert "the price of a call" in caplog.text
    caplog.clear()


def test_a_guardrail_tells_its_verdict_however_it_gives_it(spans: Spans) -> None:
    @guardrail("returns")
    def returns() -> dict[str, object]:
        return {"score": 0.9, "reference": "jailbreak", "action": "block"}

    @guardrail("says")
    def says() -> bool:
        record_guardrail(score=0.2, action="allow")
        return True

    @agent("a")
    def elsewhere() -> None:
        record_guardrail("outside", score=0.5, reference="r", action="redact")

    returns()
    says()
    elsewhere()

    names = ("similarity_score", "flagged_reference", "action_taken")
    told = [[span.get(f"otel_obs.guardrail.{name}") for name in names] for span in map(attributes, spans.all[:3])]
    assert told == [[0.9, "jailbreak", "block"], [0.2, None, "allow"], [0.5, "r", "redact"]]
    assert spans.names[2] == "apply_guardrail outside"
    assert spans.parent("apply_guardrail outside") == "invoke_agent a"


def attributes(span: Any) -> dict[str, Any]:
    return dict(span.attributes)


class Nasty:
    """An object that fails wherever it is touched."""

    def __getattribute__(self, name: str) -> Any:
        if name == "__class__":
            return object.__getattribute__(self, name)
        raise RuntimeError(name)

    def __repr__(self) -> str:
        raise RuntimeError

    __str__ = __repr__
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise RuntimeError

    def __bool__(self) -> bool:
        raise RuntimeError

    def __len__(self) -> int:
        raise RuntimeError


@pytest.mark.parametrize("kind", [workflow, agent, llm, embedding, retrieval, tool, guardrail])
def test_objects_that_fail_wherever_they_are_touched_pass_through(captured: Spans, kind: Any) -> None:
    nasty = Nasty()

    @kind("it", id="args.thing.id", output="result.text.0")  # type: ignore[untyped-decorator]
    def passes(thing: Nasty, workspace_id: Any = None, user_id: Any = None) -> Nasty:
        return thing

    assert passes(nasty) is nasty
    assert passes(nasty, workspace_id="ws") is nasty
    assert len(captured.all) == 2


def test_an_id_that_is_none_is_left_out_with_one_warning(spans: Spans, caplog: pytest.LogCaptureFixture) -> None:
    @workflow("w")
    def run(workspace_id: object, user_id: object) -> RunContext:
        return current_run()

    for _ in range(3):
        found = run("x" * 300, {"a": 1})

    assert (found.workspace_id, found.user_id) == (None, None)
    assert len(caplog.records) == 2
    caplog.clear()


def test_content_is_told_within_a_budget(captured: Spans) -> None:
    loop: dict[str, Any] = {"text": "x" * 10}
    loop["self"] = loop
    wide = [[{"again": loop} for _ in range(100)] for _ in range(1000)]
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]

    @tool("t")
    def takes(huge: str, graph: object, depths: object) -> str:
        return huge

    takes("y" * 20_000_000, wide, deep)

    told = captured.attributes("execute_tool t")
    assert len(str(told["gen_ai.tool.call.arguments"])) < 8_000_000
    assert len(str(told["gen_ai.tool.call.result"])) < 8_000_000


def test_a_node_keeps_nothing_of_what_went_through_it(captured: Spans) -> None:
    class Big:
        pass

    alive: list[int] = []
    released = threading.Event()

    @agent("a")
    def starts(big: Big) -> Big:
        import weakref  # noqa: PLC0415

        weakref.finalize(big, alive.append, 1)
        background.append(threading.Thread(target=released.wait, args=(10,)))
        contexts.append(current_run())
        return big

    background: list[threading.Thread] = []
    contexts: list[RunContext] = []
    starts(Big())
    gc.collect()

    assert alive == [1]


def test_spans_that_are_not_sampled_cost_nothing_and_change_nothing(spans: Spans) -> None:
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF  # noqa: PLC0415

    from otel_obs.instrumentation import telemetry  # noqa: PLC0415

    telemetry.use(tracer_provider=TracerProvider(sampler=ALWAYS_OFF))

    assert Engine().execute_workflow("wf", workspace_id="ws") == ("wf", "ws")
    assert spans.all == []
