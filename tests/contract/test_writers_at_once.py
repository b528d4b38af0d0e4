"""Any number of writers and settlers at once leave the rows that one would have left."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otel_obs.postgres.pool import conninfo
from tests.builders import chat, make_span
from tests.corpus import records_of
from tests.fix_writers import Writers

HARD = ("openinference-langgraph-stacked", "pydantic-ai-native-v2", "claude-code", "logfire-openai",
        "openllmetry-langgraph-stacked", "traceloop-workflow")  # fmt: skip
"""Captures in which calls and runs are told more than once."""


@pytest.mark.parametrize("name", HARD)
@given(seed=st.integers(0, 2**32), parts=st.integers(2, 24))
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_captures_cut_shuffled_repeated_and_written_at_once_give_the_rows_of_one_batch(
    writers: Writers, name: str, seed: int, parts: int
) -> None:
    chance = random.Random(seed)
    records = records_of(name)
    reference, world = writers.organization(), writers.organization()
    writers.write(reference, 0, records)
    writers.settle()
    shuffled = chance.sample(records, len(records)) + chance.sample(records, len(records) // 5)
    requests = [found for number in range(parts) if (found := shuffled[number::parts])]

    def work(number: int) -> None:
        writers.write(world, number, requests[number])
        if number % 3 == 0:
            writers.settle(number)

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(work, range(len(requests))))
    writers.settle()

    assert writers.rows(world) == writers.rows(reference)


def test_two_reports_of_one_call_at_the_same_instant_leave_one_row_the_richer_one(writers: Writers) -> None:
    poor = [make_span(chat(100, 20, response_id=f"r{n}"), trace_id=f"{n + 1:032x}", scope="outer") for n in range(20)]
    rich = [
        make_span(
            chat(100, 20, response_id=f"r{n}", more={"gen_ai.usage.cache_read.input_tokens": 40}),
            trace_id=f"{n + 101:032x}", scope="inner",
        )
        for n in range(20)
    ]  # fmt: skip
    world = writers.organization()

    with ThreadPoolExecutor(8) as threads:
        for found in (poor[n : n + 1] for n in range(20)):
            threads.submit(writers.write, world, 0, found)
        for found in (rich[n : n + 1] for n in range(20)):
            threads.submit(writers.write, world, 1, found)
    at_commit = writers.rows(world)["model_cost_logs"]
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(writers.settle, range(3)))
    writers.settle()

    assert len(at_commit) == 20
    calls = writers.rows(world)["model_cost_logs"]
    assert sorted(call.span_id for call in calls) == sorted(span.span_id for span in rich)
    states = {event.span_id: event for event in writers.rows(world)["event_logs"]}
    for one, other in zip(poor, rich, strict=True):
        assert (states[one.span_id].cost_state, states[other.span_id].cost_state) == ("duplicate", "counted")
        assert states[one.span_id].counted_span_id == other.span_id


def test_any_number_of_settlers_settle_each_trace_once_and_all(writers: Writers) -> None:
    world = writers.organization()
    for number in range(12):
        outer = make_span(chat(response_id=f"s{number}"), trace_id=f"{number + 1:032x}", scope="outer", duration_ms=200)
        inner = make_span(chat(response_id=f"s{number}"), trace_id=outer.trace_id, parent=outer, scope="inner")
        writers.write(world, 0, [outer])
        writers.write(world, 1, [inner])

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(writers.settle, range(6)))

    assert len(writers.rows(world)["model_cost_logs"]) == 12
    with psycopg.connect(conninfo(writers.database)) as connection:
        assert connection.execute("SELECT count(*) FROM unsettled_traces").fetchone() == (0,)
