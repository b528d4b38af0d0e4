"""``flags``: what is switched on, for whom; who changed it; what can go."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any

import click
import psycopg
from rich.box import SIMPLE_HEAD
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
from otel_obs.flags import store
from otel_obs.flags.evaluate import FlagSet, evaluate
from otel_obs.flags.model import Evaluation, Flag, Subject
from otel_obs.flags.stale import stale_flags
from otel_obs.flags.store import AuditEntry, Change, FlagScope
from otel_obs.postgres import schema
from otel_obs.postgres.pool import conninfo, translated
from otel_obs.settings import is_identifier


@click.group()
def flags() -> None:
    """Switch features on and off, for everyone, an organization, a workspace or a user."""


@contextmanager
def _connected(**options: str | None) -> Iterator[psycopg.Connection]:
    with database(settings_from(**options)) as url, translated(), psycopg.connect(conninfo(url)) as connection:
        schema.check(connection)
        yield connection


def _id(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    if value is not None and not is_identifier(value):
        raise click.BadParameter("at most 200 bytes without control characters are expected")
    return value


def _scope_options(function: Any) -> Any:
    for name, means in (("org", "Organization"), ("workspace", "Workspace"), ("user", "User")):
        function = click.option(f"--{name}", metavar="ID", callback=_id, help=f"{means} it is about.")(function)
    return function


def _scope(user: str | None, workspace: str | None, org: str | None, **options: str | None) -> FlagScope:
    """Return the scope that options name; a user or a workspace without an organization is the default one's."""
    if org is None and (user or workspace):
        org = settings_from(**options).organization_id
    return FlagScope(organization_id=org, workspace_id=workspace, user_id=user)


def _pairs(_: click.Context, __: click.Parameter, values: Sequence[str]) -> dict[str, str] | None:
    found = {}
    for value in values:
        name, separator, rest = value.partition("=")
        if not name or not separator:
            raise click.BadParameter(f"{value!r}: NAME=VALUE is expected")
        found[name] = rest
    return found or None


