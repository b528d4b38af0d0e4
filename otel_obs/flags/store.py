"""Flags in PostgreSQL: read, set, deleted, and who did that. Each change is audited in its own transaction.

By triggers: what is changed with SQL is audited as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import psycopg
from psycopg import errors
from psycopg.types.json import Jsonb

from otel_obs.errors import ConfigurationError, FlagConflictError
from otel_obs.flags.evaluate import sole_variant
from otel_obs.flags.model import (
    BOOLEAN,
    BUCKETS,
    OFF,
    Flag,
    MalformedFlagError,
    prerequisites_of,
    row_of,
    shares_of,
    variants_of,
)
from otel_obs.postgres import audit
from otel_obs.postgres.queries import load
from otel_obs.settings import is_identifier

_FLAGS = load("flags")


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagScope:
    """Whom a flag is set for; all None: everyone."""

    organization_id: str | None = None
    workspace_id: str | None = None
    user_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is to become of a flag in one scope. None leaves a part as it is; an empty one clears it."""

    is_enabled: bool | None = None
    variants: Mapping[str, Any] | None = None
    rollout: Mapping[str, Any] | None = None
    """Percent by variant. A flag that is switched on without one is on for everyone."""
    prerequisites: Sequence[str] | None = None
    starts_at: datetime | None = None
    expires_at: datetime | None = None
    clears: frozenset[str] = frozenset()
    """Of ``starts_at`` and ``expires_at`` those to forget."""
    killed: bool | None = None
    description: str | None = None
    owner: str | None = None


class AuditEntry(NamedTuple):
    """One change of a flag."""

    id: int
    at: datetime
    actor: str
    organization_id: str | None
    action: str
    flag_name: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    why: str | None


def load_flags(connection: psycopg.Connection, organization_id: str | None = None) -> list[Flag]:
    """Return all flags, or those that count for one organization."""
    rows = connection.execute(_FLAGS["load"], {"organization_id": organization_id})
    return [row_of(row) for row in rows]


def listed(
    connection: psycopg.Connection,
    *,
    limit: int,
    organization_id: str | None = None,
    flag_name: str | None = None,
    after: Sequence[str] = ("", "", "", ""),
) -> list[Flag]:
    """Return at most *limit* flags by name and scope, beginning behind *after* (name and ids, '' for none)."""
    asked = {"limit": limit, "organization_id": organization_id, "flag_name": flag_name, "after": list(after)}
    return [row_of(row) for row in connection.execute(_FLAGS["list_flags"], asked)]


def set_flag(
    connection: psycopg.Connection,
    flag_name: str,
    scope: FlagScope,
    change: Change,
    *,
    expected_version: int | None = None,
    why: str | None = None,
    actor: str | None = None,
) -> Flag:
    """Change a flag, or make it, and return it as it is then. What would change nothing changes nothing.

    Raises:
        FlagConflictError: *expected_version* is given (0: it must not exist) and it has another one.
        ConfigurationError: the flag would make no sense, or its organization, workspace or user was deleted.
    """
    where = _where(flag_name, scope)
    with connection.transaction():
        connection.execute(_FLAGS["lock_flags"])
        rows = [row_of(row) for row in connection.execute(_FLAGS["flags_called"], {"flag_name": flag_name})]
        before = next(
            (row for row in rows if row.key == (scope.organization_id, scope.workspace_id, scope.user_id)), None
        )
        _expect(before, expected_version)
        columns = {**where, **_columns(change, before, rows, scope)}
        _register(connection, where)
        if before is not None and _content(columns) == _content(_columns_of(before)) and not before.malformed:
            return before
        columns["version"] = _next_version(connection, before, where)
        try:
            with connection.transaction(), audit.speaking(connection, actor=actor, why=why):
                connection.execute(_FLAGS["insert_flag" if before is None else "update_flag"], _stored(columns))
        except errors.UniqueViolation:
            raise FlagConflictError from None
        found = [row_of(row) for row in connection.execute(_FLAGS["flags_called"], {"flag_name": flag_name})]
    return next(row for row in found if row.key == (scope.organization_id, scope.workspace_id, scope.user_id))


