"""Flags over HTTP: read with the scope ``read``, changed with ``admin``; asking for values is OFREP's (``flags``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field, JsonValue
from starlette.responses import JSONResponse, Response

from otel_obs.analytics.filters import Page, page_of, place, word
from otel_obs.errors import InvalidQueryError, NotFoundError
from otel_obs.flags import store
from otel_obs.flags.model import Flag
from otel_obs.flags.store import Change, FlagScope
from otel_obs.web import export
from otel_obs.web.access import Caller
from otel_obs.web.api import AS_TEXT, PROBLEMS, Format, api_of, identifier_in
from otel_obs.web.asked import Administering, Asking, Cursor, Limit, checked_word
from otel_obs.web.exporting import ExportingRoute
from otel_obs.web.shapes import as_json, model_of, page_of_model

router = APIRouter(prefix="/api/v1", responses=PROBLEMS, route_class=ExportingRoute)

Version = Annotated[int | None, Query(ge=0, le=2**53, description="Refuse (409) unless it has this version")]
Id = Annotated[str | None, Query(max_length=200)]


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagRow:
    """A flag in one scope."""

    flag_name: str
    is_enabled: bool
    organization_id: str | None
    workspace_id: str | None
    user_id: str | None
    variants: Mapping[str, Any] | None
    rollout: Mapping[str, Any] | None
    prerequisites: list[str] | None
    starts_at: datetime | None
    expires_at: datetime | None
    killed: bool
    description: str | None
    owner: str | None
    version: int
    updated_at: datetime | None


class FlagBody(BaseModel):
    """What is to become of a flag in one scope; what is left out stays, what is empty is cleared."""

    model_config = ConfigDict(extra="forbid")

    is_enabled: bool | None = None
    workspace_id: Annotated[str | None, Field(max_length=200)] = None
    user_id: Annotated[str | None, Field(max_length=200)] = None
    variants: dict[str, JsonValue] | None = None
    rollout: Annotated[dict[str, float] | None, Field(description="Percent by variant")] = None
    prerequisites: list[str] | None = None
    killed: bool | None = None
    description: Annotated[str | None, Field(max_length=2000)] = None
    owner: Annotated[str | None, Field(max_length=200)] = None
    version: Annotated[
        int | None, Field(ge=0, le=2**53, description="Refuse (409) unless it has this version; 0: none yet")
    ] = None
    why: Annotated[str | None, Field(max_length=1000, description="For the audit log")] = None


@router.get("/flags", response_model=page_of_model(FlagRow), responses=AS_TEXT, summary="Flags by name and scope")
def list_flags(
    request: Request,
    caller: Asking,
    limit: Limit = 100,
    cursor: Cursor = None,
    format: Format = "json",  # noqa: A002  # the parameter's name
) -> Response:
    """Return the flags of the organization, and those for everyone."""
    after = tuple(part or "" for part in place(cursor, word, word, word, word))
    with api_of(request).read(caller) as connection:
        found = store.listed(connection, limit=limit + 1, organization_id=caller.reader.organization_id, after=after)
    page: Page[FlagRow] = page_of([_row(flag) for flag in found], limit, _place)
    return export.answer(page, FlagRow, format)


def _place(row: FlagRow) -> tuple[str, ...]:
    return (row.flag_name, row.organization_id or "", row.workspace_id or "", row.user_id or "")


@router.get("/flags/{flag_name:path}", response_model=page_of_model(FlagRow), summary="A flag in all its scopes")
def get_flag(request: Request, caller: Asking, flag_name: str) -> Response:
    """Return a flag in each scope that it is set in."""
    with api_of(request).read(caller) as connection:
        found = store.listed(
            connection, limit=500, organization_id=caller.reader.organization_id, flag_name=identifier_in(flag_name)
        )
    if not found:
        raise NotFoundError
    return JSONResponse(as_json({"items": [_row(flag) for flag in found], "next_cursor": None}))


@router.put("/flags/{flag_name:path}", response_model=model_of(FlagRow), summary="Set a flag in one scope")
def put_flag(request: Request, caller: Administering, flag_name: str, body: FlagBody) -> Response:
    """Change a flag for a user, a workspace or the organization, or make it; programs hear of it at once."""
    change = Change(
        is_enabled=body.is_enabled,
        variants=body.variants,
        rollout=body.rollout,
        prerequisites=body.prerequisites,
        killed=body.killed,
        description=checked_word("description", body.description) if body.description else body.description,
        owner=checked_word("owner", body.owner) if body.owner else body.owner,
    )
    scope = _scope(caller, body.workspace_id, body.user_id)
    with api_of(request).write(caller) as connection:
        found = store.set_flag(
            connection,
            identifier_in(flag_name),
            scope,
            change,
            expected_version=body.version,
            why=checked_word("why", body.why),
            actor=caller.actor,
        )
    return JSONResponse(as_json(_row(found)))


@router.delete(
    "/flags/{flag_name:path}", status_code=204, summary="Delete a flag in one scope", response_class=Response
)
def remove_flag(
    request: Request,
    caller: Administering,
    flag_name: str,
    workspace_id: Id = None,
    user_id: Id = None,
    version: Version = None,
    why: Annotated[str | None, Query(max_length=1000)] = None,
) -> Response:
    """Delete a flag in the scope that is named."""
    scope = _scope(caller, checked_word("workspace_id", workspace_id), checked_word("user_id", user_id))
    with api_of(request).write(caller) as connection:
        gone = store.delete_flag(
            connection,
            identifier_in(flag_name),
            scope,
            expected_version=version,
            why=checked_word("why", why),
            actor=caller.actor,
        )
    if not gone:
        raise NotFoundError
    return Response(status_code=204)


def _scope(caller: Caller, workspace_id: str | None, user_id: str | None) -> FlagScope:
    """Return the scope inside what the key is for: never everyone's."""
    own = caller.reader.workspace_id
    if own is not None and workspace_id not in (None, own):
        raise InvalidQueryError("workspace_id: this API key is bound to another workspace")
    return FlagScope(
        organization_id=caller.reader.organization_id, workspace_id=own or workspace_id or None, user_id=user_id or None
    )


def _row(flag: Flag) -> FlagRow:
    return FlagRow(
        flag_name=flag.flag_name,
        is_enabled=flag.is_enabled,
        organization_id=flag.organization_id,
        workspace_id=flag.workspace_id,
        user_id=flag.user_id,
        variants=flag.variants,
        rollout=flag.rollout,
        prerequisites=None if flag.prerequisites is None else list(flag.prerequisites),
        starts_at=flag.starts_at,
        expires_at=flag.expires_at,
        killed=flag.killed,
        description=flag.description,
        owner=flag.owner,
        version=flag.version,
        updated_at=flag.updated_at,
    )
