"""Settling depends on the set of spans, never on their order; and one call is one row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_obs.model import Call, Cost, Decoded, LogRecord, Span
from otel_obs.pipeline.batching import batch_of
from otel_obs.pipeline.ingest import receive
from otel_obs.pipeline.memory import MemoryStore
from otel_obs.rows import CallRow
from otel_obs.rows.tables import PART_OF_EXECUTION
from otel_obs.tenancy import Sender
from tests.builders import agent, chat, make_span, tool
from tests.corpus import records_of
from tests.rows import MAPPING, RECEIVED_AT, SETTLING, price

Record = Span | LogRecord
HARD = ("openinference-langgraph-stacked", "openllmetry-langgraph-stacked", "pydantic-ai-native-v2", "claude-code",
        "logfire-openai", "traceloop-workflow")  # fmt: skip
"""Captures in which calls and runs are told more than once."""


def write(store: MemoryStore, records: Sequence[Record]) -> None:
    decoded = Decoded(
        spans=[record for record in records if isinstance(record, Span)],
        logs=[record for record in records if isinstance(record, LogRecord)],
    )
    store.write(batch_of([receive(decoded, Sender(), RECEIVED_AT, MAPPING)], price))


def settle(store: MemoryStore) -> None:
    while store.settle(SETTLING, limit=1000, all_now=True):
        pass


def rows_of(store: MemoryStore) -> tuple[dict[Any, Any], ...]:
    return (store.events, store.calls, store.runs, store.checks, store.contents)


def settled(*requests: Sequence[Record]) -> MemoryStore:
    store = MemoryStore()
    for request in requests:
        write(store, request)
    settle(store)
    return store


def calls_of(*spans: Span) -> list[CallRow]:
    return list(settled(spans).calls.values())


@pytest.mark.parametrize("name", HARD)
@given(data=st.data())
@settings(max_examples=12, deadline=None)
def test_captures_settle_to_the_same_rows_in_any_order_split_and_repeated(name: str, data: st.DataObject) -> None:
    records = records_of(name)
    reference = settled(records)
    order = data.draw(st.permutations(range(len(records))))
    again = data.draw(st.lists(st.sampled_from(range(len(records))), max_size=5))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(records) - 1), max_size=6)))

    store = MemoryStore()
    positions = [*order, *again]
    for start, end in zip([0, *cuts], [*cuts, len(positions)], strict=True):
        write(store, [records[position] for position in positions[start:end]])
        if data.draw(st.booleans()):
            settle(store)
    settle(store)

    assert rows_of(store) == rows_of(reference)


def test_a_request_is_right_before_it_is_settled() -> None:
    outer = make_span(chat(), scope="framework")
    inner = make_span(chat(), scope="client", parent=outer, start_ms=1, duration_ms=98)
    store = MemoryStore()

    write(store, [outer, inner])

    assert len(store.calls) == 1


def test_a_nested_report_of_the_same_request_is_not_counted() -> None:
    outer = make_span(chat(), scope="framework")
    inner = make_span(chat(), scope="client", parent=outer, start_ms=1, duration_ms=98)

    assert [call.span_id for call in calls_of(outer, inner)] == [inner.span_id]


def test_wrapper_and_request_of_one_instrumentation_are_one_call() -> None:
    """The AI SDK calls both ``embeddings``."""
    outer = make_span(chat(80, None), scope="gen_ai")
    inner = make_span(chat(80, None), scope="gen_ai", parent=outer, start_ms=1, duration_ms=98)

    assert len(calls_of(outer, inner)) == 1


def test_siblings_of_two_instrumentations_are_one_call() -> None:
    parent = make_span(agent("a"), duration_ms=500)
    one = make_span(chat(), scope="one", parent=parent)
    other = make_span(chat(), scope="other", parent=parent, start_ms=2)

    assert len(calls_of(parent, one, other)) == 1


def test_siblings_of_one_instrumentation_are_two_calls_however_alike() -> None:
    parent = make_span(agent("a"), duration_ms=500)
    spans = [make_span(chat(), scope="one", parent=parent, start_ms=position) for position in range(3)]

    assert len(calls_of(parent, *spans)) == 3


def test_two_calls_of_other_totals_are_two() -> None:
    parent = make_span(agent("a"), duration_ms=500)
    one = make_span(chat(100, 20), scope="one", parent=parent)
    other = make_span(chat(101, 20), scope="other", parent=parent)

    assert len(calls_of(parent, one, other)) == 2


def test_without_an_ancestor_or_a_common_parent_two_reports_stay_two_and_the_later_is_flagged() -> None:
    root = make_span(agent("a"), duration_ms=500)
    branch, other_branch = make_span(parent=root), make_span(parent=root)
    one = make_span(chat(), scope="one", parent=branch)
    other = make_span(chat(), scope="other", parent=other_branch, start_ms=5)

    store = settled([root, branch, other_branch, one, other])

    flags = {event.span_id: event.context.get("flags") for event in store.events.values()}
    assert len(store.calls) == 2
    assert flags[other.span_id] == ["possible_duplicate"]


def through_a_gateway(asked: dict[str, Any], served: dict[str, Any]) -> list[Span]:
    """Return what an application tells that asks by way of a gateway, which tells its own request too."""
    application = make_span(asked, scope="openai", duration_ms=500)
    sent = make_span({"http.request.method": "POST"}, scope="http", parent=application, duration_ms=490)
    resource = {"service.name": "gateway"}
    return [application, sent, make_span(served, scope="gateway", parent=sent, start_ms=5, resource=resource)]


def price_of_known(call: Call, at: datetime, organization_id: str) -> Cost:
    """Return the price of a call, unless its model is an alias."""
    known = (call.response_model or call.request_model) == "gpt-4o"
    return price(call, at, organization_id) if known else Cost(reason="unknown_model")


@pytest.mark.parametrize("cached", [300, None])
def test_what_a_gateway_asks_for_is_what_it_was_asked_for_by_whatever_name(cached: int | None) -> None:
    asked = chat(1000, 50, model="our-best", response_id="c-1", more={"gen_ai.usage.cache_read.input_tokens": cached})
    spans = through_a_gateway(asked, chat(1000, 50, model="gpt-4o"))
    mapping = replace(MAPPING, price=price_of_known)

    batch = batch_of([receive(Decoded(spans=spans), Sender(), RECEIVED_AT, mapping)], price_of_known)
    (call,) = batch.calls

    assert (call.model_name, call.response_id, call.cost_source) == ("gpt-4o", "c-1", "computed")


def test_a_request_of_another_model_and_other_totals_below_one_is_another() -> None:
    for one, other in ((50, 51), (None, None)):
        spans = through_a_gateway(chat(1000, one, model="gpt-4o"), chat(1000, other, model="gpt-4o-mini"))

        assert len(calls_of(*spans)) == 2


def test_a_server_with_five_ids_for_a_hundred_calls_has_a_hundred() -> None:
    spans = [
        make_span(chat(100 + position, 10, response_id=f"r{position % 5}"), start_ms=position * 10_000,
                  trace_id=f"{position + 1:032x}")
        for position in range(100)
    ]  # fmt: skip

    assert len(calls_of(*spans)) == 100


def test_a_stream_told_with_its_id_in_another_trace_is_one_call_of_the_agent_that_asked() -> None:
    run = make_span(agent("writer"), duration_ms=900)
    told = make_span(chat(1303, 83), scope="framework", parent=run, start_ms=10, duration_ms=200)
    lost = make_span(chat(1303, 83, response_id="r1"), scope="client", trace_id="e" * 32, start_ms=12, duration_ms=190)

    for order in ([run, told], [lost]), ([lost], [run, told]):
        found = list(settled(*order).calls.values())
        assert [(call.response_id, call.agent_id) for call in found] == [("r1", "writer")]


@pytest.mark.parametrize(
    "other",
    [
        {"attributes": chat(1303, 84, response_id="r1")},
        {"attributes": chat(1303, 83, response_id="r1", model="gpt-5")},
        {"start_ms": 60_000},
        {"resource": {"service.name": "another"}},
        {"parent": "00000000000000ff"},
        {"scope": "framework"},
    ],
    ids=["other totals", "another model", "another time", "another sender", "no root", "the same instrumentation"],
)
def test_reports_in_two_traces_that_differ_are_two_calls(other: dict[str, Any]) -> None:
    told = make_span(chat(1303, 83), scope="framework", parent="00000000000000aa", start_ms=10, duration_ms=200)
    known: dict[str, Any] = {
        "attributes": chat(1303, 83, response_id="r1"), "scope": "client", "trace_id": "e" * 32, "start_ms": 12,
    }  # fmt: skip

    assert len(calls_of(told, make_span(**{**known, **other}))) == 2


def test_a_silent_stream_in_another_trace_is_the_call_that_lies_around_it() -> None:
    told = make_span(chat(1303, 83), scope="framework", duration_ms=200)
    silent = make_span(
        chat(None, None, response_id="r1"), scope="client", trace_id="e" * 32, start_ms=10, duration_ms=150
    )

    for order in ([told], [silent]), ([silent], [told]):
        found = list(settled(*order).calls.values())
        assert [(call.response_id, call.input_tokens) for call in found] == [("r1", 1303)]


@pytest.mark.parametrize(
    "more",
    [
        {"start_ms": 190},
        {"scope": "framework"},
        {"parent": "00000000000000ff"},
        {"attributes": chat(None, None, response_id="r1", model="gpt-5")},
    ],
    ids=["outlives it", "the same instrumentation", "no root", "another model"],
)
def test_a_silent_stream_that_may_be_another_call_stays_one(more: dict[str, Any]) -> None:
    told = make_span(chat(1303, 83), scope="framework", parent="00000000000000aa", duration_ms=200)
    known: dict[str, Any] = {
        "attributes": chat(None, None, response_id="r1"), "scope": "client", "trace_id": "e" * 32, "start_ms": 10,
        "duration_ms": 150,
    }  # fmt: skip

    assert len(calls_of(told, make_span(**{**known, **more}))) == 2


def test_a_silent_stream_that_fits_two_calls_is_neither() -> None:
    told = [
        make_span(chat(tokens, 83), scope="framework", trace_id=f"{tokens:032x}", duration_ms=200)
        for tokens in (1303, 1404)
    ]
    silent = make_span(
        chat(None, None, response_id="r1"), scope="client", trace_id="e" * 32, start_ms=10, duration_ms=150
    )

    assert len(calls_of(*told, silent)) == 3


def test_a_silent_stream_is_not_the_call_that_its_own_instrumentation_tells_with_usage() -> None:
    told = make_span(chat(1303, 83, response_id="r1"), scope="framework", duration_ms=200)
    twin = make_span(chat(1303, 83, response_id="r1"), scope="client", trace_id="d" * 32, duration_ms=190)
    answered = chat(None, None, more={"gen_ai.response.finish_reasons": ["stop"]})
    silent = make_span(answered, scope="client", trace_id="e" * 32, start_ms=10, duration_ms=150)

    assert len(calls_of(told, twin, silent)) == 2


def test_a_named_call_inside_an_agent_finds_the_nameless_one_that_came_first() -> None:
    run = make_span(agent("writer"), duration_ms=900)
    named = make_span(chat(1303, 83, response_id="r1"), scope="framework", parent=run, start_ms=10, duration_ms=200)
    lost = make_span(chat(1303, 83), scope="client", trace_id="e" * 32, start_ms=12, duration_ms=190)

    for order in ([run, named], [lost]), ([lost], [run, named]):
        found = list(settled(*order).calls.values())
        assert [(call.input_tokens, call.agent_id) for call in found] == [(1303, "writer")]


@pytest.mark.parametrize(
    ("output_tokens", "more", "calls"),
    [
        (84, {}, 1),
        (95, {}, 2),
        (84, {"gen_ai.request.stream": False}, 2),
        (84, {"gen_ai.request.model": "gpt-5", "gen_ai.response.model": "gpt-5"}, 2),
    ],
    ids=["what a stream counts at its start", "more than that", "no stream", "another provider's model"],
)
def test_a_stream_of_claude_whose_first_token_is_counted_twice_is_one_call(
    output_tokens: int, more: dict[str, Any], calls: int
) -> None:
    model = more.get("gen_ai.request.model", "claude-haiku-4-5")
    added = make_span(
        chat(1303, output_tokens, response_id="r1", model=model, more=more), scope="framework", duration_ms=200
    )
    right = make_span(
        chat(1303, 83, model=model, more=more), scope="client", trace_id="e" * 32, start_ms=10, duration_ms=150
    )

    found = calls_of(added, right)

    assert len(found) == calls
    assert 83 in {call.output_tokens for call in found}


def test_a_sum_that_leaves_cached_tokens_of_its_calls_out_or_counts_them_again_is_no_call() -> None:
    cache = {"gen_ai.usage.cache_read.input_tokens": 300, "gen_ai.usage.cache_creation.input_tokens": 130}
    for total in (2000, 1140, 1400, 2130):
        above = make_span(chat(total, 160), duration_ms=900)
        below = [
            make_span(chat(1000, 80, response_id=f"r{position}", more=cache), parent=above, start_ms=position * 100)
            for position in (1, 2)
        ]

        assert sorted(call.response_id or "" for call in calls_of(above, *below)) == ["r1", "r2"], total


def test_of_two_instrumentations_beside_each_other_one_says_the_id_and_the_other_the_tokens() -> None:
    root = make_span(agent("a"), duration_ms=500)
    named = {"gen_ai.operation.name": "embeddings", "gen_ai.request.model": "m", "gen_ai.response.id": "e-1"}
    counted = {"gen_ai.operation.name": "embeddings", "gen_ai.request.model": "m", "gen_ai.usage.input_tokens": 52}
    outer = make_span(named, scope="instrumentation", parent=root, start_ms=10, duration_ms=100)
    inner = make_span(counted, scope="client", parent=root, start_ms=20, duration_ms=50)
    later = make_span(counted, scope="client", parent=root, start_ms=120, duration_ms=50)

    (call,) = calls_of(root, outer, inner)

    assert (call.response_id, call.input_tokens) == ("e-1", 52)
    assert len(calls_of(root, outer, later)) == 2


@pytest.mark.parametrize(("start_ms", "calls"), [(20, 1), (80, 2)], ids=["within", "after"])
def test_a_sibling_that_leaves_cached_tokens_out_tells_the_same_call_within_it(start_ms: float, calls: int) -> None:
    root = make_span(agent("a"), duration_ms=500)
    cached = {"gen_ai.usage.cache_read.input_tokens": 317, "gen_ai.usage.cache_creation.input_tokens": 113}
    outer = make_span({**chat(553, 61), **cached}, scope="vendor", parent=root, start_ms=10, duration_ms=100)
    inner = make_span(
        {**chat(983, 61, response_id="r1"), **cached}, scope="client", parent=root, start_ms=start_ms, duration_ms=50
    )

    found = calls_of(root, outer, inner)

    assert len(found) == calls
    assert 983 in {call.input_tokens for call in found}


@pytest.mark.parametrize("left_out", [317, 113, 430], ids=["what was read", "what was written", "both"])
def test_a_stranger_that_leaves_cached_tokens_out_tells_the_same_call(left_out: int) -> None:
    cached = {"gen_ai.usage.cache_read.input_tokens": 317, "gen_ai.usage.cache_creation.input_tokens": 113}
    told = make_span(chat(983 - left_out, 61), scope="vendor", parent="00000000000000aa", duration_ms=200)
    known = make_span(
        {**chat(983, 61, response_id="r1"), **cached}, scope="client", trace_id="e" * 32, start_ms=2, duration_ms=190
    )

    (call,) = calls_of(told, known)

    assert (call.response_id, call.input_tokens) == ("r1", 983)


def test_a_tool_call_seen_by_agent_client_and_server_is_one_node() -> None:
    run = make_span(agent("a"), duration_ms=500)
    used = make_span(tool("search"), parent=run)
    client = make_span({"mcp.method.name": "tools/call", "gen_ai.tool.name": "search"}, parent=used)
    server = make_span({"mcp.method.name": "tools/call", "gen_ai.tool.name": "search"}, parent=client)

    nodes = next(iter(settled([run, used, client, server]).runs.values())).execution_nodes

    assert [node["type"] for node in nodes] == ["tool", "span", "span"]


def test_a_run_told_by_two_layers_is_one() -> None:
    outer = make_span(agent("a"), scope="one", duration_ms=500)
    inner = make_span(agent("a"), scope="other", parent=outer)

    assert [run.span_id for run in settled([outer, inner]).runs.values()] == [outer.span_id]


def test_an_agent_that_calls_itself_has_two_runs() -> None:
    outer = make_span(agent("a"), scope="one", duration_ms=500)
    inner = make_span(agent("a"), scope="one", parent=outer)

    assert len(settled([outer, inner]).runs) == 2


def test_the_name_of_the_outermost_workflow_holds_unless_somebody_gave_an_id() -> None:
    outer = make_span({"gen_ai.operation.name": "invoke_workflow", "gen_ai.workflow.name": "outer"}, duration_ms=500)
    inner = make_span({"gen_ai.operation.name": "invoke_workflow", "gen_ai.workflow.name": "inner"}, parent=outer)
    named = make_span({"otel_obs.workflow.id": "w-1"}, parent=inner)
    leaves = [make_span(parent=inner), make_span(parent=named)]

    events = settled([outer, inner, named, *leaves]).events
    flows = {event.span_id: event.flow_id for event in events.values()}

    assert [flows[span.span_id] for span in (outer, inner, *leaves)] == ["outer", "outer", "outer", "w-1"]


def test_cycles_two_roots_and_missing_parents_come_to_an_end() -> None:
    one = make_span(agent("a"), span_id="0000000000000a01", parent="0000000000000a02")
    other = make_span(agent("b"), span_id="0000000000000a02", parent="0000000000000a01")
    lost = make_span(chat(), parent="0000000000000bad")

    store = settled([one, other, lost, make_span(), make_span()])

    assert len(store.events) == 5
    assert len(store.calls) == 1


def test_a_trace_of_three_thousand_spans_settles() -> None:
    run = make_span(agent("a"), duration_ms=500_000)
    spans = [make_span(chat(n, 1, response_id=f"r{n}"), parent=run, start_ms=n) for n in range(1, 3000)]

    found = next(iter(settled([run, *spans]).runs.values()))

    assert found.input_tokens == sum(range(1, 3000))
    assert len(found.execution_nodes) == 1001
    assert found.execution_nodes[-1] == {"type": "truncated", "name": "1999 more"}


def test_thousands_of_calls_of_the_same_totals_at_once_are_counted_each() -> None:
    """A fan-out of embeddings, say: comparing each with each would take minutes."""
    run = make_span(agent("a"), duration_ms=5_000)
    outer = [make_span(chat(8, 1), parent=run, start_ms=n, scope="outer") for n in range(1_000)]
    inner = [make_span(chat(8, 1), parent=span, start_ms=n, scope="inner") for n, span in enumerate(outer[:300])]

    store = settled([run, *outer, *inner])

    assert len(store.calls) == 1_000
    assert all("flags" not in event.context for event in store.events.values())


def test_a_call_that_has_found_its_twin_is_not_doubted_for_the_sake_of_others() -> None:
    run = make_span(agent("a"), duration_ms=500)
    outer = [make_span(chat(), parent=run, start_ms=n, scope="outer") for n in range(3)]
    inner = [
        make_span(chat(response_id=f"r{n}"), parent=span, start_ms=n, scope="inner") for n, span in enumerate(outer)
    ]

    store = settled([run, *outer, *inner])

    assert {call.response_id for call in store.calls.values()} == {"r0", "r1", "r2"}
    assert all("flags" not in event.context for event in store.events.values())


@st.composite
def odd_traces(draw: st.DrawFn) -> list[Span]:
    """Return a trace that no program would send: any parents, cycles too, ids and totals from few."""
    ids = [f"{number:016x}" for number in range(1, draw(st.integers(3, 9)))]
    spans = []
    for span_id in ids:
        totals = draw(st.sampled_from([(10, 1), (10, 1), (10, None), (20, 2), (None, None)]))
        said = {"gen_ai.usage.cache_read.input_tokens": 5} if draw(st.booleans()) else {"gen_ai.output.messages": "x"}
        called = chat(*totals, response_id=draw(st.sampled_from([None, None, "r1", "r2"])), more=said)
        spans.append(
            make_span(
                draw(st.sampled_from([called, called, called, agent("x"), agent("y"), tool("t"), {}])),
                span_id=span_id,
                parent=draw(st.sampled_from([None, *ids])),
                scope=draw(st.sampled_from(["one", "other"])),
                start_ms=draw(st.sampled_from([0, 1, 5, 1_000, 5_000, 700_000])),
                duration_ms=draw(st.sampled_from([10, 100, 3_000])),
            )
        )
    return spans


@given(spans=odd_traces(), data=st.data())
@settings(max_examples=150, deadline=None)
def test_odd_traces_settle_to_the_same_rows_in_any_order(spans: list[Span], data: st.DataObject) -> None:
    store = MemoryStore()
    for span in data.draw(st.permutations(spans)):
        write(store, [span])
        if data.draw(st.booleans()):
            settle(store)
    settle(store)

    assert rows_of(store) == rows_of(settled(spans))


OTHER_TRACE = "e" * 32


def test_a_report_that_was_set_aside_finds_its_twin_in_another_trace() -> None:
    """Its id names two calls of a server that repeats ids; who asked for the second is told without an id."""
    first = make_span(chat(20, 2, response_id="r1"), scope="client", parent="00000000000000aa", duration_ms=100)
    told = make_span(chat(10, 1), scope="framework", start_ms=5_000, duration_ms=10)
    second = make_span(chat(10, 1, response_id="r1"), scope="client", trace_id=OTHER_TRACE, duration_ms=3_000)

    for order in permutations([first, told, second]):
        found = settled(*([span] for span in order))
        assert sorted(call.span_id for call in found.calls.values()) == sorted([first.span_id, told.span_id])
        assert {event.span_id: event.counted_span_id for event in found.events.values()}[second.span_id] == told.span_id


def test_a_twin_in_another_trace_joins_all_that_were_found_to_speak_of_the_call() -> None:
    root = make_span(chat(10, 1), scope="framework", duration_ms=3_000)
    silent = make_span(
        {**chat(None, None), "gen_ai.output.messages": "x"}, scope="client", parent=root, duration_ms=100
    )
    more = {"gen_ai.usage.cache_read.input_tokens": 5}
    lost = make_span(chat(10, 1, more=more), scope="client", trace_id=OTHER_TRACE, parent="00000000000000aa")

    for order in permutations([root, silent, lost]):
        store = MemoryStore()
        for span in order:
            write(store, [span])
            settle(store)
        assert [call.span_id for call in store.calls.values()] == [lost.span_id]
        assert {event.counted_span_id for event in store.events.values()} == {None, lost.span_id}


def test_thousands_of_embeddings_at_once_without_ids_are_as_many_calls() -> None:
    run = make_span(agent("a"), duration_ms=500_000)
    spans = [make_span(chat(512, 1), parent=run, start_ms=1) for _ in range(3000)]

    found = settled([run, *spans])

    assert len(found.calls) == 3000


def test_an_agent_below_a_workflow_or_another_agent_is_part_of_its_execution() -> None:
    flow = make_span({"gen_ai.operation.name": "invoke_workflow"}, name="invoke_workflow nightly")
    under = make_span(agent("under a workflow"), parent=flow)
    outer = make_span(agent("outer"))
    between = make_span(parent=outer)
    nested = make_span(agent("nested"), parent=between)

    events = settled([flow, under, outer, between, nested]).events.values()

    parts = {event.node_name for event in events if event.inherited & PART_OF_EXECUTION}
    assert parts == {"under a workflow", "nested"}
