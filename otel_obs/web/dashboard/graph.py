"""Who called whom in a trace?  Agents, models and tools as boxes in columns, calls between them as lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from otel_obs.analytics.traces import TraceNode

_DRAWN = ("workflow", "agent", "llm", "embedding", "tool", "retrieval", "guardrail")
_MODELS = ("llm", "embedding")
WIDTH, HEIGHT, GAP_X, GAP_Y, EDGE = 190, 46, 70, 16, 4
MAX_BOXES = 60
_LOOP = 30
"""Room below for lines that lead back."""
_CUT = 26

_Key = tuple[str, str]


@dataclass(slots=True)
class Actor:
    """An agent, a model, a tool ..., however often it came up."""

    kind: str
    name: str
    times: int = 0
    errors: int = 0
    latency_ms: float = 0.0
    cost_cents: Decimal | None = None
    depth: int = 0
    event_id: str = ""
    """The first of its events."""
    x: int = 0
    y: int = 0

    @property
    def title(self) -> str:
        """Return the name as far as it fits."""
        return self.name if len(self.name) <= _CUT else f"{self.name[: _CUT - 1]}…"


@dataclass(frozen=True, slots=True)
class Arrow:
    """A line from one box to another."""

    path: str
    times: int
    x: float
    y: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """Boxes and lines, and the room they take."""

    actors: Sequence[Actor] = ()
    arrows: Sequence[Arrow] = ()
    width: int = 0
    height: int = 0
    left_out: int = 0
    calls: Sequence[tuple[str, str, int]] = field(default=())
    """Who called whom, and how often."""


def graph_of(nodes: Sequence[TraceNode]) -> Graph:
    """Return the graph of a trace; empty where nobody called anybody."""
    above = {node.span_id: node for node in nodes if node.event_id == node.span_id}
    actors: dict[_Key, Actor] = {}
    calls: Counter[tuple[_Key, _Key]] = Counter()
    for node in nodes:
        if not _is_drawn(node):
            continue
        key = _key(node)
        actor = actors.setdefault(key, Actor(*key, event_id=node.event_id))
        _count(actor, node)
        caller = _caller(node, above)
        if caller is not None and _key(caller) != key:
            actors.setdefault(_key(caller), Actor(*_key(caller), event_id=caller.event_id))
            calls[_key(caller), key] += 1
    if not calls:
        return Graph()
    kept = dict(list(actors.items())[:MAX_BOXES])
    calls = Counter({pair: times for pair, times in calls.items() if pair[0] in kept and pair[1] in kept})
    _place(kept, calls)
    return Graph(
        actors=list(kept.values()),
        arrows=[_arrow(kept[start], kept[end], times) for (start, end), times in calls.items()],
        width=max(actor.x for actor in kept.values()) + WIDTH + EDGE,
        height=max(actor.y for actor in kept.values()) + HEIGHT + EDGE + (_LOOP if _goes_back(kept, calls) else 0),
        left_out=len(actors) - len(kept),
        calls=[(start[1], end[1], times) for (start, end), times in calls.items()],
    )


def _goes_back(actors: Mapping[_Key, Actor], calls: Mapping[tuple[_Key, _Key], int]) -> bool:
    return any(actors[end].depth <= actors[start].depth for start, end in calls)


def _is_drawn(node: TraceNode) -> bool:
    return node.event_type in _DRAWN and node.cost_state != "duplicate"


def _key(node: TraceNode) -> _Key:
    if node.event_type in _MODELS:
        return "llm", node.model_name or node.name
    return node.event_type, node.agent_id or node.name if node.event_type == "agent" else node.name


def _count(actor: Actor, node: TraceNode) -> None:
    actor.times += 1
    actor.errors += node.status == "error"
    actor.latency_ms += node.latency_ms or 0
    if node.cost_cents is not None:
        actor.cost_cents = (actor.cost_cents or Decimal(0)) + node.cost_cents


def _caller(node: TraceNode, above: Mapping[str, TraceNode]) -> TraceNode | None:
    """Return the nearest workflow, agent or tool above *node*."""
    seen = set()
    found = above.get(node.parent_span_id or "")
    while found is not None and found.span_id not in seen:
        if _is_drawn(found) and found.event_type not in _MODELS:
            return found
        seen.add(found.span_id)
        found = above.get(found.parent_span_id or "")
    return None


def _place(actors: Mapping[_Key, Actor], calls: Mapping[tuple[_Key, _Key], int]) -> None:
    """Put each box into the column behind that of its first caller."""
    below: dict[_Key, list[_Key]] = {}
    called = {end for _, end in calls}
    for start, end in calls:
        below.setdefault(start, []).append(end)
    placed = {key: 0 for key in actors if key not in called} or {next(iter(actors)): 0}
    waiting = list(placed)
    for key in waiting:
        for end in below.get(key, ()):
            if end not in placed:
                placed[end] = placed[key] + 1
                waiting.append(end)
    rows: Counter[int] = Counter()
    for key in [*waiting, *(key for key in actors if key not in placed)]:
        actor = actors[key]
        actor.depth = placed.get(key, 0)
        actor.x = EDGE + actor.depth * (WIDTH + GAP_X)
        actor.y = EDGE + rows[actor.depth] * (HEIGHT + GAP_Y)
        rows[actor.depth] += 1


def _arrow(start: Actor, end: Actor, times: int) -> Arrow:
    y1, y2 = start.y + HEIGHT / 2, end.y + HEIGHT / 2
    if end.depth <= start.depth:
        left, right = start.x + WIDTH / 2, end.x + WIDTH / 2
        y1, y2 = y1 + HEIGHT / 2, y2 + HEIGHT / 2
        path = f"M{left} {y1}C{left} {y1 + _LOOP} {right} {y2 + _LOOP} {right} {y2}"
        return Arrow(path, times, (left + right) / 2, max(y1, y2) + 20)
    x1, x2 = start.x + WIDTH, end.x
    bend = (x2 - x1) / 2
    return Arrow(f"M{x1} {y1}C{x1 + bend} {y1} {x2 - bend} {y2} {x2} {y2}", times, (x1 + x2) / 2, (y1 + y2) / 2)
