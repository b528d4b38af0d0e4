from __future__ import annotations

import pytest

from otel_obs.web.dashboard.charts import HEIGHT, WIDTH, Series, lines, nice, sparkline, stacked
from otel_obs.web.dashboard.figures import short

LABELS = ("Mon", "Tue", "Wed", "Thu")


def test_parts_of_a_bar_stand_on_each_other_and_fill_what_they_are_worth() -> None:
    chart = stacked(
        "t", LABELS, [Series(name="a", values=[1, 0, None, 4]), Series(name="b", values=[3, 0, 2, 4], color=1)], short
    )

    first, second = chart.boxes[0], chart.boxes[1]
    assert second.y + second.height == pytest.approx(first.y)
    assert first.y + first.height == HEIGHT
    assert chart.ticks == ["8", "4", "0"]
    highest = min(box.y for box in chart.boxes)
    assert highest == 0, "the largest sum reaches the end of the axis"
    assert len(chart.boxes) == 5, "nothing is drawn for nothing"
    assert all(box.x >= 0 and box.x + box.width <= WIDTH for box in chart.boxes)


def test_a_chart_says_the_same_as_a_table() -> None:
    chart = stacked(
        "t", LABELS[:2], [Series(name="a", values=[1, None]), Series(name="b", values=[3, 2])], short, ["/x", "/y"]
    )

    assert chart.table == [("Mon", "/x", ["1", "3"]), ("Tue", "/y", ["–", "2"])]
    assert chart.spots[0].tip == "Mon\nb: 3\na: 1\ntotal: 4"
    assert [spot.href for spot in chart.spots] == ["/x", "/y"]


def test_a_line_is_broken_where_nothing_is_known() -> None:
    chart = lines("t", LABELS, [Series(name="a", values=[1, 2, None, 1])], short)

    assert chart.lines[0].path.count("M") == 1
    assert len(chart.lines[0].dots) == 1


def test_a_chart_of_nothing_is_empty() -> None:
    assert stacked("t", LABELS, [], short).is_empty
    assert stacked("t", (), [], short).is_empty
    assert lines("t", LABELS, [Series(name="a", values=[None, 0, None, 0])], short).is_empty


def test_few_labels_are_written_however_many_periods_there_are() -> None:
    labels = [str(hour) for hour in range(168)]

    assert sum(bool(label) for label in stacked("t", labels, [], short).shown) <= 7


@pytest.mark.parametrize(
    ("value", "end"), [(0, 1), (-3, 1), (7, 8), (8.1, 10), (0.011, 0.012), (999, 1000), (float("inf"), 1)]
)
def test_an_axis_ends_at_a_round_number(value: float, end: float) -> None:
    assert nice(value) == pytest.approx(end)


def test_a_sparkline_says_something_or_is_not_drawn() -> None:
    assert sparkline([1, 2, 4]).startswith("M0.0 ")
    assert sparkline([0, None, 0]) == ""
    assert sparkline([5]) == ""
