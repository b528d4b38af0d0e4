"""``prices reprice``: past calls, each with the price that was valid when it was made."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import click
import psycopg
from rich.box import SIMPLE_HEAD
from rich.progress import Progress, SpinnerColumn, TextColumn
from rich.table import Table

from otel_obs.cli.options import (
    console_for_people,
    database,
    database_options,
    json_option,
    period_options,
    settings_from,
)
from otel_obs.maintenance.jobs import settle_overdue
from otel_obs.maintenance.reprice import Asked, Repriced, reprice_calls
from otel_obs.postgres import schema
from otel_obs.postgres.pool import conninfo, open_pool, translated
from otel_obs.postgres.vault import vault_of
from otel_obs.pricing.book import PriceBook
from otel_obs.pricing.catalog import default_catalog


@click.command()
@period_options
@click.option("--model", metavar="NAME", help="One model, under its dated and prefixed names too.")
@click.option("--dry-run", is_flag=True, help="Only tell what would change.")
@database_options
@json_option
def reprice(
    since: datetime | None,
    until: datetime | None,
    org: str | None,
    model: str | None,
    dry_run: bool,
    as_json: bool,
    **options: str | None,
) -> None:
    """Compute the cost of past calls again, with the price that was valid when each was made."""
    asked = Asked(since=since, until=until, model=model, organization_id=org)
    settings = settings_from(**options)
    vault = vault_of(settings)
    with database(settings) as url:
        with translated(), psycopg.connect(conninfo(url)) as connection:
            schema.check(connection)
        pool = open_pool(url, max_size=2, statement_timeout_s=60)
        book = PriceBook(default_catalog())
        try:
            with Progress(
                SpinnerColumn(), TextColumn("{task.description}"), transient=True, disable=as_json
            ) as progress:
                task = progress.add_task("pricing again ...")
                found = reprice_calls(
                    pool, book, asked, dry_run=dry_run,
                    batch_done=lambda so_far: progress.update(
                        task, description=f"{so_far.rows_examined:,} calls, {so_far.rows_changed:,} changed"
                    ),
                )  # fmt: skip
            if not dry_run:
                settle_overdue(pool, book, vault=vault)
        finally:
            pool.close(1.0)
    if as_json:
        click.echo(json.dumps(_repriced_object(found)))
    else:
        _show_repriced(found)


def _repriced_object(found: Repriced) -> dict[str, Any]:
    return {
        "dry_run": found.dry_run,
        "rows_examined": found.rows_examined,
        "rows_changed": found.rows_changed,
        "before_cents": float(found.before_cents),
        "after_cents": float(found.after_cents),
        "by": [
            {
                "organization_id": change.organization_id,
                "model": change.model_name,
                "rows_examined": change.rows_examined,
                "rows_changed": change.rows_changed,
                "before_cents": float(change.before_cents),
                "after_cents": float(change.after_cents),
                "unpriced_before": change.unpriced_before,
                "unpriced_after": change.unpriced_after,
            }
            for change in found.by.values()
        ],
    }


def _show_repriced(found: Repriced) -> None:
    changed = [change for change in found.by.values() if change.rows_changed]
    if changed:
        table = Table(
            title="What would change" if found.dry_run else "What changed", title_justify="left", box=SIMPLE_HEAD
        )
        for column in ("organization", "model"):
            table.add_column(column, overflow="fold")
        for column in ("calls", "changed", "cents before", "cents after", "unpriced before", "unpriced after"):
            table.add_column(column, justify="right", no_wrap=True)
        for change in sorted(changed, key=lambda item: abs(item.after_cents - item.before_cents), reverse=True):
            table.add_row(
                change.organization_id, change.model_name or "-", f"{change.rows_examined:,}",
                f"{change.rows_changed:,}", f"{change.before_cents:,.4f}", f"{change.after_cents:,.4f}",
                str(change.unpriced_before or ""), str(change.unpriced_after or ""),
            )  # fmt: skip
        console_for_people().print(table)
    verb = "would change" if found.dry_run else "changed"
    click.echo(
        f"{found.rows_examined:,} calls examined, {found.rows_changed:,} {verb}: "
        f"{found.before_cents:,.4f} cents before, {found.after_cents:,.4f} after"
    )
