"""The audit log over HTTP, for administrators (scope ``admin``) of a whole organization."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta, timezone
from typing import Annotated

import psycopg
from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from otel_obs.analytics import audited
from otel_obs.analytics.filters import EARLIEST
from otel_obs.errors import InvalidQueryError, PermissionDeniedError
from otel_obs.web import export
from otel_obs.web.access import Api, Caller
from otel_obs.web.api import AS_TEXT, PROBLEMS, Format, api_of
from otel_obs.web.asked import SINCE, Administering, Cursor, Limit, Moment, Text, checked_word, moment
from otel_obs.web.exporting import ExportingRoute
from otel_obs.web.shapes import page_of_model


def asked_entries(
    caller: Administering,
    since: Moment = None,
    until: Moment = None,
    day: Annotated[date | None, Query(description="One day (UTC) instead of since and until")] = None,
    action: Annotated[Text, Query(description="Such as keys.create, or keys for all that begin so")] = None,
    actor: Annotated[Text, Query(description="Such as key:ID")] = None,
) -> audited.Asked:
    """Return which entries are asked for.

    Raises:
        PermissionDeniedError: the key is bound to a workspace.
    """
    need_organization(caller)
    now = datetime.now(tz=timezone.utc)
    if day is not None:
        begins = datetime(day.year, day.month, day.day, tzinfo=timezone.utc)
        if begins < EARLIEST or day.year >= 3000:
            raise InvalidQueryError("day: from 1970 to 2999 is expected")
        ends = begins + timedelta(days=1)
    else:
        ends = moment("until", until, now) or now + timedelta(minutes=1)
        begins = moment("since", since, now) or max(EARLIEST, ends - SINCE)
    return audited.Asked(
        organization_id=caller.reader.organization_id,
        since=begins,
        until=ends,
        action=checked_word("action", action),
        actor=checked_word("actor", actor),
        everyones=caller.scopes is None,
    )


AskedEntries = Annotated[audited.Asked, Depends(asked_entries)]


def need_organization(caller: Caller) -> None:
    """See to it that *caller* looks at a whole organization.

    Raises:
        PermissionDeniedError: the key is bound to a workspace.
    """
    if caller.reader.workspace_id is not None:
        raise PermissionDeniedError("this API key is bound to a workspace, and the audit log is the organization's")


@contextmanager
def audit_of(api: Api, caller: Caller) -> Iterator[psycopg.Connection]:
    """Give a connection that sees the entries that *caller* may: his organization's, and, as operator, everyone's."""
    with (api.write if caller.scopes is None else api.read)(caller) as connection:
        yield connection


router = APIRouter(prefix="/api/v1", responses=PROBLEMS, route_class=ExportingRoute)


@router.get("/audit", response_model=page_of_model(audited.AuditEntry), responses=AS_TEXT,
            summary="Who did what, the newest first")  # fmt: skip
def list_entries(
    request: Request,
    caller: Administering,
    asked: AskedEntries,
    limit: Limit = 100,
    cursor: Cursor = None,
    format: Format = "json",  # noqa: A002  # the parameter's name
) -> Response:
    """Return what was done, with the seals, so that whoever has them can check them."""
    with audit_of(api_of(request), caller) as connection:
        page = audited.entries(connection, asked, limit=limit, cursor=cursor)
    return export.answer(page, audited.AuditEntry, format)
