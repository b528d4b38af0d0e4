"""What may an organization send, how much of it is used, and is something left out because of that?"""

from __future__ import annotations

from dataclasses import dataclass

from otel_obs.postgres.policies import limits_of, read_usage
from otel_obs.rows.usage import Used, used_up
from otel_obs.tenancy import Limits
from otel_obs.web.dashboard.page import Page


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """The limits of an organization, and what it used of them."""

    limits: Limits
    used: Used
    over: str | None
    """Which quota is used up, as a sentence; None if none is."""

    @property
    def is_shown(self) -> bool:
        """Tell whether something is left out now, or was today."""
        return self.over is not None or self.used.dropped_today > 0


def quota_of(page: Page) -> Quota:
    """Return what the organization whose rows are shown may send, and sent: all of it, whatever workspace is shown."""
    organization_id = page.caller.reader.organization_id
    today = page.now.date()
    with page.desk.own() as connection:
        limits = limits_of(connection, organization_id).over(page.desk.limits)
        used = Used(day=today)
        if limits.max_bytes_per_day or limits.max_stored_bytes:
            used = read_usage(connection, [organization_id], today).get(organization_id, used)
    return Quota(limits=limits, used=used, over=used_up(limits, used.bytes_today, used.stored_bytes))
