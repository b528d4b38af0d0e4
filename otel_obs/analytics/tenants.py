"""Who is there: the reader's organization, its workspaces, its users."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import psycopg

from otel_obs.analytics.filters import Page, checked_limit, page_of, place, word
from otel_obs.errors import NotFoundError
from otel_obs.postgres.queries import load
from otel_obs.postgres.reading import rows

_TENANTS = load("tenants_seen")


@dataclass(frozen=True, slots=True, kw_only=True)
class Organization:
    """Who has a plan."""

    id: str
    plan: str | None
    retention_days: int | None
    legal_hold: bool
    created_at: datetime
    content: str | None
    """What is kept of content: ``store``, ``drop``, ``mask`` or ``sample:PERCENT``; None: what the settings say."""
    max_spans_per_second: int | None
    """None: what the settings say; 0: no limit. So for the other limits."""
    max_bytes_per_second: int | None
    max_bytes_per_day: int | None
    max_stored_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """A workspace."""

    id: str
    created_at: datetime
    """When it was first seen or set."""
    content: str | None
    """As of the organization; the strictest holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A user."""

    id: str
    created_at: datetime
    """When it was first seen or set."""


def organization(connection: psycopg.Connection, organization_id: str) -> Organization:
    """Return the organization.

    Raises:
        NotFoundError: nothing was ever heard of it.
    """
    found = rows(connection, _TENANTS["organization_seen"], {"organization_id": organization_id}, Organization)
    if not found:
        raise NotFoundError
    return found[0]


def workspaces(
    connection: psycopg.Connection, organization_id: str, *, limit: int = 100, cursor: str | None = None
) -> Page[Workspace]:
    """Return the workspaces that the reader may see, by id.

    Raises:
        InvalidQueryError: *limit* or *cursor* makes no sense.
    """
    asked = _asked(organization_id, limit, cursor)
    return page_of(rows(connection, _TENANTS["workspaces_seen"], asked, Workspace), limit, lambda row: (row.id,))


def users(
    connection: psycopg.Connection, organization_id: str, *, limit: int = 100, cursor: str | None = None
) -> Page[Named]:
    """Return the users of the organization's programs, by id.

    Raises:
        InvalidQueryError: *limit* or *cursor* makes no sense.
    """
    asked = _asked(organization_id, limit, cursor)
    return page_of(rows(connection, _TENANTS["users_seen"], asked, Named), limit, lambda row: (row.id,))


def _asked(organization_id: str, limit: int, cursor: str | None) -> dict[str, object]:
    (after,) = place(cursor, word)
    return {"organization_id": organization_id, "limit": checked_limit(limit), "after": after}
