"""Which workspace a workflow belongs to, when its call does not say."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from otel_obs.instrumentation import current_run, set_workspace_resolver, workflow, workspaces
from otel_obs.instrumentation.workspaces import REMEMBERED_S, Bindings, Table, Workspaces
from tests.fix_spans import Spans


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@workflow("w", id="args.which")
def run(which: str, workspace_id: str | None = None, organization_id: str | None = None) -> tuple[str | None, ...]:
    return workspace_id, current_run().workspace_id


def test_the_host_is_asked_once_a_while_and_its_answer_is_passed_on(spans: Spans) -> None:
    asked: list[str] = []

    def resolver(workflow_id: str) -> str | None:
        asked.append(workflow_id)
        return "ws-of-" + workflow_id

    set_workspace_resolver(resolver)

    assert [run("a"), run("a"), run("b"), run("c", "own")] == [
        ("ws-of-a", "ws-of-a"), ("ws-of-a", "ws-of-a"), ("ws-of-b", "ws-of-b"), ("own", "own"),
    ]  # fmt: skip
    assert asked == ["a", "b"]
    assert [dict(span.attributes or {})["otel_obs.workspace.id"] for span in spans.all] == [
        "ws-of-a", "ws-of-a", "ws-of-b", "own",
    ]  # fmt: skip


def test_an_answer_is_forgotten_after_a_while_and_no_answer_at_once() -> None:
    clock, answers = Clock(), iter(["one", None, "two"])
    known = Workspaces(lambda _: next(answers), remembered_s=5, clock=clock)

    first = [known.of("w"), known.of("w")]
    clock.now += 6

    assert [*first, known.of("w"), known.of("w"), known.of("w")] == ["one", "one", None, "two", "two"]


def test_a_resolver_that_fails_leaves_the_workspace_unknown(spans: Spans, caplog: pytest.LogCaptureFixture) -> None:
    def resolver(_: str) -> str:
        raise ConnectionError

    set_workspace_resolver(resolver)

    assert run("a") == (None, None)
    assert run("a") == (None, None)
    assert caplog.text.count("the workspace resolver") == 1


def test_a_resolver_that_would_have_to_be_awaited_is_said(spans: Spans, caplog: pytest.LogCaptureFixture) -> None:
    async def resolver(_: str) -> str:
        return "ws"

    set_workspace_resolver(resolver)  # type: ignore[arg-type]

    assert run("a") == (None, None)
    assert "is a coroutine function" in caplog.text


def table_of(read: Callable[[], Bindings | None]) -> tuple[Table, Clock]:
    clock = Clock()
    return Table(read, clock=clock), clock


def test_the_table_is_read_once_a_while_for_all_workflows() -> None:
    reads: list[int] = []

    def read() -> Bindings:
        reads.append(1)
        return {("", "a"): "ws-a", ("acme", "a"): "ws-acme"}

    table, clock = table_of(read)

    assert [table.of(None, "a"), table.of("acme", "a"), table.of(None, "a")] == ["ws-a", "ws-acme", "ws-a"]
    assert len(reads) == 1
    assert [table.of(None, "new"), table.of(None, "new"), table.of(None, "new")] == [None, None, None]
    assert len(reads) == 2  # for a workflow that may have been bound just now, once
    clock.now += REMEMBERED_S + 1
    assert table.of(None, "a") == "ws-a"


def test_a_workflow_that_was_bound_just_now_is_found() -> None:
    bound: dict[tuple[str, str], str] = {}
    table, _ = table_of(lambda: dict(bound))
    assert table.of(None, "other") is None

    bound["", "a"] = "ws-a"

    assert table.of(None, "a") == "ws-a"


def test_nobody_waits_for_a_database_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workspaces, "WAIT_S", 0.01)
    go_on = threading.Event()

    def read() -> Bindings:
        go_on.wait(10)
        return {("", "a"): "ws-a"}

    table, _ = table_of(read)

    assert table.of(None, "a") is None
    go_on.set()
    monkeypatch.setattr(workspaces, "WAIT_S", 10)
    assert table.of(None, "a") == "ws-a"


def test_without_a_database_nobody_asks_again_at_once_and_what_was_known_holds() -> None:
    answers: list[Bindings | None] = [{("", "a"): "ws-a"}, None, None]
    table, clock = table_of(lambda: answers.pop(0))

    assert table.of(None, "a") == "ws-a"
    clock.now += REMEMBERED_S + 1
    assert table.of(None, "a") == "ws-a"
    assert table.of(None, "b") is None
    assert table.of(None, "b") is None
    assert table.of(None, "a") == "ws-a"


def test_the_table_is_asked_where_the_host_does_not_know(spans: Spans, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workspaces._Host, "table", Table(lambda: {("", "a"): "bound", ("acme", "a"): "acme's"}))
    set_workspace_resolver(lambda _: None)

    assert run("a") == ("bound", "bound")
    assert run("a", organization_id="acme") == ("acme's", "acme's")
