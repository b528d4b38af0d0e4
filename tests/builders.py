"""Values for tests: each field has a default, so a test names only what it is about."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from otel_obs.model import Link, LogRecord, Resource, Scope, Span, SpanEvent

START_NS = 1_795_000_000_000_000_000
"""2026-11-18T11:06:40Z"""
MS = 1_000_000

_count = itertools.count(1)


def new_span_id() -> str:
    return f"{next(_count):016x}"


def make_span(
    attributes: Mapping[str, Any] | None = None,
    *,
    name: str = "a span",
    trace_id: str = "0af7651916cd43dd8448eb211c80319c",
    span_id: str | None = None,
    parent: Span | str | None = None,
    start_ms: float = 0,
    duration_ms: float | None = 100,
    status_code: int = 0,
    scope: str | Scope = "test",
    resource: Mapping[str, Any] | None = None,
    events: Sequence[SpanEvent] = (),
    links: Sequence[Link] = (),
    flags: tuple[str, ...] = (),
) -> Span:
    """Return a span; *duration_ms* None: unfinished."""
    start = START_NS + int(start_ms * MS)
    return Span(
        trace_id=trace_id,
        span_id=span_id or new_span_id(),
        parent_span_id=parent.span_id if isinstance(parent, Span) else parent,
        name=name,
        start_time_unix_nano=start,
        end_time_unix_nano=0 if duration_ms is None else start + int(duration_ms * MS),
        attributes=attributes or {},
        events=events,
        links=links,
        status_code=status_code,
        scope=scope if isinstance(scope, Scope) else Scope(scope),
        resource=Resource(resource or {"service.name": "tests"}),
        flags=flags,
    )


def chat(
    input_tokens: int | None = 100,
    output_tokens: int | None = 20,
    *,
    response_id: str | None = None,
    model: str = "gpt-4o-mini",
    more: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the attributes of a request to a model by the GenAI convention."""
    found: dict[str, Any] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": model,
        "gen_ai.response.model": model,
        "gen_ai.response.id": response_id,
        "gen_ai.usage.input_tokens": input_tokens,
        "gen_ai.usage.output_tokens": output_tokens,
        **(more or {}),
    }
    return {key: value for key, value in found.items() if value is not None}


def agent(name: str, **more: Any) -> dict[str, Any]:
    """Return the attributes of an agent's run by the GenAI convention."""
    return {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": name, **more}


def tool(name: str, **more: Any) -> dict[str, Any]:
    """Return the attributes of a tool call by the GenAI convention."""
    return {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": name, **more}


def make_log(
    attributes: Mapping[str, Any] | None = None,
    *,
    event_name: str = "",
    body: Any = None,
    trace_id: str = "0af7651916cd43dd8448eb211c80319c",
    span_id: str = "",
    at_ms: float = 0,
    severity_number: int = 9,
    scope: str = "test",
) -> LogRecord:
    """Return a log record."""
    return LogRecord(
        time_unix_nano=START_NS + int(at_ms * MS),
        severity_number=severity_number,
        event_name=event_name,
        body=body,
        attributes=attributes or {},
        trace_id=trace_id,
        span_id=span_id,
        scope=Scope(scope),
        resource=Resource({"service.name": "tests"}),
    )
