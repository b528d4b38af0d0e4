"""Who did what?  The audit log as an organization's administrators, and the operator, read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import psycopg

from otel_obs.analytics.filters import EARLIEST, LATEST, Page, checked_limit, count, page_of, place
from otel_obs.errors import InvalidQueryError
from otel_obs.postgres.queries import load
from otel_obs.postgres.reading import rows

_AUDIT = load("audit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Which entries: from *since* to before *until*; None: whichever."""

    organization_id: str | None
    since: datetime
    until: datetime
    action: str | None = None
    """Its name, or what it begins with up to a dot."""
    actor: str | None = None
    everyones: bool = False
    """Also those that concern no single organization."""
    everything: bool = False
    """Those of all organizations."""

    def __post_init__(self) -> None:
        if self.since < EARLIEST or self.until > LATEST:
            raise InvalidQueryError("since and until: times from 1970 to 2999 are expected")
        if self.since > self.until:
            raise InvalidQueryError("since is after until")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One thing that somebody did, and what seals it."""

    id: int
    at: datetime
    actor: str
    organization_id: str | None
    action: str
    subject: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    why: str | None
    format: int
    chain: str
    position: int | None
    previous_hash: str
    hash: str


def entries(
    connection: psycopg.Connection, asked: Asked, *, limit: int = 100, cursor: str | None = None
) -> Page[AuditEntry]:
    """Return what was done, the newest first.

    Raises:
        InvalidQueryError: *limit* or *cursor* makes no sense.
    """
    (after_id,) = place(cursor, count)
    parameters = {**asdict(asked), "limit": checked_limit(limit), "after_id": after_id}
    return page_of(rows(connection, _AUDIT["listed"], parameters, AuditEntry), limit, lambda row: (row.id,))


def actions(connection: psycopg.Connection, asked: Asked) -> list[str]:
    """Return the names of what was done at all in the period."""
    return [row[0] for row in connection.execute(_AUDIT["actions"], asdict(asked)).fetchall()]
