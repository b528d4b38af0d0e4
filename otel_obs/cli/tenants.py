"""``org``, ``workspace``, ``user``, ``workflow`` and ``trace``: who the rows belong to, and what becomes of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import click
import psycopg
from psycopg_pool import ConnectionPool
from rich.box import SIMPLE_HEAD
from rich.table import Table

from otel_obs.cli.options import console_for_people, database, database_options, json_option, rfc3339, settings_from
from otel_obs.maintenance import tenancy
from otel_obs.maintenance.export import FORMATS
from otel_obs.maintenance.export import export as export_files
from otel_obs.maintenance.policy import Policy, policies, time_of
from otel_obs.maintenance.sweeping import Subject
from otel_obs.maintenance.tenancy import PLANS, Organization
from otel_obs.postgres import audit, schema
from otel_obs.postgres.pool import conninfo, open_pool, translated
from otel_obs.postgres.vault import vault_of
from otel_obs.settings import CONTENT_RULE, MAX_DAYS, is_identifier
from otel_obs.tenancy import DEFAULT

LIMITS = ("max_spans_per_second", "max_bytes_per_second", "max_bytes_per_day", "max_stored_bytes")

_F = TypeVar("_F", bound=Callable[..., Any])


def identifier(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    """Refuse what cannot be an id."""
    if value is not None and not is_identifier(value):
        raise click.BadParameter("at most 200 bytes without control characters are expected")
    return value


def _rule(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    if value is not None and not re.fullmatch(CONTENT_RULE, value):
        raise click.BadParameter("store, drop, mask or sample:PERCENT is expected")
    return value


def _limit(_: click.Context, __: click.Parameter, value: str | None) -> int | str | None:
    if value is None or value == "default":
        return value
    if not value.isdecimal() or int(value) >= 2**63:
        raise click.BadParameter("a number is expected (0: no limit), or default: what the settings say")
    return int(value)


def _limit_options(function: _F) -> _F:
    told = {
        "max_spans_per_second": "Spans and log records, to one gateway.",
        "max_bytes_per_second": "Of decompressed requests, to one gateway.",
        "max_bytes_per_day": "Of rows that are accepted in a day (UTC).",
        "max_stored_bytes": "Of rows that the plan still keeps.",
    }
    for name in reversed(LIMITS):
        text = f"{told[name]} 0: no limit; default: the setting."
        function = click.option(f"--{name.replace('_', '-')}", metavar="N", callback=_limit, help=text)(function)
    return function


_content = click.option(
    "--content", metavar="RULE", callback=_rule,
    help="What is kept of prompts and answers: store, drop, mask, or sample:PERCENT of traces.",
)  # fmt: skip
_id = click.argument("name", metavar="ID", callback=identifier)
_org = click.option("--org", metavar="ID", default=DEFAULT, show_default=True, callback=identifier, help="Whose it is.")
_why = click.option("--why", metavar="TEXT", help="Reason, for the audit log.")
_export_first = click.option(
    "--export", "folder", metavar="DIR", type=click.Path(path_type=Path), help="Export it first."
)


def _export_options(function: _F) -> _F:
    function = click.option("--format", "kind", type=click.Choice(FORMATS), default="jsonl", show_default=True)(
        function
    )
    return click.option(
        "--to", "folder", metavar="DIR", type=click.Path(path_type=Path),
        help="Folder for the files; without it one in this folder, named after what is in it.",
    )(function)  # fmt: skip


@contextmanager
def _connected(**options: str | None) -> Iterator[psycopg.Connection]:
    with database(settings_from(**options)) as url, translated(), psycopg.connect(conninfo(url)) as connection:
        schema.check(connection)
        # What is read before does not make one transaction of all that follows.
        connection.commit()
        yield connection


@contextmanager
def _pooled(**options: str | None) -> Iterator[ConnectionPool]:
    with database(settings_from(**options)) as url:
        with translated(), psycopg.connect(conninfo(url)) as connection:
            schema.check(connection)
        pool = open_pool(url, max_size=2, statement_timeout_s=600, wait_s=15)
        try:
            yield pool
        finally:
            pool.close(1.0)


@click.group()
def org() -> None:
    """Set, list, export and delete organizations."""


@org.command("set")
@_id
@click.option("--plan", type=click.Choice(PLANS), help="How long rows are kept.")
@click.option("--retention-days", type=click.IntRange(1, MAX_DAYS), help="Days, with the plan enterprise.")
@click.option("--legal-hold", type=click.Choice(("on", "off")), help="While it is on, nothing is deleted.")
@_content
@_limit_options
@_why
@database_options
@json_option
def set_org(
    name: str,
    plan: str | None,
    retention_days: int | None,
    legal_hold: str | None,
    content: str | None,
    why: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Make an organization, or change its plan, legal hold, limits, or what is kept of content.

    Fewer days count after the days of grace. Of the settings, the organization and the workspace, the strictest rule
    for content holds; gateways know it within seconds.
    """
    given = {name: options.pop(name) for name in LIMITS}
    limits = {name: None if value == "default" else value for name, value in given.items() if value is not None}
    if retention_days is not None and plan != "enterprise":
        raise click.UsageError("--retention-days goes with --plan enterprise")
    grace = timedelta(days=settings_from(**options).retention_grace_days)
    with _connected(**options) as connection:
        found = tenancy.set_organization(
            connection,
            name,
            plan=plan,
            retention_days=retention_days,
            legal_hold=None if legal_hold is None else legal_hold == "on",
            content=content,
            limits=limits,
            grace=grace,
            why=why,
        )
        policy = _policies(connection, grace, [name])[name]
    if as_json:
        click.echo(json.dumps(_object(found, policy)))
        return
    click.echo(f"{name}: {found.plan or 'no plan'}, {_kept(policy)}{_ruled(found)}")
    if policy.days != policy.plan_days:
        click.echo(
            f"{policy.plan_days} days count in {grace.days} days, unless the plan is raised again before", err=True
        )


