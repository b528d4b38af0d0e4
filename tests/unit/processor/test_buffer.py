"""Memory is bounded in spans and bytes, in what order and by whomever spans come and go."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan

from otel_obs.processor.buffer import Batch, Buffer, size_of


def span(number: int, length: int = 0) -> ReadableSpan:
    return ReadableSpan(str(number), attributes={"text": "x" * length})


def buffer(refused: list[int], **limits: int) -> Buffer:
    given = {"max_spans": 20, "max_bytes": 40_000, "batch_spans": 4, "batch_bytes": 10_000, **limits}
    return Buffer(**given, on_full=refused.append)


@given(st.lists(st.one_of(st.integers(0, 12_000), st.sampled_from(["take", "full", "hold", "settle"])), max_size=80))
def test_every_span_is_in_one_batch_or_refused_and_bounds_hold(steps: list[int | str]) -> None:
    refused: list[int] = []
    mine = buffer(refused)
    taken: list[Batch] = []
    settled: list[str] = []
    came = 0
    for step in steps:
        if isinstance(step, int):
            mine.incoming.append(span(came, step))
            came += 1
        elif step in {"take", "full"}:
            batch = mine.take(partial=step == "take")
            taken += [] if batch is None else [batch]
        elif taken and step == "hold":
            mine.hold(taken.pop())
        elif taken:
            batch = taken.pop(0)
            settled += [each.name for each in batch.spans]
            assert mine.settle(batch)
            assert not mine.settle(batch)

        assert mine.waiting <= 20
        assert mine.accepted + sum(refused) == came
    assert mine.accepted == mine.waiting + len(settled)
    assert mine.is_clear(mine.accepted) == (mine.waiting == 0)
    while (batch := mine.take()) is not None:
        assert len(batch.spans) <= 4
        assert len(batch.spans) == 1 or sum(map(size_of, batch.spans)) <= 10_000
        taken.append(batch)
    rest = [each.name for batch in taken for each in batch.spans]
    assert len({*rest, *settled}) == mine.accepted


def test_the_bound_in_bytes_counts_what_was_taken_and_is_not_settled() -> None:
    refused: list[int] = []
    mine = buffer(refused, max_bytes=3 * size_of(span(0, 1000)))
    mine.incoming.extend([span(0, 1000), span(1, 1000)])
    batch = mine.take()
    mine.incoming.extend([span(2, 1000), span(3, 1000)])
    assert mine.waiting == 3
    assert refused == [1]

    assert batch is not None
    mine.settle(batch)
    mine.incoming.extend([span(4, 1000), span(5, 1000)])

    assert mine.waiting == 3
    assert refused == [1]


def test_a_flush_waits_for_spans_that_came_before_it_and_no_others() -> None:
    mine = buffer([])
    mine.incoming.append(span(0))
    number = mine.accepted
    before = mine.take()
    mine.incoming.append(span(1))
    assert before is not None
    assert not mine.is_clear(number)

    mine.settle(before)

    assert mine.is_clear(number)
    assert not mine.is_clear(mine.accepted)
