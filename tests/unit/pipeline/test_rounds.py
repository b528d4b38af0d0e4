"""Of an answer in rounds, whose emitter reports the sum so far on each, every round costs what it adds."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import pytest

from otel_obs.model import Decoded, Scope, Span
from otel_obs.pipeline.batching import batch_of
from otel_obs.pipeline.ingest import receive
from otel_obs.pipeline.memory import MemoryStore
from otel_obs.tenancy import Sender
from tests.builders import chat, make_span
from tests.rows import MAPPING, RECEIVED_AT, SETTLING, price

BOOT_3 = Scope("org.springframework.boot", "3.5.7")
BOOT_4 = Scope("org.springframework.boot", "4.0.7")
ADVISOR = {"spring.ai.kind": "advisor", "gen_ai.operation.name": "framework", "gen_ai.system": "spring_ai"}
TOOL = {"spring.ai.kind": "tool_call", "spring.ai.tool.definition.name": "get_weather"}


def answer(*sums: tuple[int, int], scope: Scope = BOOT_3, upper: dict[str, str] | None = None) -> list[Span]:
    """Return the spans of an answer whose rounds report *sums*, with a tool between each two."""
    above = make_span(ADVISOR if upper is None else upper, scope=scope, duration_ms=10_000)
    spans = [above]
    for position, (given, received) in enumerate(sums):
        attributes = chat(given, received, response_id=f"r-{position}")
        spans.append(make_span(attributes, scope=scope, parent=above, start_ms=position * 1000))
        if position + 1 < len(sums):
            spans.append(make_span(TOOL, scope=scope, parent=above, start_ms=position * 1000 + 500))
    return spans


def billed(*requests: Sequence[Span]) -> list[tuple[int | None, int | None]]:
    """Return the tokens of each round, as stored when *requests* came one after the other, each settled."""
    store = MemoryStore()
    for request in requests:
        store.write(batch_of([receive(Decoded(spans=list(request)), Sender(), RECEIVED_AT, MAPPING)], price))
        while store.settle(SETTLING, limit=1000, all_now=True):
            pass
    rows = sorted(store.calls.values(), key=lambda row: row.timestamp)
    return [(row.input_tokens, row.output_tokens) for row in rows]


def test_each_round_costs_what_it_adds() -> None:
    assert billed(answer((1202, 72), (2505, 155), (4000, 200))) == [(1202, 72), (1303, 83), (1495, 45)]


def test_rounds_come_in_any_order_and_again() -> None:
    spans = answer((1202, 72), (2505, 155))

    for order in permutations(spans):
        assert billed(*[[span] for span in order], spans) == [(1202, 72), (1303, 83)]


def test_a_sum_is_priced_as_the_rounds_that_it_is() -> None:
    store = MemoryStore()
    spans = answer((1000, 100), (2000, 200))
    store.write(batch_of([receive(Decoded(spans=spans), Sender(), RECEIVED_AT, MAPPING)], price))

    first, second = store.calls.values()

    assert first.cost_usd == second.cost_usd


def test_requests_of_a_cached_prompt_may_add_little() -> None:
    assert billed(answer((1927, 193), (1990, 200))) == [(1927, 193), (63, 7)]


@pytest.mark.parametrize(
    ("spans", "rounds"),
    [
        pytest.param(answer((1202, 72), (2505, 155), scope=BOOT_4), [(1202, 72), (2505, 155)], id="Spring AI 2"),
        pytest.param(
            answer((1202, 72), (1303, 83), upper={"mine": "loop"}), [(1202, 72), (1303, 83)], id="a loop of one's own"
        ),
        pytest.param(answer((1202, 72), (900, 83)), [(1202, 72), (900, 83)], id="less is no sum"),
        pytest.param(
            [span for span in answer((1202, 72), (2505, 155)) if span.attributes != TOOL],
            [(1202, 72), (2505, 155)],
            id="no tool ran",
        ),
    ],
)
def test_what_holds_no_other_round_is_its_own(spans: list[Span], rounds: list[tuple[int, int]]) -> None:
    assert billed(spans) == rounds


def test_without_an_advisor_a_sum_is_known_by_its_size() -> None:
    assert billed(answer((1202, 72), (2505, 155), upper={"mine": "call"})) == [(1202, 72), (1303, 83)]
