"""When is maintenance due? Times of a cron expression in UTC, each served once, a missed one as soon as somebody is up.

Days of the week and of the month mean what cron means by them (cronsim). The database's clock decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta, timezone

import psycopg
from cronsim import CronSim, CronSimError
from psycopg.types.json import Jsonb

from otel_obs.errors import ConfigurationError
from otel_obs.maintenance.lease import holder
from otel_obs.maintenance.work import Done
from otel_obs.postgres.queries import load

_MAINTENANCE = load("maintenance")

FIELDS = 5
"""cronsim would take a sixth for seconds."""
PAUSE = timedelta(minutes=5)
"""Before a time whose jobs failed is tried again."""


class Schedule:
    """A cron expression, read in UTC."""

    def __init__(self, expression: str) -> None:
        self.expression = expression
        try:
            CronSim(expression, datetime.now(tz=timezone.utc))
        except CronSimError as error:
            raise ConfigurationError(
                f"OTEL_OBS_RETENTION_SCHEDULE={expression!r} is no cron expression: {error}"
            ) from None
        if len(expression.split()) != FIELDS:
            raise ConfigurationError(f"OTEL_OBS_RETENTION_SCHEDULE={expression!r}: five fields are expected")

    def last(self, now: datetime) -> datetime | None:
        """Return the last time that is not after *now*; None if there was none for years."""
        moment = now.astimezone(timezone.utc)
        # Backwards it begins before what it is given.
        given = moment.replace(second=0, microsecond=0) + timedelta(minutes=1)
        return next(CronSim(self.expression, given, reverse=True), None)

    def next(self, now: datetime) -> datetime | None:
        """Return the first time after *now*."""
        return next(CronSim(self.expression, now.astimezone(timezone.utc)), None)


def due(connection: psycopg.Connection, schedule: Schedule) -> datetime | None:
    """Return the time of *schedule* that is to be served now; None if there is none.

    Of several that were missed the last one covers all. What was due before the schema was made is not missed.
    """
    row = connection.execute(_MAINTENANCE["moments"]).fetchone()
    if row is None:
        return None
    now, made_at, served = row
    slot = schedule.last(now)
    if slot is None or slot < made_at or (served is not None and slot <= served):
        return None
    return slot


def begin(connection: psycopg.Connection, slot: datetime) -> bool:
    """Begin to serve *slot*, in whose transaction that is; return False if others did."""
    asked = {"scheduled_for": slot, "holder": holder(), "pause": PAUSE}
    return connection.execute(_MAINTENANCE["begin_slot"], asked).fetchone() is not None


def end(connection: psycopg.Connection, slot: datetime, found: Sequence[Done]) -> None:
    """Write down what became of *slot*."""
    well = all(done.status != "failed" for done in found)
    jobs = Jsonb([asdict(done) for done in found])
    connection.execute(_MAINTENANCE["end_slot"], {"scheduled_for": slot, "jobs": jobs, "well": well})
    connection.execute(_MAINTENANCE["forget_slots"])
