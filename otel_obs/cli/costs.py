"""``costs``: what was spent, in the terminal."""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from typing import Any

import click
import psycopg
from rich.box import SIMPLE_HEAD
from rich.table import Table

from otel_obs.analytics.costs import KEYS, CostRow, Costs
from otel_obs.analytics.costs import costs as costs_of
from otel_obs.cli.options import (
    console_for_people,
    database,
    database_options,
    json_option,
    period_options,
    rfc3339,
    settings_from,
)
from otel_obs.postgres import schema
from otel_obs.postgres.pool import conninfo, translated


def _keys(_: click.Context, __: click.Parameter, value: str) -> list[str]:
    keys = [key.strip() for key in value.split(",") if key.strip()]
    unknown = [key for key in keys if key not in KEYS]
    if unknown:
        raise click.BadParameter(f"{unknown[0]!r} is not one of {', '.join(KEYS)}")
    return list(dict.fromkeys(keys))


@click.command()
@click.option("--by", default="day,model", show_default=True, callback=_keys, help=f"Any of {', '.join(KEYS)}.")
@click.option("--flag", metavar="KEY", help="Flag whose variants --by flag_variant compares.")
@period_options
@database_options
@json_option
def costs(
    by: list[str],
    flag: str | None,
    since: datetime | None,
    until: datetime | None,
    org: str | None,
    as_json: bool,
    **options: str | None,
) -> None:
    """Show what was spent: calls, tokens and cost."""
    if ("flag_variant" in by) != (flag is not None):
        raise click.UsageError("--by flag_variant and --flag KEY go together")
    with database(settings_from(**options)) as url, translated(), psycopg.connect(conninfo(url)) as connection:
        schema.check(connection)
        found = costs_of(connection, by, since=since, until=until, organization_id=org, flag=flag)
    if as_json:
        click.echo(json.dumps(as_object(found, since, until)))
    else:
        console_for_people().print(as_table(found))


def as_object(found: Costs, since: datetime | None, until: datetime | None) -> dict[str, Any]:
    """Return *found* as scripts get it."""
    return {
        "since": rfc3339(since),
        "until": rfc3339(until),
        "by": list(found.by),
        "rows": [{**dict(zip(found.by, row.keys, strict=True)), **_figures(row)} for row in found.rows],
        "total": _figures(found.total),
    }


def _figures(row: CostRow) -> dict[str, Any]:
    return {name: float(value) if isinstance(value, Decimal) else value for name, value in row.figures.items()}


def as_table(found: Costs) -> Table:
    """Return *found* as people get it."""
    table = Table(title="Costs", title_justify="left", box=SIMPLE_HEAD)
    for key in found.by:
        table.add_column(key, overflow="fold")
    for column in ("calls", "input", "cached", "output", "reasoning", "cost", "unpriced", "estimated"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in found.rows:
        table.add_row(*(key or "-" for key in row.keys), *_cells(row))
    table.add_section()
    table.add_row(*("total" if not position else "" for position, _ in enumerate(found.by)), *_cells(found.total))
    return table


def _cells(row: CostRow) -> tuple[str, ...]:
    return (
        f"{row.calls:,}",
        number(row.input_tokens),
        number(row.cache_read_tokens),
        number(row.output_tokens),
        number(row.reasoning_tokens),
        money(row.cost_cents),
        share(row.unpriced_calls, row.calls),
        share(row.estimated_calls, row.calls),
    )


def share(part: int, calls: int) -> str:
    """Return how many calls, and of a hundred; nothing where there are none."""
    return f"{part:,} ({part / calls:.0%})" if part else ""


def number(value: int | None) -> str:
    """Return *value* for people; a dash where it is not known."""
    return "-" if value is None else f"{value:,}"


def money(cents: Decimal | float | None) -> str:
    """Return *cents* as dollars for people, small amounts with more digits; a dash where they are not known."""
    if cents is None:
        return "-"
    dollars = Decimal(cents) / 100
    if dollars >= 1 or not dollars:
        return f"${dollars:,.2f}"
    return f"${dollars:.6f}" if dollars >= Decimal("0.000001") else "<$0.000001"
