"""API keys: what they look like, and what the database knows of them, which is not the keys themselves.

A key is ``oo_``, 16 characters that name it, ``_``, 43 characters for 256 random bits and 6 for a checksum. Scanners
for leaked secrets find ``oo_[0-9a-z]{16}_[0-9A-Za-z]{49}``; a key that was cut off or mistyped is known without
asking the database (https://github.blog/2021-04-05-behind-githubs-new-authentication-token-formats/).
"""

from __future__ import annotations

import hashlib
import re
import secrets
import string
import zlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import psycopg
from psycopg_pool import ConnectionPool

from otel_obs.errors import ConfigurationError
from otel_obs.postgres import audit
from otel_obs.postgres.arrays import arrays
from otel_obs.postgres.pool import translated
from otel_obs.postgres.queries import load

_KEYS = load("keys")

SCOPES = ("ingest", "read", "flags", "admin")
"""What a key may allow; none includes another."""
OPERATORS = frozenset(("read", "admin"))
"""What of it operators' keys may."""

_BASE36 = string.digits + string.ascii_lowercase
_BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
_ID_LENGTH, _SECRET_LENGTH, _CHECKSUM_LENGTH = 16, 43, 6
_KEY = re.compile(r"oo_([0-9a-z]{16})_([0-9A-Za-z]{49})")


@dataclass(frozen=True, slots=True)
class PresentedKey:
    """A well-formed key that somebody sent: its id, and the hash by which it is compared."""

    id: str
    hash: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredKey:
    """What decides about the requests of a key."""

    id: str
    hash: bytes = field(repr=False)
    organization_id: str | None
    """None: the organization was deleted."""
    workspace_id: str | None = None
    """The only workspace that it opens; None with ``is_bound``: that workspace was deleted."""
    is_bound: bool = False
    scopes: frozenset[str]
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    is_operator: bool = False
    """It may name any organization; this one is meant where it names none."""


class KeyRow(NamedTuple):
    """What operators are shown of a key."""

    id: str
    organization_id: str | None
    workspace_id: str | None
    is_bound: bool
    scopes: list[str]
    name: str
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    is_operator: bool

    def state(self, now: datetime) -> str:
        """Return ``active``, ``expired``, ``revoked`` or ``deleted`` (with its organization or workspace)."""
        if self.organization_id is None or (self.is_bound and self.workspace_id is None):
            return "deleted"
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "active"


class Attempted(NamedTuple):
    """That too many requests with invalid keys came."""

    kind: str
    """``address`` or ``key``: what they have in common ..."""
    name: str
    """... and which it is."""
    address: str
    """Where the last of them came from."""
    organization_id: str | None
    """Whose key it is; None where there is no such key."""
    failures: int
    since: datetime


def new_key() -> tuple[str, PresentedKey]:
    """Return a key nobody else has, 256 random bits of the operating system, and what is stored of it."""
    key_id = "".join(secrets.choice(_BASE36) for _ in range(_ID_LENGTH))
    secret = _base62(int.from_bytes(secrets.token_bytes(32), "big"), _SECRET_LENGTH)
    text = f"oo_{key_id}_{secret}{_checksum(key_id, secret)}"
    return text, PresentedKey(key_id, _hash(text))


def presented(text: str) -> PresentedKey | None:
    """Return the key that *text* is; None if no such key can exist."""
    found = _KEY.fullmatch(text)
    if found is None:
        return None
    key_id, secret = found[1], found[2][:_SECRET_LENGTH]
    if found[2][_SECRET_LENGTH:] != _checksum(key_id, secret):
        return None
    return PresentedKey(key_id, _hash(text))


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _checksum(key_id: str, secret: str) -> str:
    return _base62(zlib.crc32(f"{key_id}_{secret}".encode()), _CHECKSUM_LENGTH)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(_BASE62))
        digits.append(_BASE62[digit])
    return "".join(reversed(digits))


