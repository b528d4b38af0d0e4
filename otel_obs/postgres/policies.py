"""What tenants and operators decided about content and limits, and how much each organization uses."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date

import psycopg

from otel_obs.postgres.arrays import arrays
from otel_obs.postgres.queries import load
from otel_obs.rows.policy import Policies
from otel_obs.rows.usage import Added, Used
from otel_obs.tenancy import Limits

_POLICIES = load("policies")
_LIMITS = ("max_spans_per_second", "max_bytes_per_second", "max_bytes_per_day", "max_stored_bytes")
_ADDED = ("organization_ids", "days", "workspace_ids", "records", "bytes", "dropped")


def read_policies(connection: psycopg.Connection) -> Policies:
    """Return what holds now."""
    organizations = connection.execute(_POLICIES["organization_policies"]).fetchall()
    workspaces = connection.execute(_POLICIES["workspace_policies"]).fetchall()
    limits = {row[0]: Limits(**dict(zip(_LIMITS, row[2:], strict=True))) for row in organizations}
    return Policies(
        organizations={row[0]: row[1] for row in organizations if row[1] is not None},
        workspaces={(row[0], row[1]): row[2] for row in workspaces},
        limits={name: found for name, found in limits.items() if found != Limits()},
    )


def limits_of(connection: psycopg.Connection, organization_id: str) -> Limits:
    """Return the limits that an organization has of its own."""
    row = connection.execute(_POLICIES["limits"], {"organization_id": organization_id}).fetchone()
    return Limits() if row is None else Limits(**dict(zip(_LIMITS, row, strict=True)))


def add_usage(connection: psycopg.Connection, added: Collection[Added]) -> None:
    """Count what was accepted or dropped."""
    if added:
        connection.execute(_POLICIES["add_usage"], arrays(_ADDED, list(added)))


def read_usage(connection: psycopg.Connection, organization_ids: Collection[str], today: date) -> Mapping[str, Used]:
    """Return what *organization_ids* used until now."""
    asked = {"organization_ids": list(organization_ids), "today": today}
    rows = connection.execute(_POLICIES["usage"], asked).fetchall() if organization_ids else []
    return {row[0]: Used(day=today, bytes_today=row[1], dropped_today=row[2], stored_bytes=row[3]) for row in rows}
