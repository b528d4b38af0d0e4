"""One call, one row, under real concurrency; and what the spans that are not counted say of it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any

import psycopg
import pytest

from otel_obs.model import Decoded, LogRecord, Span
from otel_obs.pipeline.batching import batch_of
from otel_obs.pipeline.ingest import receive
from otel_obs.pipeline.queue import Settler
from otel_obs.pipeline.stored import PATIENCE, QUIET
from otel_obs.postgres.pool import conninfo, open_pool
from otel_obs.postgres.store import PostgresStore
from otel_obs.tenancy import Sender
from tests.builders import agent, chat, make_span, tool
from tests.corpus import NAMES, records_of
from tests.fix_kept import Kept, in_memory
from tests.rows import MAPPING, RECEIVED_AT, SETTLING, batch, price
from tests.waiting import until

OTHER_TRACE = "f" * 32


class Two:
    """Two gateways' stores on one database."""

    def __init__(self, database: str) -> None:
        self.database = database
        self.pools = [open_pool(database, max_size=3) for _ in range(2)]
        self.stores = [PostgresStore(pool) for pool in self.pools]

    def ask(self, query: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(conninfo(self.database)) as connection:
            return connection.execute(query).fetchall()

    def settle(self) -> None:
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(lambda store: store.settle(SETTLING, limit=1000, all_now=True), self.stores))
        while self.stores[0].settle(SETTLING, limit=1000, all_now=True):
            pass


@pytest.fixture
def two(database: str) -> Iterator[Two]:
    found = Two(database)
    try:
        yield found
    finally:
        for pool in found.pools:
            pool.close(2.0)


@pytest.mark.parametrize("same_trace", [True, False], ids=["one trace", "two traces"])
@pytest.mark.parametrize("rich_first", [True, False], ids=["the richer commits first", "the richer commits last"])
def test_two_gateways_in_the_middle_of_writing_the_two_reports_leave_the_richer_one(
    two: Two, rich_first: bool, same_trace: bool
) -> None:
    """The first is held up with its rows written and not committed; the second then has to wait for it."""
    outer = make_span(chat(1_000, 80, response_id="r1", more={"user.id": "ann"}), scope="outer", duration_ms=120)
    inner = make_span(
        chat(1_000, 80, response_id="r1", more={"gen_ai.usage.cache_read.input_tokens": 600}),
        scope="inner", parent=outer if same_trace else None, trace_id=outer.trace_id if same_trace else OTHER_TRACE,
    )  # fmt: skip
    first, second = (inner, outer) if rich_first else (outer, inner)

    def waiting() -> int:
        row = two.ask("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        return int(row[0][0])

    with psycopg.connect(conninfo(two.database)) as holding, ThreadPoolExecutor(2) as threads:
        holding.execute("LOCK TABLE resources IN ACCESS EXCLUSIVE MODE")
        one = threads.submit(two.stores[0].write, batch([first]))
        until(lambda: waiting() == 1)
        other = threads.submit(two.stores[1].write, batch([second]))
        until(lambda: waiting() == 2)
        holding.commit()
        assert (one.result(30).stored, other.result(30).stored) == (1, 1)

    at_commit = two.ask("SELECT span_id FROM model_cost_logs")
    two.settle()

    assert at_commit == [(first.span_id,)]
    assert two.ask("SELECT span_id, input_tokens, cache_read_tokens, user_id FROM model_cost_logs") == [
        (inner.span_id, 1_000, 600, "ann")
    ]
    assert two.ask(
        "SELECT span_id, cost_state, counted_trace_id, counted_span_id FROM event_logs ORDER BY span_id"
    ) == [
        (outer.span_id, "duplicate", inner.trace_id, inner.span_id),
        (inner.span_id, "counted", None, None),
    ]


def test_five_ids_for_a_hundred_calls_are_a_hundred_rows_and_their_replays_none(two: Two) -> None:
    def told(number: int, *, replay: bool) -> Span:
        return make_span(
            chat(100 + number, 10, response_id=f"r{number % 5}"),
            start_ms=number * 10_000 + (7_200_000 if replay else 0),
            trace_id=f"{number + (1_001 if replay else 1):032x}",
        )

    calls = [told(number, replay=False) for number in range(100)]
    replays = [told(number, replay=True) for number in range(0, 100, 7)]
    requests = [found[start::6] for start in range(6) for found in (calls, replays)]

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda n: two.stores[n % 2].write(batch(requests[n])), range(len(requests))))
    two.settle()

    assert two.ask("SELECT count(*), sum(input_tokens)::int FROM model_cost_logs") == [(100, sum(range(100, 200)))]
    flagged = two.ask("SELECT span_id, counted_span_id FROM event_logs WHERE context -> 'flags' ? 'cached_response'")
    served = {span.attributes["gen_ai.usage.input_tokens"]: span.span_id for span in calls}
    assert sorted(flagged) == sorted(
        (span.span_id, served[span.attributes["gen_ai.usage.input_tokens"]]) for span in replays
    )


