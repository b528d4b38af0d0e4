"""Which reports speak of the same call?

The provider's response id names a call; where there is none, structure does: an ancestor and its
descendant, or siblings of different instrumentations, with the same model family, the same usage
and overlapping time. All of it is a function of the set of reports, never of their order.
Reports of two traces are the matter of ``strangers``.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple

from otel_obs.frozen import dataclass
from otel_obs.pipeline.totals import nearly_same, same_but_for_parts, same_totals
from otel_obs.rows import CallRow
from otel_obs.rows.report import EventKey, Report

SLACK = timedelta(seconds=2)
"""Clocks and instrumentations disagree by about this much about when a call began and ended."""
_VERSION = re.compile(r"[-@:](?:\d{4}-?\d{2}-?\d{2}|v\d+(?::\d+)?|\d{3,4}|latest|\d{2}-\d{2})$")


def model_family(model: str | None) -> str | None:
    """Return *model* without vendor prefix, date and version, so that alias and dated name agree."""
    if not model:
        return None
    name = model.lower().rsplit("/", 1)[-1]
    name = re.sub(r"^(?:[a-z]{2,6}\.)?(?:anthropic|openai|meta|mistral|cohere|amazon|deepseek)\.", "", name)
    while True:
        shorter = _VERSION.sub("", name)
        if shorter == name:
            return name
        name = shorter


def same_model(one: CallRow, other: CallRow) -> bool:
    """Tell whether two reports may speak of the same model; an unknown one fits any."""
    families = [{model_family(row.model_name), model_family(row.request_model)} - {None} for row in (one, other)]
    return not families[0] or not families[1] or bool(families[0] & families[1])


def overlap(one: Report, other: Report) -> bool:
    """Tell whether two reports overlap in time, with two seconds of slack."""
    return one.started <= other.ended + SLACK and other.started <= one.ended + SLACK


@dataclass(frozen=True, slots=True)
class Matches:
    """What a trace's structure says about its reports."""

    groups: Mapping[EventKey, str]
    """Report without a response id -> the id of the call it speaks of (one of ours if nobody named it)."""
    doubtful: frozenset[EventKey]
    """Reports that may be a second sighting of a call, and yet are counted."""
    rollups: frozenset[EventKey]
    """Reports that repeat the sum of the calls below them."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two reports that may speak of one call."""

    kind: int
    vague: bool
    """One does not say its totals, or the two agree but nearly."""
    apart: float
    one: Report
    other: Report

    @property
    def order(self) -> tuple[object, ...]:
        """Return a key by which the better fit sorts first."""
        return (self.kind, self.vague, self.apart, self.one.key, self.other.key)


NESTED, SIBLINGS, COUSINS = 0, 1, 2


CLOSEST = 16
"""With how many reports of another instrumentation one is compared, where thousands have the same totals at once."""


class _Families:
    """Sets of reports of one call while they are being found."""

    def __init__(self, reports: Iterable[Report], paths: Mapping[EventKey, Sequence[str]]) -> None:
        self._paths = paths
        self._members = {report.key: [report] for report in reports}

    def join(self, one: Report, other: Report) -> bool:
        """Put both into one set; return False if their sets cannot be one call."""
        first, second = self._members[one.key], self._members[other.key]
        if first is second:
            return True
        names = {report.row.response_id for report in (*first, *second)} - {None}
        if len(names) > 1 or any(self._rivals(left, right) for left in first for right in second):
            return False
        first.extend(second)
        for report in second:
            self._members[report.key] = first
        return True

    def _rivals(self, one: Report, other: Report) -> bool:
        """One instrumentation reports one call once, unless it nests its spans."""
        return layer_of(one) == layer_of(other) and not nested(one, other, self._paths)

    def tellers(self, report: Report) -> frozenset[Layer]:
        """Return the instrumentations that are known to tell the call of *report*."""
        return frozenset(layer_of(member) for member in self._members[report.key])

    def names(self) -> dict[EventKey, str]:
        """Return the name of the call for each report that has none itself and is not alone."""
        found: dict[EventKey, str] = {}
        for key, members in self._members.items():
            own = next(report for report in members if report.key == key)
            if len(members) > 1 and own.row.response_id is None:
                known = next((report.row.response_id for report in members if report.row.response_id), None)
                found[key] = known or f"trace:{key[0]}:{min(report.row.event_id for report in members)}"
        return found


