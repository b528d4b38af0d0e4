"""Which days are answered from roll-ups, and which from rows? Whoever changes calls of past days says so here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime, timezone
from typing import Protocol

import psycopg

from otel_obs.postgres.arrays import arrays
from otel_obs.postgres.queries import load

_ROLLUPS = load("rollups")
DAYS_IN_HOURS = 2
"""So many days are told by hours; the job keeps them of one more (``maintenance.rollups.HOURS_FOR_DAYS``)."""


class _Dated(Protocol):
    @property
    def organization_id(self) -> str: ...

    @property
    def timestamp(self) -> datetime: ...


def touch_days(connection: psycopg.Connection, rows: Iterable[_Dated], now: datetime | None = None) -> None:
    """Note that calls of the days of *rows* changed, in the transaction that changes them."""
    days = past_days(rows, now)
    if days:
        connection.execute(_ROLLUPS["touch_days"], arrays(("organization_ids", "days"), days))


def past_days(rows: Iterable[_Dated], now: datetime | None = None) -> list[tuple[str, date]]:
    """Return (organization, day) of *rows* that are not of today, which is never rolled up."""
    moment = (now or datetime.now(tz=timezone.utc)).astimezone(timezone.utc)
    today = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    return sorted({(row.organization_id, _day(row.timestamp)) for row in rows if row.timestamp < today})


def _day(moment: datetime) -> date:
    return moment.astimezone(timezone.utc).date()


@dataclass(frozen=True, slots=True, kw_only=True)
class DaysOfRows:
    """Days (UTC) of an organization that are to be read from ``model_cost_logs``; all others from ``usage_rollups``."""

    after: date
    """Every day after this one ..."""
    touched: frozenset[date] = frozenset()
    """... and these, before it ..."""
    before: date = date.min
    """... and every day before this one."""

    def __contains__(self, day: date) -> bool:
        """Tell whether *day* is to be read from rows."""
        return day > self.after or day < self.before or day in self.touched

    def by_hour(self) -> DaysOfRows:
        """Return the days whose hours are to be read from rows: roll-ups have those of the last days only."""
        first = self.after.toordinal() - DAYS_IN_HOURS + 1
        return replace(self, before=date.fromordinal(max(first, 1)))


def undescribed_days(connection: psycopg.Connection, organization_id: str, since: date, until: date) -> frozenset[date]:
    """Return the days from *since* to before *until* whose roll-ups do not tell environments."""
    asked = {"organization_id": organization_id, "first": since, "last": until}
    return frozenset(row[0] for row in connection.execute(_ROLLUPS["undescribed_days"], asked).fetchall())


def days_of_rows(connection: psycopg.Connection, organization_id: str) -> DaysOfRows:
    """Return the days that are to be read from rows.

    Ask for it, for roll-ups and for rows in one REPEATABLE READ transaction: a day may be rolled up between statements.
    Roll-ups of days from which retention has deleted rows stay as they were, and are the better source for them.
    An organization that does not exist has no roll-ups: all its days are read from rows.
    """
    row = connection.execute(_ROLLUPS["days_of_rows"], {"organization_id": organization_id}).fetchone()
    return DaysOfRows(after=date.min) if row is None else DaysOfRows(after=row[0], touched=frozenset(row[1]))