def test_a_second_report_long_after_the_first_was_settled_enriches_it(kept: Kept) -> None:
    run = make_span(agent("writer"), duration_ms=500)
    kept.write([run, make_span(chat(1_000, 80, response_id="r1"), parent=run, scope="framework")])
    kept.settle()
    before = kept.calls

    more = {"gen_ai.usage.cache_read.input_tokens": 600, "openai.response.service_tier": "flex"}
    client = make_span(chat(1_000, 80, response_id="r1", more=more), trace_id=OTHER_TRACE, scope="client")
    kept.write([client])
    kept.settle()

    assert [(call.cache_read_tokens, call.agent_id) for call in before] == [(None, "writer")]
    assert [(call.span_id, call.cache_read_tokens, call.service_tier, call.agent_id) for call in kept.calls] == [
        (client.span_id, 600, "flex", "writer")
    ]
    assert [run.input_tokens for run in kept.runs] == [1_000]


def test_when_in_doubt_there_are_two_rows_and_the_later_event_says_so(kept: Kept) -> None:
    root = make_span(agent("a"), duration_ms=500)
    branch, other_branch = make_span(parent=root), make_span(parent=root)
    one = make_span(chat(), scope="one", parent=branch)
    other = make_span(chat(), scope="other", parent=other_branch, start_ms=5)
    for span in (other, one, other_branch, root, branch):
        kept.write([span])
        kept.settle()

    assert len(kept.calls) == 2
    flags = {key: event.context.get("flags") for key, event in kept.events.items() if event.event_type == "llm"}
    assert flags == {one.span_id: None, other.span_id: ["possible_duplicate"]}


def test_a_doubt_that_is_removed_takes_its_flag_along(kept: Kept) -> None:
    """What looked like a cousin turns out to be below the other, once the span between them comes."""
    root = make_span(agent("a"), duration_ms=500)
    one = make_span(chat(), scope="one", parent=root, duration_ms=150)
    between = make_span(parent=one)
    other = make_span(chat(), scope="other", parent=between, start_ms=5)
    kept.write([root, one, other])
    kept.settle()
    doubted = (len(kept.calls), kept.events[other.span_id].context.get("flags"))

    kept.write([between])
    kept.settle()

    assert doubted == (2, ["possible_duplicate"])
    assert len(kept.calls) == 1
    assert all("possible_duplicate" not in event.context.get("flags", ()) for event in kept.events.values())


@pytest.mark.parametrize("name", NAMES)
def test_each_report_in_a_capture_is_counted_or_names_the_one_that_is(name: str) -> None:
    kept = in_memory()
    records = records_of(name)
    decoded = Decoded(
        spans=[record for record in records if isinstance(record, Span)],
        logs=[record for record in records if isinstance(record, LogRecord)],
    )
    kept.store.write(batch_of([receive(decoded, Sender(), RECEIVED_AT, MAPPING)], price))
    kept.settle()
    events = kept.rows("event_logs")

    counted = {(event.trace_id, event.span_id) for event in events if event.cost_state in {"counted", "no_usage"}}
    assert counted == {(call.trace_id, call.span_id) for call in kept.calls}
    for event in events:
        names = (event.counted_trace_id, event.counted_span_id)
        assert names in counted if event.cost_state == "duplicate" else names == (None, None)


