"""Organizations, workspaces and users of a batch: known, new, or deleted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import psycopg

from otel_obs.postgres.arrays import arrays
from otel_obs.postgres.queries import load
from otel_obs.rows import EventRow
from otel_obs.rows.batch import Batch, Quarantined, RecordKey

_WRITE = load("write")
_Pair = tuple[str, str]
"""(organization_id, workspace or user id)"""

MAX_KNOWN_USERS = 100_000
"""Users that this process remembers having registered."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """The part of a batch that may be stored."""

    batch: Batch
    refused: Mapping[RecordKey, str]


class Tenants:
    """Lets rows of living tenants through, registers new ones, sends those of deleted ones to quarantine."""

    def __init__(self) -> None:
        self._users: set[_Pair] = set()

    def new_users(self, batch: Batch) -> list[_Pair]:
        """Return users of *batch* that this process has not registered yet."""
        return sorted(_users_of(batch) - self._users)

    def admit(self, connection: psycopg.Connection, batch: Batch) -> Admitted:
        """Return what of *batch* may be stored; its organizations and workspaces are locked until commit."""
        organizations, workspaces = tenants_of(batch)
        new = _unknown(connection, organizations, workspaces)
        deleted = _deleted(connection, organizations)
        refused = _refused(batch.events, deleted) if deleted else {}
        gone = {key[:2] for key in deleted if not key[2]}
        if any(new):
            sending = {event.organization_id for event in batch.events}
            _register(connection, [found for found in new[0] if found in sending], new[1], gone)
        admitted = _without(batch, refused, gone) if deleted else batch
        return Admitted(admitted, refused)

    def committed(self, admitted: Batch) -> None:
        """Remember what is registered now."""
        if len(self._users) > MAX_KNOWN_USERS:
            self._users.clear()
        self._users |= _users_of(admitted)


def tenants_of(batch: Batch) -> tuple[list[str], list[_Pair]]:
    """Return the organizations of *batch*, and the workspaces of its events, in order."""
    return (
        sorted({row.organization_id for rows in (batch.events, batch.quarantined) for row in rows}),
        sorted({(event.organization_id, event.workspace_id) for event in batch.events}),
    )


def _users_of(batch: Batch) -> set[_Pair]:
    return {(event.organization_id, event.user_id) for event in batch.events if event.user_id is not None}


def _unknown(
    connection: psycopg.Connection, organizations: list[str], workspaces: list[_Pair]
) -> tuple[list[str], list[_Pair]]:
    known = {row[0] for row in connection.execute(_WRITE["lock_organizations"], {"organization_ids": organizations})}
    pairs = set(
        connection.execute(_WRITE["lock_workspaces"], arrays(("organization_ids", "ids"), workspaces)).fetchall()
    )
    return (
        [organization for organization in organizations if organization not in known],
        [workspace for workspace in workspaces if workspace not in pairs],
    )


def _deleted(connection: psycopg.Connection, organizations: list[str]) -> set[tuple[str, str, str]]:
    rows = connection.execute(_WRITE["deleted_tenants"], {"organization_ids": organizations}).fetchall()
    return {(row[0], row[1], row[2]) for row in rows}


def _register(
    connection: psycopg.Connection, organizations: list[str], workspaces: list[_Pair], gone: set[_Pair]
) -> None:
    living = [organization for organization in organizations if (organization, "") not in gone]
    if living:
        connection.execute(_WRITE["register_organizations"], {"organization_ids": living})
    pairs = [pair for pair in workspaces if pair not in gone and (pair[0], "") not in gone]
    if pairs:
        connection.execute(_WRITE["register_workspaces"], arrays(("organization_ids", "ids"), pairs))


def _refused(events: Any, deleted: set[tuple[str, str, str]]) -> dict[RecordKey, str]:
    found: dict[RecordKey, str] = {}
    for event in events:
        reason = _reason(event, deleted)
        if reason is not None:
            found[(event.organization_id, event.trace_id, event.event_id)] = reason
    return found


def _reason(event: EventRow, deleted: set[tuple[str, str, str]]) -> str | None:
    if (event.organization_id, "", "") in deleted:
        return "organization_deleted"
    if (event.organization_id, event.workspace_id, "") in deleted:
        return "workspace_deleted"
    if event.user_id is not None and (event.organization_id, "", event.user_id) in deleted:
        return "user_deleted"
    return None


def _without(batch: Batch, refused: Mapping[RecordKey, str], gone: set[_Pair]) -> Batch:
    """Return *batch* without what is *refused*, of which a note is kept for who sent it; none of deleted tenants'."""

    def kept(row: Any) -> bool:
        return (row.organization_id, row.trace_id, row.event_id) not in refused

    quarantined = [
        _quarantined(event, refused[key])
        for event in batch.events
        if (key := (event.organization_id, event.trace_id, event.event_id)) in refused and not batch.from_spool
    ]
    return replace(
        batch,
        events=_filter(batch.events, kept),
        calls=_filter(batch.calls, kept),
        runs=_filter(batch.runs, kept),
        checks=_filter(batch.checks, kept),
        contents=_filter(batch.contents, kept),
        reports={key: report for key, report in batch.reports.items() if kept(report.row)},
        whole={} if refused else batch.whole,
        quarantined=[
            item
            for item in (*batch.quarantined, *quarantined)
            if (item.organization_id, "") not in gone
            and not (batch.from_spool and (item.organization_id, item.workspace_id) in gone)
        ],
    )


def _filter(rows: Any, kept: Callable[[Any], bool]) -> list[Any]:
    return [row for row in rows if kept(row)]


def _quarantined(event: EventRow, reason: str) -> Quarantined:
    return Quarantined(
        organization_id=event.organization_id,
        workspace_id=event.workspace_id,
        received_at=event.received_at,
        signal="logs" if event.event_id != event.span_id else "traces",
        reason=reason,
        detail=f"{event.trace_id} {event.span_id}",
    )
