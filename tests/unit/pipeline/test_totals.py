"""Reports that differ by exactly what one of them leaves out are one call, and the larger is the whole."""

from __future__ import annotations

from typing import Any

import pytest

from otel_obs.model import Span
from otel_obs.rows import CallRow
from tests.builders import chat, make_log, make_span
from tests.unit.pipeline.test_settle import settled

CACHE = {"gen_ai.usage.cache_read.input_tokens": 300, "gen_ai.usage.cache_creation.input_tokens": 130}
WHOLE = chat(983, 61, response_id="msg_1", model="m", more=CACHE)


def told_by_two(outer: dict[str, Any], inner: dict[str, Any]) -> tuple[Span, Span]:
    above = make_span(outer, scope="a framework", duration_ms=200)
    return above, make_span(inner, scope="a client", parent=above, start_ms=10)


def calls_of(*spans: Span) -> list[CallRow]:
    return list(settled(spans).calls.values())


@pytest.mark.parametrize(
    "outer",
    [
        chat(553, 61, model="m"),
        # Cached tokens that are more than the input would give it away; these do not.
        chat(553, 61, model="m", more=CACHE),
        chat(983, 61, model="m"),
    ],
    ids=["blind to the cache", "the cache beside the input", "whole"],
)
@pytest.mark.parametrize("is_inside", [True, False], ids=["the outer is less", "the inner is less"])
def test_a_call_told_whole_and_without_its_cache_is_counted_once_and_whole(
    outer: dict[str, Any], is_inside: bool
) -> None:
    found = calls_of(*(told_by_two(outer, WHOLE) if is_inside else told_by_two(WHOLE, outer)))

    assert [(row.input_tokens, row.cache_read_tokens, row.cache_write_tokens, row.output_tokens) for row in found] == [
        (983, 300, 130, 61)
    ]


def test_thoughts_that_one_report_leaves_out_of_its_output_are_counted() -> None:
    thinking = {"gen_ai.usage.reasoning.output_tokens": 13}

    found = calls_of(*told_by_two(chat(983, 48, model="m"), chat(983, 61, model="m", more=thinking)))

    assert [(row.output_tokens, row.reasoning_tokens) for row in found] == [(61, 13)]


@pytest.mark.parametrize(
    "outer",
    [chat(554, 61, model="m"), chat(553, 60, model="m"), chat(553, 61, model="another")],
    ids=["another input", "another output", "another model"],
)
def test_reports_that_differ_by_anything_else_are_two_calls(outer: dict[str, Any]) -> None:
    assert len(calls_of(*told_by_two(outer, WHOLE))) == 2


def test_a_twin_in_another_trace_is_found_though_it_is_blind_to_the_cache() -> None:
    agent = make_span({"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "a"}, duration_ms=300)
    blind = make_span(chat(553, 61, model="m"), scope="a framework", parent=agent, start_ms=5, duration_ms=200)
    lost = make_span(WHOLE, scope="a client", trace_id="f" * 32, start_ms=10)

    store = settled([agent, blind], [lost])

    assert [(row.input_tokens, row.agent_id) for row in store.calls.values()] == [(983, "a")]


def test_a_log_record_without_a_model_has_that_of_the_span_it_hangs_on() -> None:
    span = make_span(chat(1202, 72, model="gpt-4o-mini"))
    usage = {"gen_ai.usage.input_tokens": 1101, "gen_ai.usage.output_tokens": 61}
    record = make_log(usage, event_name="gen_ai.client.inference.operation.details", span_id=span.span_id)

    found = settled([span], [record]).calls.values()

    assert sorted((row.model_name, row.input_tokens) for row in found) == [("gpt-4o-mini", 1101), ("gpt-4o-mini", 1202)]
