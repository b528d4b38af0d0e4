"""``doctor``: is everything as it must be? Each check looks at one thing and changes nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import click
import psycopg
from rich.box import SIMPLE_HEAD
from rich.table import Table

from otel_obs.cli.built import how_built
from otel_obs.cli.options import console_for_people, database, database_options, json_option, settings_from
from otel_obs.errors import ConfigurationError, EmbeddedPostgresError, ObsError, StorageUnavailableError
from otel_obs.postgres import partitions, schema
from otel_obs.postgres.pool import conninfo, error_of, translated
from otel_obs.postgres.queries import load
from otel_obs.postgres.roles import reader_faults
from otel_obs.settings import Settings, unknown_variables

_HEALTH = load("health")
_SEALING = load("sealing")
_WARNING = "warning: "
MAX_CLOCK_OFFSET = timedelta(seconds=5)
MIN_AHEAD = timedelta(days=7)
"""With less than a week ahead nobody has made partitions for three weeks."""
OLDEST, NEWEST = 15, 18
"""Versions of PostgreSQL that the tests run on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check says."""

    name: str
    ok: bool
    detail: str


Look = Callable[[psycopg.Connection], "tuple[bool, str]"]
"""Return whether all is well, and what was seen; a detail that begins with ``warning: `` asks for attention."""


@click.command()
@database_options
@json_option
def doctor(as_json: bool, **options: str | None) -> int:
    """Check configuration, roles, schema, partitions, clocks and maintenance."""
    code, found = _examine(options)
    ok = all(finding.ok for finding in found)
    if as_json:
        checks = [{"name": item.name, "ok": item.ok, "detail": item.detail} for item in found]
        click.echo(json.dumps({"ok": ok, "checks": checks}))
    else:
        console_for_people().print(_table(found))
    return code or (0 if ok else 1)


def _examine(options: dict[str, str | None]) -> tuple[int, list[Finding]]:
    """Return the exit code that outranks the checks', or 0, and what all checks found."""
    try:
        settings = settings_from(**options)
    except ConfigurationError as error:
        return 2, [Finding(name="configuration", ok=False, detail=str(error))]
    found = [Finding(name="configuration", ok=True, detail=_configuration(settings))]
    try:
        with database(settings) as url, translated(), psycopg.connect(conninfo(url), autocommit=True) as connection:
            found += [*_checks(connection), _content(connection, settings)]
    except (StorageUnavailableError, EmbeddedPostgresError) as error:
        return 3, [*found, Finding(name="database", ok=False, detail=str(error))]
    return (0 if next(item.ok for item in found if item.name == "schema") else 4), found


def _configuration(settings: Settings) -> str:
    place = "OTEL_OBS_DATABASE_URL" if settings.database_url else f"embedded in {settings.data_dir}"
    found = f"database: {place}; program: {how_built()}"
    unknown = unknown_variables(os.environ)
    if unknown:
        return f"{_WARNING}no settings of otel_obs: {', '.join(unknown)}; {found}"
    return found


def _checks(connection: psycopg.Connection) -> Iterator[Finding]:
    for name, look in CHECKS:
        try:
            ok, detail = look(connection)
        except psycopg.Error as error:
            ok, detail = False, str(error_of(error))
        except ObsError as error:
            ok, detail = False, str(error)
        yield Finding(name=name, ok=ok, detail=detail)


def _database(connection: psycopg.Connection) -> tuple[bool, str]:
    _, number, version = _row(connection, "clock")
    supported = OLDEST <= number // 10000 <= NEWEST
    return True, f"PostgreSQL {version}" if supported else f"{_WARNING}PostgreSQL {version} is not tested"


def _schema(connection: psycopg.Connection) -> tuple[bool, str]:
    schema.check(connection)
    return True, "up to date"


def _roles(connection: psycopg.Connection) -> tuple[bool, str]:
    faults = reader_faults(connection)
    user, may_write, may_become_reader = _row(connection, "writer")
    if not may_write:
        faults.append(f"{user} may not write")
    if not may_become_reader:
        faults.append(f"{user} may not become otel_obs_reader")
    return not faults, "; ".join(faults) or f"{user} writes, otel_obs_reader is bound by row-level security"


