"""``/retention``, ``/quarantine``, ``/settings``: is everything in order, and how is it set up?"""

from __future__ import annotations

from datetime import datetime, timezone

from starlette.responses import Response

from otel_obs.analytics import keeping, upkeep
from otel_obs.maintenance.policy import policies
from otel_obs.postgres import keys
from otel_obs.web.asked import Cursor
from otel_obs.web.dashboard.page import Shown, pages
from otel_obs.web.dashboard.quotas import quota_of

PLANS = (("free", "90 days"), ("pro", "365 days"), ("team", "365 days"), ("enterprise", "as agreed, or 365 days"))
PER_PAGE = 50

router = pages()


@router.get("/retention")
def retention(page: Shown, cursor: Cursor = None) -> Response:
    """Show how long rows are kept, what was deleted, and when jobs last ran."""
    organization_id = page.caller.reader.organization_id
    sees_all = page.caller.reader.workspace_id is None
    with page.read() as connection:
        found = policies(connection, page.now, page.desk.retention_grace, ids=[organization_id])
        runs = keeping.retention_runs(connection, page.filters, limit=PER_PAGE, cursor=cursor)
    jobs: list[upkeep.JobState] = []
    if page.may_edit and sees_all:
        with page.desk.own() as connection:
            jobs = upkeep.jobs(connection)
    policy = found.get(organization_id)
    return page.render(
        "retention.html",
        policy=policy,
        cutoff=None if policy is None else policy.cutoff(page.now),
        plans=PLANS,
        runs=runs.items if sees_all else [],
        next_page=None if runs.next_cursor is None else page.here(cursor=runs.next_cursor),
        first_page=page.here() if cursor else None,
        jobs=jobs,
        sees_all=sees_all,
    )


@router.get("/quarantine")
def quarantine(page: Shown, cursor: Cursor = None) -> Response:
    """Show what was refused, and why."""
    with page.read() as connection:
        found = keeping.quarantine(connection, page.filters, limit=PER_PAGE, cursor=cursor)
        reasons = upkeep.reasons(connection, page.filters)
    return page.render(
        "quarantine.html",
        quarantined=found.items,
        reasons=reasons,
        next_page=None if found.next_cursor is None else page.here(cursor=found.next_cursor),
        first_page=page.here() if cursor else None,
    )


@router.get("/settings")
def settings(page: Shown) -> Response:
    """Show where data is sent, and which keys there are."""
    reader = page.caller.reader
    now = datetime.now(tz=timezone.utc)
    found: list[keys.KeyRow] = []
    if page.may_edit and reader.workspace_id is None:
        # Who may see keys is told by the organization of the key that asks: no policy opens this table.
        with page.desk.own() as connection:
            found = keys.listed(connection, limit=200, organization_id=reader.organization_id)
    with page.read() as connection:
        workspaces = upkeep.workspaces(connection, reader.organization_id, reader.workspace_id)
    grpc, http = page.desk.otlp()
    return page.render(
        "settings.html",
        keys=[(key, key.state(now)) for key in found],
        may_see_keys=page.may_edit and reader.workspace_id is None,
        workspaces=workspaces,
        quota=quota_of(page),
        grpc=grpc,
        http=http,
    )
