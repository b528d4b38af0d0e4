"""The run goes along: into threads, tasks, processes and other services, and is believed only where it may be."""

from __future__ import annotations

import asyncio
import multiprocessing
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn
from opentelemetry import baggage, trace
from opentelemetry.context import attach, detach
from opentelemetry.propagate import extract, inject
from opentelemetry.sdk.trace import TracerProvider

from otel_obs.errors import ConfigurationError
from otel_obs.instrumentation import (
    ExecutorInstrumentor,
    RunContext,
    agent,
    current_run,
    propagate,
    propagation,
    tool,
    workflow,
)
from otel_obs.instrumentation.configuration import configured
from tests.fix_spans import Spans

pytestmark = pytest.mark.usefixtures("no_faults")

RUN = RunContext(
    organization_id="o", workspace_id="ws", user_id="u", workflow_id="w", run_id="r", conversation_id="c"
)  # fmt: skip


@workflow("w")
def in_run(
    work: Callable[[], Any], organization_id: str, workspace_id: str, user_id: str, run_id: str, conversation_id: str
) -> Any:
    return work()


def run(work: Callable[[], Any]) -> Any:
    return in_run(work, "o", "ws", "u", "r", "c")


def who(_: object = None) -> RunContext:
    return current_run()


def who_and_where(_: object = None) -> tuple[RunContext, int]:
    return current_run(), trace.get_current_span().get_span_context().trace_id


@pytest.fixture
def handed_over(spans: Spans) -> Iterator[Spans]:
    instrumentor = ExecutorInstrumentor()
    found = configured({"executors": [{"target": "json:dumps", "kind": "tool"}]}, "x")
    instrumentor.instrument(configuration=found, tracer_provider=spans.provider)
    yield spans
    instrumentor.uninstrument()


def test_tasks_and_threads_of_asyncio_take_it_along(spans: Spans) -> None:
    async def main() -> list[RunContext]:
        async with workflow("w", workspace_id="ws"):
            task = asyncio.create_task(asyncio.to_thread(who))
            return [await task, *await asyncio.gather(asyncio.to_thread(who), asyncio.create_task(later()))]

    async def later() -> RunContext:
        await asyncio.sleep(0)
        return current_run()

    assert {found.workspace_id for found in asyncio.run(main())} == {"ws"}


def test_wrapped_work_takes_it_into_a_thread(spans: Spans) -> None:
    with ThreadPoolExecutor(1) as pool:
        assert run(lambda: [pool.submit(propagate(who)).result(), pool.submit(who).result()]) == [RUN, RunContext()]