def a_big_trace() -> list[Span]:
    run = make_span(agent("a"), duration_ms=500_000)
    steps = [make_span(tool("search"), parent=run, start_ms=n) for n in range(1_000)]
    return [run, *steps, *(make_span(chat(n, 1), parent=steps[n % 1_000], start_ms=n) for n in range(1, 2_000))]


def test_a_trace_of_three_thousand_spans_in_many_requests_settles(kept: Kept) -> None:
    spans = a_big_trace()
    for start in range(0, len(spans), 500):
        kept.write(spans[::-1][start : start + 500])
        kept.settle()

    assert len(kept.events) == len(kept.calls) + 1_001 == 3_000
    assert {call.agent_id for call in kept.calls} == {"a"}
    (run,) = kept.runs
    assert (run.input_tokens, len(run.execution_nodes)) == (sum(range(1, 2_000)), 1_001)
    assert run.execution_nodes[-1] == {"type": "truncated", "name": "1999 more"}


def test_cycles_two_roots_and_missing_parents_come_to_an_end(kept: Kept) -> None:
    one = make_span(agent("a"), span_id="0000000000000a01", parent="0000000000000a02")
    other = make_span(agent("b"), span_id="0000000000000a02", parent="0000000000000a01")
    itself = make_span(chat(7, 1), span_id="0000000000000a03", parent="0000000000000a03")
    lost = make_span(chat(5, 1), parent="0000000000000bad")
    roots = [make_span(agent("c"), duration_ms=400), make_span(agent("d"), duration_ms=400)]
    calls = [make_span(chat(10 + n, 1), parent=root) for n, root in enumerate(roots)]
    for span in (one, calls[1], itself, other, roots[0], lost, calls[0], roots[1]):
        kept.write([span])
        kept.settle()

    agents = {call.span_id: call.agent_id for call in kept.calls}
    assert agents == {itself.span_id: None, lost.span_id: None, calls[0].span_id: "c", calls[1].span_id: "d"}
    assert {run.agent_name: run.input_tokens for run in kept.runs} == {"a": None, "b": None, "c": 10, "d": 11}


def test_a_parent_or_a_child_that_comes_late_changes_what_is_above_and_below(kept: Kept) -> None:
    run = make_span(agent("a"), duration_ms=500)
    step = make_span(tool("search"), parent=run)
    call = make_span(chat(10, 1), parent=step)
    kept.write([call])
    kept.settle()
    alone = [found.agent_id for found in kept.calls]
    kept.write([run])
    kept.settle()
    apart = [found.input_tokens for found in kept.runs]
    kept.write([step, make_span(chat(5, 1), parent=step)])
    kept.settle()

    assert (alone, apart) == ([None], [None])
    assert [found.agent_id for found in kept.calls] == ["a", "a"]
    assert [(found.input_tokens, len(found.execution_nodes)) for found in kept.runs] == [(15, 3)]


@pytest.mark.parametrize(
    ("first", "last", "settled"),
    [(timedelta(0), timedelta(0), 0), (QUIET, QUIET, 1), (PATIENCE, timedelta(0), 1), (QUIET, timedelta(0), 0)],
    ids=["just begun", "quiet", "busy for too long", "busy"],
)
def test_a_trace_is_settled_when_it_is_quiet_or_has_waited_long_enough(
    two: Two, first: timedelta, last: timedelta, settled: int
) -> None:
    two.stores[0].write(batch([make_span(chat())]))
    with psycopg.connect(conninfo(two.database)) as connection:
        connection.execute(
            "UPDATE unsettled_traces SET first_at = now() - %s::interval, last_at = now() - %s::interval + '1 minute'"
            if last == timedelta(0)
            else "UPDATE unsettled_traces SET first_at = now() - %s::interval, last_at = now() - %s::interval",
            [first, last],
        )

    assert two.stores[0].settle(SETTLING, limit=10) == settled


def test_no_trace_waits_longer_than_five_seconds_for_a_settler_that_has_time() -> None:
    every = timedelta(seconds=Settler(partial(int, 0))._every_s)

    assert PATIENCE + every < timedelta(seconds=5)
