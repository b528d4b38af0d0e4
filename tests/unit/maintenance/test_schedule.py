"""Times of the schedule are UTC, as cron means them, wherever the host is."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from otel_obs.errors import ConfigurationError
from otel_obs.maintenance.slots import Schedule

UTC = timezone.utc


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/Sao_Paulo", "Asia/Kathmandu"])
@pytest.mark.parametrize(
    "day",
    [
        datetime(2026, 3, 29, tzinfo=UTC),
        datetime(2026, 10, 25, tzinfo=UTC),
        datetime(2028, 2, 29, tzinfo=UTC),
        datetime(2026, 12, 31, tzinfo=UTC),
        datetime(2027, 1, 1, tzinfo=UTC),
    ],
    ids=["clocks go forward", "clocks go back", "leap day", "last day of a year", "first day of a year"],
)
def test_it_is_two_in_the_morning_utc_once_a_day_whatever_clocks_do(zone: str, day: datetime) -> None:
    schedule = Schedule("0 2 * * *")
    moments = [day + timedelta(minutes=7 * number) for number in range(2 * 24 * 60 // 7)]

    found = {schedule.last(moment.astimezone(ZoneInfo(zone))) for moment in moments}

    assert found == {day + timedelta(days=number, hours=2) for number in (-1, 0, 1)}


def test_the_moment_itself_is_due() -> None:
    schedule = Schedule("0 2 * * *")
    at = datetime(2026, 11, 24, 2, tzinfo=UTC)

    assert schedule.last(at) == at
    assert schedule.last(at - timedelta(microseconds=1)) == at - timedelta(days=1)
    assert schedule.next(at) == at + timedelta(days=1)


def test_days_of_the_week_are_those_of_cron() -> None:
    sunday = datetime(2026, 11, 22, 2, tzinfo=UTC)

    for spelled in ("0", "7", "SUN"):
        assert Schedule(f"0 2 * * {spelled}").last(sunday + timedelta(days=3)) == sunday


@pytest.mark.parametrize("spelled", ["", "daily", "0 2 * *", "0 0 2 * * *", "61 2 * * *", "0 2 30 2 8"])
def test_what_is_no_cron_expression_is_told(spelled: str) -> None:
    with pytest.raises(ConfigurationError, match="OTEL_OBS_RETENTION_SCHEDULE"):
        Schedule(spelled)
