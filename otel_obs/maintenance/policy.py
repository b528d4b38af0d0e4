"""How long does each organization keep its rows?

Free 90 days, Pro and Team 365, Enterprise what it says or 365, without a plan for ever (``plan_days`` in the schema).
Fewer days count only after a grace period in which the longer promise holds; more days count at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import psycopg

from otel_obs.errors import ClockDisagreesError
from otel_obs.postgres import audit
from otel_obs.postgres.queries import load

_RETENTION = load("retention")

MAX_CLOCK_DIFFERENCE = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What holds for an organization at a moment."""

    organization_id: str
    plan: str | None
    legal_hold: bool
    plan_days: int | None
    """Days by its plan; None: without end."""
    days: int | None
    """Days in force: more than the plan's during the grace period; None: without end."""

    def cutoff(self, now: datetime) -> datetime | None:
        """Return the moment before which rows go; None where nothing goes."""
        return None if self.legal_hold or self.days is None else now - timedelta(days=self.days)


def policies(
    connection: psycopg.Connection,
    now: datetime,
    grace: timedelta,
    *,
    ids: Iterable[str] | None = None,
    lock: bool = False,
) -> dict[str, Policy]:
    """Return what holds at *now* by organization; with *lock* nobody changes it before this transaction ends."""
    wanted = None if ids is None else sorted(ids)
    if lock:
        connection.execute(_RETENTION["lock_policies"], {"ids": wanted})
    rows = connection.execute(_RETENTION["policies"], {"ids": wanted, "now": now, "grace": grace}).fetchall()
    return {
        row[0]: Policy(organization_id=row[0], plan=row[1], legal_hold=row[2], plan_days=row[3], days=row[4])
        for row in rows
    }


def cutoffs(
    connection: psycopg.Connection, now: datetime, grace: timedelta, ids: Iterable[str]
) -> dict[str, datetime | None]:
    """Return the cut-offs of *ids*, which stay as they are until this transaction ends."""
    found = policies(connection, now, grace, ids=ids, lock=True)
    return {organization_id: policy.cutoff(now) for organization_id, policy in found.items()}


def check_clocks(connection: psycopg.Connection, host: datetime) -> None:
    """Refuse to delete by age while nobody knows what time it is.

    Raises:
        ClockDisagreesError: this host and the database differ by more than an hour.
    """
    found = time_of(connection)
    if abs(found - host) > MAX_CLOCK_DIFFERENCE:
        raise ClockDisagreesError(
            f"the database's clock says {found.isoformat()}, this host's {host.isoformat()}: name the time with --now"
        )


def time_of(connection: psycopg.Connection) -> datetime:
    """Return what time it is, by the database's clock."""
    row = connection.execute(_RETENTION["clock"]).fetchone()
    return datetime.now(tz=timezone.utc) if row is None else row[0]


def audit_changes(connection: psycopg.Connection, grace: timedelta, *, actor: str | None = None) -> int:
    """Write plans that changed into the audit log, with the moment from which they count; return how many."""
    ids = [row[0] for row in connection.execute(_RETENTION["lock_changes"]).fetchall()]
    if not ids:
        return 0
    rows = connection.execute(_RETENTION["unaudited_changes"]).fetchall()
    for row in rows:
        if row[0] in ids:
            _audit(connection, row, grace, actor)
    connection.execute(_RETENTION["audited"], {"ids": ids})
    return len(ids)


def _audit(connection: psycopg.Connection, row: tuple[Any, ...], grace: timedelta, actor: str | None) -> None:
    _, organization_id, since, plan, days, plan_before, days_before, _ = row
    fewer = days is not None and (plan_before is not None and (days_before is None or days < days_before))
    counts_from = since + grace if fewer else since
    audit.append(
        connection,
        action="org.plan",
        subject=organization_id,
        organization_id=organization_id,
        before={"plan": plan_before, "days": days_before},
        after={"plan": plan, "days": days, "since": since.isoformat(), "counts_from": counts_from.isoformat()},
        actor=actor or "sql",
    )