def delete_flag(
    connection: psycopg.Connection,
    flag_name: str,
    scope: FlagScope | None,
    *,
    expected_version: int | None = None,
    why: str | None = None,
    actor: str | None = None,
) -> list[Flag]:
    """Delete a flag in one scope, or (None) in all of them; return what was deleted.

    Raises:
        FlagConflictError: *expected_version* is given, and it has another one.
    """
    with connection.transaction():
        connection.execute(_FLAGS["lock_flags"])
        rows = [row_of(row) for row in connection.execute(_FLAGS["flags_called"], {"flag_name": flag_name})]
        if scope is not None:
            rows = [row for row in rows if row.key == (scope.organization_id, scope.workspace_id, scope.user_id)]
        for row in rows:
            _expect(row, expected_version)
            where = {**_where(flag_name, None), **dict(zip(_IDS, row.key, strict=True))}
            with audit.speaking(connection, actor=actor, why=why):
                connection.execute(_FLAGS["delete_flag"], where)
    return rows


def history(
    connection: psycopg.Connection,
    *,
    limit: int,
    flag_name: str | None = None,
    organization_id: str | None = None,
    before_id: int | None = None,
) -> list[AuditEntry]:
    """Return at most *limit* changes of flags, the newest first, beginning before the entry *before_id*."""
    asked = {"limit": limit, "flag_name": flag_name, "organization_id": organization_id, "before_id": before_id}
    return [AuditEntry(*row) for row in connection.execute(_FLAGS["history"], asked)]


_IDS = ("organization_id", "workspace_id", "user_id")


def _where(flag_name: str, scope: FlagScope | None) -> dict[str, Any]:
    scope = scope or FlagScope()
    found = {"flag_name": flag_name, **{name: getattr(scope, name) for name in _IDS}}
    for name, value in found.items():
        if value is not None and not is_identifier(value):
            raise ConfigurationError(f"{name} {value!r}: at most 200 bytes without control characters are expected")
    if scope.organization_id is None and (scope.workspace_id or scope.user_id):
        raise ConfigurationError("a workspace or a user belongs to an organization: name it")
    return found


def _expect(before: Flag | None, version: int | None) -> None:
    current = 0 if before is None else before.version
    if version is not None and version != current:
        has = "does not exist" if before is None else f"has version {current}"
        raise FlagConflictError(f"the flag {has}, not {version}: somebody else has changed it; read it again")


def _columns(change: Change, before: Flag | None, rows: Sequence[Flag], scope: FlagScope) -> dict[str, Any]:
    """Return what the row is to hold.

    Raises:
        ConfigurationError: that makes no sense.
    """
    old = before or Flag(flag_name="", is_enabled=False)
    try:
        variants = old.variants if change.variants is None else variants_of(change.variants or None)
        shares = old.shares if change.rollout is None else shares_of(change.rollout or None)
        needed = old.prerequisites if change.prerequisites is None else prerequisites_of(change.prerequisites or None)
    except MalformedFlagError as error:
        raise ConfigurationError(str(error)) from None
    wider = _wider(rows, scope)
    served = next((found for found in (variants, *(row.variants for row in wider)) if found is not None), BOOLEAN)
    if change.is_enabled and change.rollout is None and sole_variant(served) is not None:
        shares = None
    is_enabled = old.is_enabled if change.is_enabled is None else change.is_enabled
    _check_shares(served, shares, is_enabled=is_enabled, wider=wider)
    starts_at = None if "starts_at" in change.clears else change.starts_at or old.starts_at
    expires_at = None if "expires_at" in change.clears else change.expires_at or old.expires_at
    if starts_at and expires_at and starts_at >= expires_at:
        raise ConfigurationError("a flag must start before it expires")
    if rows and needed and (rows[0].flag_name in needed):
        raise ConfigurationError("a flag cannot be its own prerequisite")
    return {
        "is_enabled": is_enabled,
        "variants": None if variants is None else dict(variants),
        "rollout": Flag(flag_name="", is_enabled=True, shares=shares).rollout,
        "prerequisites": None if needed is None else list(needed),
        "starts_at": starts_at,
        "expires_at": expires_at,
        "killed": old.killed if change.killed is None else change.killed,
        "description": old.description if change.description is None else change.description or None,
        "owner": old.owner if change.owner is None else change.owner or None,
    }


