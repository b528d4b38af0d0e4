"""Organizations, workspaces, users, workflows: set by name, deleted by name with everything that is theirs.

A deletion first says that the tenant is deleted, so that nothing more comes in; then its rows go in small transactions,
in which nobody waits for long; then what names it. Interrupted, it is gone on with by doing it again, or by retention.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import psycopg
from psycopg_pool import ConnectionPool

from otel_obs.errors import LegalHoldError, UnknownTenantError
from otel_obs.maintenance.policy import audit_changes
from otel_obs.maintenance.sweeping import Subject, has_rows, sweep
from otel_obs.postgres import audit
from otel_obs.postgres.pool import translated
from otel_obs.postgres.queries import load
from otel_obs.postgres.vault import shred
from otel_obs.tenancy import Limits

_TENANCY = load("tenancy")

PLANS = ("free", "pro", "team", "enterprise")


@dataclass(frozen=True, slots=True, kw_only=True)
class Organization:
    """A row of ``organizations``."""

    id: str
    plan: str | None
    retention_days: int | None
    legal_hold: bool
    created_at: datetime
    updated_at: datetime
    content: str | None = None
    """What is kept of content: ``store``, ``drop``, ``mask`` or ``sample:PERCENT``; None: what the settings say."""
    limits: Limits = field(default_factory=Limits)


def set_organization(
    connection: psycopg.Connection,
    organization_id: str,
    *,
    plan: str | None = None,
    retention_days: int | None = None,
    legal_hold: bool | None = None,
    content: str | None = None,
    limits: Mapping[str, int | None] | None = None,
    grace: timedelta = timedelta(days=7),
    why: str | None = None,
    actor: str | None = None,
) -> Organization:
    """Make an organization, or change what is given of it; one that was deleted is there again, empty.

    Fewer days count after *grace*; the audit entries are of the same transaction. Of *limits* those that are named
    change: None is what the settings say, 0 is no limit.
    """
    asked = {
        "id": organization_id, "plan": plan, "retention_days": retention_days, "legal_hold": legal_hold,
        "content": content,
    }  # fmt: skip
    with connection.transaction():
        before = _organization(connection, organization_id)
        connection.execute(_TENANCY["set_organization"], asked)
        connection.execute(_TENANCY["restore_organization"], asked)
        if limits:
            own = Limits() if before is None else before.limits
            connection.execute(_TENANCY["set_limits"], {"id": organization_id, **own.as_json(), **limits})
        after = _organization(connection, organization_id)
        if after is None:
            raise UnknownTenantError
        audit_changes(connection, grace, actor=actor or audit.account())
        _audit_rules(connection, before, after, why=why, actor=actor)
        if legal_hold is not None and legal_hold != (before is not None and before.legal_hold):
            audit.append(
                connection,
                action="org.legal_hold",
                subject=organization_id,
                organization_id=organization_id,
                before={"legal_hold": not legal_hold},
                after={"legal_hold": legal_hold},
                why=why,
                actor=actor,
            )
    return after


def _audit_rules(
    connection: psycopg.Connection,
    before: Organization | None,
    after: Organization,
    *,
    why: str | None,
    actor: str | None,
) -> None:
    """Note what changed of the rule for content and of the limits."""
    changes: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "org.content": ({"content": None if before is None else before.content}, {"content": after.content}),
        "org.limits": ((Limits() if before is None else before.limits).as_json(), after.limits.as_json()),
    }
    for action, (old, new) in changes.items():
        if old != new:
            audit.append(
                connection,
                action=action,
                subject=after.id,
                organization_id=after.id,
                before=old,
                after=new,
                why=why,
                actor=actor,
            )


def _organization(connection: psycopg.Connection, organization_id: str) -> Organization | None:
    row = connection.execute(_TENANCY["organization"], {"id": organization_id}).fetchone()
    return None if row is None else _from_row(row)


def _from_row(row: tuple[Any, ...]) -> Organization:
    return Organization(
        id=row[0],
        plan=row[1],
        retention_days=row[2],
        legal_hold=row[3],
        created_at=row[4],
        updated_at=row[5],
        content=row[6],
        limits=Limits(
            max_spans_per_second=row[7], max_bytes_per_second=row[8], max_bytes_per_day=row[9], max_stored_bytes=row[10]
        ),
    )


def organizations(connection: psycopg.Connection, *, limit: int, after: str | None = None) -> list[Organization]:
    """Return at most *limit* organizations by id, those behind *after*."""
    rows = connection.execute(_TENANCY["organizations_after"], {"limit": limit, "after": after}).fetchall()
    return [_from_row(row) for row in rows]


def set_workspace(
    connection: psycopg.Connection,
    organization_id: str,
    workspace_id: str,
    *,
    content: str | None = None,
    actor: str | None = None,
    why: str | None = None,
) -> None:
    """Make a workspace, or change what is kept of its *content*; one that was deleted is there again, empty."""
    asked = {"organization_id": organization_id, "id": workspace_id, "content": content}
    with connection.transaction():
        connection.execute(_TENANCY["register_organization"], asked)
        if connection.execute(_TENANCY["set_workspace"], asked).rowcount:
            audit.append(
                connection, action="workspace.set", subject=workspace_id, organization_id=organization_id, actor=actor
            )
        connection.execute(_TENANCY["restore_workspace"], asked)
        before = connection.execute(_TENANCY["workspace_content"], asked).fetchone()
        if content is not None and before is not None and before[0] != content:
            connection.execute(_TENANCY["set_workspace_content"], asked)
            audit.append(
                connection,
                action="workspace.content",
                subject=workspace_id,
                organization_id=organization_id,
                before={"content": before[0]},
                after={"content": content},
                why=why,
                actor=actor,
            )


def set_workflow(
    connection: psycopg.Connection,
    organization_id: str,
    workflow_id: str,
    workspace_id: str,
    *,
    actor: str | None = None,
) -> None:
    """Bind a workflow to a workspace, which is made if it is not there."""
    asked = {"organization_id": organization_id, "id": workflow_id, "workspace_id": workspace_id}
    with connection.transaction():
        before = connection.execute(_TENANCY["workflow"], asked).fetchone()
        set_workspace(connection, organization_id, workspace_id, actor=actor)
        connection.execute(_TENANCY["set_workflow"], asked)
        if before is None or before[0] != workspace_id:
            audit.append(
                connection,
                action="workflow.set",
                subject=workflow_id,
                organization_id=organization_id,
                before=None if before is None else {"workspace_id": before[0]},
                after={"workspace_id": workspace_id},
                actor=actor,
            )


def delete(
    pool: ConnectionPool,
    subject: Subject,
    *,
    why: str | None = None,
    actor: str | None = None,
    batch: int = 10_000,
) -> int:
    """Delete an organization, a workspace, a user or a trace with all that is theirs; return how many hot rows went.

    Raises:
        UnknownTenantError: there is no such thing.
        LegalHoldError: the organization is under legal hold.
        StorageUnavailableError: what went before is gone; doing it again goes on.
    """
    kind = _kind(subject)

    def in_transaction(work: Callable[[psycopg.Connection], Any]) -> Any:
        with pool.connection() as connection, connection.transaction():
            return work(connection)

    with translated():
        in_transaction(lambda connection: _refuse_more(connection, subject, kind))
        total = sweep(subject, in_transaction, batch)
        in_transaction(lambda connection: _finish(connection, subject, kind, total, why, actor))
        # What a writer committed meanwhile that had not seen yet that the user is gone.
        return total + sweep(subject, in_transaction, batch)


def _kind(subject: Subject) -> str:
    if subject.trace_id is not None:
        return "trace"
    if subject.user_id is not None:
        return "user"
    return "organization" if subject.workspace_id is None else "workspace"


def _refuse_more(connection: psycopg.Connection, subject: Subject, kind: str) -> None:
    """From the commit of this on, nothing of the tenant comes in any more."""
    names = {"workspace_id": "", "user_id": "", **subject.names()}
    hold = connection.execute(_TENANCY["hold"], names).fetchone()
    if hold is not None and hold[0]:
        raise LegalHoldError
    if kind != "trace" and connection.execute(_TENANCY[f"lock_{kind}"], names).fetchone() is not None:
        connection.execute(_TENANCY["remember_deleted"], names)
        if kind == "organization":
            # First of all: rows go for a while yet, and nobody is to read them meanwhile.
            shred(connection, subject.organization_id)
    elif not has_rows(connection, subject):
        raise UnknownTenantError(f"there is no such {kind}")
    elif kind != "trace":
        connection.execute(_TENANCY["remember_deleted"], names)


def _finish(
    connection: psycopg.Connection, subject: Subject, kind: str, total: int, why: str | None, actor: str | None
) -> None:
    names = subject.names()
    if kind == "trace":
        connection.execute(_TENANCY["delete_unsettled_trace"], names)
    else:
        with audit.speaking(connection, actor=actor, why=why):
            connection.execute(_TENANCY[f"delete_{kind}"], names)
    action = {"organization": "org.delete"}.get(kind, f"{kind}.delete")
    audit.append(
        connection,
        action=action,
        subject=names.get(f"{kind}_id", subject.organization_id),
        organization_id=subject.organization_id,
        before={"rows": total},
        why=why,
        actor=actor,
    )
