"""``audit``: who changed what, and is the log of it as it was written?"""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path

import click
import psycopg
from rich.box import SIMPLE_HEAD
from rich.table import Table

from otel_obs.analytics import audited
from otel_obs.analytics.filters import EARLIEST, LATEST
from otel_obs.cli.audit_heads import remember, remembered
from otel_obs.cli.options import (
    console_for_people,
    database,
    database_options,
    json_option,
    period_options,
    settings_from,
)
from otel_obs.errors import InvalidQueryError
from otel_obs.postgres import audit as chain
from otel_obs.postgres import schema
from otel_obs.postgres.pool import conninfo, fingerprint, translated
from otel_obs.web.shapes import as_json as spelled


@click.group()
def audit() -> None:
    """Show and check the log of who changed what."""


@audit.command()
@database_options
@json_option
def verify(as_json: bool, **options: str | None) -> int:
    """Compute the seal of each entry again; exit 1 if one was edited, left out, put in, or cut off at the end.

    The seals of the last entries are remembered in the data folder, outside of the database, for the next time;
    signed, where there are OTEL_OBS_ENCRYPTION_KEYS.
    """
    settings = settings_from(**options)
    with database(settings) as url, translated(), psycopg.connect(conninfo(url)) as connection:
        schema.check(connection)
        path = settings.data_dir / f"audit-head-{fingerprint(url)}.json"
        known = remembered(path, settings.encryption_keys)
        found = chain.verify(connection, known)
    is_right = found.first_bad is None
    if not known and found.rows:
        click.echo(f"nothing was remembered in {path}: what was cut off before now is not found", err=True)
    if is_right:
        remember(path, found.heads, settings.encryption_keys)
    _say(found, as_json=as_json, path=path)
    return 0 if is_right else 1


def _say(found: chain.Verified, *, as_json: bool, path: Path) -> None:
    if as_json:
        click.echo(json.dumps({"ok": found.first_bad is None, "rows": found.rows, "first_bad": found.first_bad}))
    elif found.first_bad is None:
        click.echo(f"{found.rows:,} entries in {len(found.heads)} chains, each as it was written")
    else:
        click.echo(
            f"entry {found.first_bad} of {found.rows:,} is not what was written, or is missing, or one before it is "
            f"(compared with {path})"
        )


@audit.command("list")
@period_options
@click.option("--action", metavar="NAME", help="Such as keys.create, or keys for all that begin so.")
@click.option("--actor", metavar="NAME", help="Such as key:ID, or an account.")
@click.option("--limit", type=click.IntRange(1, 500), default=100, show_default=True)
@click.option("--cursor", metavar="TEXT", help="next_cursor of the page before.")
@database_options
@json_option
def list_entries(
    since: datetime | None,
    until: datetime | None,
    org: str | None,
    action: str | None,
    actor: str | None,
    limit: int,
    cursor: str | None,
    as_json: bool,
    **options: str | None,
) -> None:
    """Show entries, the newest first; without --org those of all organizations."""
    asked = audited.Asked(
        organization_id=org,
        since=since or EARLIEST,
        until=until or LATEST,
        action=action,
        actor=actor,
        everything=org is None,
    )
    with database(settings_from(**options)) as url, translated(), psycopg.connect(conninfo(url)) as connection:
        schema.check(connection)
        try:
            page = audited.entries(connection, asked, limit=limit, cursor=cursor)
        except InvalidQueryError as error:
            raise click.BadParameter(str(error), param_hint="--cursor") from None
    if as_json:
        click.echo(json.dumps({"items": spelled(page.items), "next_cursor": page.next_cursor}))
        return
    table = Table(title="Audit log", title_justify="left", box=SIMPLE_HEAD)
    for column in ("id", "when (UTC)", "who", "organization", "what", "to what", "why"):
        table.add_column(column, overflow="fold")
    for entry in page.items:
        at = f"{entry.at.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S}"
        table.add_row(
            str(entry.id),
            at,
            entry.actor,
            entry.organization_id or "all",
            entry.action,
            entry.subject,
            entry.why or "-",
        )
    console_for_people().print(table)
    if page.next_cursor:
        click.echo(f"more: --cursor {page.next_cursor}", err=True)
