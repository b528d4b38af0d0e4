"""Which flags can go?  Those that nobody asks for, that everyone has, or whose time is over."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import psycopg

from otel_obs.flags.model import BUCKETS, OFF, Flag
from otel_obs.flags.store import load_flags
from otel_obs.postgres.queries import load

_FLAGS = load("flags")

Why = Literal["not_evaluated", "rolled_out", "expired"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StaleFlag:
    """A flag that somebody should look at."""

    flag_name: str
    reasons: tuple[Why, ...]
    last_evaluated_at: datetime | None
    """None: not since the beginning of the period, and never by ``is_enabled``."""
    updated_at: datetime | None
    owner: str | None


def stale_flags(
    connection: psycopg.Connection, *, now: datetime, days: int, organization_id: str | None = None
) -> list[StaleFlag]:
    """Return the stale flags of one organization, or of all, by name.

    - ``not_evaluated``: nobody has asked for it for *days*, and it is older than that. Asking for all flags at once
      does not count.
    - ``rolled_out``: everyone gets the same, and that has not changed for *days*.
    - ``expired``: each of its scopes has expired.
    """
    since = now - timedelta(days=days)
    asked = {"organization_id": organization_id, "since": since}
    last = {row[0]: row[1] for row in connection.execute(_FLAGS["last_evaluations"], asked)}
    found: dict[str, list[Flag]] = {}
    for flag in load_flags(connection, organization_id):
        found.setdefault(flag.flag_name, []).append(flag)
    return [
        StaleFlag(
            flag_name=name,
            reasons=reasons,
            last_evaluated_at=last.get(name),
            updated_at=max((row.updated_at for row in rows if row.updated_at), default=None),
            owner=next((row.owner for row in rows if row.owner), None),
        )
        for name, rows in sorted(found.items())
        if (reasons := tuple(_reasons(rows, last.get(name), since, now)))
    ]


def _reasons(rows: list[Flag], last: datetime | None, since: datetime, now: datetime) -> Iterable[Why]:
    is_settled = all(row.updated_at is not None and row.updated_at < since for row in rows)
    if is_settled and (last is None or last < since):
        yield "not_evaluated"
    if is_settled and _is_rolled_out(rows):
        yield "rolled_out"
    if all(row.expires_at is not None and row.expires_at <= now for row in rows):
        yield "expired"


def _is_rolled_out(rows: list[Flag]) -> bool:
    """Tell whether everyone gets the same variant that is not off, in every scope."""
    served = {_only_variant(row) for row in rows}
    return len(served) == 1 and None not in served and not any(row.starts_at or row.expires_at for row in rows)


def _only_variant(row: Flag) -> str | None:
    if not row.is_enabled or row.killed or row.prerequisites:
        return None
    if row.shares is None:
        return "" if row.variants is None else None
    return next((name for name, share in row.shares if share == BUCKETS and name != OFF), None)