def _partitions(connection: psycopg.Connection) -> tuple[bool, str]:
    covered = partitions.covered(connection)
    if covered is None:
        return False, "there are none: run `otel-obs migrate`"
    weeks = f"weeks from {covered[0]:%Y-%m-%d} to {covered[1]:%Y-%m-%d}"
    if covered[1] - datetime.now(tz=timezone.utc) < MIN_AHEAD:
        return False, f"{weeks}: those ahead are missing"
    open_ones = [name for (name,) in connection.execute(_HEALTH["unprotected_partitions"]).fetchall()]
    if open_ones:
        return False, f"row-level security is off: {', '.join(open_ones)}"
    (edge,) = _row(connection, "edge_rows")
    more = "more than a thousand" if edge > 1000 else edge
    return True, f"{_WARNING}{weeks}; {more} rows lie outside, of clocks that are wrong" if edge else weeks


def _clocks(connection: psycopg.Connection) -> tuple[bool, str]:
    before = datetime.now(tz=timezone.utc)
    there, *_ = _row(connection, "clock")
    after = datetime.now(tz=timezone.utc)
    offset = abs(there - (before + (after - before) / 2))
    return offset <= MAX_CLOCK_OFFSET + (after - before), f"the database's differs by {offset.total_seconds():.3f} s"


def _maintenance(connection: psycopg.Connection) -> tuple[bool, str]:
    waiting, since = _row(connection, "unsettled")
    if since is not None:
        return False, f"{waiting} traces wait to be settled, the first since {since:%Y-%m-%dT%H:%M:%SZ}: nobody does"
    if not _row(connection, "knows_retention")[0]:
        return True, f"{waiting} traces wait to be settled"
    (last,) = _row(connection, "last_retention")
    return True, f"{waiting} traces wait to be settled; last retention {'never' if last is None else last.isoformat()}"


def _plans(connection: psycopg.Connection) -> tuple[bool, str]:
    ids = [organization_id for (organization_id,) in connection.execute(_HEALTH["without_plan"]).fetchall()]
    if not ids:
        return True, "every organization has a plan"
    named = ", ".join(ids[:10]) + (f" and {len(ids) - 10} more" if len(ids) > 10 else "")
    return True, f"{_WARNING}without a plan, so nothing of theirs is ever deleted: {named}"


def _content(connection: psycopg.Connection, settings: Settings) -> Finding:
    """Tell whether what was said rests sealed, and whether the keys for it are here."""
    if settings.content == "drop":
        return Finding(name="content", ok=True, detail="what was said is not stored")
    try:
        known: dict[str, int] = dict(connection.execute(_SEALING["wrapped_by"]).fetchall())
    except psycopg.Error as error:
        return Finding(name="content", ok=False, detail=str(error_of(error)))
    mine = [name for name, _ in settings.encryption_keys]
    strange = [] if settings.kms_hook else sorted(set(known) - set(mine))
    if strange:
        detail = f"data keys are wrapped by {', '.join(strange)}, not in OTEL_OBS_ENCRYPTION_KEYS: it cannot be opened"
        return Finding(name="content", ok=False, detail=detail)
    if not mine:
        detail = f"{_WARNING}what was said rests readable: OTEL_OBS_ENCRYPTION_KEYS is not set"
        return Finding(name="content", ok=True, detail=detail)
    by = "a key service" if settings.kms_hook else mine[0]
    return Finding(name="content", ok=True, detail=f"sealed with a key of each organization, wrapped by {by}")


CHECKS: tuple[tuple[str, Look], ...] = (
    ("database", _database),
    ("schema", _schema),
    ("roles", _roles),
    ("partitions", _partitions),
    ("clocks", _clocks),
    ("maintenance", _maintenance),
    ("plans", _plans),
)
"""In the order in which they are shown; one more is one more line here."""


def _row(connection: psycopg.Connection, name: str) -> tuple[Any, ...]:
    row = connection.execute(_HEALTH[name]).fetchone()
    return () if row is None else row


def _table(found: list[Finding]) -> Table:
    table = Table(box=SIMPLE_HEAD)
    for column in ("check", "", "detail"):
        table.add_column(column, overflow="fold")
    for item in found:
        is_warning = item.ok and item.detail.startswith(_WARNING)
        mark = "[yellow]warning[/]" if is_warning else "[green]ok[/]" if item.ok else "[red]failed[/]"
        table.add_row(item.name, mark, item.detail.removeprefix(_WARNING))
    return table
