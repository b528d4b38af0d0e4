"""``audit``: is the log of what people changed as it was written?"""

from __future__ import annotations

import json
from pathlib import Path

import click
import psycopg

from otel_obs.cli.options import database, database_options, json_option, settings_from
from otel_obs.errors import ConfigurationError
from otel_obs.postgres import audit as chain
from otel_obs.postgres import schema
from otel_obs.postgres.audit import Head
from otel_obs.postgres.pool import conninfo, fingerprint, translated


@click.group()
def audit() -> None:
    """Check the log of who changed what."""


@audit.command()
@database_options
@json_option
def verify(as_json: bool, **options: str | None) -> int:
    """Compute the seal of each entry again; exit 1 if one was edited, left out, put in, or cut off at the end.

    The seal of the last entry is remembered in the data folder, outside of the database, for the next time.
    """
    settings = settings_from(**options)
    with database(settings) as url, translated(), psycopg.connect(conninfo(url)) as connection:
        schema.check(connection)
        path = settings.data_dir / f"audit-head-{fingerprint(url)}.json"
        found = chain.verify(connection, _remembered(path))
    is_right = found.first_bad is None
    if is_right:
        _remember(path, Head(found.rows, found.head))
    if as_json:
        click.echo(json.dumps({"ok": is_right, "rows": found.rows, "first_bad": found.first_bad}))
    elif is_right:
        click.echo(f"{found.rows:,} entries, each as it was written")
    else:
        click.echo(
            f"entry {found.first_bad} of {found.rows:,} is not what was written, or is missing, or one before it is"
        )
    return 0 if is_right else 1


def _remembered(path: Path) -> Head | None:
    try:
        said = json.loads(path.read_text())
        return Head(int(said["rows"]), str(said["seal"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        raise ConfigurationError(
            f"{path} is unreadable: it says how far the audit log reached; delete it to forget"
        ) from None


def _remember(path: Path, head: Head) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(".tmp")
    half.write_text(json.dumps(head._asdict()))
    half.replace(path)
