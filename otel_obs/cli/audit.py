"""``audit``: is the log of what people changed as it was written?"""

from __future__ import annotations

import json

import click
import psycopg

from otel_obs.cli.options import database, database_options, json_option, settings_from
from otel_obs.postgres import audit as chain
from otel_obs.postgres import schema
from otel_obs.postgres.pool import conninfo, translated


@click.group()
def audit() -> None:
    """Check the log of who changed what."""


@audit.command()
@database_options
@json_option
def verify(as_json: bool, **options: str | None) -> int:
    """Compute the seal of each entry again; exit 1 if one was edited, left out or put in."""
    with database(settings_from(**options)) as url, translated(), psycopg.connect(conninfo(url)) as connection:
        schema.check(connection)
        found = chain.verify(connection)
    is_right = found.first_bad is None
    if as_json:
        click.echo(json.dumps({"ok": is_right, "rows": found.rows, "first_bad": found.first_bad}))
    elif is_right:
        click.echo(f"{found.rows:,} entries, each as it was written")
    else:
        click.echo(f"entry {found.first_bad} of {found.rows:,} is not what was written, or one before it is missing")
    return 0 if is_right else 1
