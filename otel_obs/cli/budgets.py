"""``budgets``: what may be spent, by whom, and how much of it is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import click
import psycopg
from rich.box import SIMPLE_HEAD
from rich.table import Table

from otel_obs.analytics.budgets import BudgetStatus, status, statuses
from otel_obs.analytics.filters import Filters
from otel_obs.cli.costs import money
from otel_obs.cli.options import (
    amount,
    console_for_people,
    database,
    database_options,
    json_option,
    rfc3339,
    settings_from,
)
from otel_obs.maintenance.webhooks import check_url
from otel_obs.postgres import schema
from otel_obs.postgres.budgets import PERIODS, THRESHOLDS, Budget, Wanted, delete_budget, set_budget
from otel_obs.postgres.pool import conninfo, translated


@click.group()
def budgets() -> None:
    """Say how much may be spent in a day, a week or a month, by whom, and see how much of it is."""


_org = click.option("--org", metavar="ID", help="Organization; default: that of the settings.")


@budgets.command("set")
@click.argument("name", metavar="ID")
@click.option("--amount", "dollars", callback=amount, required=True, metavar="DOLLARS", help="What may be spent.")
@click.option("--per", "period", type=click.Choice(PERIODS), required=True, help="Period, in UTC.")
@_org
@click.option("--workspace", metavar="ID", help="Only what this workspace spends.")
@click.option("--user", metavar="ID", help="Only what is spent for this user.")
@click.option("--agent", metavar="ID", help="Only what this agent spends.")
@click.option("--model", metavar="NAME", help="Only what is spent on this model.")
@click.option("--warn", "thresholds", metavar="PERCENT", type=click.IntRange(1, 1000), multiple=True,
              help="Tell when so much is spent; may be repeated. Default: 80; 100 is always told.")  # fmt: skip
@click.option("--webhook", metavar="URL", help="Post alerts there; '' for nowhere. The signing key is printed once.")
@click.option("--flag", metavar="NAME=on|off", help="Feature flag to set when the amount is reached.")
@click.option("--version", type=click.IntRange(0), metavar="N",
              help="Refuse if it has another version by now (0: if it exists).")  # fmt: skip
@click.option("--why", metavar="TEXT", help="Reason, for the audit log.")
@database_options
@json_option
def set_one(
    name: str,
    dollars: Decimal,
    period: Any,
    org: str | None,
    workspace: str | None,
    user: str | None,
    agent: str | None,
    model: str | None,
    thresholds: Sequence[int],
    webhook: str | None,
    flag: str | None,
    version: int | None,
    why: str | None,
    as_json: bool,
    **options: str | None,
) -> None:
    """Set a budget, or put another in its place."""
    settings = settings_from(**options)
    flag_name, flag_enabled = _flag(flag)
    if webhook:
        check_url(webhook, private=settings.webhook_private)
    wanted = Wanted(
        budget=Budget(
            organization_id=org or settings.organization_id,
            id=name,
            workspace_id=workspace,
            user_id=user,
            agent_id=agent,
            model_name=model,
            period=period,
            amount_cents=dollars * 100,
            thresholds=tuple(thresholds) or THRESHOLDS,
            flag_name=flag_name,
            flag_enabled=flag_enabled,
        ),
        webhook_url=webhook,
        expected_version=version,
        why=why,
    )
    with database(settings) as url, translated(), psycopg.connect(conninfo(url)) as connection:
        schema.check(connection)
        found = set_budget(connection, wanted)
        told = status(connection, found.budget.organization_id, found.budget.id, datetime.now(tz=timezone.utc))
    if as_json:
        click.echo(json.dumps({"budget": as_object(told), "webhook_secret": found.webhook_secret}))
        return
    console_for_people().print(_table([told]))
    if found.webhook_secret is not None:
        click.echo(f"messages are signed with {found.webhook_secret} (not shown again)")


def _flag(value: str | None) -> tuple[str | None, bool | None]:
    if value is None:
        return None, None
    name, _, state = value.rpartition("=")
    if not name or state not in ("on", "off"):
        raise click.BadParameter(f"{value!r}: NAME=on or NAME=off is expected", param_hint="--flag")
    return name, state == "on"


@budgets.command("list")
@_org
@click.option("--workspace", metavar="ID", help="Budgets of this workspace.")
@click.option("--user", metavar="ID", help="Budgets of this user.")
@click.option("--limit", type=click.IntRange(1, 500), default=100, show_default=True)
@click.option("--cursor", metavar="TEXT", help="next_cursor of the page before.")
@database_options
@json_option
def list_all(
    org: str | None,
    workspace: str | None,
    user: str | None,
    limit: int,
    cursor: str | None,
    as_json: bool,
    **options: str | None,
) -> None:
    """Show budgets, and how much of each is spent in its period."""
    settings = settings_from(**options)
    now = datetime.now(tz=timezone.utc)
    asked = Filters(
        organization_id=org or settings.organization_id,
        since=now - timedelta(days=1),
        until=now,
        workspace_id=workspace,
        user_id=user,
    )
    with database(settings) as url, translated(), psycopg.connect(conninfo(url)) as connection:
        schema.check(connection)
        page = statuses(connection, asked, now, limit=limit, cursor=cursor)
    if as_json:
        click.echo(json.dumps({"items": [as_object(item) for item in page.items], "next_cursor": page.next_cursor}))
    else:
        console_for_people().print(_table(page.items))


@budgets.command("delete")
@click.argument("name", metavar="ID")
@_org
@click.option("--version", type=click.IntRange(0), metavar="N", help="Refuse if it has another version by now.")
@click.option("--why", metavar="TEXT", help="Reason, for the audit log.")
@database_options
@json_option
def delete_one(
    name: str, org: str | None, version: int | None, why: str | None, as_json: bool, **options: str | None
) -> None:
    """Delete a budget with its alerts."""
    settings = settings_from(**options)
    with database(settings) as url, translated(), psycopg.connect(conninfo(url)) as connection:
        schema.check(connection)
        delete_budget(connection, org or settings.organization_id, name, expected_version=version, why=why)
    click.echo(json.dumps({"deleted": name}) if as_json else f"{name}: deleted")


def as_object(found: BudgetStatus) -> dict[str, Any]:
    """Return a budget as scripts get it."""
    told = {name: getattr(found, name) for name in BudgetStatus.__dataclass_fields__}
    return {name: _sayable(value) for name, value in told.items()}


def _sayable(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, datetime):
        return rfc3339(value)
    return list(value) if isinstance(value, tuple) else value


def _table(found: Sequence[BudgetStatus]) -> Table:
    table = Table(title="Budgets", title_justify="left", box=SIMPLE_HEAD)
    for column in ("budget", "of", "per"):
        table.add_column(column, overflow="fold")
    for column in ("spent", "of amount", "%", "unpriced"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for item in found:
        whom = (
            ("workspace", item.workspace_id), ("user", item.user_id), ("agent", item.agent_id),
            ("model", item.model_name),
        )  # fmt: skip
        table.add_row(
            item.id, ", ".join(f"{name} {value}" for name, value in whom if value) or "the organization", item.period,
            money(item.spent_cents), money(item.amount_cents), f"{item.percent:,.0f}",
            f"{item.unpriced_calls:,}" if item.unpriced_calls else "", item.state,
        )  # fmt: skip
    return table