@org.command("list")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True)
@click.option("--cursor", metavar="TEXT", help="next_cursor of the page before.")
@database_options
@json_option
def list_orgs(limit: int, cursor: str | None, as_json: bool, **options: str | None) -> None:
    """Show organizations, their plans, and the days that are in force."""
    grace = timedelta(days=settings_from(**options).retention_grace_days)
    with _connected(**options) as connection:
        found = tenancy.organizations(connection, limit=limit + 1, after=cursor)
        page = found[:limit]
        held = _policies(connection, grace, [item.id for item in page])
    following = page[-1].id if len(found) > limit else None
    if as_json:
        click.echo(json.dumps({"items": [_object(item, held[item.id]) for item in page], "next_cursor": following}))
        return
    table = Table(title="Organizations", title_justify="left", box=SIMPLE_HEAD)
    for column in ("id", "plan", "kept", "legal hold", "since"):
        table.add_column(column, overflow="fold")
    for item in page:
        hold = "on" if item.legal_hold else "-"
        table.add_row(item.id, item.plan or "-", _kept(held[item.id]), hold, f"{item.created_at:%Y-%m-%d}")
    console_for_people().print(table)
    if following:
        click.echo(f"more: --cursor {following}", err=True)


def _policies(connection: psycopg.Connection, grace: timedelta, ids: list[str]) -> dict[str, Policy]:
    return policies(connection, time_of(connection), grace, ids=ids)


def _ruled(found: Organization) -> str:
    said = [] if found.content is None else [f"content: {found.content}"]
    said += [
        f"{name.replace('_', ' ')}: {value}" for name, value in found.limits.as_json().items() if value is not None
    ]
    return "".join(f", {part}" for part in said)


def _kept(policy: Policy) -> str:
    if policy.legal_hold:
        return "everything is kept (legal hold)"
    return "everything is kept" if policy.days is None else f"rows are kept for {policy.days} days"


def _object(found: Organization, policy: Policy) -> dict[str, Any]:
    times = {name: rfc3339(getattr(found, name)) for name in ("created_at", "updated_at")}
    own = {name: value for name, value in asdict(found).items() if name != "limits"}
    return {**own, **found.limits.as_json(), **times, "plan_days": policy.plan_days, "days_in_force": policy.days}


@org.command("delete")
@_id
@_export_first
@_why
@database_options
@json_option
def delete_org(name: str, **more: Any) -> None:
    """Delete an organization with everything that is its own; later spans for it are refused."""
    _delete(Subject(organization_id=name), **more)


@org.command("export")
@_id
@_export_options
@database_options
@json_option
def export_org(name: str, **more: Any) -> None:
    """Write everything of an organization into files, one for each table."""
    _export(Subject(organization_id=name), **more)


@click.group()
def workspace() -> None:
    """Set, export and delete workspaces."""


@workspace.command("set")
@_id
@_org
@_content
@_why
@database_options
@json_option
def set_workspace(
    name: str, org: str, content: str | None, why: str | None, as_json: bool, **options: str | None
) -> None:
    """Make a workspace, or change what is kept of its content; one that was deleted is there again, empty."""
    with _connected(**options) as connection:
        tenancy.set_workspace(connection, org, name, content=content, why=why)
    found = {"organization_id": org, "workspace_id": name}
    if content is not None:
        found["content"] = content
    text = f"{name}: a workspace of {org}" + ("" if content is None else f", content: {content}")
    _said(found, text, as_json=as_json)


