"""``/budgets``, ``/recommendations``: what may be spent, and what would cost less."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, get_args

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from otel_obs.analytics import budgets
from otel_obs.analytics.recommendations import recommendations
from otel_obs.errors import InvalidQueryError, PermissionDeniedError
from otel_obs.maintenance.webhooks import check_url
from otel_obs.postgres.budgets import MAX_THRESHOLDS, THRESHOLDS, Budget, Period, Wanted, delete_budget, set_budget
from otel_obs.receiver.auth import ADMIN
from otel_obs.settings import is_identifier
from otel_obs.web.access import Api
from otel_obs.web.asked import Cursor
from otel_obs.web.dashboard.forms import OwnForm
from otel_obs.web.dashboard.page import Page, Shown, address, desk_of, pages, render

MAX_BUDGETS = 100
MAX_ALERTS = 20
PERIODS: tuple[Period, ...] = get_args(Period)

router = pages()


@router.get("/budgets")
def listed(page: Shown, cursor: Cursor = None) -> Response:
    """Show budgets, those that are spent first, and what was told of them."""
    with page.read() as connection:
        found = budgets.statuses(connection, page.filters, page.now, limit=MAX_BUDGETS, cursor=cursor)
        alerts = budgets.alerts(connection, page.filters, limit=MAX_ALERTS).items
    return page.render(
        "budgets.html",
        budgets=sorted(found.items, key=lambda budget: -budget.percent),
        alerts=alerts,
        periods=PERIODS,
        next_page=None if found.next_cursor is None else page.here(cursor=found.next_cursor),
        first_page=page.here() if cursor else None,
    )


@router.post("/budgets")
def change(request: Request, form: OwnForm) -> Response:
    """Set or delete a budget, if nobody else did so since the page was loaded."""
    api: Api = request.app.state.api
    caller = api.authenticate(request, ADMIN)
    own = caller.reader.workspace_id
    secret: str | None = None
    said: dict[str, Any] = {
        "expected_version": int(form["version"]) if form.get("version", "").isdecimal() else None,
        "why": form.get("why", "").strip() or None,
        "actor": caller.actor,
    }
    budget_id, webhook_url = form.get("id", "").strip(), form.get("webhook_url", "").strip() or None
    if not is_identifier(budget_id):
        raise InvalidQueryError("a budget's name: at most 200 bytes without control characters are expected")
    if webhook_url is not None:
        check_url(webhook_url, private=api.private_webhooks)
    with desk_of(request).own() as connection:
        if form.get("do") == "delete":
            delete_budget(connection, caller.reader.organization_id, budget_id, only_workspace=own, **said)
        else:
            workspace_id = form.get("workspace_id", "").strip() or None
            if own is not None and workspace_id not in (None, own):
                raise PermissionDeniedError("this API key is bound to one workspace")
            budget = Budget(
                organization_id=caller.reader.organization_id,
                id=budget_id,
                workspace_id=own or workspace_id,
                user_id=form.get("user_id", "").strip() or None,
                agent_id=form.get("agent_id", "").strip() or None,
                model_name=form.get("model_name", "").strip() or None,
                period=_period(form.get("period", "")),
                amount_cents=_cents(form.get("amount", "")),
                thresholds=_thresholds(form.get("thresholds", "")),
                flag_name=form.get("flag_name", "").strip() or None,
                flag_enabled=_switch(form) if form.get("flag_name", "").strip() else None,
            )
            wanted = Wanted(budget=budget, webhook_url=webhook_url, **said)
            secret = set_budget(connection, wanted, only_workspace=own).webhook_secret
    query = {name: request.query_params.get(name) for name in ("organization_id", "workspace_id", "since", "until")}
    back = address("/budgets", query)
    if secret is not None:
        return render(request, "webhook.html", budget_id=budget_id, webhook_url=webhook_url, secret=secret, back=back)
    return RedirectResponse(back, status_code=303)


def _period(text: str) -> Period:
    found = next((period for period in PERIODS if period == text), None)
    if found is None:
        raise InvalidQueryError("period: day, week or month is expected")
    return found


def _thresholds(text: str) -> tuple[int, ...]:
    """Return the percents at which somebody is told; without any the usual ones."""
    parts = [part.strip().removesuffix("%").strip() for part in text.split(",") if part.strip()]
    if not all(part.isdecimal() and len(part) <= 6 for part in parts) or len(parts) > MAX_THRESHOLDS:
        raise InvalidQueryError("thresholds: percents such as 50, 80, 100 are expected")
    return tuple(int(part) for part in parts) or THRESHOLDS


def _switch(form: Mapping[str, str]) -> bool:
    return form.get("flag_enabled") == "on"


def _cents(text: str) -> Decimal:
    try:
        dollars = Decimal(text.strip().removeprefix("$"))
    except InvalidOperation:
        raise InvalidQueryError("amount: dollars such as 250 are expected") from None
    if not dollars.is_finite() or not 0 < dollars < 10**12:
        raise InvalidQueryError("amount: more than 0 is expected")
    return dollars * 100


@router.get("/recommendations")
def recommended(page: Shown) -> Response:
    """Show what would have cost less in the period."""
    with page.read() as connection:
        found = recommendations(connection, page.filters)
    return page.render("recommendations.html", found=found)


def spent_budgets(page: Page, connection: Any) -> list[budgets.BudgetStatus]:
    """Return budgets that are nearly spent, or more than that, the worst first."""
    found = budgets.statuses(connection, page.filters, page.now, limit=MAX_BUDGETS).items
    return sorted((one for one in found if one.state != "ok"), key=lambda one: -one.percent)[:5]
