"""Who changed what?  A chain of hashes in which no row can be edited, left out or put in without a trace."""

from __future__ import annotations

import getpass
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any, NamedTuple

import psycopg
from psycopg.types.json import Jsonb

from otel_obs.postgres.queries import load

_AUDIT = load("audit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One row of ``audit_log``; *before* and *after* are JSON without floats, which would not come back as sent."""

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

    def hash(self) -> str:
        """Return the seal of this entry: SHA-256 in hex over its canonical JSON."""
        content = {**asdict(self), "at": self.at.astimezone(timezone.utc).isoformat()}
        return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


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
    connection.execute(_AUDIT["lock_chain"])
    last = connection.execute(_AUDIT["last_entry"]).fetchone()
    entry = Entry(
        id=1 if last is None else last[0] + 1,
        at=datetime.now(tz=timezone.utc),
        actor=actor or account(),
        organization_id=organization_id,
        action=action,
        subject=subject,
        before=before,
        after=after,
        why=why,
        previous_hash="" if last is None else last[1],
    )
    fields = {name: getattr(entry, name) for name in Entry.__slots__}
    connection.execute(
        _AUDIT["append"],
        {
            **fields,
            "before": None if before is None else Jsonb(before),
            "after": None if after is None else Jsonb(after),
            "hash": entry.hash(),
        },
    )


def entries(connection: psycopg.Connection) -> Iterator[tuple[Entry, str]]:
    """Yield each entry with the seal that is stored for it, the oldest first."""
    names = tuple(Entry.__slots__)
    for row in connection.execute(_AUDIT["entries"]):
        yield Entry(**dict(zip(names, row[:-1], strict=True))), row[-1]


class Verified(NamedTuple):
    """What the chain says of itself."""

    rows: int
    first_bad: int | None
    """Number of the first entry that was edited, or before which one is missing; None if there is none."""


def verify(connection: psycopg.Connection) -> Verified:
    """Compute each seal again. What was cut off at the end leaves no trace: compare the number of entries."""
    previous, rows, first_bad = "", 0, None
    for rows, (entry, seal) in enumerate(entries(connection), 1):  # their number is wanted afterwards
        if first_bad is None and (entry.id != rows or entry.previous_hash != previous or entry.hash() != seal):
            first_bad = entry.id
        previous = seal
    return Verified(rows, first_bad)


def first_bad(connection: psycopg.Connection) -> int | None:
    """Return the number of the first entry that is not as it was written; None if all are."""
    return verify(connection).first_bad


def account() -> str:
    """Return the name of the account that runs this process."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
