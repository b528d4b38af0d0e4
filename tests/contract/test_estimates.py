"""Tokens that were counted here are believed only where no report of the call says any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations

import pytest

from otel_obs.model import Decoded, Span
from otel_obs.pipeline.batching import batch_of
from otel_obs.pipeline.ingest import receive
from otel_obs.pricing.estimate import PER_MESSAGE, estimate
from otel_obs.rows import CallRow
from otel_obs.tenancy import Sender
from tests.builders import agent, chat, make_span
from tests.fix_kept import Kept
from tests.rows import MAPPING, RECEIVED_AT, price

SAID = {"gen_ai.input.messages": "hello world", "gen_ai.output.messages": "hello world"}
IN, OUT = 2 + PER_MESSAGE, 2
ESTIMATING = replace(MAPPING, estimate=estimate)


def write(kept: Kept, spans: Sequence[Span]) -> None:
    kept.store.write(batch_of([receive(Decoded(spans=spans), Sender(), RECEIVED_AT, ESTIMATING)], price))


def figures(call: CallRow) -> tuple[int | None, int | None, str | None, str]:
    return (call.input_tokens, call.output_tokens, call.usage_source, call.cost_source)


def test_a_call_without_usage_is_estimated_at_once_and_stays_so(kept: Kept) -> None:
    root = make_span(agent("writer"))
    span = make_span(chat(None, None, response_id="r1", more=SAID), parent=root)
    write(kept, [root, span])
    before = [figures(call) for call in kept.calls]
    kept.settle()
    kept.settle()

    assert before == [figures(call) for call in kept.calls]
    assert [(call.input_tokens, call.output_tokens, call.usage_source) for call in kept.calls] == [
        (IN, OUT, "estimated")
    ]
    assert kept.events[span.span_id].cost_state == "counted"
    assert [(run.input_tokens, run.output_tokens) for run in kept.runs] == [(IN, OUT)]


def test_nothing_is_estimated_unless_asked_for(kept: Kept) -> None:
    kept.write([make_span(chat(None, None, response_id="r1", more=SAID))])
    kept.settle()

    assert [(call.input_tokens, call.cost_reason) for call in kept.calls] == [(None, "no_usage")]


@pytest.mark.parametrize("response_id", ["r1", None], ids=["with an id", "without an id"])
@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
def test_a_report_with_usage_takes_the_place_of_an_estimate_whatever_comes_first(
    kept: Kept, order: tuple[int, ...], response_id: str | None
) -> None:
    root = make_span(agent("writer"), duration_ms=300)
    outer = make_span(chat(None, None, response_id=response_id, more=SAID), parent=root, duration_ms=200, scope="outer")
    inner = make_span(chat(100, 20, response_id=response_id), parent=outer, scope="inner")
    spans = [root, outer, inner]
    for position in order:
        write(kept, [spans[position]])
        kept.settle()

    assert [(call.span_id, call.input_tokens, call.usage_source) for call in kept.calls] == [
        (inner.span_id, 100, "reported")
    ]
    assert kept.events[outer.span_id].counted_span_id == inner.span_id
    assert [run.input_tokens for run in kept.runs] == [100]


def test_two_reports_without_usage_are_one_estimated_call(kept: Kept) -> None:
    outer = make_span(chat(None, None, response_id="r1", more=SAID), duration_ms=200, scope="outer")
    inner = make_span(chat(None, None, response_id="r1"), parent=outer, scope="inner")
    write(kept, [outer])
    write(kept, [inner])
    kept.settle()

    assert [(call.input_tokens, call.usage_source) for call in kept.calls] == [(IN, "estimated")]


def test_a_cost_that_the_emitter_reports_is_believed_before_an_estimate(kept: Kept) -> None:
    write(kept, [make_span(chat(None, None, response_id="r1", more={**SAID, "gen_ai.usage.cost": 0.25}))])
    kept.settle()

    assert [call.input_tokens for call in kept.calls] == [None]


def test_a_failed_call_is_never_estimated(kept: Kept) -> None:
    write(kept, [make_span(chat(None, None, more={**SAID, "error.type": "RateLimitError"}), status_code=2)])
    kept.settle()

    assert kept.calls == []