def nested(one: Report, other: Report, paths: Mapping[EventKey, Sequence[str]]) -> bool:
    """Tell whether one report's span is the other's, or lies below it."""
    spans = (one.row.span_id, other.row.span_id)
    return spans[0] == spans[1] or spans[0] in paths[other.key] or spans[1] in paths[one.key]


def match(reports: Sequence[Report], paths: Mapping[EventKey, Sequence[str]]) -> Matches:
    """Find for each report without a response id the call it speaks of, within one trace.

    *paths* gives the span ids above each report, nearest first. The best fits are joined first. Without
    an ancestor or a common parent two reports stay two calls, and the later one is marked doubtful.
    """
    rollups = frozenset(_rollups(reports, paths))
    candidates = [report for report in reports if report.key not in rollups]
    if not any(map(_is_nameless, candidates)):
        # Their ids say all of it.
        return Matches({}, frozenset(), rollups)
    families = _Families(candidates, paths)
    doubtful: set[EventKey] = set()
    for found in (
        _nested_pairs(candidates, paths),
        _beside_each_other(candidates, families),
        _within_each_other(candidates, paths, families),
    ):
        # The second is looked for when the first are joined: who has found its twin has none elsewhere.
        for pair in sorted(_pairs(found, paths), key=lambda pair: pair.order):
            if pair.kind == COUSINS or not families.join(pair.one, pair.other):
                doubtful.add(max((pair.one, pair.other), key=by_start).key)
    groups = families.names()
    return Matches(groups, frozenset(doubtful - groups.keys()), rollups)


def _pairs(found: Iterable[tuple[Report, Report]], paths: Mapping[EventKey, Sequence[str]]) -> Iterable[Pair]:
    for one, other in found:
        nameless = one.row.response_id is None or other.row.response_id is None
        if nameless and overlap(one, other) and (pair := _pair(one, other, paths)) is not None:
            yield pair


def _nested_pairs(
    reports: Sequence[Report], paths: Mapping[EventKey, Sequence[str]]
) -> Iterable[tuple[Report, Report]]:
    """Yield each two reports of one span, or of a span and one below it, that overlap and may be one call."""
    by_span: dict[str, list[Report]] = {}
    for report in reports:
        by_span.setdefault(report.row.span_id, []).append(report)
    for report in reports:
        own = (other for other in by_span[report.row.span_id] if other.key < report.key)
        above = (other for span_id in paths[report.key] for other in by_span.get(span_id, ()))
        for other in (*own, *above):
            if _is_nameless(report) or _is_nameless(other):
                first, second = sorted((report, other), key=by_start)
                if overlap(first, second):
                    yield first, second


def _beside_each_other(reports: Sequence[Report], families: _Families) -> Iterable[tuple[Report, Report]]:
    """Yield reports of two instrumentations, of the same input, at the same time: of thousands the closest few."""
    slack = SLACK.total_seconds()
    running: dict[int | None, dict[Layer, list[_Timed]]] = {}
    for report in sorted(reports, key=by_start):
        if not report.has_usage:
            continue
        other = _Timed(report.started.timestamp(), report.ended.timestamp(), families.tellers(report), report)
        told_by = layer_of(report)
        same_input = running.setdefault(report.row.input_tokens, {})
        for teller in same_input.keys() - other.told_by:
            known = [one for one in same_input[teller] if one.ended + slack >= other.started - slack]
            same_input[teller] = known
            alone = [(one.apart(other), one.report.key, one.report) for one in known if told_by not in one.told_by]
            for _, _, one in heapq.nsmallest(CLOSEST, alone):
                yield one, report
        same_input.setdefault(told_by, []).append(other)


def _within_each_other(
    reports: Sequence[Report], paths: Mapping[EventKey, Sequence[str]], families: _Families
) -> Iterable[tuple[Report, Report]]:
    """Yield each report whose tokens may be told otherwise beside it, and those there that began closest to it.

    It is without usage, or says of cached tokens, which another instrumentation may leave out of the input.
    """
    beside: dict[str, list[Report]] = {}
    for report in sorted(reports, key=by_start):
        if not report.is_log and paths[report.key]:
            beside.setdefault(paths[report.key][0], []).append(report)
    for group in beside.values():
        if len({report.scope for report in group}) < 2:
            continue
        for position, report in enumerate(group):
            row = report.row
            alike = report.has_usage and not (row.cache_read_tokens or row.cache_write_tokens)
            if alike or len(families.tellers(report)) > 1:
                continue
            for other in group[max(0, position - CLOSEST) : position + CLOSEST]:
                if layer_of(other) not in families.tellers(report):
                    first, second = sorted((report, other), key=by_start)
                    yield first, second


