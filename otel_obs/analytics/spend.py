"""What did an organization spend, by any keys?  Whole days come from roll-ups where those know all that is asked.

Figures are the same either way: roll-ups of days whose calls changed are not read until they are computed again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone

import psycopg

from otel_obs.analytics import costs
from otel_obs.analytics.costs import Costs
from otel_obs.analytics.filters import Filters
from otel_obs.errors import InvalidQueryError
from otel_obs.postgres.rollups import DaysOfRows, days_of_rows, undescribed_days

KEYS = tuple(key for key in costs.KEYS if key != "organization")
"""By what it can be grouped; ``flag_variant`` needs a flag."""
_ROLLED_UP = frozenset({"day", "hour", "model", "provider", "agent", "flow", "workspace", "environment"})
MAX_GROUPS = 10_000

_DAY = timedelta(days=1)


def spend(connection: psycopg.Connection, filters: Filters, by: Sequence[str], *, flag: str | None = None) -> Costs:
    """Return what was spent from ``filters.since`` to before ``filters.until``, dearest groups first.

    At most 10,000 groups are returned; the total is that of all.

    Raises:
        InvalidQueryError: a key is none, or ``flag_variant`` goes without a flag.
    """
    unknown = [key for key in by if key not in KEYS]
    if unknown:
        raise InvalidQueryError(f"group_by: {unknown[0][:40]!r} is not one of {', '.join(KEYS)}")
    if ("flag_variant" in by) != (flag is not None):
        raise InvalidQueryError("group_by: flag_variant and flag go together")
    by = list(dict.fromkeys(by))
    days, stretches = _split(filters.since, filters.until, _days_of_rows(connection, filters, by))
    starts, ends = [starts for starts, _ in stretches], [ends for _, ends in stretches]
    asked = {
        **filters.parameters, "flag": flag, "limit": MAX_GROUPS + 1, "rolled_days": days, "starts": starts,
        "ends": ends, "first": min(starts, default=filters.since), "last": max(ends, default=filters.since),
    }  # fmt: skip
    return costs.ask(connection, by, asked)


def _days_of_rows(connection: psycopg.Connection, filters: Filters, by: Sequence[str]) -> DaysOfRows:
    """Return the days whose roll-ups do not tell what is asked."""
    if not _ROLLED_UP.issuperset(by) or filters.user_id or filters.run_id or filters.conversation_id:
        return DaysOfRows(after=date.min)
    found = days_of_rows(connection, filters.organization_id)
    if filters.environment is not None or "environment" in by:
        first, last = (at.astimezone(timezone.utc).date() for at in (filters.since, filters.until))
        untold = undescribed_days(connection, filters.organization_id, first, last)
        found = replace(found, touched=found.touched | untold)
    return found.by_hour() if "hour" in by else found


def _split(since: datetime, until: datetime, of_rows: DaysOfRows) -> tuple[list[date], list[tuple[datetime, datetime]]]:
    """Return the days that are read from roll-ups, and the stretches of time that are read from rows."""
    days: list[date] = []
    stretches: list[tuple[datetime, datetime]] = []
    at = since.astimezone(timezone.utc)
    until = until.astimezone(timezone.utc)
    while at < until:
        midnight = at.replace(hour=0, minute=0, second=0, microsecond=0)
        ends = min(midnight + _DAY, until)
        if midnight.date() > of_rows.after:
            ends = until
        if at == midnight and ends == midnight + _DAY and midnight.date() not in of_rows:
            days.append(midnight.date())
        elif stretches and stretches[-1][1] == at:
            stretches[-1] = (stretches[-1][0], ends)
        else:
            stretches.append((at, ends))
        at = ends
    return days, stretches
