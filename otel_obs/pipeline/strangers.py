"""Which reports of different traces speak of the same call, although no id says so?

An instrumentation that loses the context reports its call as the root of a trace of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta

from otel_obs.pipeline.identity import (
    COUSINS,
    SLACK,
    Layer,
    Pair,
    by_start,
    layer_of,
    overlap,
    same_request,
    time_apart,
    within,
)
from otel_obs.pipeline.totals import nearly_same, same_but_for_parts
from otel_obs.rows.report import EventKey, Report

LOST_CONTEXT_WITHIN = timedelta(minutes=5)
"""How long before a report that has no response id its twin in another trace may have begun."""
_ACROSS = "span:"
"""What names of calls begin with that nothing but a comparison of traces gives."""


def group_within(report: Report) -> str | None:
    """Return the group that its own trace gives *report*; what was found across traces is looked for anew."""
    return None if report.group is not None and report.group.startswith(_ACROSS) else report.group


def match_across(reports: Sequence[Report]) -> dict[EventKey, str]:
    """Find for reports without a call id the report of another trace that speaks of the same call.

    One of them is the root of its trace. If neither names a response id, what is left is: one sender, two
    instrumentations, the same model, the same totals, at the same time. Where one says no totals, or they
    agree but nearly, one must lie within the other, and no third may fit.
    """
    if all(report.call_id is not None for report in reports):
        return {}
    pairs = sorted(_strangers(reports), key=lambda pair: pair.order)
    fits: dict[EventKey, int] = {}
    for pair in pairs:
        for key in (pair.one.key, pair.other.key):
            fits[key] = fits.get(key, 0) + 1
    tellers: dict[str, set[Layer]] = {}
    for report in reports:
        if report.call_id is not None:
            tellers.setdefault(report.call_id, set()).add(layer_of(report))
    groups: dict[EventKey, str] = {}
    taken: set[EventKey] = set()
    for pair in pairs:
        keys = {pair.one.key, pair.other.key}
        if keys & taken or (pair.vague and (any(fits[key] > 1 for key in keys) or _is_told(pair, tellers))):
            continue
        taken |= keys
        name = pair.one.call_id or pair.other.call_id or _ACROSS + ":".join(min(keys))
        groups.update({report.key: name for report in (pair.one, pair.other) if report.row.response_id is None})
    return groups


def _is_told(pair: Pair, tellers: Mapping[str, set[Layer]]) -> bool:
    """Tell whether the call of one is known to be told by the instrumentation of the other, which tells it once."""
    return any(
        report.call_id is not None and layer_of(other) in tellers[report.call_id]
        for report, other in ((pair.one, pair.other), (pair.other, pair.one))
    )


def _strangers(reports: Sequence[Report]) -> Iterable[Pair]:
    for one, other in _together(reports):
        if are_strangers(one, other):
            yield Pair(COUSINS, not _same_totals(one, other), time_apart(one, other), one, other)


def _together(reports: Iterable[Report]) -> Iterable[tuple[Report, Report]]:
    """Yield each two reports of two layers that overlap, the earlier one first, one of them nameless at least.

    Most reports are named, and most traces are told by one layer: a trace of thousands of calls at once is not
    compared call by call.
    """
    named: dict[Layer, list[Report]] = {}
    nameless: dict[Layer, list[Report]] = {}
    for other in sorted(reports, key=by_start):
        layer = layer_of(other)
        asks = other.call_id is None
        for running in (named, nameless) if asks else (nameless,):
            for key in running.keys() - {layer}:
                running[key] = [report for report in running[key] if report.ended + SLACK >= other.started - SLACK]
                for one in running[key]:
                    if overlap(one, other):
                        yield one, other
        (nameless if asks else named).setdefault(layer, []).append(other)


def are_strangers(one: Report, other: Report) -> bool:
    """Tell whether two reports of different traces may speak of one call although no id says so."""
    if one.row.trace_id == other.row.trace_id or not (one.is_root or other.is_root):
        return False
    if (one.call_id is not None and other.call_id is not None) or one.scope == other.scope:
        return False
    if one.is_log or other.is_log or one.resource != other.resource or not same_request(one.row, other.row):
        return False
    if _same_totals(one, other):
        return overlap(one, other)
    if one.has_usage and other.has_usage and not nearly_same(one.row, other.row):
        return False
    return within(one, other) or within(other, one)


def _same_totals(one: Report, other: Report) -> bool:
    return bool(one.row.input_tokens and one.row.output_tokens) and (
        _same_sum(one, other) or same_but_for_parts(one.row, other.row)
    )


def _same_sum(one: Report, other: Report) -> bool:
    return (one.row.input_tokens, one.row.output_tokens) == (other.row.input_tokens, other.row.output_tokens)