def within(inner: Report, outer: Report) -> bool:
    """Tell whether one report began and ended while the other ran."""
    return outer.started <= inner.started and inner.ended <= outer.ended


class _Timed(NamedTuple):
    started: float
    ended: float
    told_by: frozenset[Layer]
    """The instrumentations that are known to tell its call, its own among them."""
    report: Report

    def apart(self, other: _Timed) -> float:
        return abs(self.started - other.started) + abs(self.ended - other.ended)


def time_apart(one: Report, other: Report) -> float:
    """Return by how many seconds two reports begin and end apart."""
    return abs((one.started - other.started).total_seconds()) + abs((one.ended - other.ended).total_seconds())


def _is_nameless(report: Report) -> bool:
    return report.row.response_id is None


def by_start(report: Report) -> tuple[object, ...]:
    """Return a key by which the report that began first sorts first."""
    return (report.started, report.key)


Layer = tuple[str, bool]


def layer_of(report: Report) -> Layer:
    """Return what tells layers of instrumentation apart."""
    return (report.scope, report.is_log)


def _pair(one: Report, other: Report, paths: Mapping[EventKey, Sequence[str]]) -> Pair | None:
    if not same_request(one.row, other.row) and not _renamed(one, other, paths):
        return None
    silent = not (one.has_usage and other.has_usage)
    exact = not silent and (same_totals(one.row, other.row) or same_but_for_parts(one.row, other.row))
    other_layer = layer_of(one) != layer_of(other)
    if not silent and not exact and not (other_layer and nearly_same(one.row, other.row)):
        return None
    apart = time_apart(one, other)
    if nested(one, other, paths):
        return Pair(NESTED, not exact, apart, one, other)
    if not other_layer:
        return None
    siblings = one.is_log or other.is_log or (paths[one.key][:1] == paths[other.key][:1] != ())
    if silent or one.row.input_tokens != other.row.input_tokens:
        inside = siblings and (within(one, other) or within(other, one))
        return Pair(SIBLINGS, not exact, apart, one, other) if inside else None
    return Pair(SIBLINGS if siblings else COUSINS, not exact, apart, one, other)


def _renamed(one: Report, other: Report, paths: Mapping[EventKey, Sequence[str]]) -> bool:
    """Tell whether a request lies below one of the same totals that another instrumentation tells of another model.

    What a gateway calls a model is its own affair: it is asked for an alias, and asks for what that stands for.
    """
    totals = (one.row.input_tokens, one.row.output_tokens)
    return (
        all(totals)
        and totals == (other.row.input_tokens, other.row.output_tokens)
        and layer_of(one) != layer_of(other)
        and {one.row.operation, other.row.operation} <= _GENERATING
        and nested(one, other, paths)
    )


_GENERATING = frozenset({"chat", "text_completion", "generate_content"})
"""Emitters do not agree on which of them a request is."""


def same_request(one: CallRow, other: CallRow) -> bool:
    """Tell whether two reports may speak of a request of the same kind to the same model."""
    generating = one.operation in _GENERATING and other.operation in _GENERATING
    return (generating or one.operation == other.operation) and same_model(one, other)


def _rollups(reports: Sequence[Report], paths: Mapping[EventKey, Sequence[str]]) -> Iterable[EventKey]:
    """Yield the reports whose totals are the sum of at least two calls below them."""
    spans = {report.row.span_id: report for report in reports if not report.is_log}
    below: dict[str, list[Report]] = {}
    for report in spans.values():
        above = next((span_id for span_id in paths[report.key] if span_id in spans), None)
        if above is not None:
            below.setdefault(above, []).append(report)
    for span_id, parts in below.items():
        if len(parts) > 1 and _is_sum(spans[span_id].row, [part.row for part in parts]):
            yield spans[span_id].key


def _is_sum(row: CallRow, parts: Sequence[CallRow]) -> bool:
    """Tell whether *row* bills what *parts* bill together; their cached tokens it may leave out, or count again."""
    whole = sum(part.input_tokens or 0 for part in parts)
    cached = sum(part.cached_tokens for part in parts)
    return bool(
        row.input_tokens
        and abs(whole - row.input_tokens) <= cached
        and (row.output_tokens or 0) == sum(part.output_tokens or 0 for part in parts)
        and (row.output_tokens or row.input_tokens == whole)
    )