def _wider(rows: Sequence[Flag], scope: FlagScope) -> list[Flag]:
    """Return the rows of the wider scopes of *scope*, the narrowest first."""
    ids = (scope.organization_id, scope.workspace_id, scope.user_id)
    inside = [
        row
        for row in rows
        if row.key != ids and all(id_ in (None, ours) for id_, ours in zip(row.key, ids, strict=True))
    ]
    return sorted(inside, key=lambda row: sum(id_ is None for id_ in row.key))


def _check_shares(
    variants: Mapping[str, Any], shares: tuple[tuple[str, int], ...] | None, *, is_enabled: bool, wider: Sequence[Flag]
) -> None:
    for name, _ in shares or ():
        if name not in variants and name != OFF:
            raise ConfigurationError(f"rollout: there is no variant {name!r}, only {', '.join(sorted(variants))}")
    chosen = shares is not None or any(row.shares is not None for row in wider)
    if is_enabled and not chosen and sole_variant(variants) is None:
        raise ConfigurationError(f"say what share of users gets which variant: {', '.join(sorted(variants))}")


def _register(connection: psycopg.Connection, where: Mapping[str, Any]) -> None:
    """Make the organization, workspace and user known, so that their flags go when they are deleted.

    Raises:
        ConfigurationError: one of them was deleted.
    """
    if where["organization_id"] is None:
        return
    row = connection.execute(_FLAGS["is_deleted"], where).fetchone()
    if row is not None and row[0]:
        raise ConfigurationError("that organization, workspace or user was deleted")
    connection.execute(_FLAGS["register_organization"], where)
    if where["workspace_id"] is not None:
        connection.execute(_FLAGS["register_workspace"], where)
    if where["user_id"] is not None:
        connection.execute(_FLAGS["register_user"], where)


def _next_version(connection: psycopg.Connection, before: Flag | None, where: Mapping[str, Any]) -> int:
    if before is not None:
        return before.version + 1
    row = connection.execute(_FLAGS["last_deleted_version"], where).fetchone()
    return 1 if row is None else int(row[0]) + 1


def _columns_of(flag: Flag) -> dict[str, Any]:
    return {
        "flag_name": flag.flag_name,
        **{name: getattr(flag, name) for name in _IDS},
        "is_enabled": flag.is_enabled,
        "variants": None if flag.variants is None else dict(flag.variants),
        "rollout": flag.rollout,
        "prerequisites": None if flag.prerequisites is None else list(flag.prerequisites),
        "starts_at": flag.starts_at,
        "expires_at": flag.expires_at,
        "killed": flag.killed,
        "description": flag.description,
        "owner": flag.owner,
    }


def _content(columns: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in _sayable(columns).items() if name != "version"}


def _stored(columns: Mapping[str, Any]) -> dict[str, Any]:
    parts = ("variants", "rollout", "prerequisites")
    return {**columns, **{name: None if columns[name] is None else Jsonb(columns[name]) for name in parts}}


def _sayable(value: Any) -> Any:
    """Return *value* as JSON that comes back from PostgreSQL as it went in: fractions as text."""
    if isinstance(value, Mapping):
        return {name: _sayable(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_sayable(item) for item in value]
    if isinstance(value, float):
        return repr(value)
    return value.isoformat() if isinstance(value, datetime) else value


def total(shares: tuple[tuple[str, int], ...] | None) -> int:
    """Return how many buckets get something else than off."""
    return BUCKETS if shares is None else sum(share for name, share in shares if name != OFF)
