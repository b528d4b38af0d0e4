"""What users of such systems were charged wrongly for, each as a claim: from spans as they are sent to cents in rows.

Prices are real ones, and what a call costs is multiplied out here: dollars for a million tokens, so cents for 10,000.
That past calls can be corrected, that prices stay, and that each call has the price of its own time is claimed in
tests/integration/test_prices.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from otel_obs.dialects.reading import read, read_log
from otel_obs.model import Decoded, Scope, Span
from otel_obs.pipeline import ingest
from otel_obs.pipeline.batching import batch_of
from otel_obs.pipeline.ingest import receive, reprice
from otel_obs.pipeline.mapping import price_by
from otel_obs.pipeline.memory import MemoryStore
from otel_obs.pipeline.stored import settling
from otel_obs.pricing.book import default_book
from otel_obs.rows import CallRow, EventRow
from otel_obs.tenancy import Sender
from tests.builders import agent, chat, make_span
from tests.rows import RECEIVED_AT

D = Decimal
OTHER_TRACE = "f" * 32
HOUR_MS = 3_600_000
PRICE = price_by(default_book())
MAPPING = ingest.Mapping(read=read, read_log=read_log, price=PRICE)
SETTLING = settling(partial(reprice, price=PRICE))

USAGE = "gen_ai.usage."


def claude(input_tokens: int, output_tokens: int, **usage: int) -> dict[str, Any]:
    """Return a call of claude-sonnet-4-5: 3 dollars in, 15 out, 0.30 read, 3.75 written, 6 written for an hour."""
    names = {
        "read": "gen_ai.usage.cache_read.input_tokens",
        "write": "gen_ai.usage.cache_creation.input_tokens",
        "hour": "anthropic.usage.cache_creation.ephemeral_1h_input_tokens",
    }
    more = {"gen_ai.provider.name": "anthropic", **{names[name]: count for name, count in usage.items()}}
    return chat(input_tokens, output_tokens, model="claude-sonnet-4-5-20250929", response_id="msg_1", more=more)


def gpt(input_tokens: int | None, output_tokens: int | None, **more: Any) -> dict[str, Any]:
    """Return a call of gpt-4o: 2.50 dollars in, 10 out, 1.25 read."""
    response_id = more.pop("response_id", None)
    return chat(input_tokens, output_tokens, model="gpt-4o-2024-08-06", response_id=response_id, more=more)


def without(attributes: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {key: value for key, value in attributes.items() if key not in names}


@dataclass
class Kept:
    """What the rows are once all requests came and everything is settled."""

    store: MemoryStore = field(default_factory=MemoryStore)

    def send(self, *requests: Sequence[Span]) -> Kept:
        for spans in requests:
            self.store.write(batch_of([receive(Decoded(spans=spans), Sender(), RECEIVED_AT, MAPPING)], PRICE))
        while self.store.settle(SETTLING, limit=1_000, all_now=True):
            pass
        return self

    @property
    def calls(self) -> list[CallRow]:
        return list(self.store.calls.values())

    @property
    def cents(self) -> list[Decimal | None]:
        return [call.cost_usd for call in self.calls]

    def event(self, span: Span) -> EventRow:
        return next(event for event in self.store.events.values() if event.span_id == span.span_id)


Trap = tuple[Callable[[], Sequence[Sequence[Span]]], list[tuple[int | None, int | None, Decimal | None]]]


def a_call(attributes: Mapping[str, Any], **more: Any) -> Callable[[], Sequence[Sequence[Span]]]:
    return lambda: [[make_span(attributes, **more)]]


def agent_with_the_sum_of_its_calls() -> Sequence[Sequence[Span]]:
    run = make_span(agent("a", **{USAGE + "input_tokens": 3_000, USAGE + "output_tokens": 300}), duration_ms=900)
    return [[run, make_span(gpt(1_000, 100), parent=run), make_span(gpt(2_000, 200), parent=run, start_ms=300)]]


def call_far_below_the_call_that_repeats_it() -> Sequence[Sequence[Span]]:
    outer = make_span(gpt(1_000, 100), scope="framework")
    between = make_span(parent=outer)
    further = make_span(parent=between)
    return [[outer, between, further, make_span(gpt(1_000, 100), scope="client", parent=further, start_ms=1)]]


def call_in_a_call_of_one_instrumentation() -> Sequence[Sequence[Span]]:
    outer = make_span(gpt(1_000, 100))
    return [[outer, make_span(gpt(1_000, 100), parent=outer, start_ms=1, duration_ms=98)]]


def embeddings_in_embeddings_and_the_parent_last() -> Sequence[Sequence[Span]]:
    attributes = {
        "gen_ai.operation.name": "embeddings", "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "text-embedding-3-small", USAGE + "input_tokens": 10_000,
    }  # fmt: skip
    outer = make_span(attributes, scope="gen_ai")
    return [[make_span(attributes, scope="gen_ai", parent=outer, start_ms=1, duration_ms=98)], [outer]]


def two_instrumentations_the_outer_blind_to_the_cache() -> Sequence[Sequence[Span]]:
    outer = make_span(gpt(10_000, 100, response_id="r"), scope="langchain")
    known = gpt(10_000, 100, response_id="r", **{USAGE + "cache_read.input_tokens": 8_000})
    return [[outer], [make_span(known, scope="openai", parent=outer)]]


def the_same_from_application_and_gateway_in_other_traces() -> Sequence[Sequence[Span]]:
    known = gpt(10_000, 100, response_id="r", **{USAGE + "cache_read.input_tokens": 8_000})
    return [
        [make_span(known, scope="openai", trace_id=OTHER_TRACE)],
        [make_span(gpt(10_000, 100, response_id="r"), scope="ai-gateway")],
    ]


def an_answer_from_the_applications_cache() -> Sequence[Sequence[Span]]:
    return [
        [make_span(gpt(1_000, 100, response_id="r"))],
        [make_span(gpt(1_000, 100, response_id="r"), start_ms=HOUR_MS, trace_id=OTHER_TRACE)],
    ]


def a_failure_and_its_retry() -> Sequence[Sequence[Span]]:
    failed = make_span(gpt(None, None, **{"error.type": "RateLimitError"}), status_code=2)
    return [[failed, make_span(gpt(1_000, 100), start_ms=200)]]


ANTHROPIC_OPENLIT = without(claude(3_000, 100, read=4_000, write=3_000), "gen_ai.response.id")

TRAPS: dict[str, Trap] = {
    "1: cached tokens are inside the input, and are not added to it": (
        a_call(claude(10_000, 100, read=4_000)),
        [(10_000, 100, (6_000 * D("3") + 4_000 * D("0.30") + 100 * D("15")) / 10_000)],
    ),
    "2: what was read and what was written are both taken out of the input": (
        a_call(claude(10_000, 100, read=4_000, write=3_000)),
        [(10_000, 100, (3_000 * D("3") + 4_000 * D("0.30") + 3_000 * D("3.75") + 100 * D("15")) / 10_000)],
    ),
    "3: reasoning is inside the output": (
        a_call(gpt(26_163, 8_440, **{
            USAGE + "cache_read.input_tokens": 20_000, USAGE + "reasoning.output_tokens": 8_000,
        })),
        [(26_163, 8_440, (6_163 * D("2.50") + 20_000 * D("1.25") + 8_440 * D("10")) / 10_000)],
    ),
    "4: what was written for an hour costs twice the input": (
        a_call(claude(10_000, 100, write=8_000, hour=5_000)),
        [(10_000, 100, (2_000 * D("3") + 3_000 * D("3.75") + 5_000 * D("6") + 100 * D("15")) / 10_000)],
    ),
    "5: an agent that carries the sum of its calls costs nothing itself": (
        agent_with_the_sum_of_its_calls,
        [(1_000, 100, D("0.35")), (2_000, 200, D("0.70"))],
    ),
    "6: a repeated report is found however many spans lie between": (
        call_far_below_the_call_that_repeats_it, [(1_000, 100, D("0.35"))],
    ),
    "8: a call inside a call, both of kind LLM, is one": (
        call_in_a_call_of_one_instrumentation, [(1_000, 100, D("0.35"))],
    ),
    "9: wrapper and request with one name are one call, also if the parent comes in another request": (
        embeddings_in_embeddings_and_the_parent_last, [(10_000, None, D("0.02"))],
    ),
    "10: of two instrumentations the one that knows the cache is counted": (
        two_instrumentations_the_outer_blind_to_the_cache,
        [(10_000, 100, (2_000 * D("2.50") + 8_000 * D("1.25") + 100 * D("10")) / 10_000)],
    ),
    "10: also if application and gateway tell it in traces of their own": (
        the_same_from_application_and_gateway_in_other_traces,
        [(10_000, 100, (2_000 * D("2.50") + 8_000 * D("1.25") + 100 * D("10")) / 10_000)],
    ),
    "11: an answer from the application's cache costs nothing": (
        an_answer_from_the_applications_cache, [(1_000, 100, D("0.35"))],
    ),
    "12: a stream without usage is a call whose cost nobody knows": (
        a_call(gpt(None, None, response_id="r", **{"gen_ai.request.stream": True})), [(None, None, None)],
    ),
    "12: zeros stand for what was not sent": (
        a_call(gpt(0, 0, response_id="r", **{"gen_ai.request.stream": True})), [(None, None, None)],
    ),
    "13: a date behind the name does not make the model unknown": (
        a_call(chat(1_000, 100, model="gpt-4o-mini-2024-07-18")), [(1_000, 100, D("0.021"))],
    ),
    "13: an unknown model does not have its neighbour's price": (
        a_call(chat(1_000, 100, model="claude-opus-50", more={"gen_ai.provider.name": "anthropic"})),
        [(1_000, 100, None)],
    ),
    "17: a failed attempt is no call, and the one that succeeded is one": (
        a_failure_and_its_retry, [(1_000, 100, D("0.35"))],
    ),
    "18: an odd usage field loses neither the span nor the other fields": (
        a_call(gpt(1_000, 100, **{
            USAGE + "cache_read.input_tokens": True, USAGE + "cost": "n/a", USAGE + "is_byok": False,
            USAGE + "reasoning.output_tokens": "many", USAGE + "cost_details": "null",
        })),
        [(1_000, 100, D("0.35"))],
    ),
    "usage as text, as some emitters send it": (
        a_call({**gpt(None, None), USAGE + "input_tokens": "1000", USAGE + "output_tokens": 100.0}),
        [(1_000, 100, D("0.35"))],
    ),
    "input that leaves cached tokens out, by an emitter that is known to": (
        a_call(ANTHROPIC_OPENLIT, scope=Scope("openlit", "1.45.0")),
        [(10_000, 100, (3_000 * D("3") + 4_000 * D("0.30") + 3_000 * D("3.75") + 100 * D("15")) / 10_000)],
    ),
    "input that leaves cached tokens out, by what is impossible otherwise": (
        a_call(claude(3_000, 100, read=4_000, write=3_000)),
        [(10_000, 100, (3_000 * D("3") + 4_000 * D("0.30") + 3_000 * D("3.75") + 100 * D("15")) / 10_000)],
    ),
    "a reported cost stands where no price is known": (
        a_call(chat(1_000, 100, model="house-model", more={"gen_ai.provider.name": "house", USAGE + "cost": 0.0125})),
        [(1_000, 100, D("1.25"))],
    ),
    "a reported cost of 0 says nothing": (
        a_call(chat(1_000, 100, model="house-model", more={"gen_ai.provider.name": "house", USAGE + "cost": 0.0})),
        [(1_000, 100, None)],
    ),
    "a reported cost does not replace one that can be computed": (
        a_call(gpt(1_000, 100, **{USAGE + "cost": 9.99})), [(1_000, 100, D("0.35"))],
    ),
    "only a total is known: split in half": (
        a_call(gpt(None, None, response_id="r", **{USAGE + "total_tokens": 1_001})),
        [(501, 500, (501 * D("2.50") + 500 * D("10")) / 10_000)],
    ),
    "a stream that was broken off was served all the same": (
        a_call(gpt(1_000, 40, response_id="r", **{"gen_ai.response.finish_reasons": ["abandoned"]})),
        [(1_000, 40, (1_000 * D("2.50") + 40 * D("10")) / 10_000)],
    ),
    "a failure that came with usage was billed": (
        a_call(gpt(1_000, 40, **{"error.type": "ContentFilter"}), status_code=2),
        [(1_000, 40, (1_000 * D("2.50") + 40 * D("10")) / 10_000)],
    ),
    "batch and tier decide the price": (
        a_call(gpt(1_000, 100, **{"openai.response.service_tier": "batch"})),
        [(1_000, 100, (1_000 * D("1.25") + 100 * D("5")) / 10_000)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("about", TRAPS)
def test_nobody_is_charged_twice_nor_for_nothing(about: str) -> None:
    requests, expected = TRAPS[about]

    kept = Kept().send(*requests())

    found = [(call.input_tokens, call.output_tokens, call.cost_usd) for call in kept.calls]
    assert sorted(found, key=str) == sorted(expected, key=str)


@pytest.mark.parametrize("about", TRAPS)
def test_nor_if_everything_comes_backwards_span_by_span_and_twice(about: str) -> None:
    requests, expected = TRAPS[about]
    spans = [span for request in requests() for span in request][::-1]

    kept = Kept()
    for span in (*spans, *spans):
        kept.send([span])

    found = [(call.input_tokens, call.output_tokens, call.cost_usd) for call in kept.calls]
    assert sorted(found, key=str) == sorted(expected, key=str)


def test_7_tokens_and_cost_come_from_the_same_calls_everywhere() -> None:
    run = make_span(agent("a"), duration_ms=900)
    outer = make_span(gpt(1_000, 100), scope="framework", parent=run)
    inner = make_span(gpt(1_000, 100), scope="client", parent=outer, start_ms=1, duration_ms=90)
    kept = Kept().send([run, outer, inner, make_span(gpt(2_000, 200), parent=run, start_ms=300)])

    (history,) = kept.store.runs.values()
    calls = kept.calls
    assert history.input_tokens == sum(call.input_tokens or 0 for call in calls) == 3_000
    assert history.cost_cents == sum((call.cost_usd or D(0) for call in calls), D(0)) == D("1.05")
    nodes = [node for node in history.execution_nodes if node["type"] == "llm"]
    assert sum(node["tokens"] for node in nodes) == 3_300
    assert sum(node["cost_cents"] for node in nodes) == pytest.approx(1.05)


def test_12_and_13_what_is_not_known_is_null_with_its_reason() -> None:
    kept = Kept().send([
        make_span(gpt(None, None, response_id="r")),
        make_span(chat(1, 1, model="gpt-99")),
        make_span(gpt(10, 1, response_id="s", **{USAGE + "web_searches": 1, "gen_ai.response.model": "gpt-3.5-turbo"})),
    ])  # fmt: skip

    assert sorted((call.cost_source, call.cost_reason) for call in kept.calls) == [
        ("unpriced", "no_usage"),
        ("unpriced", "unknown_model"),
        ("unpriced", "unknown_unit"),
    ]


def test_17_attempts_and_the_operation_are_both_kept() -> None:
    kept = Kept().send([make_span(gpt(1_000, 100, **{"http.request.resend_count": 2}))])

    assert [(call.operation, call.attempts) for call in kept.calls] == [("chat", 3)]


def test_17_a_failure_is_an_event_that_says_so_and_no_row() -> None:
    failed = make_span(gpt(None, None, **{"error.type": "RateLimitError"}), status_code=2)
    kept = Kept().send([failed])

    assert kept.calls == []
    assert (kept.event(failed).cost_state, kept.event(failed).error_type) == ("failed", "RateLimitError")


def test_5_and_17_what_a_run_costs_is_that_of_its_own_calls_and_nested_runs_have_theirs() -> None:
    boss = make_span(agent("boss"), duration_ms=900)
    helper = make_span(agent("helper"), parent=boss, duration_ms=500)
    kept = Kept().send([
        boss, helper, make_span(gpt(1_000, 100), parent=boss), make_span(gpt(2_000, 200), parent=helper),
    ])  # fmt: skip

    costs = {run.agent_name: run.cost_cents for run in kept.store.runs.values()}
    assert costs == {"boss": D("0.35"), "helper": D("0.70")}


def test_25_and_26_a_span_sent_again_is_nothing_new_and_a_finished_one_replaces_an_unfinished_one() -> None:
    finished = make_span(gpt(1_000, 100, response_id="r"))
    unfinished = replace(
        finished, end_time_unix_nano=0, attributes=without(finished.attributes, USAGE + "input_tokens")
    )

    kept = Kept().send([unfinished], [finished], [finished], [unfinished])

    assert kept.cents == [D("0.35")]
