from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal

import pytest

from otel_obs.web.dashboard import figures


@pytest.mark.parametrize(
    ("cents", "said"),
    [
        (None, "–"),
        (0, "$0"),
        (Decimal("0.00002"), "<$0.000001"),
        (Decimal("0.0027"), "$0.000027"),
        (Decimal("0.5"), "$0.0050"),
        (12, "$0.120"),
        (99.96, "$1.000"),
        (100, "$1.00"),
        (123456, "$1,234.56"),
        (123456789, "$1.23M"),
        (-150, "−$1.50"),
    ],
)
def test_money_is_never_rounded_to_nothing(cents: float | Decimal | None, said: str) -> None:
    assert figures.money(cents) == said


@pytest.mark.parametrize(
    ("cents", "said"), [(0, "$0"), (50, "$0.50"), (1.25, "$0.0125"), (2500, "$25"), (2_000_000, "$20k"), (125, "$1.25")]
)
def test_an_axis_has_the_decimals_that_it_needs(cents: float, said: str) -> None:
    assert figures.axis_money(cents) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "–"),
        (0, "0"),
        (9999, "9,999"),
        (10_000, "10k"),
        (123_456, "123k"),
        (1_234_567, "1.23M"),
        (2.5e9, "2.5B"),
        (0.25, "0.25"),
    ],
)
def test_numbers_are_short(value: float | None, said: str) -> None:
    assert figures.short(value) == said


@pytest.mark.parametrize(
    ("milliseconds", "said"),
    [
        (None, "–"),
        (0, "0 ms"),
        (0.4, "<1 ms"),
        (999, "999 ms"),
        (1500, "1.50 s"),
        (59_940, "59.9 s"),
        (61_000, "1 m 01 s"),
        (3_700_000, "1 h 01 m"),
        (3.6e8, "4 d 4 h"),
    ],
)
def test_durations_have_the_unit_that_fits(milliseconds: float | None, said: str) -> None:
    assert figures.duration(milliseconds) == said


@pytest.mark.parametrize(
    ("part", "whole", "said"),
    [
        (1, 0, "–"),
        (None, 1, "–"),
        (0, 5, "0 %"),
        (5, 5, "100 %"),
        (1, 3, "33 %"),
        (1, 30, "3.3 %"),
        (1, 5000, "<0.1 %"),
        (999, 1000, "99.9 %"),
    ],
)
def test_a_share_is_all_or_nothing_only_if_it_is(part: float | None, whole: float, said: str) -> None:
    assert figures.share(part, whole) == said


@pytest.mark.parametrize(
    ("now", "before", "said"),
    [
        (1, None, None),
        (1, 0, None),
        (None, 1, None),
        (110, 100, "+10 %"),
        (50, 100, "−50 %"),
        (100.1, 100, "±0 %"),
        (2100, 100, "+21×"),
    ],
)
def test_a_change_is_told_where_there_is_something_to_compare(
    now: float | None, before: float | None, said: str | None
) -> None:
    assert figures.change(now, before) == said


def test_another_year_is_named() -> None:
    assert figures.moment(datetime(2001, 2, 3, 4, 5, 6, tzinfo=timezone.utc)) == "Feb 3 2001, 04:05:06"
    assert figures.moment(None) == figures.ago(None) == "–"


@pytest.mark.parametrize(
    ("count", "said"),
    [(None, "–"), (0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 30, "5.0 GiB"), (3 << 50, "3,072.0 TiB")],
)
def test_bytes_have_the_unit_that_fits(count: int | None, said: str) -> None:
    assert figures.size(count) == said