@workspace.command("delete")
@_id
@_org
@_export_first
@_why
@database_options
@json_option
def delete_workspace(name: str, org: str, **more: Any) -> None:
    """Delete a workspace with everything in it; later spans for it are refused."""
    _delete(Subject(organization_id=org, workspace_id=name), **more)


@workspace.command("export")
@_id
@_org
@_export_options
@database_options
@json_option
def export_workspace(name: str, org: str, **more: Any) -> None:
    """Write everything of a workspace into files, one for each table."""
    _export(Subject(organization_id=org, workspace_id=name), **more)


@click.group()
def user() -> None:
    """Export and delete what an end user left."""


@user.command("delete")
@_id
@_org
@_export_first
@_why
@database_options
@json_option
def delete_user(name: str, org: str, **more: Any) -> None:
    """Delete everything that was done for a user; later spans that name the user are refused."""
    _delete(Subject(organization_id=org, user_id=name), **more)


@user.command("export")
@_id
@_org
@_export_options
@database_options
@json_option
def export_user(name: str, org: str, **more: Any) -> None:
    """Write everything that was done for a user into files, one for each table."""
    _export(Subject(organization_id=org, user_id=name), **more)


@click.group()
def trace() -> None:
    """Export and delete single traces."""


@trace.command("delete")
@_id
@_org
@_export_first
@_why
@database_options
@json_option
def delete_trace(name: str, org: str, **more: Any) -> None:
    """Delete a trace; spans that still come of it are stored."""
    _delete(Subject(organization_id=org, trace_id=name), **more)


@trace.command("export")
@_id
@_org
@_export_options
@database_options
@json_option
def export_trace(name: str, org: str, **more: Any) -> None:
    """Write a trace into files, one for each table."""
    _export(Subject(organization_id=org, trace_id=name), **more)


@click.group()
def workflow() -> None:
    """Bind workflows to workspaces."""


@workflow.command("set")
@_id
@click.option("--workspace", metavar="ID", required=True, callback=identifier, help="Where its spans belong.")
@_org
@database_options
@json_option
def set_workflow(name: str, workspace: str, org: str, as_json: bool, **options: str | None) -> None:
    """Bind a workflow to a workspace."""
    with _connected(**options) as connection:
        tenancy.set_workflow(connection, org, name, workspace)
    found = {"organization_id": org, "workflow_id": name, "workspace_id": workspace}
    _said(found, f"{name}: a workflow of workspace {workspace} of {org}", as_json=as_json)


def _delete(subject: Subject, *, folder: Path | None, why: str | None, as_json: bool, **options: str | None) -> None:
    with _pooled(**options) as pool:
        files = None
        if folder is not None:
            with translated(), pool.connection() as connection:
                connection.autocommit = True
                files = export_files(connection, subject, folder, vault=vault_of(settings_from(**options)))
                _tell(connection, subject, files, why)
                connection.autocommit = False
        rows = tenancy.delete(pool, subject, why=why)
        with translated(), pool.connection() as connection:
            now = time_of(connection)
    found = {**subject.names(), "rows": rows, "deleted_at": rfc3339(now), "exported": files}
    _said(found, f"deleted, with {rows:,} rows", as_json=as_json)


def _export(subject: Subject, *, folder: Path | None, kind: str, as_json: bool, **options: str | None) -> None:
    if folder is None:
        # An id may hold anything, a path may not.
        folder = Path("-".join(("export", *(re.sub(r"[^\w.-]", "_", name) for name in subject.names().values()))))
    with _connected(**options) as connection:
        connection.autocommit = True
        vault = vault_of(settings_from(**options))
        counts = export_files(connection, subject, folder, kind=kind, vault=vault, progress=_progress)
        _tell(connection, subject, counts, None)
    found = {**subject.names(), "folder": str(folder), "format": kind, "files": counts}
    _said(found, f"{sum(counts.values()):,} rows in {len(counts)} files in {folder}", as_json=as_json)


def _tell(connection: psycopg.Connection, subject: Subject, counts: dict[str, int], why: str | None) -> None:
    """Write down that somebody took it out."""
    names = subject.names()
    audit.append(
        connection,
        action="data.export",
        subject=next(reversed(names.values())),
        organization_id=subject.organization_id,
        after={**names, "rows": sum(counts.values())},
        why=why,
    )


def _progress(table: str, rows: int) -> None:
    click.echo(f"{table}: {rows:,} rows", err=True)


def _said(found: dict[str, Any], text: str, *, as_json: bool) -> None:
    click.echo(json.dumps(found) if as_json else text)
