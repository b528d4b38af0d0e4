"""``/audit``: who did what, and is that as it was written?  For administrators of a whole organization."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import Query
from starlette.responses import Response

from otel_obs.analytics import audited
from otel_obs.postgres import audit
from otel_obs.receiver.auth import ADMIN
from otel_obs.web.access import Api
from otel_obs.web.asked import Cursor, Text, checked_word
from otel_obs.web.audit import audit_of, need_organization
from otel_obs.web.dashboard.page import Shown, address, pages, stamp

PER_PAGE = 50
MAX_TOLD = 12
"""Fields of a change that are shown; the API has them all."""
_LONGEST = 300
_KNOWN = ("organization_id", "version")

router = pages()


@router.get("/audit")
def entries(
    page: Shown,
    action: Text = None,
    actor: Text = None,
    day: Annotated[str | None, Query(pattern=r"^(\d{4}-\d{2}-\d{2})?$")] = None,
    cursor: Cursor = None,
) -> Response:
    """Show what was done, the newest first, and whether the newest entries are as they were written."""
    page.caller.need(ADMIN)
    need_organization(page.caller)
    since, until = _period(page.filters.since, page.filters.until, day, page.now)
    asked = audited.Asked(
        organization_id=page.caller.reader.organization_id,
        since=since,
        until=until,
        action=checked_word("action", action),
        actor=checked_word("actor", actor),
        everyones=page.is_local,
    )
    api: Api = page.request.app.state.api
    with audit_of(api, page.caller) as connection:
        found = audited.entries(connection, asked, limit=PER_PAGE, cursor=cursor)
        actions = audited.actions(connection, asked)
        checked = audit.check_newest(connection, page.caller.reader.organization_id)
    exported = {"since": stamp(since), "until": stamp(until), "action": action, "actor": actor, "limit": 500}
    organization_id = page.query.get("organization_id")
    return page.render(
        "audit.html",
        entries=[(entry, changes(entry)) for entry in found.items],
        actions=actions if action in (None, "", *actions) else [*actions, action],
        checked=checked,
        since=since,
        until=until,
        day=day,
        is_filtered=bool(action or actor or day),
        csv=address("/api/v1/audit", {"organization_id": organization_id, **exported, "format": "csv"}),
        next_page=None if found.next_cursor is None else page.here(cursor=found.next_cursor),
        first_page=page.here() if cursor else None,
    )


def _period(since: datetime, until: datetime, day: str | None, now: datetime) -> tuple[datetime, datetime]:
    """Return the period that is shown: *day*, where one is named; what is done while the page is made belongs to it."""
    if day:
        try:
            begins = datetime.fromisoformat(f"{day}T00:00:00+00:00")
        except ValueError:
            return now, now
        return begins, begins + timedelta(days=1)
    return since, until + timedelta(seconds=1)


def changes(entry: audited.AuditEntry) -> list[tuple[str, str | None, str | None]]:
    """Return what a change changed: name, before, after; None where there is nothing to compare."""
    before, after = entry.before or {}, entry.after or {}
    names = [name for name in {**before, **after} if before.get(name) != after.get(name) and _tells(entry, name)]
    return [
        (
            name,
            None if entry.before is None else _said(before.get(name)),
            None if entry.after is None else _said(after.get(name)),
        )
        for name in names[:MAX_TOLD]
    ]


def _tells(entry: audited.AuditEntry, name: str) -> bool:
    """Tell whether a field says more than the rest of the entry does."""
    if entry.before is not None and entry.after is not None:
        return name != "version"
    value = (entry.after or entry.before or {}).get(name)
    return name not in _KNOWN and value not in (None, "", False) and value != entry.subject


def _said(value: Any) -> str:
    if value is None:
        return "–"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