def _json_values(pairs: dict[str, str] | None) -> dict[str, Any] | None:
    """Return values as JSON, those that are none as text."""

    def read(text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError:
            return text

    return None if pairs is None else {name: read(text) for name, text in pairs.items()}


@flags.command("set")
@click.argument("name", callback=_id)
@click.argument("state", type=click.Choice(["on", "off"]))
@_scope_options
@click.option("--percent", metavar="N", help="On for N percent of the users only, always the same ones.")
@click.option("--variant", "variants", metavar="NAME=VALUE", multiple=True, callback=_pairs,
              help="Value it may have (JSON, else text), all of one type; `off` is what it is while off.")  # fmt: skip
@click.option("--share", "shares", metavar="VARIANT=N", multiple=True, callback=_pairs,
              help="Serve a variant to N percent of the users; the rest gets `off`.")  # fmt: skip
@click.option("--requires", "prerequisites", metavar="NAME", multiple=True,
              help="Flag that must be on as well; '' for none.")  # fmt: skip
@time_option("--starts", help="First moment when it is on.")
@time_option("--expires", help="First moment when it is off again.")
@click.option("--no-starts", is_flag=True, help="Forget the start.")
@click.option("--no-expires", is_flag=True, help="Forget the expiry.")
@click.option(
    "--kill/--revive", "killed", default=None, help="Off in all scopes inside this one, at once; or no longer."
)
@click.option("--owner", metavar="TEXT", help="Who answers for it.")
@click.option("--description", metavar="TEXT", help="What it is for.")
@click.option("--version", type=click.IntRange(0), metavar="N",
              help="Refuse if it has another version by now (0: if it exists).")  # fmt: skip
@click.option("--why", metavar="TEXT", help="Reason, for the audit log.")
@database_options
@json_option
def set_flag(
    name: str,
    state: str,
    user: str | None,
    workspace: str | None,
    org: str | None,
    percent: str | None,
    variants: dict[str, str] | None,
    shares: dict[str, str] | None,
    prerequisites: tuple[str, ...],
    starts: datetime | None,
    expires: datetime | None,
    no_starts: bool,
    no_expires: bool,
    killed: bool | None,
    owner: str | None,
    description: str | None,
    version: int | None,
    why: str | None,
    as_json: bool,
    **options: str | None,
) -> None:
    """Switch NAME on or off; programs hear of it at once."""
    if percent is not None:
        shares = {"on": percent, **(shares or {})}
    cleared = [name for name, is_cleared in (("starts_at", no_starts), ("expires_at", no_expires)) if is_cleared]
    change = Change(
        is_enabled=state == "on",
        variants=_json_values(variants),
        rollout=shares,
        prerequisites=[name for name in prerequisites if name] if prerequisites else None,
        starts_at=starts,
        expires_at=expires,
        clears=frozenset(cleared),
        killed=killed,
        owner=owner,
        description=description,
    )
    with _connected(**options) as connection:
        scope = _scope(user, workspace, org, **options)
        found = store.set_flag(connection, name, scope, change, expected_version=version, why=why)
    if as_json:
        click.echo(json.dumps(_object(found)))
        return
    click.echo(f"{found.flag_name}: {_said(found)} for {_whom(found)}, version {found.version}")
    if found.killed and found.is_enabled:
        click.echo("it is killed, and so off all the same: --revive ends that", err=True)


@flags.command("get")
@click.argument("name")
@_scope_options
@database_options
@json_option
def get_flag(
    name: str,
    user: str | None,
    workspace: str | None,
    org: str | None,
    as_json: bool,
    **options: str | None,
) -> None:
    """Show what a user, a workspace or an organization gets of NAME, and why."""
    org = org or settings_from(**options).organization_id
    now = datetime.now(tz=timezone.utc)
    with _connected(**options) as connection:
        found = evaluate(FlagSet(store.load_flags(connection, org)), name, Subject(org, workspace, user), now)
    if as_json:
        click.echo(json.dumps(as_object(found)))
    else:
        value = "" if found.value is None or isinstance(found.value, bool) else f", {json.dumps(found.value)}"
        why = f" ({found.message})" if found.message else ""
        click.echo(f"{name}: {'on' if found.is_enabled else 'off'}{value}, {found.reason} of {found.scope}{why}")


def as_object(found: Evaluation) -> dict[str, Any]:
    """Return an answer as scripts get it."""
    return {
        "flag_name": found.flag_name,
        "is_enabled": found.is_enabled,
        "value": found.value,
        "variant": found.variant,
        "reason": found.reason,
        "scope": found.scope,
        "version": found.version,
    }


@flags.command("list")
@click.option("--org", metavar="ID", help="Those that count for one organization.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True)
@click.option("--cursor", metavar="TEXT", help="next_cursor of the page before.")
@database_options
@json_option
def list_flags(org: str | None, limit: int, cursor: str | None, as_json: bool, **options: str | None) -> None:
    """Show the flags with all their scopes."""
    after = _position(cursor, 4) or ["", "", "", ""]
    with _connected(**options) as connection:
        found = store.listed(connection, limit=limit + 1, organization_id=org, after=after)
    page = found[:limit]
    following = None
    if len(found) > limit:
        following = _cursor([page[-1].flag_name, *(part or "" for part in page[-1].key)])
    if as_json:
        click.echo(json.dumps({"items": [_object(flag) for flag in page], "next_cursor": following}))
        return
    table = Table(title="Flags", title_justify="left", box=SIMPLE_HEAD)
    for column in ("flag", "for", "state", "owner", "version", "changed"):
        table.add_column(column, overflow="fold")
    for flag in page:
        changed = "-" if flag.updated_at is None else f"{flag.updated_at:%Y-%m-%d %H:%M}"
        table.add_row(flag.flag_name, _whom(flag), _said(flag), flag.owner or "-", str(flag.version), changed)
    console_for_people().print(table)
    if following:
        click.echo(f"more: --cursor {following}", err=True)


@flags.command("delete")
@click.argument("name")
@_scope_options
@click.option("--all", "everywhere", is_flag=True, help="In all its scopes.")
@click.option("--version", type=click.IntRange(1), metavar="N", help="Refuse if it has another version by now.")
@click.option("--why", metavar="TEXT", help="Reason, for the audit log.")
@database_options
@json_option
def delete_flag(
    name: str,
    user: str | None,
    workspace: str | None,
    org: str | None,
    everywhere: bool,
    version: int | None,
    why: str | None,
    as_json: bool,
    **options: str | None,
) -> None:
    """Delete NAME in one scope (without an option: the one for everyone), or in all of them."""
    if everywhere and (user or workspace or org):
        raise click.UsageError("--all goes without --user, --workspace and --org")
    scope = None if everywhere else _scope(user, workspace, org, **options)
    with _connected(**options) as connection:
        gone = store.delete_flag(connection, name, scope, expected_version=version, why=why)
    if not gone:
        raise click.ClickException("there is no such flag in that scope")
    if as_json:
        click.echo(json.dumps({"items": [_object(flag) for flag in gone], "next_cursor": None}))
    else:
        for flag in gone:
            click.echo(f"{flag.flag_name}: deleted for {_whom(flag)}")


@flags.command("stale")
@click.option("--org", metavar="ID", help="Those that count for one organization.")
@click.option("--days", type=click.IntRange(1, 3650), default=30, show_default=True,
              help="Of no use, or of no change, for so long.")  # fmt: skip
@time_option("--now", help="The moment to look from.")
@database_options
@json_option
def list_stale(org: str | None, days: int, now: datetime | None, as_json: bool, **options: str | None) -> None:
    """Show flags that nobody asks for, that everyone has, or that have expired.

    Asking for all flags at once, as browsers do, does not count as asking for each.
    """
    now = now or datetime.now(tz=timezone.utc)
    with _connected(**options) as connection:
        found = stale_flags(connection, now=now, days=days, organization_id=org)
    if as_json:
        items = [
            {
                "flag_name": flag.flag_name,
                "reasons": list(flag.reasons),
                "last_evaluated_at": rfc3339(flag.last_evaluated_at),
                "updated_at": rfc3339(flag.updated_at),
                "owner": flag.owner,
            }
            for flag in found
        ]
        click.echo(json.dumps({"items": items, "next_cursor": None}))
        return
    table = Table(title="Stale flags", title_justify="left", box=SIMPLE_HEAD)
    for column in ("flag", "because", "last evaluated", "changed", "owner"):
        table.add_column(column, overflow="fold")
    for flag in found:
        table.add_row(
            flag.flag_name, ", ".join(reason.replace("_", " ") for reason in flag.reasons),
            "-" if flag.last_evaluated_at is None else f"{flag.last_evaluated_at:%Y-%m-%d}",
            "-" if flag.updated_at is None else f"{flag.updated_at:%Y-%m-%d}", flag.owner or "-",
        )  # fmt: skip
    console_for_people().print(table)


@flags.command("audit")
@click.argument("name", required=False)
@click.option("--org", metavar="ID", help="Changes that concern one organization.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True)
@click.option("--cursor", metavar="TEXT", help="next_cursor of the page before.")
@database_options
@json_option
def audit_flags(
    name: str | None, org: str | None, limit: int, cursor: str | None, as_json: bool, **options: str | None
) -> None:
    """Show who changed flags (of NAME only), how, and why; the newest first."""
    position = _position(cursor, 1)
    with _connected(**options) as connection:
        found = store.history(
            connection, limit=limit + 1, flag_name=name, organization_id=org,
            before_id=None if position is None else int(position[0]),
        )  # fmt: skip
    page = found[:limit]
    following = _cursor([str(page[-1].id)]) if len(found) > limit else None
    if as_json:
        items = [{**entry._asdict(), "at": rfc3339(entry.at)} for entry in page]
        click.echo(json.dumps({"items": items, "next_cursor": following}))
        return
    table = Table(title="Changes of flags", title_justify="left", box=SIMPLE_HEAD)
    for column in ("at", "who", "flag", "what", "why"):
        table.add_column(column, overflow="fold")
    for entry in page:
        table.add_row(f"{entry.at:%Y-%m-%d %H:%M}", entry.actor, entry.flag_name, _difference(entry), entry.why or "-")
    console_for_people().print(table)
    if following:
        click.echo(f"more: --cursor {following}", err=True)


def _difference(entry: AuditEntry) -> str:
    if entry.after is None:
        return "deleted"
    before = entry.before or {}
    changed = {name: value for name, value in entry.after.items() if before.get(name) != value and name != "version"}
    return ", ".join(f"{name} {json.dumps(value)}" for name, value in changed.items() if name != "flag_name")


def _object(flag: Flag) -> dict[str, Any]:
    return {
        "flag_name": flag.flag_name,
        "scope": flag.scope,
        "organization_id": flag.organization_id,
        "workspace_id": flag.workspace_id,
        "user_id": flag.user_id,
        "is_enabled": flag.is_enabled,
        "variants": flag.variants,
        "rollout": flag.rollout,
        "prerequisites": None if flag.prerequisites is None else list(flag.prerequisites),
        "starts_at": rfc3339(flag.starts_at),
        "expires_at": rfc3339(flag.expires_at),
        "killed": flag.killed,
        "description": flag.description,
        "owner": flag.owner,
        "version": flag.version,
        "updated_at": rfc3339(flag.updated_at),
    }


def _whom(flag: Flag) -> str:
    ids = (("user", flag.user_id), ("workspace", flag.workspace_id), ("organization", flag.organization_id))
    return " of ".join(f"{kind} {found}" for kind, found in ids if found is not None) or "everyone"


def _said(flag: Flag) -> str:
    if flag.killed:
        return "killed"
    if not flag.is_enabled:
        return "off"
    shares = ", ".join(f"{name} {share:g} %" for name, share in (flag.rollout or {}).items())
    return f"on ({shares})" if shares else "on"


def _cursor(position: Sequence[str]) -> str:
    return base64.urlsafe_b64encode(json.dumps(list(position)).encode()).decode()


def _position(cursor: str | None, length: int) -> list[str] | None:
    if cursor is None:
        return None
    try:
        found = json.loads(base64.urlsafe_b64decode(cursor))
    except (binascii.Error, ValueError):
        found = None
    is_right = isinstance(found, list) and len(found) == length and all(isinstance(part, str) for part in found)
    if not is_right or (length == 1 and not found[0].isdecimal()):
        raise click.BadParameter("that is no cursor", param_hint="--cursor")
    return [str(part) for part in found]