def create(
    connection: psycopg.Connection,
    *,
    organization_id: str,
    workspace_id: str | None,
    scopes: Iterable[str],
    now: datetime,
    name: str = "",
    expires_at: datetime | None = None,
    is_operator: bool = False,
    why: str | None = None,
) -> str:
    """Make a key and return it: this is the only moment when anybody can know it.

    An organization or a workspace that is not known yet is registered. The audit entry is of the same transaction.

    Raises:
        ConfigurationError: the organization or the workspace was deleted, or an operator's key would be bound to a
            workspace or allow to send.
    """
    if is_operator and (workspace_id is not None or not set(scopes) <= OPERATORS):
        raise ConfigurationError(f"an operator's key is for no workspace, and allows {' or '.join(sorted(OPERATORS))}")
    key, held = new_key()
    tenant = {"organization_id": organization_id, "workspace_id": workspace_id}
    with connection.transaction():
        if _scalar(connection, "is_deleted", {**tenant, "workspace_id": workspace_id or ""}):
            raise ConfigurationError("that organization or workspace was deleted; set it again first")
        connection.execute(_KEYS["register_organization"], tenant)
        if workspace_id is not None:
            connection.execute(_KEYS["register_workspace"], tenant)
        said = {**tenant, "scopes": sorted(set(scopes)), "name": name}
        with audit.speaking(connection, why=why):
            connection.execute(
                _KEYS["create_key"],
                {
                    **said,
                    "id": held.id,
                    "hash": held.hash,
                    "created_at": now,
                    "created_by": audit.account(),
                    "expires_at": expires_at,
                    "is_operator": is_operator,
                },
            )
    return key


def revoke(connection: psycopg.Connection, key_id: str, *, now: datetime, why: str | None = None) -> KeyRow | None:
    """Revoke a key and return it; None if there is no such key. One that was revoked before stays as it was."""
    with connection.transaction():
        with audit.speaking(connection, why=why):
            connection.execute(_KEYS["revoke_key"], {"id": key_id, "now": now})
        found = listed(connection, key_id=key_id, limit=1)
    return found[0] if found else None


def listed(
    connection: psycopg.Connection,
    *,
    limit: int,
    key_id: str | None = None,
    organization_id: str | None = None,
    after: tuple[datetime, str] | None = None,
) -> list[KeyRow]:
    """Return at most *limit* keys, the oldest first, beginning behind the one made at *after* with that id."""
    created_at, after_id = after or (None, None)
    parameters = {
        "id": key_id,
        "organization_id": organization_id,
        "after_created_at": created_at,
        "after_id": after_id,
        "limit": limit,
    }
    return [KeyRow(*row) for row in connection.execute(_KEYS["list_keys"], parameters)]


def _scalar(connection: psycopg.Connection, name: str, parameters: Mapping[str, Any]) -> Any:
    row = connection.execute(_KEYS[name], parameters).fetchone()
    return None if row is None else row[0]


class PostgresKeys:
    """The keys in the database, as servers ask for them."""

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool

    def find(self, ids: Collection[str]) -> dict[str, StoredKey]:
        """Return those of *ids* that are there, by their ids.

        Raises:
            ObsError: the database cannot be asked.
        """
        with translated(), self._pool.connection() as connection:
            rows = connection.execute(_KEYS["find_keys"], {"ids": list(ids)}).fetchall()
        return {
            row[0]: StoredKey(
                id=row[0],
                hash=bytes(row[1]),
                organization_id=row[2],
                workspace_id=row[3],
                is_bound=row[4],
                scopes=frozenset(row[5]),
                expires_at=row[6],
                revoked_at=row[7],
                is_operator=row[8],
            )
            for row in rows
        }

    def note(self, attempts: Iterable[Attempted]) -> None:
        """Write into the audit log that somebody guesses.

        Raises:
            ObsError: the database cannot be asked.
        """
        with translated(), self._pool.connection() as connection:
            for found in attempts:
                audit.append(
                    connection,
                    action="keys.guessed",
                    subject=found.name,
                    organization_id=found.organization_id,
                    after={
                        "by": found.kind, "address": found.address, "failures": found.failures,
                        "since": found.since.isoformat(),
                    },
                    actor=f"address:{found.address or 'unknown'}",
                )  # fmt: skip

    def touch(self, used_at: Mapping[str, datetime]) -> None:
        """Write when keys were last used, unless that was written for less than a minute before.

        Raises:
            ObsError: the database cannot be asked.
        """
        with translated(), self._pool.connection() as connection:
            connection.execute(_KEYS["touch_keys"], arrays(("ids", "used_at"), used_at.items()))
