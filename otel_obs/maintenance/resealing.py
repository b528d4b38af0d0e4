"""Rotation: what rests readable, or sealed by a key that has been replaced, is sealed by the one in force.

Data keys are wrapped anew first. Then each organization gets a new one, unless an earlier run was interrupted: its
rows are gone on with. Rows are sealed some hundred at a time, each batch in its own transaction, so that whoever is
killed has lost nothing, and both keys open meanwhile. A replaced key is destroyed when nothing needs it any more.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from psycopg_pool import ConnectionPool

from otel_obs.postgres.arrays import arrays
from otel_obs.postgres.contents import COLUMNS, Column, blinded_hash, blinded_hashes
from otel_obs.postgres.pool import translated
from otel_obs.postgres.queries import load
from otel_obs.postgres.vault import CONTENT, Keys, Vault
from otel_obs.sealing import SealedError, blinded, is_blinded, place_of

if TYPE_CHECKING:
    from typing_extensions import LiteralString

_SEALING = load("sealing")
AT_ONCE = 500
_Row = Mapping[str, Any]


def _statements(column: Column) -> tuple[sql.Composed, sql.Composed]:
    """Return what finds values that are readable or sealed by another key, after some row, and what seals them."""
    names = dict.fromkeys((*column.key, column.time, *column.bound))
    formats = {
        "table": sql.Identifier(column.table),
        "plain": sql.Identifier(column.name),
        "encrypted": sql.Identifier(f"{column.name}_encrypted"),
        "digest": sql.SQL("NULL") if column.digest is None else sql.Identifier(column.digest),
        "named": sql.SQL(", ").join(map(sql.Identifier, names)),
        "key": sql.SQL(", ").join(map(sql.Identifier, column.key)),
        "after": sql.SQL(", ").join(sql.Placeholder(name) for name in column.key),
        "arrays": sql.SQL(", ").join(map(_array, column.key)),
        "same": sql.SQL(" AND ").join(sql.SQL("t.{0} = n.{0}").format(sql.Identifier(name)) for name in column.key),
        "set_digest": sql.SQL("")
        if column.digest is None
        else sql.SQL(", {} = n.digest").format(sql.Identifier(column.digest)),
    }
    return _FIND.format(**formats), _SEAL.format(**formats)


def _array(name: str) -> sql.Composable:
    return sql.SQL("{}::{}[]").format(sql.Placeholder(name), sql.SQL(_TYPES.get(name, "text")))


_TYPES: Mapping[str, LiteralString] = {"timestamp": "timestamptz", "id": "bigint"}
_FIND = sql.SQL("""
SELECT {named}, {plain} AS plain, {encrypted} AS sealed, {digest} AS digest
FROM {table}
WHERE organization_id = %(organization_id)s
    AND ({plain} IS NOT NULL OR substring({encrypted} FROM 1 FOR length(%(head)s)) <> %(head)s)
    AND (%(is_first)s OR ({key}) > ({after}))
ORDER BY {key}
LIMIT %(row_limit)s
FOR UPDATE
""")
_SEAL = sql.SQL("""
UPDATE {table} AS t
SET {plain} = NULL, {encrypted} = n.sealed{set_digest}
FROM unnest({arrays}, %(sealed)s::bytea[], %(digest)s::text[]) AS n ({key}, sealed, digest)
WHERE t.organization_id = %(organization_id)s AND {same}
""")


@dataclass(slots=True)
class Resealed:
    """What a rotation did."""

    organizations: int = 0
    keys_wrapped: int = 0
    """Data keys that are wrapped by the first of the operator's keys now, and were not."""
    keys_destroyed: int = 0
    values_sealed: int = 0
    """Values that rested readable."""
    values_resealed: int = 0
    values_unreadable: int = 0
    """Left as they are: nobody can open them here. Their keys stay."""
    hashes_blinded: int = 0
    unreadable: list[str] = field(default_factory=list)
    """Data keys that cannot be unwrapped here, as organization/name."""


Progress = Callable[[Resealed], None]


