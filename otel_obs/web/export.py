"""Lists as JSON, JSON lines or CSV.

A cell that a spreadsheet would take for a formula gets an apostrophe in front
(https://owasp.org/www-community/attacks/CSV_Injection).
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, create_model
from starlette.responses import JSONResponse, PlainTextResponse, Response

from otel_obs.analytics.costs import Costs
from otel_obs.analytics.filters import Filters, Page
from otel_obs.analytics.searching import Found
from otel_obs.web.shapes import as_json, model_of

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")

_FIGURES: dict[str, Any] = {
    "calls": (int, ...),
    "calls_with_usage": (int, ...),
    "input_tokens": (int | None, ...),
    "cache_read_tokens": (int | None, ...),
    "cache_write_tokens": (int | None, ...),
    "output_tokens": (int | None, ...),
    "reasoning_tokens": (int | None, ...),
    "cost_cents": (float | None, ...),
    "unpriced_calls": (int, ...),
    "estimated_calls": (int, ...),
}
_Total = create_model("CostTotal", **_FIGURES)
COSTS_MODEL: type[BaseModel] = create_model(
    "Costs",
    since=(str, ...),
    until=(str, ...),
    by=(list[str], ...),
    rows=(list[dict[str, Any]], ...),
    total=(_Total, ...),
)


def answer(page: Page[Any], kind: type, shape: str, note: str | None = None) -> Response:
    """Return *page*, whose items are of *kind*, in the *shape* that was asked for.

    A *note* is a field ``note`` of JSON, and the header ``x-otel-obs-note``.
    """
    found = _answer(page, kind, shape, {} if note is None else {"note": note})
    if note is not None:
        found.headers["x-otel-obs-note"] = note
    return found


def _answer(page: Page[Any], kind: type, shape: str, note: Mapping[str, str]) -> Response:
    items: list[dict[str, Any]] = as_json(page.items)
    if shape == "json":
        looked = {"searched_to": as_json(page.searched_to)} if isinstance(page, Found) else {}
        return JSONResponse({"items": items, "next_cursor": page.next_cursor, **looked, **note})
    found = lines(items) if shape == "jsonl" else table(items, list(model_of(kind).model_fields))
    if page.next_cursor is not None:
        found.headers["link"] = f'<?cursor={page.next_cursor}>; rel="next"'
    return found


def costs_answer(costs: Costs, filters: Filters, shape: str) -> Response:
    """Return *costs* in the *shape* that was asked for."""
    if shape == "json":
        return JSONResponse(
            {
                "since": as_json(filters.since),
                "until": as_json(filters.until),
                "by": list(costs.by),
                "rows": groups(costs),
                "total": as_json(costs.total.figures),
            }
        )
    return lines(groups(costs)) if shape == "jsonl" else table(groups(costs), [*costs.by, *_FIGURES])


def groups(costs: Costs) -> list[dict[str, Any]]:
    """Return the groups of *costs*: their keys and their figures."""
    return [{**dict(zip(costs.by, row.keys, strict=True)), **as_json(row.figures)} for row in costs.rows]


def lines(items: Iterable[Mapping[str, Any]]) -> Response:
    """Return *items*, a JSON object a line."""
    text = "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items)
    return PlainTextResponse(text, media_type="application/x-ndjson")


def table(items: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> Response:
    """Return *items* as CSV (RFC 4180) with a line of names."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    for item in items:
        writer.writerow([cell(item.get(column)) for column in columns])
    return Response(
        text.getvalue(),
        media_type="text/csv; charset=utf-8",
        headers={"content-disposition": "attachment; filename=otel_obs.csv"},
    )


def cell(value: Any) -> str | int | float | None:
    """Return *value* as a cell that no spreadsheet takes for a formula."""
    if isinstance(value, list | dict):
        value = json.dumps(value, ensure_ascii=False)
    if isinstance(value, str) and value.startswith(_FORMULA):
        return "'" + value
    return value if isinstance(value, str | int | float) or value is None else str(value)
