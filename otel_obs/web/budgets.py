"""Budgets over HTTP: read by whoever may read, set and deleted by administrators (scope ``admin``)."""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field, create_model
from starlette.responses import JSONResponse, Response

from otel_obs.analytics import budgets
from otel_obs.errors import InvalidQueryError
from otel_obs.maintenance.webhooks import check_url
from otel_obs.postgres.budgets import MAX_PERCENT, MAX_THRESHOLDS, Budget, Period, Wanted, delete_budget, set_budget
from otel_obs.web import export
from otel_obs.web.access import Api, Caller
from otel_obs.web.api import AS_TEXT, PROBLEMS, Paged, api_of, identifier_in
from otel_obs.web.asked import Administering, Asked, Asking, checked_word
from otel_obs.web.exporting import ExportingRoute
from otel_obs.web.shapes import as_json, model_of, page_of_model

router = APIRouter(prefix="/api/v1", responses=PROBLEMS, route_class=ExportingRoute)

Id = Annotated[str | None, Field(max_length=200)]


class BudgetBody(BaseModel):
    """What a budget is to be; what is left out is not limited by it."""

    model_config = ConfigDict(extra="forbid")

    amount_cents: Annotated[float, Field(ge=0.01, le=1e14, allow_inf_nan=False)]
    period: Period
    workspace_id: Id = None
    user_id: Id = None
    agent_id: Id = None
    model_name: Id = None
    thresholds: Annotated[
        list[Annotated[int, Field(ge=1, le=MAX_PERCENT)]], Field(max_length=MAX_THRESHOLDS, description="Percents")
    ] = [80, 100]
    webhook_url: Annotated[
        str | None, Field(max_length=2000, description="Where alerts are posted; '' nowhere, absent: as before")
    ] = None
    flag_name: Annotated[str | None, Field(max_length=200, description="Flag to set when the amount is reached")] = None
    flag_enabled: bool | None = None
    version: Annotated[
        int | None, Field(ge=0, le=2**53, description="Refuse (409) unless it has this version; 0: none yet")
    ] = None
    why: Annotated[str | None, Field(max_length=1000, description="For the audit log")] = None


_Set: Any = create_model("BudgetSet", budget=(model_of(budgets.BudgetStatus), ...), webhook_secret=(str | None, ...))
Version = Annotated[int | None, Query(ge=0, le=2**53, description="Refuse (409) unless it has this version")]


@router.get("/budgets", response_model=page_of_model(budgets.BudgetStatus), responses=AS_TEXT,
            summary="Budgets, and how much of each is spent")  # fmt: skip
def list_budgets(
    request: Request,
    caller: Asking,
    filters: Asked,
    paging: Paged,
) -> Response:
    """Return budgets by id; ``state`` is ok, warning or exceeded."""
    with api_of(request).read(caller) as connection:
        page = budgets.statuses(connection, filters, _now(), **paging.place)
    return export.answer(page, budgets.BudgetStatus, paging.format)


@router.get("/budget-alerts", response_model=page_of_model(budgets.BudgetAlert), responses=AS_TEXT,
            summary="Thresholds that were reached, the newest first")  # fmt: skip
def list_alerts(
    request: Request,
    caller: Asking,
    filters: Asked,
    paging: Paged,
) -> Response:
    """Return what was told of budgets, and what became of it."""
    with api_of(request).read(caller) as connection:
        page = budgets.alerts(connection, filters, **paging.place)
    return export.answer(page, budgets.BudgetAlert, paging.format)


@router.get("/budgets/{budget_id:path}", response_model=model_of(budgets.BudgetStatus), summary="One budget")
def get_budget(request: Request, caller: Asking, budget_id: str) -> Response:
    """Return a budget, and how much of it is spent."""
    with api_of(request).read(caller) as connection:
        found = budgets.status(connection, caller.reader.organization_id, identifier_in(budget_id), _now())
    return JSONResponse(as_json(found))


@router.put("/budgets/{budget_id:path}", response_model=_Set, summary="Set a budget")
def put_budget(request: Request, caller: Administering, budget_id: str, body: BudgetBody) -> Response:
    """Make a budget, or put another in its place; the key that signs what is posted is told once."""
    api = api_of(request)
    if body.webhook_url:
        check_url(body.webhook_url, private=api.private_webhooks)
    wanted = _wanted(caller, identifier_in(budget_id), body)
    with api.write(caller) as connection:
        found = set_budget(connection, wanted, only_workspace=caller.reader.workspace_id)
        told = budgets.status(connection, caller.reader.organization_id, found.budget.id, _now())
    return JSONResponse({"budget": as_json(told), "webhook_secret": found.webhook_secret})


@router.delete("/budgets/{budget_id:path}", status_code=204, summary="Delete a budget", response_class=Response)
def remove_budget(
    request: Request,
    caller: Administering,
    budget_id: str,
    version: Version = None,
    why: Annotated[str | None, Query(max_length=1000)] = None,
) -> Response:
    """Delete a budget with its alerts."""
    api: Api = api_of(request)
    with api.write(caller) as connection:
        delete_budget(
            connection,
            caller.reader.organization_id,
            identifier_in(budget_id),
            only_workspace=caller.reader.workspace_id,
            expected_version=version,
            why=checked_word("why", why),
            actor=caller.actor,
        )
    return Response(status_code=204)


def _wanted(caller: Caller, budget_id: str, body: BudgetBody) -> Wanted:
    """Return what *body* asks for; a key that is bound to a workspace sets budgets of that one."""
    own = caller.reader.workspace_id
    if own is not None and body.workspace_id not in (None, own):
        raise InvalidQueryError("workspace_id: this API key is bound to another workspace")
    return Wanted(
        budget=Budget(
            organization_id=caller.reader.organization_id,
            id=budget_id,
            workspace_id=own or body.workspace_id,
            user_id=body.user_id,
            agent_id=body.agent_id,
            model_name=body.model_name,
            period=body.period,
            amount_cents=Decimal(str(body.amount_cents)),
            thresholds=tuple(body.thresholds),
            flag_name=body.flag_name,
            flag_enabled=body.flag_enabled,
        ),
        webhook_url=body.webhook_url,
        expected_version=body.version,
        why=checked_word("why", body.why),
        actor=caller.actor,
    )


def _now() -> datetime:
    return datetime.now(tz=timezone.utc)
