"""What does a request ask for?  Parameters that all lists share, read into ``Filters``."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import Annotated

from fastapi import Depends, Query, Request

from otel_obs.analytics.filters import Filters
from otel_obs.errors import InvalidQueryError
from otel_obs.receiver.auth import ADMIN, READ
from otel_obs.web.access import Api, Caller

SINCE = timedelta(days=7)
"""How far back is looked, where the request does not say."""
_AGO = re.compile(r"^(\d{1,5})([mhdw])$")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

Text = Annotated[str | None, Query(max_length=1000)]
Moment = Annotated[
    str | None,
    Query(max_length=40, description="RFC 3339, such as 2026-11-24T08:00:00Z, or how long ago: 30m, 24h, 7d, 4w"),
]
Limit = Annotated[int, Query(ge=1, le=500)]
Cursor = Annotated[str | None, Query(max_length=5000, description="next_cursor of the page before")]
Amount = Annotated[float | None, Query(ge=0, le=1e12, allow_inf_nan=False)]


def moment(name: str, value: str | None, now: datetime) -> datetime | None:
    """Return the time that *value* says.

    Raises:
        InvalidQueryError: it says none.
    """
    if value is None:
        return None
    ago = _AGO.match(value)
    if ago is not None:
        return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        # A plus sign in a query is a space once it is decoded.
        found = datetime.fromisoformat(value.replace("Z", "+00:00").replace(" ", "+") if "T" in value else value)
        found = found if found.tzinfo is not None else found.replace(tzinfo=timezone.utc)
        return found.astimezone(timezone.utc)
    except (ValueError, OverflowError):
        raise InvalidQueryError(f"{name}: a time such as 2026-11-24T08:00:00Z or 24h is expected") from None


def checked_word(name: str, value: str | None) -> str | None:
    """Return *value*, an empty one as None.

    Raises:
        InvalidQueryError: no text in a database can be that.
    """
    if value is not None and ("\x00" in value or any("\ud800" <= character <= "\udfff" for character in value)):
        raise InvalidQueryError(f"{name}: text without NUL is expected")
    return value or None


def _asking(request: Request, scope: str) -> Caller:
    api: Api = request.app.state.api
    found = api.authenticate(request, scope)
    request.state.caller = found
    return found


def asking(request: Request) -> Caller:
    """Return who is asking, if they may read."""
    return _asking(request, READ)


Asking = Annotated[Caller, Depends(asking)]


def administering(request: Request) -> Caller:
    """Return who is asking, if they may change things."""
    return _asking(request, ADMIN)


Administering = Annotated[Caller, Depends(administering)]


def filters(
    caller: Asking,
    since: Moment = None,
    until: Moment = None,
    workspace_id: Text = None,
    user_id: Text = None,
    environment: Text = None,
    agent_id: Text = None,
    flow_id: Text = None,
    run_id: Text = None,
    conversation_id: Text = None,
    model: Text = None,
    provider: Text = None,
    status: Text = None,
    event_type: Text = None,
    error_type: Text = None,
    q: Annotated[str | None, Query(max_length=200, description="Words in names, and in what was said")] = None,
    min_cost_cents: Amount = None,
    min_latency_ms: Amount = None,
) -> Filters:
    """Return what the parameters that all lists share ask for."""
    now = datetime.now(tz=timezone.utc)
    ends = moment("until", until, now) or now
    begins = moment("since", since, now)
    try:
        begins = begins or ends - SINCE
    except OverflowError:
        raise InvalidQueryError("until: too early") from None
    return Filters(
        organization_id=caller.reader.organization_id,
        since=begins,
        until=ends,
        workspace_id=caller.reader.workspace_id or checked_word("workspace_id", workspace_id),
        user_id=checked_word("user_id", user_id),
        environment=checked_word("environment", environment),
        agent_id=checked_word("agent_id", agent_id),
        flow_id=checked_word("flow_id", flow_id),
        run_id=checked_word("run_id", run_id),
        conversation_id=checked_word("conversation_id", conversation_id),
        model=checked_word("model", model),
        provider=checked_word("provider", provider),
        status=checked_word("status", status),
        event_type=checked_word("event_type", event_type),
        error_type=checked_word("error_type", error_type),
        text=checked_word("q", q),
        min_cost_cents=min_cost_cents,
        min_latency_ms=min_latency_ms,
    )


Asked = Annotated[Filters, Depends(filters)]