def test_wrapped_work_takes_it_into_another_process(spans: Spans) -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        found, trace_id = run(lambda: pool.submit(propagate(who_and_where), 1).result())

    assert found == RUN
    assert spans.one("invoke_workflow w").context.trace_id == trace_id
    assert pickle.loads(pickle.dumps(propagate(who)))() == RunContext()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_pools_and_threads_of_an_instrumented_program_take_it_along_by_themselves(
    handed_over: Spans,
) -> None:
    found: list[RunContext] = []

    class Worker(threading.Thread):
        def run(self) -> None:
            found.append(who())

    def work() -> None:
        threads: list[threading.Thread] = [Worker(), threading.Thread(target=lambda: found.append(who()))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        with ThreadPoolExecutor(2) as pool:
            found.extend(pool.map(who, range(2)))
            found.append(asyncio.run(elsewhere(pool)))
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as processes:
            found.append(processes.submit(who).result())
        with multiprocessing.get_context("fork").Pool(1) as old:
            found.extend([old.apply(who), *old.map(who, [1]), *old.imap(who, [1]), *old.starmap(who, [(1,)])])

    async def elsewhere(pool: ThreadPoolExecutor) -> RunContext:
        return await asyncio.get_running_loop().run_in_executor(pool, who)

    run(work)

    assert found == [RUN] * 10


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_a_pool_keeps_nothing_of_the_run_that_happened_to_start_it(handed_over: Spans, kind: str) -> None:
    """Else the work of one tenant would be told as another's."""
    pool: Any = (
        ThreadPoolExecutor(1)
        if kind == "threads"
        else ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork"))
    )
    with pool:
        assert run(lambda: pool.submit(who_and_where).result())[0] == RUN
        assert pool.submit(who_and_where).result() == (RunContext(), 0)
        assert in_run(lambda: pool.submit(who).result(), "o2", "ws2", "u", "r", "c").organization_id == "o2"


def test_nothing_is_handed_over_once_uninstrumented(spans: Spans) -> None:
    originals = (threading.Thread.start, ThreadPoolExecutor.submit, ProcessPoolExecutor.submit)
    instrumentor = ExecutorInstrumentor()
    found = configured({"executors": [{"target": "json:dumps", "kind": "tool"}]}, "x")
    instrumentor.instrument(configuration=found, tracer_provider=spans.provider)
    assert threading.Thread.start is not originals[0]
    instrumentor.uninstrument()

    assert (threading.Thread.start, ThreadPoolExecutor.submit, ProcessPoolExecutor.submit) == originals


def test_every_span_in_a_run_is_told_whose_it_is_and_what_a_span_says_itself_holds(spans: Spans) -> None:
    tracer = spans.provider.get_tracer("a library")

    def work() -> None:
        with tracer.start_as_current_span("of a library"), tracer.start_as_current_span("inside"):
            pass
        tracer.start_span("says itself", attributes={"user.id": "somebody else"}).end()

    run(work)
    tracer.start_span("outside").end()

    for name in ("of a library", "inside"):
        assert spans.attributes(name) == RUN.attributes()
    assert spans.attributes("says itself") == {**RUN.attributes(), "user.id": "somebody else"}
    assert spans.attributes("outside") == {}


def headers_of() -> dict[str, str]:
    headers: dict[str, str] = {}
    inject(headers)
    return headers


def test_ids_leave_as_baggage_by_an_allow_list(spans: Spans) -> None:
    assert sorted(part.partition("=")[0] for part in run(headers_of)["baggage"].split(",")) == sorted(RUN.attributes())

    propagation.configure(sent=["otel_obs.workspace.id", "otel_obs.workflow.run.id"])
    assert sorted(run(headers_of)["baggage"].split(",")) == ["otel_obs.workflow.run.id=r", "otel_obs.workspace.id=ws"]

    propagation.configure(sent=[])
    assert "baggage" not in run(headers_of)
    assert "baggage" not in headers_of()


def received(headers: dict[str, str], work: Callable[[], Any]) -> Any:
    token = attach(extract(headers))
    try:
        return work()
    finally:
        detach(token)


@tool("t")
def serve() -> tuple[RunContext, dict[str, str]]:
    return current_run(), headers_of()


def test_baggage_from_outside_is_not_believed_and_not_passed_on_as_ours(spans: Spans) -> None:
    forged = {"baggage": "otel_obs.workspace.id=victim,otel_obs.organization.id=victim,theirs=kept"}

    found, headers = received(forged, serve)

    assert found == RunContext()
    assert headers["baggage"] == "theirs=kept"
    assert not [name for name in spans.attributes("execute_tool t") if "workspace" in name or "organization" in name]
    with spans.provider.get_tracer("x").start_as_current_span("third party"):
        pass
    assert spans.attributes("third party") == {}


def test_baggage_is_believed_for_the_names_that_are_configured(spans: Spans) -> None:
    incoming = {"baggage": "otel_obs.workspace.id=ws,otel_obs.organization.id=o,user.id=u"}
    propagation.configure(believed=["otel_obs.workspace.id", "user.id"])

    found, headers = received(incoming, serve)

    assert found == RunContext(workspace_id="ws", user_id="u")
    assert sorted(headers["baggage"].split(",")) == ["otel_obs.workspace.id=ws", "user.id=u"]
    # What this process says itself comes first.
    own = received(incoming, lambda: in_run(who, "mine", "mine", "mine", "r", "c"))
    assert (own.workspace_id, own.organization_id) == ("mine", "mine")


@pytest.mark.parametrize("value", ["x" * 300, "%00", "a%0Ab", ""])
def test_baggage_that_cannot_be_an_id_is_none(spans: Spans, value: str) -> None:
    propagation.configure(believed=["otel_obs.workspace.id"])

    assert received({"baggage": f"otel_obs.workspace.id={value}"}, serve)[0] == RunContext()


def test_a_name_that_is_none_of_ours_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="'colour' is not one of"):
        propagation.configure(sent=["colour"])


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """Serve *app* in a thread, and give its address."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)


def test_a_run_from_one_service_goes_on_in_the_next_over_real_http(spans: Spans) -> None:
    import fastapi  # noqa: PLC0415
    import httpx  # noqa: PLC0415
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor  # noqa: PLC0415
    from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor  # noqa: PLC0415

    propagation.configure(believed=["otel_obs.workspace.id", "otel_obs.workflow.run.id"])
    app = fastapi.FastAPI()

    @app.get("/")
    def answer() -> dict[str, Any]:
        inside()
        return current_run().attributes()

    @agent("inside")
    def inside() -> None:
        pass

    FastAPIInstrumentor.instrument_app(app, tracer_provider=spans.provider)

    with serving(app) as url, httpx.Client(base_url=url) as client:
        HTTPXClientInstrumentor.instrument_client(client, tracer_provider=spans.provider)
        with workflow("w", workspace_id="ws", user_id="u"):
            told: dict[str, Any] = client.get("/").json()

    assert told["otel_obs.workspace.id"] == "ws"
    assert "user.id" not in told
    assert len({span.context.trace_id for span in spans.all if span.context}) == 1
    assert {dict(span.attributes or {}).get("otel_obs.workspace.id") for span in spans.all} == {"ws"}
    assert spans.attributes("invoke_agent inside")["otel_obs.workflow.run.id"] == told["otel_obs.workflow.run.id"]


def test_the_processor_is_added_once(spans: Spans) -> None:
    provider = TracerProvider()
    for _ in range(2):
        instrumentor = ExecutorInstrumentor()
        instrumentor.instrument(configuration=configured({}, "x"), tracer_provider=provider)
        instrumentor.uninstrument()

    assert len(provider._active_span_processor._span_processors) == 1
    assert baggage.get_all() == {}
