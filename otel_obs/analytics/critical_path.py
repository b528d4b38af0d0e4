"""Which steps of a trace decided how long it took?

From the end backwards: the step that ended last before a moment is what was waited for
(https://www.jaegertracing.io/docs/latest/frontend-ui/#critical-path).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stretch:
    """A span as a stretch of time, in milliseconds."""

    span_id: str
    parent_span_id: str | None
    starts: float
    ends: float


def critical_path(spans: Iterable[Stretch]) -> frozenset[str]:
    """Return the ids of the spans that the trace waited for; empty without a root.

    Children that outlast their parent count up to its end. A cycle of parents is followed once.
    """
    found = {span.span_id: span for span in spans}
    children: dict[str, list[Stretch]] = {}
    for span in found.values():
        if span.parent_span_id in found:
            children.setdefault(str(span.parent_span_id), []).append(span)
    roots = [span for span in found.values() if span.parent_span_id not in found]
    if not roots:
        return frozenset()
    root = max(roots, key=lambda span: (span.ends - span.starts, span.span_id))
    path: set[str] = set()
    waiting = [(root, root.ends)]
    while waiting:
        span, until = waiting.pop()
        if span.span_id in path:
            continue
        path.add(span.span_id)
        waiting.extend(_awaited(span, until, children))
    return frozenset(path)


def _awaited(span: Stretch, until: float, children: Mapping[str, Sequence[Stretch]]) -> Iterable[tuple[Stretch, float]]:
    """Yield the children that *span* waited for before *until*, the last first, each with when it was left."""
    moment = min(span.ends, until)
    for child in sorted(children.get(span.span_id, ()), key=lambda item: (-item.ends, -item.starts, item.span_id)):
        if child.starts >= moment or child.ends <= child.starts:
            continue
        ends = min(child.ends, moment)
        if ends <= span.starts:
            continue
        yield child, ends
        moment = max(child.starts, span.starts)
