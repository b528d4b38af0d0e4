"""Where does a chart's ink go?  Stacked bars, lines and a sparkline, as numbers that templates put into SVG.

A plot is 1000 wide and 200 high and stretched to its place by the browser; what is written beside it is HTML, so that
letters keep their size. Every chart comes with its numbers, for the table that says the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

WIDTH, HEIGHT = 1000.0, 200.0
MAX_SERIES = 7
_LABELS = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """What is drawn in one colour; None where nothing is known."""

    name: str
    values: Sequence[float | None]
    color: int = 0
    href: str | None = None


@dataclass(frozen=True, slots=True)
class Box:
    """A part of a bar."""

    x: float
    y: float
    width: float
    height: float
    color: int


@dataclass(frozen=True, slots=True)
class Line:
    """A line that is broken where nothing is known."""

    path: str
    color: int
    dots: Sequence[tuple[float, float]] = ()
    """Points without neighbours, which no line shows."""


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a period can be pointed at, what is told of it, and where it leads."""

    x: float
    width: float
    tip: str
    href: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """All of a chart."""

    title: str
    labels: Sequence[str]
    """Name of each period."""
    shown: Sequence[str]
    """The same for the axis, most of them empty."""
    series: Sequence[Series]
    ticks: Sequence[str]
    """From the top down to zero."""
    lines: Sequence[Line] = ()
    boxes: Sequence[Box] = ()
    spots: Sequence[Spot] = ()
    table: Sequence[tuple[str, str | None, Sequence[str]]] = field(default=())
    """Period, where it leads, and the value of each series."""

    @property
    def is_empty(self) -> bool:
        """Tell whether there is nothing to draw."""
        return not any(value for series in self.series for value in series.values)


Spell = Callable[[float | None], str]


def stacked(
    title: str,
    labels: Sequence[str],
    series: Sequence[Series],
    spell: Spell,
    hrefs: Sequence[str | None] = (),
    *,
    axis: Spell | None = None,
) -> Chart:
    """Return bars, one for each label, of *series* upon each other."""
    sums = [sum(one.values[index] or 0 for one in series) for index in range(len(labels))]
    top = nice(max(sums, default=0))
    slot = WIDTH / max(1, len(labels))
    width = slot * 0.72 if len(labels) < 60 else slot * 0.86
    boxes = []
    for index in range(len(labels)):
        level = 0.0
        for one in series:
            value = one.values[index] or 0
            if value > 0:
                height = HEIGHT * value / top
                boxes.append(
                    Box(
                        _r(index * slot + (slot - width) / 2),
                        _r(HEIGHT - level - height),
                        _r(width),
                        _r(height),
                        one.color,
                    )
                )
                level += height
    totals = sums if len(series) > 1 else None
    return _chart(title, labels, series, (spell, axis or spell), hrefs, top, boxes=boxes, totals=totals)


def lines(
    title: str, labels: Sequence[str], series: Sequence[Series], spell: Spell, hrefs: Sequence[str | None] = ()
) -> Chart:
    """Return a line for each of *series* over the same labels."""
    top = nice(max((value for one in series for value in one.values if value is not None), default=0))
    slot = WIDTH / max(1, len(labels))
    drawn = [_line(one, top, slot) for one in series]
    return _chart(title, labels, series, (spell, spell), hrefs, top, lines=drawn)


def sparkline(values: Sequence[float | None]) -> str:
    """Return the path of a small line, 100 wide and 24 high; empty where it would say nothing."""
    known = [value or 0 for value in values]
    top = max(known, default=0)
    if len(known) < 2 or top <= 0:
        return ""
    step = 100 / (len(known) - 1)
    points = [f"{_r(index * step)} {_r(22.5 - 21 * value / top)}" for index, value in enumerate(known)]
    return "M" + "L".join(points)


def nice(value: float) -> float:
    """Return the end of an axis that holds *value*: 1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6 or 8 times a power of ten."""
    if value <= 0 or not math.isfinite(value):
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next((step * power for step in (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10) if value <= step * power), value)


def _line(series: Series, top: float, slot: float) -> Line:
    parts: list[list[tuple[float, float]]] = [[]]
    for index, value in enumerate(series.values):
        if value is None:
            parts.append([])
        else:
            parts[-1].append((_r((index + 0.5) * slot), _r(HEIGHT - HEIGHT * value / top)))
    path = "".join("M" + "L".join(f"{x} {y}" for x, y in part) for part in parts if len(part) > 1)
    return Line(path, series.color, [part[0] for part in parts if len(part) == 1])


def _chart(
    title: str,
    labels: Sequence[str],
    series: Sequence[Series],
    spells: tuple[Spell, Spell],
    hrefs: Sequence[str | None],
    top: float,
    *,
    boxes: Sequence[Box] = (),
    lines: Sequence[Line] = (),
    totals: Sequence[float] | None = None,
) -> Chart:
    spell, axis = spells
    slot = WIDTH / max(1, len(labels))
    links = [hrefs[index] if index < len(hrefs) else None for index in range(len(labels))]
    spots = [
        Spot(_r(index * slot), _r(slot), _tip(labels[index], series, index, spell, totals), links[index])
        for index in range(len(labels))
    ]
    every = max(1, math.ceil(len(labels) / _LABELS))
    return Chart(
        title=title,
        labels=labels,
        shown=[label if index % every == every // 2 else "" for index, label in enumerate(labels)],
        series=series,
        ticks=[axis(top), axis(top / 2), axis(0)],
        boxes=boxes,
        lines=lines,
        spots=spots,
        table=[
            (labels[index], links[index], [spell(one.values[index]) for one in series]) for index in range(len(labels))
        ],
    )


def _tip(label: str, series: Sequence[Series], index: int, spell: Spell, totals: Sequence[float] | None) -> str:
    said = [f"{one.name}: {spell(one.values[index])}" for one in reversed(series) if one.values[index] is not None]
    total = [] if totals is None else [f"total: {spell(totals[index])}"]
    return "\n".join([label, *said, *total])


def _r(value: float) -> float:
    return round(value, 2)
