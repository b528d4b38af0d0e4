"""The data keys of organizations: made, kept wrapped in ``data_keys``, and remembered for a while once unwrapped.

A writer asks which keys are in force in the transaction that it writes in, so that it never seals with a key that is
gone by the time it commits: whoever destroys one waits for it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psycopg
from psycopg_pool import ConnectionPool

from otel_obs.errors import KeysUnavailableError
from otel_obs.postgres.arrays import arrays
from otel_obs.postgres.queries import load
from otel_obs.sealing import (
    KEY_BYTES,
    MAX_MESSAGES,
    DataKey,
    KeyWrapper,
    SealedError,
    key_name_of,
    place_of,
    wrapper_of,
)
from otel_obs.settings import Settings

_SEALING = load("sealing")

CONTENT, INDEX = "content", "index"
REMEMBERED_S = 30.0
"""For how long an unwrapped key opens without the database being asked: a destroyed one is forgotten by then."""
FORGOTTEN_S = 300.0
"""After that it is not in memory any more, unless it has been unwrapped again."""
MAX_REMEMBERED = 10_000
LONGEST_IN_FORCE = timedelta(days=365)
"""After that a new data key seals, and the old one only opens."""
COUNTED_AT_ONCE = 2**20
"""Sealed messages are noted when there are so many."""


@dataclass(frozen=True, slots=True)
class Keys:
    """What one organization seals with now."""

    content: DataKey
    index: bytes
    """Makes hashes of content that nobody else can make."""


class Vault:
    """Data keys, wrapped by *wrapper*."""

    def __init__(self, wrapper: KeyWrapper) -> None:
        self.wrapper = wrapper
        self._remembered: dict[tuple[str, str], tuple[bytes, bytes, DataKey, float]] = {}
        """(organization, name) -> wrapped, key, key as it seals, until when it opens unasked"""
        self._forget_at = 0.0
        self._messages: dict[tuple[str, str], int] = {}

    def in_force(self, connection: psycopg.Connection, organization_ids: Iterable[str]) -> Mapping[str, Keys]:
        """Return what each organization seals with, held until the transaction of *connection* ends.

        Raises:
            KeysUnavailableError: the keys that wrap are not here, or their service cannot be reached.
        """
        self._forget()
        wanted = sorted(set(organization_ids))
        found = self._in_force(connection, wanted)
        missing = [
            (organization_id, purpose)
            for organization_id in wanted
            for purpose in (CONTENT, INDEX)
            if (organization_id, purpose) not in found
        ]
        if missing:
            self._add(connection, missing)
            found = self._in_force(connection, wanted)
        return {
            name: Keys(
                self._unwrapped(name, *found[name, CONTENT])[1],
                self._unwrapped(name, *found[name, INDEX])[0],
            )
            for name in wanted
        }

    def _in_force(
        self, connection: psycopg.Connection, organization_ids: Sequence[str]
    ) -> dict[tuple[str, str], tuple[str, str, bytes]]:
        asked = {"organization_ids": organization_ids, "most": MAX_MESSAGES, "longest": LONGEST_IN_FORCE}
        rows = connection.execute(_SEALING["keys_in_force"], asked).fetchall()
        found = {}
        for organization_id, name, purpose, wrapped_by, wrapped, is_worn in rows:
            if is_worn and purpose == CONTENT:
                connection.execute(_SEALING["retire_key"], {"organization_id": organization_id, "id": name})
            else:
                found[organization_id, purpose] = (name, wrapped_by, bytes(wrapped))
        return found

    def _add(self, connection: psycopg.Connection, missing: Iterable[tuple[str, str]]) -> None:
        rows = []
        for organization_id, purpose in missing:
            name = secrets.token_hex(6)
            place = place_of(organization_id, "data_keys", "wrapped", name)
            wrapped = self.wrapper.wrap(secrets.token_bytes(KEY_BYTES), place)
            rows.append((organization_id, name, purpose, self.wrapper.name, wrapped))
        names = ("organization_ids", "ids", "purposes", "wrapped_by", "wrapped")
        connection.execute(_SEALING["add_keys"], arrays(names, rows))

    def _forget(self) -> None:
        """Let go of keys that were unwrapped long ago."""
        now = time.monotonic()
        if now < self._forget_at:
            return
        self._forget_at = now + REMEMBERED_S
        for name, known in list(self._remembered.items()):
            if known[3] - REMEMBERED_S + FORGOTTEN_S < now:
                self._remembered.pop(name, None)

    def replace(self, connection: psycopg.Connection, organization_id: str, name: str) -> None:
        """Have a new key seal in place of *name*, which only opens from now on."""
        connection.execute(_SEALING["retire_key"], {"organization_id": organization_id, "id": name})
        self.in_force(connection, [organization_id])

    def _unwrapped(self, organization_id: str, name: str, wrapped_by: str, wrapped: bytes) -> tuple[bytes, DataKey]:
        known = self._remembered.get((organization_id, name))
        if known is not None and known[0] == wrapped:
            return known[1], known[2]
        place = place_of(organization_id, "data_keys", "wrapped", name)
        try:
            key = self.wrapper.unwrap(wrapped_by, wrapped, place)
        except KeyError:
            message = f"the key {wrapped_by!r}, which wraps data keys, is not in OTEL_OBS_ENCRYPTION_KEYS"
            raise KeysUnavailableError(message) from None
        except SealedError as error:
            raise KeysUnavailableError(f"a data key is not what {wrapped_by!r} wrapped: {error}") from None
        if len(self._remembered) >= MAX_REMEMBERED:
            self._remembered.clear()
        made = DataKey(name, key)
        self._remembered[organization_id, name] = (wrapped, key, made, time.monotonic() + REMEMBERED_S)
        return key, made

    def key(self, connection: psycopg.Connection, organization_id: str, name: str) -> DataKey:
        """Return the data key *name* of an organization; a reader of that organization may ask.

        Raises:
            SealedError: it is not there any more, or nobody can unwrap it here.
        """
        self._forget()
        known = self._remembered.get((organization_id, name))
        if known is not None and time.monotonic() < known[3]:
            return known[2]
        row = connection.execute(_SEALING["data_key"], {"organization_id": organization_id, "id": name}).fetchone()
        if row is None:
            self._remembered.pop((organization_id, name), None)
            raise SealedError("undecryptable", f"the data key {name!r} does not exist")
        wrapped = bytes(row[1])
        try:
            key, made = self._unwrapped(organization_id, name, row[0], wrapped)
        except KeysUnavailableError as error:
            raise SealedError("locked", str(error)) from None
        self._remembered[organization_id, name] = (wrapped, key, made, time.monotonic() + REMEMBERED_S)
        return made

    def opened(self, connection: psycopg.Connection, organization_id: str, sealed: bytes, place: bytes) -> bytes:
        """Return what was *sealed* at *place*.

        Raises:
            SealedError: nobody can open it here.
        """
        return self.key(connection, organization_id, key_name_of(sealed)).open(sealed, place)

    def count(self, pool: ConnectionPool, sealed: Mapping[tuple[str, str], int]) -> None:
        """Note that so much was sealed: (organization, key name) -> messages."""
        for key, number in sealed.items():
            self._messages[key] = total = self._messages.get(key, 0) + number
            if total < COUNTED_AT_ONCE:
                continue
            del self._messages[key]
            asked: dict[str, Any] = {"organization_id": key[0], "id": key[1], "messages": total}
            with pool.connection() as connection:
                connection.execute(_SEALING["count_messages"], asked)


def shred(connection: psycopg.Connection, organization_id: str) -> None:
    """Destroy all data keys of an organization: nothing that they sealed can be opened any more, wherever it lies."""
    connection.execute(_SEALING["shred"], {"organization_id": organization_id})


def has_keys(connection: psycopg.Connection, organization_id: str) -> bool:
    """Tell whether content of an organization is sealed; a reader of that organization may ask."""
    row = connection.execute(_SEALING["has_keys"], {"organization_id": organization_id}).fetchone()
    return row is not None and bool(row[0])


def vault_of(settings: Settings) -> Vault | None:
    """Return the vault that *settings* ask for; None where content rests readable.

    Raises:
        ConfigurationError: there is nothing to encrypt with, or no such hook.
    """
    wrapper = wrapper_of(settings.encryption_keys, settings.kms_hook)
    return None if wrapper is None else Vault(wrapper)
