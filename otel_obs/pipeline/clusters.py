"""Which reports that name one call are one, and which of them is counted?

All of it is a function of the set of reports, never of their order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta

from otel_obs.frozen import dataclass
from otel_obs.pipeline.identity import SLACK, layer_of, overlap
from otel_obs.pipeline.totals import same_totals
from otel_obs.rows import CallRow
from otel_obs.rows.report import EventKey, Report

SAME_ANSWER = timedelta(minutes=10)
"""Equal totals further apart than this are an answer from a cache, not a second report."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """All reports of one call."""

    reports: tuple[Report, ...]
    """In order of trust: the first is counted."""
    cached: frozenset[EventKey] = frozenset()
    """Reports that are answers from a cache, told long after the call."""

    @property
    def counted(self) -> Report:
        """Return the report whose figures are the call's."""
        return self.reports[0]


def trust(report: Report) -> tuple[object, ...]:
    """Return a key by which the report to be counted sorts first: a total order.

    Spans before logs, figures of the provider before guesses, most usage parts, the innermost (the
    shortest), the earliest, the smaller ids.
    """
    row = report.row
    return (
        report.is_log,
        {"reported": 0, "split": 1, "estimated": 2, None: 3}[row.usage_source],
        -_parts(row),
        float("inf") if row.latency_ms is None else row.latency_ms,
        row.timestamp,
        row.trace_id,
        row.event_id,
    )


def outermost(report: Report) -> tuple[object, ...]:
    """Return a key by which the report closest to the agent that asked sorts first."""
    row = report.row
    return (
        report.is_log,
        row.agent_id is None,
        row.timestamp,
        -(row.latency_ms or 0),
        row.trace_id,
        row.event_id,
    )


def _parts(row: CallRow) -> int:
    parts = (
        row.input_tokens, row.cache_read_tokens, row.cache_write_tokens,
        row.cache_write_1h_tokens, row.output_tokens, row.reasoning_tokens,
    )  # fmt: skip
    return sum(part is not None for part in parts) + len(row.billed_units or ())


class _Sets:
    """Disjoint sets over positions (union-find)."""

    def __init__(self, size: int) -> None:
        self._parent = list(range(size))

    def find(self, item: int) -> int:
        while self._parent[item] != item:
            self._parent[item] = self._parent[self._parent[item]]
            item = self._parent[item]
        return item

    def join(self, one: int, other: int) -> None:
        first, second = sorted((self.find(one), self.find(other)))
        self._parent[second] = first

    def groups(self) -> list[list[int]]:
        found: dict[int, list[int]] = {}
        for item in range(len(self._parent)):
            found.setdefault(self.find(item), []).append(item)
        return list(found.values())


def clusters(reports: Iterable[Report]) -> list[Cluster]:
    """Return the calls that *reports*, all of one response id, speak of.

    Overlapping times or agreeing totals make one call; other totals without overlap are two, for some
    servers draw their ids from a small range. Agreeing totals more than ten minutes apart are an answer
    from a cache. One instrumentation that bills twice in different totals speaks of two calls however
    close they are.
    """
    ordered = sorted(reports, key=lambda report: (report.started, report.key))
    if len(ordered) == 1:
        return [Cluster((ordered[0],))]
    sets = _Sets(len(ordered))
    for one, other in _neighbours(ordered):
        sets.join(one, other)
    return [_cluster([ordered[item] for item in group]) for group in sets.groups()]


def _neighbours(ordered: Sequence[Report]) -> Iterable[tuple[int, int]]:
    """Yield the positions of reports of the same call; linear where totals differ and times do not meet."""
    billed: dict[tuple[int | None, int | None], int] = {}
    running: list[int] = []
    for position, report in enumerate(ordered):
        if report.has_usage:
            totals = (report.row.input_tokens, report.row.output_tokens)
            if totals in billed:
                yield billed[totals], position
            billed.setdefault(totals, position)
        running = [item for item in running if ordered[item].ended + SLACK >= report.started - SLACK]
        for item in running:
            if overlap(ordered[item], report) and _one_call(ordered[item], report):
                yield item, position
        running.append(position)


def _one_call(one: Report, other: Report) -> bool:
    twice = layer_of(one) == layer_of(other) and one.has_usage and other.has_usage
    return not twice or same_totals(one.row, other.row)


def _cluster(reports: list[Report]) -> Cluster:
    first = min(reports, key=lambda report: report.started)
    cached = frozenset(
        report.key for report in reports if report.started - first.ended > SAME_ANSWER and report is not first
    )
    # An answer from a cache is never the call itself, however much it knows.
    ordered = sorted(reports, key=lambda report: (report.key in cached, *trust(report)))
    return Cluster(tuple(ordered), cached)
