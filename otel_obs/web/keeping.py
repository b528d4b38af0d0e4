"""Retention, quarantine and recommendations over HTTP."""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import create_model
from starlette.responses import JSONResponse, Response

from otel_obs.analytics import keeping
from otel_obs.analytics.recommendations import MIN_SAVING_CENTS, Recommendations, recommendations
from otel_obs.maintenance.policy import Policy, policies
from otel_obs.web import export
from otel_obs.web.api import AS_TEXT, PROBLEMS, Paged, api_of
from otel_obs.web.asked import Asked, Asking
from otel_obs.web.exporting import ExportingRoute
from otel_obs.web.shapes import as_json, model_of, page_of_model

router = APIRouter(prefix="/api/v1", responses=PROBLEMS, route_class=ExportingRoute)

_POLICY: Any = model_of(Policy)
_RUN: Any = model_of(keeping.RetentionRun)
_FIELDS: dict[str, Any] = {
    "policy": (_POLICY | None, ...),
    "cutoff": (datetime | None, ...),
    "items": (list[_RUN], ...),
    "next_cursor": (str | None, ...),
}
_Retention = create_model("Retention", **_FIELDS)


@router.get("/retention", response_model=_Retention, responses=AS_TEXT, summary="How long rows are kept, and what went")
def get_retention(
    request: Request,
    caller: Asking,
    filters: Asked,
    paging: Paged,
) -> Response:
    """Return the policy in force, the moment before which rows go, and what runs deleted, the newest first.

    A key that is bound to a workspace is told the policy, and no figures of the whole organization.
    """
    api = api_of(request)
    now = datetime.now(tz=timezone.utc)
    own = caller.reader.organization_id
    with api.read(caller) as connection:
        policy = policies(connection, now, api.grace, ids=[own]).get(own)
        page = keeping.retention_runs(connection, filters, **paging.place)
    if caller.reader.workspace_id is not None:
        page = type(page)([])
    if paging.format != "json":
        return export.answer(page, keeping.RetentionRun, paging.format)
    cutoff = None if policy is None else policy.cutoff(now)
    told = {"policy": policy, "cutoff": cutoff, "items": page.items, "next_cursor": page.next_cursor}
    return JSONResponse(as_json(told))


@router.get("/quarantine", response_model=page_of_model(keeping.Refused), responses=AS_TEXT,
            summary="What was refused, the newest first")  # fmt: skip
def get_quarantine(
    request: Request,
    caller: Asking,
    filters: Asked,
    paging: Paged,
) -> Response:
    """Return what was refused and why; not what it says."""
    with api_of(request).read(caller) as connection:
        page = keeping.quarantine(connection, filters, **paging.place)
    return export.answer(page, keeping.Refused, paging.format)


@router.get("/recommendations", response_model=model_of(Recommendations), summary="What would have cost less")
def get_recommendations(
    request: Request,
    caller: Asking,
    filters: Asked,
    min_saving_cents: Annotated[float, Query(ge=0, le=1e12, allow_inf_nan=False)] = float(MIN_SAVING_CENTS),
) -> Response:
    """Return findings with the calls that show them, the saving in the period, and how to check it."""
    with api_of(request).read(caller) as connection:
        found = recommendations(connection, filters, min_saving_cents=Decimal(str(min_saving_cents)))
    return JSONResponse(as_json(found))
