"""Clocks of gateways differ and jump: what is stored depends on the span's own times, in both stores."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from otel_obs.model import Decoded
from otel_obs.pipeline.batching import batch_of
from otel_obs.pipeline.ingest import receive
from otel_obs.tenancy import Sender
from tests.builders import chat, make_span
from tests.fix_kept import Kept
from tests.rows import MAPPING, RECEIVED_AT, price

MIDNIGHT = datetime(2026, 11, 25, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (MIDNIGHT - timedelta(seconds=1), MIDNIGHT + timedelta(seconds=1)),
        (RECEIVED_AT, RECEIVED_AT + timedelta(minutes=10)),
        (RECEIVED_AT, RECEIVED_AT - timedelta(hours=1)),
        (RECEIVED_AT, RECEIVED_AT + timedelta(days=40)),
    ],
    ids=["across midnight", "ten minutes apart", "an hour back", "in another month"],
)
def test_a_span_that_comes_again_by_another_clock_is_one_row(first: datetime, second: datetime, kept: Kept) -> None:
    spans = [make_span(chat(response_id="r"), name="a call"), make_span(name="its neighbour")]

    for received_at in (first, second, first):
        kept.store.write(batch_of([receive(Decoded(spans=spans), Sender(), received_at, MAPPING)], price))
    kept.settle()

    assert len(kept.events) == 2
    assert len(kept.calls) == 1
    assert {row.received_at for row in kept.events.values()} == {first}


def test_a_finished_span_replaces_an_unfinished_one_by_whatever_clock(kept: Kept) -> None:
    unfinished = make_span(chat(response_id="r"), duration_ms=None)
    finished = replace(unfinished, end_time_unix_nano=unfinished.start_time_unix_nano + 5_000_000)

    for span, received_at in ((unfinished, RECEIVED_AT), (finished, RECEIVED_AT - timedelta(hours=1))):
        kept.store.write(batch_of([receive(Decoded(spans=[span]), Sender(), received_at, MAPPING)], price))

    assert [row.latency_ms for row in kept.events.values()] == [5.0]
