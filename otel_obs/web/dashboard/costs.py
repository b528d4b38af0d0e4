"""``/costs``: what was spent, by any keys, down to the calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from otel_obs.analytics.costs import CostRow
from otel_obs.analytics.sampling import completeness
from otel_obs.analytics.spend import KEYS, spend
from otel_obs.web.dashboard.page import Page, Shown, address, pages
from otel_obs.web.dashboard.trends import FILTERED_BY, spending

MAX_ROWS = 200

router = pages()


@router.get("/costs")
def costs(
    page: Shown,
    group_by: Annotated[str, Query(max_length=200)] = "model",
    flag: Annotated[str | None, Query(max_length=200)] = None,
) -> Response:
    """Show groups of calls, the dearest first, and cost over time."""
    by = [key for key in group_by.split(",") if key]
    flag = flag or None
    if flag is None:
        by = [key for key in by if key != "flag_variant"]
    elif "flag_variant" not in by:
        by = ["flag_variant", *by]
    stacked_by = next((key for key in by if key not in ("day", "hour")), None)
    with page.read() as connection:
        found = spend(connection, page.filters, by, flag=flag)
        chart = spending(page, connection, stacked_by, flag=flag if stacked_by == "flag_variant" else None)
        sampled = completeness(connection, page.filters, page.now)
    return page.render(
        "costs.html",
        by=by,
        keys=[key for key in KEYS if key != "flag_variant"],
        flag=flag,
        costs=found,
        shown=found.rows[:MAX_ROWS],
        chart=chart,
        sampled=sampled,
        drill=lambda row: drill(page, by, row),
        filtered=_filtered(page),
        csv=address("/api/v1/costs", {**page.query, "group_by": ",".join(by), "flag": flag, "format": "csv"}),
    )


def drill(page: Page, by: Sequence[str], row: CostRow) -> str | None:
    """Return the traces that a group of calls is made of; None where no filter says that."""
    asked: dict[str, str | None] = {name: page.query.get(name) for name in FILTERED_BY.values()}
    for key, value in zip(by, row.keys, strict=True):
        if key == "day" and value is not None:
            asked.update(since=f"{value}T00:00:00Z", until=f"{value}T23:59:59.999999Z")
        elif key == "hour" and value is not None:
            asked.update(since=value, until=value.replace(":00:00Z", ":59:59.999999Z"))
        elif key not in FILTERED_BY or value is None:
            return None
        else:
            asked[FILTERED_BY[key]] = value
    return page.link("/traces", **asked)


def _filtered(page: Page) -> list[tuple[str, str, str]]:
    """Return the filters in force: name, value, and the address without it."""
    names = {parameter: key for key, parameter in FILTERED_BY.items() if parameter != "workspace_id"}
    return [(names[name], page.query[name], page.here(**{name: None})) for name in names if page.query.get(name)]