def reseal(
    pool: ConnectionPool, vault: Vault, *, organization_id: str | None = None, progress: Progress = lambda _: None
) -> Resealed:
    """Seal everything of *organization_id* (None: of all) with keys of now; can be interrupted and done again.

    Raises:
        StorageUnavailableError, KeysUnavailableError: what was done stays.
    """
    done = Resealed()
    with translated(), pool.connection() as connection:
        asked = {"organization_id": organization_id}
        found = [name for (name,) in connection.execute(_SEALING["sealing_organizations"], asked).fetchall()]
    for name in found:
        _Organization(pool, vault, name, done, progress).reseal()
        done.organizations += 1
    return done


class _Organization:
    """Seals what one organization has."""

    def __init__(
        self, pool: ConnectionPool, vault: Vault, organization_id: str, done: Resealed, progress: Progress
    ) -> None:
        self._pool = pool
        self._vault = vault
        self._id = organization_id
        self._done = done
        self._progress = progress

    def reseal(self) -> None:
        replaced = self._begin()
        unreadable = self._pass()
        if replaced:
            self._wait_for_writers(replaced)
            unreadable = self._pass()
            if not unreadable:
                self._destroy(replaced)
        self._done.values_unreadable += unreadable

    def _begin(self) -> list[str]:
        """Wrap the data keys anew, and replace the one in force unless that is going on; return those replaced."""
        with translated(), self._pool.connection() as connection, connection.transaction():
            rows = connection.execute(_SEALING["keys_of_organization"], {"organization_id": self._id}).fetchall()
            for name, _, wrapped_by, wrapped, _ in rows:
                self._wrap(connection, name, wrapped_by, bytes(wrapped))
            in_force = [name for name, purpose, _, _, is_retired in rows if purpose == CONTENT and not is_retired]
            replaced = [name for name, purpose, _, _, is_retired in rows if purpose == CONTENT and is_retired]
            if in_force and not replaced:
                self._vault.replace(connection, self._id, in_force[0])
                return in_force
            return replaced

    def _wrap(self, connection: psycopg.Connection, name: str, wrapped_by: str, wrapped: bytes) -> None:
        wrapper = self._vault.wrapper
        if wrapped_by == wrapper.name:
            return
        place = place_of(self._id, "data_keys", "wrapped", name)
        try:
            again = wrapper.wrap(wrapper.unwrap(wrapped_by, wrapped, place), place)
        except (KeyError, SealedError):
            self._done.unreadable.append(f"{self._id}/{name}")
            return
        asked = {"organization_id": self._id, "id": name, "before": wrapped}
        connection.execute(_SEALING["rewrap_key"], {**asked, "wrapped_by": wrapper.name, "wrapped": again})
        self._done.keys_wrapped += 1

    def _pass(self) -> int:
        """Seal every value that is not sealed by the key in force; return how many cannot be."""
        unreadable = sum(self._column(column) for column in COLUMNS)
        self._calls()
        self._reports()
        return unreadable

    def _wait_for_writers(self, names: Sequence[str]) -> None:
        """Wait until who seals with a replaced key has committed: another pass sees what came since the first one."""
        with translated(), self._pool.connection() as connection, connection.transaction():
            for name in names:
                connection.execute(_SEALING["hold_key"], {"organization_id": self._id, "id": name})

    def _destroy(self, names: Sequence[str]) -> None:
        """Destroy replaced keys, which nothing needs any more."""
        with translated(), self._pool.connection() as connection, connection.transaction():
            for name in names:
                gone = connection.execute(_SEALING["destroy_key"], {"organization_id": self._id, "id": name})
                self._done.keys_destroyed += gone.rowcount

    def _in_batches(self, step: Callable[[psycopg.Connection, Keys, Any], Sequence[Any]]) -> None:
        """Let *step* change some rows that stand behind those before, until there are none; each is a transaction."""
        after: Any = None
        while True:
            with translated(), self._pool.connection() as connection, connection.transaction():
                keys = self._vault.in_force(connection, [self._id])[self._id]
                rows = step(connection, keys, after)
            self._progress(self._done)
            if len(rows) < AT_ONCE:
                return
            after = rows[-1]

    def _column(self, column: Column) -> int:
        """Seal the values of *column*; return how many cannot be opened."""
        find, seal = _statements(column)
        unreadable = 0

        def step(connection: psycopg.Connection, keys: Keys, after: _Row | None) -> Sequence[_Row]:
            nonlocal unreadable
            rows = self._found(connection, column, find, keys, after or {})
            changed = [new for row in rows if (new := self._changed(connection, column, keys, row)) is not None]
            if changed:
                names = (*column.key, "sealed", "digest")
                values = arrays(names, ([row[name] for name in names] for row in changed))
                connection.execute(seal, {**values, "organization_id": self._id})
            unreadable += len(rows) - len(changed)
            return rows

        self._in_batches(step)
        return unreadable

    def _found(
        self, connection: psycopg.Connection, column: Column, find: sql.Composed, keys: Keys, after: _Row
    ) -> list[dict[str, Any]]:
        asked = {
            "organization_id": self._id,
            "head": keys.content.head,
            "is_first": not after,
            "row_limit": AT_ONCE,
            **{name: after.get(name) for name in column.key},
        }
        with connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(find, asked).fetchall()

    def _changed(self, connection: psycopg.Connection, column: Column, keys: Keys, row: _Row) -> _Row | None:
        """Return *row* sealed by the key in force; None if it cannot be opened."""
        try:
            if row["sealed"] is None:
                content = _bytes(row["plain"])
                self._done.values_sealed += 1
            else:
                where = column.place(self._id, row)
                content = self._vault.opened(connection, self._id, bytes(row["sealed"]), where)
                self._done.values_resealed += 1
        except SealedError:
            return None
        named = row if column.digest is None else {**row, **self._blinded(column, keys, row, content)}
        return {**named, "sealed": keys.content.seal(content, column.place(self._id, named))}

    def _blinded(self, column: Column, keys: Keys, row: _Row, content: bytes) -> _Row:
        digest = row["digest"] or hashlib.sha256(content).hexdigest()
        digest = digest if is_blinded(digest) else blinded(keys.index, digest)
        return {"digest": digest, str(column.digest): digest}

    def _calls(self) -> None:
        """Blind the hashes of prompts that anybody could have made."""

        def step(connection: psycopg.Connection, keys: Keys, after: Sequence[Any] | None) -> Sequence[Any]:
            rows = connection.execute(_SEALING["calls_to_blind"], self._behind(after, 1)).fetchall()
            changed = [
                (*row[:3], blinded_hash(row[3], keys.index), Jsonb(blinded_hashes(row[4], keys.index))) for row in rows
            ]
            names = ("timestamps", "trace_ids", "event_ids", "prompt_hashes", "prefix_hashes")
            if changed:
                connection.execute(_SEALING["blind_calls"], {**arrays(names, changed), "organization_id": self._id})
            self._done.hashes_blinded += len(changed)
            return rows

        self._in_batches(step)

    def _reports(self) -> None:
        """Blind them in reports of calls that are told more than once."""

        def step(connection: psycopg.Connection, keys: Keys, after: Sequence[Any] | None) -> Sequence[Any]:
            rows = connection.execute(_SEALING["reports_to_blind"], self._behind(after, 0)).fetchall()
            changed = [(*row[:2], Jsonb(_blinded_report(row[2], keys.index))) for row in rows]
            names = ("trace_ids", "event_ids", "reports")
            if changed:
                connection.execute(_SEALING["blind_reports"], {**arrays(names, changed), "organization_id": self._id})
            return rows

        self._in_batches(step)

    def _behind(self, after: Sequence[Any] | None, position: int) -> dict[str, Any]:
        """Return what asks for rows behind *after*, whose trace and event stand from *position* on."""
        trace_id, event_id = ("", "") if after is None else after[position : position + 2]
        return {"organization_id": self._id, "trace_id": trace_id, "event_id": event_id, "row_limit": AT_ONCE}


def _blinded_report(report: dict[str, Any], index: bytes) -> dict[str, Any]:
    row = report["row"]
    hashes = {
        "prompt_hash": blinded_hash(row["prompt_hash"], index),
        "prefix_hashes": blinded_hashes(row["prefix_hashes"], index),
    }
    return {**report, "row": {**row, **hashes}}


def _bytes(plain: Any) -> bytes:
    if isinstance(plain, bytes | memoryview):
        return bytes(plain)
    return (plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)).encode(errors="replace")
