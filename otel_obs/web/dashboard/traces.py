"""``/traces``: a list to search, one trace in time and as a graph, and what was said, if that is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import Query
from starlette.responses import Response

from otel_obs.analytics import detail, traces
from otel_obs.errors import NotFoundError
from otel_obs.web.asked import Cursor
from otel_obs.web.dashboard.graph import graph_of
from otel_obs.web.dashboard.page import Shown, address, pages
from otel_obs.web.dashboard.said import said
from otel_obs.web.dashboard.trends import FILTERED_BY

PER_PAGE = 50
TABLE_ROWS = 200
"""Of a trace that are written into the page too, for whoever runs no scripts."""
FILTERS = (*(name for name in FILTERED_BY.values() if name != "workspace_id"), "status", "event_type", "error_type")

router = pages()


@router.get("/traces")
def listed(page: Shown, cursor: Cursor = None) -> Response:
    """Show traces, the newest first."""
    with page.read() as connection:
        found = traces.search(connection, page.filters, limit=PER_PAGE, cursor=cursor, patience=page.patience)
        note = traces.not_searched(connection, page.filters)
    slowest = max((row.latency_ms or 0 for row in found.items), default=0)
    return page.render(
        "traces.html",
        traces=found.items,
        next_page=None if found.next_cursor is None else page.here(cursor=found.next_cursor),
        searched_to=found.searched_to,
        first_page=page.here() if cursor else None,
        slowest=slowest,
        note=note,
        filtered=[(name, page.query[name], page.here(**{name: None})) for name in FILTERS if page.query.get(name)],
        csv=address("/api/v1/traces", {**page.query, "limit": 500, "format": "csv"}),
    )


@router.get("/traces/{trace_id}")
def one(
    page: Shown,
    trace_id: str,
    event: Annotated[str | None, Query(max_length=200)] = None,
    content: Annotated[str | None, Query(pattern="^1$")] = None,
) -> Response:
    """Show a trace: totals, waterfall, graph, and what is known of one of its events."""
    organization_id = page.caller.reader.organization_id
    if "\x00" in trace_id or "\x00" in (event or ""):
        raise NotFoundError
    shown: Mapping[str, Any] = {}
    with page.read() as connection:
        tree = traces.trace(connection, organization_id, trace_id)
        chosen = next((node for node in tree.nodes.items if node.event_id == event), None)
        if chosen is not None:
            known = detail.event_detail(connection, organization_id, trace_id, chosen.event_id, page.vault)
            shown = {
                "detail": known,
                "left_out": left_out(known.context),
                "said": said(known.contents) if content else None,
            }
    return page.render(
        "trace.html",
        tree=tree,
        table=tree.nodes.items[:TABLE_ROWS],
        root=next((node for node in tree.nodes.items if node.parent_span_id is None), tree.nodes.items[0]),
        graph=graph_of(tree.nodes.items),
        chosen=chosen,
        source=address(f"/api/v1/traces/{trace_id}", {"organization_id": page.query.get("organization_id")}),
        **{"detail": None, "said": None, **shown},
    )


def left_out(context: Mapping[str, Any]) -> Sequence[str]:
    """Return what of a span is missing in its *context*, such as ``3 attributes``."""
    attributes = context.get("attributes", {})
    dropped = [(attributes.get(f"otel.dropped_{what}s_count"), what) for what in ("attribute", "event", "link")]
    found = [f"{count} {what}{'' if count == 1 else 's'}" for count, what in dropped if count]
    return [*found, "what was too long for here"] if "truncated" in context.get("flags", ()) else found
