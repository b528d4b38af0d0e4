"""Who changed what?  Chains of hashes in which no row can be edited, left out or put in without a trace.

Each organization has its own; what concerns no single one stands in a chain besides. Rows are sealed by the database
as they come in, from here and from triggers: flags and keys that somebody changes with SQL are told of.
"""

from __future__ import annotations

import getpass
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, NamedTuple

import psycopg
from psycopg.types.json import Jsonb

from otel_obs.postgres.queries import load

_AUDIT = load("audit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One row of ``audit_log``."""

    id: int
    at: datetime
    actor: str
    organization_id: str | None
    action: str
    subject: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    why: str | None
    previous_hash: str
    format: int
    chain: str
    """Organization whose chain it stands in; '': none."""
    position: int | None
    """Number in its chain; None: nobody of ours wrote it."""
    before_text: str | None = field(repr=False)
    after_text: str | None = field(repr=False)

    def hash(self) -> str:
        """Return the seal of this entry: SHA-256 in hex over what the migrations say that it covers."""
        covered = self._as_json() if self.format == 1 else self._as_fields()
        return hashlib.sha256(covered.encode()).hexdigest()

    def _as_fields(self) -> str:
        at = f"{self.at.astimezone(timezone.utc):%Y-%m-%dT%H:%M:%S.%f}"
        fields = (
            "2", str(self.id), str(self.position), at, self.actor, self.organization_id, self.action, self.subject,
            self.before_text, self.after_text, self.why, self.previous_hash,
        )  # fmt: skip
        return "".join("-" if value is None else f"{len(value.encode())}:{value}" for value in fields)

    def _as_json(self) -> str:
        names = ("id", "actor", "organization_id", "action", "subject", "before", "after", "why", "previous_hash")
        content = {name: getattr(self, name) for name in names}
        content["at"] = self.at.astimezone(timezone.utc).isoformat()
        return json.dumps(content, sort_keys=True, ensure_ascii=True)

    @property
    def is_where_it_belongs(self) -> bool:
        """Tell whether it stands in the chain of its organization."""
        return self.chain == ("" if self.format == 1 else self.organization_id or "")


def append(
    connection: psycopg.Connection,
    *,
    action: str,
    subject: str,
    organization_id: str | None = None,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    why: str | None = None,
    actor: str | None = None,
) -> None:
    """Add an entry in the transaction of *connection*: what it tells of is committed with it, or not at all."""
    connection.execute(
        _AUDIT["append"],
        {
            "actor": actor or account(),
            "organization_id": organization_id,
            "action": action,
            "subject": subject,
            "before": None if before is None else Jsonb(before),
            "after": None if after is None else Jsonb(after),
            "why": why,
        },
    )


@contextmanager
def speaking(connection: psycopg.Connection, *, actor: str | None = None, why: str | None = None) -> Iterator[None]:
    """Name who changes flags, keys or tenants, and why; to be used inside of a transaction."""
    connection.execute(_AUDIT["speak"], {"actor": actor or account(), "why": why or ""})
    yield
    connection.execute(_AUDIT["speak"], {"actor": "", "why": ""})


def entries(connection: psycopg.Connection, chain: str | None = None) -> Iterator[tuple[Entry, str]]:
    """Yield each entry with the seal that is stored for it, chain by chain, the oldest first."""
    for row in connection.execute(_AUDIT["entries"], {"chain": chain}):
        yield _entry(row)


def _entry(row: tuple[Any, ...]) -> tuple[Entry, str]:
    return Entry(**dict(zip(Entry.__slots__, row[:-1], strict=True))), row[-1]


class Head(NamedTuple):
    """How far a chain reached when it was last found right, as somebody outside of the database remembers it."""

    position: int
    id: int
    seal: str


class Verified(NamedTuple):
    """What the chains say of themselves."""

    rows: int
    first_bad: int | None
    """The smallest number of an entry that was edited, or before which one is missing; None if there is none."""
    heads: Mapping[str, Head]
    """The last entry of each chain."""


def verify(connection: psycopg.Connection, heads: Mapping[str, Head] | None = None) -> Verified:
    """Compute each seal again.

    What was cut off at the end, and chains that were written anew as a whole (by a backup that was restored, or by
    who may write anything), leave no trace in the chains: *heads* tell.
    """
    remembered = heads or {}
    rows, bad, found = 0, [], dict[str, Head]()
    for entry, seal in entries(connection):
        rows += 1
        before = found.get(entry.chain, Head(0, 0, ""))
        known = remembered.get(entry.chain)
        if not _follows(entry, seal, before) or (
            known is not None and entry.position == known.position and seal != known.seal
        ):
            bad.append(entry.id)
        found[entry.chain] = Head(entry.position or 0, entry.id, seal)
    bad += [head.id for chain, head in remembered.items() if found.get(chain, Head(0, 0, "")).position < head.position]
    return Verified(rows, min(bad, default=None), found)


def _follows(entry: Entry, seal: str, before: Head) -> bool:
    return (
        entry.position == before.position + 1
        and entry.previous_hash == before.seal
        and entry.is_where_it_belongs
        and entry.hash() == seal
    )


class Checked(NamedTuple):
    """What the end of one chain says of itself."""

    rows: int
    """Entries that were looked at."""
    is_whole: bool
    """They are all of the chain."""
    first_bad: int | None


def check_newest(connection: psycopg.Connection, chain: str, *, limit: int = 5_000) -> Checked:
    """Compute the seals of the newest *limit* entries of one chain again, as far as *connection* may see it."""
    rows = connection.execute(_AUDIT["newest_entries"], {"chain": chain, "limit": limit}).fetchall()
    bad = None
    before: Head | None = None
    for entry, seal in (_entry(row) for row in reversed(rows)):
        if before is None:
            is_first = entry.position == 1
            before = Head(0, 0, "") if is_first or entry.position is None else _before(entry)
        if bad is None and not _follows(entry, seal, before):
            bad = entry.id
        before = Head(entry.position or 0, entry.id, seal)
    is_whole = len(rows) < limit
    if is_whole and rows and bad is None and rows[-1][Entry.__slots__.index("position")] != 1:
        bad = rows[-1][0]
    return Checked(len(rows), is_whole, bad)


def _before(entry: Entry) -> Head:
    """Return what *entry* says of the one before it, which is not looked at."""
    return Head((entry.position or 1) - 1, 0, entry.previous_hash)


def first_bad(connection: psycopg.Connection) -> int | None:
    """Return the number of the first entry that is not as it was written; None if all are."""
    return verify(connection).first_bad


def account() -> str:
    """Return the name of the account that runs this process."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
