"""Memory is bounded by what is refused before it is read."""

from __future__ import annotations

import pytest

from otel_obs.receiver.memory import TIMES_ITS_SIZE, Memory, OutOfMemoryError, available_bytes, resident_bytes

LIMIT = 1000


def test_at_four_fifths_of_the_limit_nothing_is_let_in() -> None:
    held = [799]
    memory = Memory(LIMIT, held=lambda: held[0])
    with memory.request():
        pass

    held[0] = 801
    memory._look_at = 0.0

    with pytest.raises(OutOfMemoryError), memory.request():
        pass


def test_bodies_in_hand_count_until_they_are_answered() -> None:
    memory = Memory(LIMIT, held=lambda: 0)
    half = LIMIT // TIMES_ITS_SIZE // 2
    with memory.request() as first:
        first.grow(half)
        with memory.request() as second:
            with pytest.raises(OutOfMemoryError):
                second.grow(half)
            second.grow(1)
    with memory.request() as third:
        third.grow(half)
    assert memory._in_hand == 0


def test_one_request_alone_may_be_as_large_as_requests_may_be() -> None:
    memory = Memory(LIMIT, held=lambda: 0)

    with memory.request() as only:
        only.grow(LIMIT * 10)
        with pytest.raises(OutOfMemoryError), memory.request():
            pass

    with memory.request():
        pass


def test_without_a_limit_it_is_half_of_what_there_is() -> None:
    assert Memory().limit_bytes == available_bytes() // 2
    assert 0 < resident_bytes() < available_bytes()
