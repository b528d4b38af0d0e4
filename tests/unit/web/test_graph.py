from __future__ import annotations

from dataclasses import fields
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

from otel_obs.analytics.traces import TraceNode
from otel_obs.web.dashboard.graph import MAX_BOXES, graph_of


def node(span_id: str, parent: str | None, kind: str, name: str, **more: Any) -> TraceNode:
    values: dict[str, Any] = dict.fromkeys(field.name for field in fields(TraceNode))
    values |= {
        "on_critical_path": False,
        "offset_ms": 0.0,
        "has_content": False,
        "started_at": datetime.now(tz=timezone.utc),
    }
    values |= {
        "span_id": span_id,
        "event_id": span_id,
        "parent_span_id": parent,
        "event_type": kind,
        "name": name,
        "status": "ok",
    }
    return TraceNode(**{**values, **more})


def test_calls_lead_from_the_nearest_agent_to_what_it_called() -> None:
    found = graph_of(
        [
            node("1", None, "agent", "boss"),
            node("2", "1", "span", "POST"),
            node("3", "2", "llm", "chat", model_name="gpt", cost_cents=Decimal(2)),
            node("4", "1", "llm", "chat", model_name="gpt", cost_cents=Decimal(3)),
            node("5", "1", "llm", "chat", model_name="gpt", cost_state="duplicate"),
            node("6", "1", "tool", "search", status="error"),
        ]
    )

    assert found.calls == [("boss", "gpt", 2), ("boss", "search", 1)]
    boss, gpt, search = found.actors
    assert (gpt.times, gpt.cost_cents, search.errors) == (2, Decimal(5), 1)
    assert boss.depth == 0
    assert gpt.depth == search.depth == 1
    assert gpt.y != search.y


def test_agents_that_call_each_other_are_drawn_once() -> None:
    found = graph_of([node("1", "2", "agent", "a"), node("2", "1", "agent", "b"), node("3", "1", "agent", "a")])

    assert {actor.name for actor in found.actors} == {"a", "b"}
    assert all(arrow.path for arrow in found.arrows)


def test_a_trace_in_which_nobody_calls_anybody_has_no_graph() -> None:
    assert graph_of([node("1", None, "llm", "chat")]).actors == ()
    assert graph_of([]).actors == ()


def test_of_very_many_some_are_left_out_and_counted() -> None:
    tools = [node(f"t{index}", "1", "tool", f"tool {index}") for index in range(200)]
    found = graph_of([node("1", None, "agent", "boss"), *tools])

    assert len(found.actors) == MAX_BOXES
    assert found.left_out == 201 - MAX_BOXES
