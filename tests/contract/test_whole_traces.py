"""Traces that came whole are not settled again, unless something was added, replaced, or told elsewhere."""

from __future__ import annotations

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from otel_obs.model import LogRecord, Span, SpanEvent
from otel_obs.postgres.pool import conninfo
from otel_obs.postgres.settling import claim
from tests.builders import START_NS, agent, chat, make_log, make_span, tool
from tests.fix_writers import Writers

Request = Sequence[Span | LogRecord]
WAYS = ("alone", "without an id", "a call alone", "two instrumentations", "late", "again", "unfinished",
        "told elsewhere", "told without an id", "told before without an id", "a log record", "a flag",
        "a second root")  # fmt: skip
"""What else comes of a trace that a request holds whole."""


def a_program(way: str, number: int) -> list[Request]:
    """Return a request with a whole trace, and others that bear on it."""
    started = number * 3_600_000
    trace_id = f"{number + 1:032x}"
    run = make_span(
        agent("writer", **{"user.id": "ann"}), trace_id=trace_id, start_ms=started, duration_ms=900, scope="framework"
    )
    step = make_span(
        agent("helper"), trace_id=trace_id, parent=run, start_ms=started + 1, duration_ms=600, scope="framework"
    )
    call = make_span(
        chat(100 + number, 20, response_id=f"r{number}"), trace_id=trace_id, parent=step, start_ms=started + 2,
        scope="client",
    )  # fmt: skip
    found = make_span(tool("search"), trace_id=trace_id, parent=run, start_ms=started + 3)
    elsewhere: dict[str, Any] = {"trace_id": f"{number + 100_001:032x}", "start_ms": started + 2, "scope": "wire"}
    more = {"gen_ai.usage.cache_read.input_tokens": 40}
    match way:
        case "without an id":
            return [[run, step, replace(call, attributes=chat(100 + number, 20)), found]]
        case "two instrumentations":
            silent = replace(call, attributes=chat(100 + number, 20))
            wire = make_span(
                chat(100 + number, 20, response_id=f"r{number}"), trace_id=trace_id, parent=call, start_ms=started + 2,
                scope="wire",
            )  # fmt: skip
            return [[run, step, silent, wire, found]]
        case "a call alone":
            return [[make_span(chat(100 + number, 20, response_id=f"r{number}"), trace_id=trace_id, start_ms=started)]]
        case "late":
            late = make_span(chat(7, 1, response_id=f"late{number}"), trace_id=trace_id, parent=step, start_ms=started)
            return [[run, step, call, found], [late]]
        case "again":
            return [[run, step, call, found], [run, step, call, found], [call, found]]
        case "unfinished":
            begun = replace(run, end_time_unix_nano=0, attributes={"gen_ai.operation.name": "invoke_agent"})
            return [[begun, step, call], [run, step, call, found]]
        case "told elsewhere":
            other = make_span(chat(100 + number, 20, response_id=f"r{number}", more=more), **elsewhere)
            return [[run, step, call, found], [other]]
        case "told without an id":
            silent = replace(call, attributes=chat(100 + number, 20))
            return [[run, step, silent, found], [make_span(chat(100 + number, 20, response_id="r"), **elsewhere)]]
        case "told before without an id":
            return [[make_span(chat(100 + number, 20), **elsewhere)], [run, step, call, found]]
        case "a log record":
            details = "gen_ai.client.inference.operation.details"
            told = make_log(
                chat(100 + number, 20, response_id=f"r{number}", more=more), event_name=details, trace_id=trace_id,
                span_id=call.span_id, at_ms=started + 90,
            )  # fmt: skip
            return [[run, step, call, found, told], [replace(told, span_id=step.span_id)]]
        case "a flag":
            asked = SpanEvent("feature_flag.evaluation", START_NS, {"feature_flag.key": f"f{number}"})
            return [[run, replace(step, events=[asked]), call, found]]
        case "a second root":
            root = replace(run, span_id=f"{number + 1_000_001:016x}", start_time_unix_nano=run.start_time_unix_nano - 1)
            return [[run, step, call, found], [root]]
    return [[run, step, call, found]]


@given(seed=st.integers(0, 2**32), ways=st.lists(st.sampled_from(WAYS), min_size=1, max_size=12))
@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
def test_whole_traces_and_what_else_comes_of_them_give_the_rows_of_everything_settled(
    writers: Writers, seed: int, ways: list[str]
) -> None:
    chance = random.Random(seed)
    programs = [a_program(way, number) for number, way in enumerate(ways)]
    requests: list[Request] = [request for program in programs for request in program]
    reference, world = writers.organization(), writers.organization()
    writers.write(reference, 0, [record for request in requests for record in request])
    writers.settle_all_again()
    chance.shuffle(requests)
    cuts = sorted(chance.sample(range(1, len(requests)), chance.randrange(len(requests)))) if len(requests) > 1 else []
    batches = [
        [record for request in requests[start:end] for record in request]
        for start, end in zip([0, *cuts], [*cuts, len(requests)], strict=True)
    ]

    def work(number: int) -> None:
        writers.write(world, number, batches[number])
        if chance.random() < 0.4:
            writers.settle(number)

    with ThreadPoolExecutor(chance.choice([1, 3])) as threads:
        list(threads.map(work, range(len(batches))))
    writers.settle()

    assert writers.rows(world) == writers.rows(reference)


def settled_again(writers: Writers, world: str) -> frozenset[str]:
    """Return the traces of *world* that are not final as they were written, as settling finds them."""
    with psycopg.connect(conninfo(writers.database)) as connection, connection.transaction(force_rollback=True):
        claimed = claim(connection, limit=1000, all_now=True, quiet=timedelta(), patience=timedelta())
    found = claimed.open.get(world)
    return frozenset() if found is None else found.trace_ids


def test_while_nobody_knows_what_else_its_process_reports_a_call_alone_is_settled_again(writers: Writers) -> None:
    world = writers.organization()
    writers.write(world, 0, a_program("a call alone", 7)[0])
    with psycopg.connect(conninfo(writers.database)) as connection:
        connection.execute("UPDATE resources SET call_scopes = '{}' WHERE organization_id = %s", [world])

    found = settled_again(writers, world)

    writers.settle()
    assert f"{8:032x}" in found


@pytest.mark.parametrize("way", WAYS)
def test_only_what_may_have_changed_is_settled_again(writers: Writers, way: str) -> None:
    world = writers.organization()
    for request in a_program(way, 7):
        writers.write(world, 0, request)
    trace_id = f"{8:032x}"

    found = settled_again(writers, world)
    writers.settle()

    final = ("alone", "without an id", "a call alone", "two instrumentations")
    assert (trace_id in found) == (way not in final)


def test_once_a_sender_of_two_instrumentations_lost_a_context_all_its_traces_are_settled_again(
    writers: Writers,
) -> None:
    world = writers.organization()
    writers.write(world, 0, a_program("two instrumentations", 7)[0])
    before = settled_again(writers, world)
    writers.write(world, 0, a_program("told without an id", 9)[1])

    after = settled_again(writers, world)

    writers.settle()
    assert before == frozenset()
    assert f"{8:032x}" in after
