"""``keys``: who may send and read."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timedelta, timezone
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
    rfc3339,
    settings_from,
    time_option,
)
from otel_obs.maintenance.resealing import reseal
from otel_obs.postgres import audit, schema
from otel_obs.postgres import keys as stored
from otel_obs.postgres.keys import SCOPES, KeyRow
from otel_obs.postgres.pool import conninfo, open_pool, translated
from otel_obs.postgres.vault import vault_of
from otel_obs.settings import is_identifier


@click.group()
def keys() -> None:
    """Make, show and revoke API keys."""


@contextmanager
def _connected(**options: str | None) -> Iterator[psycopg.Connection]:
    with database(settings_from(**options)) as url, translated(), psycopg.connect(conninfo(url)) as connection:
        schema.check(connection)
        yield connection


def _scopes(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    found = tuple(scope.strip() for value in values for scope in value.split(","))
    for scope in found:
        if scope not in SCOPES:
            raise click.BadParameter(f"{scope!r} is none of {', '.join(SCOPES)}")
    return found


def _id(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    if value is not None and not is_identifier(value):
        raise click.BadParameter("at most 200 bytes without control characters are expected")
    return value


@keys.command("create")
@click.option("--org", metavar="ID", required=True, callback=_id, help="Organization whose data it opens.")
@click.option("--workspace", metavar="ID", callback=_id, help="Only this workspace of it.")
@click.option(
    "--scope", "scopes", metavar="LIST", multiple=True, required=True, callback=_scopes,
    help=f"What it allows, of {', '.join(SCOPES)}; with commas, or given again.",
)  # fmt: skip
@click.option("--name", metavar="TEXT", default="", help="What it is for.")
@click.option("--operator", is_flag=True, help="Of who looks after all organizations: to read, or administer, any.")
@time_option("--expires", help="First moment when it is refused; without it, it does not expire.")
@click.option("--days", type=click.IntRange(1, 36_500), help="Days until it expires, instead of --expires.")
@click.option("--why", metavar="TEXT", help="Reason, for the audit log.")
@database_options
@json_option
def create_key(
    org: str,
    workspace: str | None,
    scopes: tuple[str, ...],
    name: str,
    operator: bool,
    expires: datetime | None,
    days: int | None,
    why: str | None,
    as_json: bool,
    **options: str | None,
) -> None:
    """Make a key and print it, once: afterwards nobody can see it again.

    To replace a key, make a second one, give it to the senders, then revoke the first: both hold meanwhile.
    """
    now = datetime.now(tz=timezone.utc)
    if days is not None and expires is not None:
        raise click.UsageError("give --expires or --days")
    expires_at = now + timedelta(days=days) if days is not None else expires
    if expires_at is not None and expires_at <= now:
        raise click.BadParameter("that is past already", param_hint="--expires")
    with _connected(**options) as connection:
        text = stored.create(
            connection,
            organization_id=org,
            workspace_id=workspace,
            scopes=scopes,
            now=now,
            name=name,
            expires_at=expires_at,
            is_operator=operator,
            why=why,
        )
        key_id = text.split("_")[1]
        (row,) = stored.listed(connection, key_id=key_id, limit=1)
    if as_json:
        click.echo(json.dumps({"key": text, **_object(row, now)}))
        return
    click.echo(text)
    if operator:
        click.echo("it opens every organization; where it names none (organization_id), this one", err=True)
    whose = f"workspace {workspace} of organization {org}" if workspace else f"organization {org}"
    until = "" if expires_at is None else f", until {rfc3339(expires_at)}"
    click.echo(f"key {key_id}: {', '.join(row.scopes)} for {whose}{until}", err=True)
    click.echo("it is shown this once; send it as `Authorization: Bearer KEY` or `x-api-key: KEY`", err=True)


@keys.command("list")
@click.option("--org", metavar="ID", help="Keys of one organization.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True)
@click.option("--cursor", metavar="TEXT", help="next_cursor of the page before.")
@database_options
@json_option
def list_keys(org: str | None, limit: int, cursor: str | None, as_json: bool, **options: str | None) -> None:
    """Show the keys, the oldest first: what they allow, not what they are."""
    now = datetime.now(tz=timezone.utc)
    with _connected(**options) as connection:
        found = stored.listed(connection, limit=limit + 1, organization_id=org, after=_position(cursor))
    page = found[:limit]
    following = _cursor(page[-1]) if len(found) > limit else None
    if as_json:
        click.echo(json.dumps({"items": [_object(row, now) for row in page], "next_cursor": following}))
        return
    table = Table(title="API keys", title_justify="left", box=SIMPLE_HEAD)
    for column in ("id", "organization", "workspace", "scopes", "state", "made", "last used", "name"):
        table.add_column(column, overflow="fold")
    for row in page:
        table.add_row(
            row.id,
            row.organization_id or "-",
            row.workspace_id or "-",
            ", ".join(row.scopes),
            row.state(now),
            f"{row.created_at:%Y-%m-%d}",
            "never" if row.last_used_at is None else f"{row.last_used_at:%Y-%m-%d %H:%M}",
            row.name or "-",
        )
    console_for_people().print(table)
    if following:
        click.echo(f"more: --cursor {following}", err=True)


@keys.command("revoke")
@click.argument("key_id", metavar="ID")
@click.option("--why", metavar="TEXT", help="Reason, for the audit log.")
@database_options
@json_option
def revoke_key(key_id: str, why: str | None, as_json: bool, **options: str | None) -> None:
    """Refuse a key from now on; servers that are running hear of it within seconds."""
    now = datetime.now(tz=timezone.utc)
    if key_id.startswith("oo_"):
        raise click.BadParameter("that is a key; its ID is the part between the two underscores", param_hint="ID")
    with _connected(**options) as connection:
        row = stored.revoke(connection, key_id, now=now, why=why)
    if row is None:
        raise click.ClickException("there is no key of that id")
    if as_json:
        click.echo(json.dumps(_object(row, now)))
    else:
        click.echo(f"{row.id}: revoked since {rfc3339(row.revoked_at)}")


@keys.command("rotate-encryption")
@click.option("--org", metavar="ID", callback=_id, help="One organization.")
@database_options
@json_option
def rotate_encryption(org: str | None, as_json: bool, **options: str | None) -> int:
    """Seal all content anew: with new data keys, wrapped by the first of OTEL_OBS_ENCRYPTION_KEYS.

    What rests readable is sealed too. Senders and readers go on meanwhile; a rotation that was interrupted is simply
    done again. To replace one of OTEL_OBS_ENCRYPTION_KEYS put the new one first everywhere, rotate, then take the old
    one away.
    """
    settings = settings_from(**options)
    vault = vault_of(settings)
    if vault is None:
        raise click.UsageError("OTEL_OBS_ENCRYPTION_KEYS is not set: there is nothing to seal with")
    with database(settings) as url:
        with translated(), psycopg.connect(conninfo(url)) as connection:
            schema.check(connection)
        pool = open_pool(url, max_size=2, statement_timeout_s=60)
        try:
            with Progress(
                SpinnerColumn(), TextColumn("{task.description}"), transient=True, disable=as_json
            ) as progress:
                task = progress.add_task("sealing ...")
                done = reseal(
                    pool, vault, organization_id=org,
                    progress=lambda so_far: progress.update(
                        task, description=f"{so_far.values_sealed + so_far.values_resealed:,} values sealed"
                    ),
                )  # fmt: skip
            with translated(), pool.connection() as connection:
                audit.append(
                    connection,
                    action="encryption.rotate",
                    organization_id=org,
                    subject=vault.wrapper.name,
                    after={name: value for name, value in asdict(done).items() if name != "unreadable"},
                )
        finally:
            pool.close(1.0)
    if as_json:
        click.echo(json.dumps(asdict(done)))
    else:
        click.echo(
            f"{done.organizations:,} organizations: {done.values_resealed:,} values sealed anew, "
            f"{done.values_sealed:,} that were readable; {done.keys_wrapped:,} data keys wrapped anew, "
            f"{done.keys_destroyed:,} destroyed"
        )
        if done.values_unreadable or done.unreadable:
            click.echo(
                f"{done.values_unreadable:,} values cannot be opened with these keys"
                + "".join(f"; data key {name} neither" for name in done.unreadable[:10]),
                err=True,
            )
    return 1 if done.values_unreadable or done.unreadable else 0


def _object(row: KeyRow, now: datetime) -> dict[str, Any]:
    times = ("created_at", "expires_at", "revoked_at", "last_used_at")
    return {**row._asdict(), **{name: rfc3339(getattr(row, name)) for name in times}, "state": row.state(now)}


def _cursor(row: KeyRow) -> str:
    return base64.urlsafe_b64encode(json.dumps([row.created_at.isoformat(), row.id]).encode()).decode()


def _position(cursor: str | None) -> tuple[datetime, str] | None:
    if cursor is None:
        return None
    try:
        created_at, key_id = json.loads(base64.urlsafe_b64decode(cursor))
        return datetime.fromisoformat(created_at), str(key_id)
    except (binascii.Error, ValueError, TypeError):
        raise click.BadParameter("that is no cursor", param_hint="--cursor") from None
