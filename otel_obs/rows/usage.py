"""How much of its quota has an organization used, and is it used up?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

from otel_obs.rows.build import RecordRows
from otel_obs.tenancy import Limits

ROW_BYTES = 1500
"""About what the rows of a span take beside its content."""


class Added(NamedTuple):
    """What a gateway took from a workspace in a day."""

    organization_id: str
    day: date
    workspace_id: str
    records: int
    bytes: int
    dropped: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What an organization sent, as the database knows it."""

    day: date
    bytes_today: int = 0
    dropped_today: int = 0
    """Spans and log records that were not stored, because a quota was used up."""
    stored_bytes: int = 0
    """What its plan still keeps of all that it sent."""


def size_of(records: Iterable[RecordRows]) -> int:
    """Return about how many bytes the rows of *records* take."""
    return sum(ROW_BYTES + sum(row.bytes for row in record.contents) for record in records)


def used_up(limits: Limits, bytes_today: int, stored_bytes: int) -> str | None:
    """Return which quota is used up, as a sentence; None if none is."""
    if limits.max_bytes_per_day and bytes_today >= limits.max_bytes_per_day:
        return f"the organization's quota of {limits.max_bytes_per_day} bytes a day is used up until 00:00 UTC"
    if limits.max_stored_bytes and stored_bytes >= limits.max_stored_bytes:
        return f"the organization's {limits.max_stored_bytes} bytes of storage are used up"
    return None
