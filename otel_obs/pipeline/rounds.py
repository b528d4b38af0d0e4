"""What did each round of an answer cost, where an emitter reports the sum of all rounds so far?

A model that calls tools is asked again with their results. Spring AI adds up what those requests cost, and says of each
the sum up to it: the first 1,202 tokens, the second 2,505, of which 1,303 are its own. The sums stand in a flag of the
event, so that this is a function of the set of rows, however often a trace is settled.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from otel_obs.model import ROUNDS_BELOW, RUNNING_TOTAL
from otel_obs.rows import CallRow, EventRow
from otel_obs.rows.report import EventKey, Report

_SUM = re.compile(rf"^{RUNNING_TOTAL}\((\d+),(\d+)\)$")

Totals = tuple[int, int]


def with_own_rounds(
    reports: dict[EventKey, Report],
    events: Mapping[EventKey, EventRow],
    reprice: Callable[[CallRow], CallRow],
) -> dict[EventKey, Report]:
    """Return *reports*, of running totals only what each adds to the one before it."""
    totals = {key: total for key in reports if key in events and (total := _total(events[key])) is not None}
    if not totals:
        return reports
    found = dict(reports)
    tools = _tools(events.values())
    for parent, siblings in _siblings(totals, events).items():
        upper = None if parent is None else events.get(parent)
        surely = upper is not None and ROUNDS_BELOW in upper.context.get("flags", ())
        before: EventKey | None = None
        for key in sorted(siblings, key=lambda key: (events[key].timestamp, key)):
            own = totals[key]
            if before is not None and _ran_between(tools.get(parent, ()), events[before], events[key]):
                own = _added(totals[before], own, surely=surely)
            found[key] = _with_tokens(found[key], own, reprice)
            before = key
    return found


def _total(event: EventRow) -> Totals | None:
    flags: Iterable[Any] = event.context.get("flags", ())
    for flag in flags:
        if isinstance(flag, str) and (found := _SUM.match(flag)) is not None:
            return int(found[1]), int(found[2])
    return None


def _siblings(
    totals: Mapping[EventKey, Totals], events: Mapping[EventKey, EventRow]
) -> dict[EventKey | None, list[EventKey]]:
    found: dict[EventKey | None, list[EventKey]] = {}
    for key in totals:
        found.setdefault(_parent(events[key]), []).append(key)
    return found


def _parent(event: EventRow) -> EventKey | None:
    return None if event.parent_span_id is None else (event.trace_id, event.parent_span_id)


def _tools(events: Iterable[EventRow]) -> dict[EventKey | None, list[datetime]]:
    """Return when tools began, by the span that they are right below."""
    found: dict[EventKey | None, list[datetime]] = {}
    for event in events:
        if event.event_type == "tool":
            found.setdefault(_parent(event), []).append(event.timestamp)
    return found


def _ran_between(tools: Iterable[datetime], before: EventRow, after: EventRow) -> bool:
    return any(before.timestamp <= began <= after.timestamp for began in tools)


def _added(before: Totals, after: Totals, *, surely: bool) -> Totals:
    """Return what *after* adds to *before*, if it holds it.

    Where nothing proves that both belong to one answer, the sums have to: each round is asked at least what the one
    before it was, so that a sum is twice as much.
    """
    if after[0] < before[0] * (1 if surely else 2) or after[1] < before[1]:
        return after
    return after[0] - before[0], after[1] - before[1]


def _with_tokens(report: Report, own: Totals, reprice: Callable[[CallRow], CallRow]) -> Report:
    row = report.row
    if (row.input_tokens, row.output_tokens) == own:
        return report
    return report._replace(row=reprice(row._replace(input_tokens=own[0], output_tokens=own[1])))
