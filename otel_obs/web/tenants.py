"""Workspaces, users, workflows and traces over HTTP: seen with the scope ``read``, set and deleted with ``admin``.

Plans, holds and limits are the operator's business (``otel-obs org``): no key changes how long its own organization's
rows are kept, nor how much it may send. What is kept of its content, a key may say: the operator's setting holds too,
if it is stricter. A deletion is answered when everything is gone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from otel_obs.analytics import tenants
from otel_obs.errors import InvalidQueryError, PermissionDeniedError
from otel_obs.maintenance import tenancy
from otel_obs.maintenance.sweeping import Subject
from otel_obs.settings import CONTENT_RULE, is_identifier
from otel_obs.web import export
from otel_obs.web.access import Caller
from otel_obs.web.api import AS_TEXT, PROBLEMS, Paged, api_of
from otel_obs.web.asked import Administering, Asking, checked_word
from otel_obs.web.exporting import ExportingRoute
from otel_obs.web.shapes import as_json, model_of, page_of_model

router = APIRouter(prefix="/api/v1", responses=PROBLEMS, route_class=ExportingRoute)

Why = Annotated[str | None, Query(max_length=1000, description="For the audit log")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deleted:
    """What a deletion did."""

    rows: int
    """Rows of the big tables that went."""


class ContentBody(BaseModel):
    """What is kept of prompts, answers, tool arguments and results."""

    model_config = ConfigDict(extra="forbid")

    content: Annotated[
        str | None,
        Field(pattern=rf"^(?:{CONTENT_RULE})$", description="store, drop, mask, or sample:PERCENT of traces"),
    ] = None


class WorkflowBody(BaseModel):
    """What a workflow is bound to."""

    model_config = ConfigDict(extra="forbid")

    workspace_id: Annotated[str, Field(min_length=1, max_length=200)]


@router.get("/organization", response_model=model_of(tenants.Organization), summary="The organization of the key")
def get_organization(request: Request, caller: Asking) -> Response:
    """Return its plan, and whether it is under legal hold."""
    with api_of(request).read(caller) as connection:
        return JSONResponse(as_json(tenants.organization(connection, caller.reader.organization_id)))


@router.put("/organization", status_code=204, response_class=Response, summary="What is kept of content")
def put_organization(request: Request, caller: Administering, body: ContentBody, why: Why = None) -> Response:
    """Say what is kept of the organization's content from now on; the strictest rule of all that there are holds."""
    _need_organization(caller)
    with api_of(request).write(caller) as connection:
        tenants.organization(connection, caller.reader.organization_id)  # one that is gone does not come back like this
        tenancy.set_organization(
            connection,
            caller.reader.organization_id,
            content=body.content,
            grace=api_of(request).grace,
            why=checked_word("why", why),
            actor=caller.actor,
        )
    return Response(status_code=204)


@router.get(
    "/workspaces", response_model=page_of_model(tenants.Workspace), responses=AS_TEXT, summary="Workspaces by id"
)
def get_workspaces(
    request: Request,
    caller: Asking,
    paging: Paged,
) -> Response:
    """Return the workspaces that the key may see."""
    with api_of(request).read(caller) as connection:
        page = tenants.workspaces(connection, caller.reader.organization_id, **paging.place)
    return export.answer(page, tenants.Workspace, paging.format)


@router.get("/users", response_model=page_of_model(tenants.Named), responses=AS_TEXT, summary="Users by id")
def get_users(
    request: Request,
    caller: Asking,
    paging: Paged,
) -> Response:
    """Return the end users of the organization's programs."""
    with api_of(request).read(caller) as connection:
        page = tenants.users(connection, caller.reader.organization_id, **paging.place)
    return export.answer(page, tenants.Named, paging.format)


@router.put("/workspaces/{workspace:path}", status_code=204, response_class=Response, summary="Make a workspace")
def put_workspace(
    request: Request, caller: Administering, workspace: str, body: ContentBody | None = None, why: Why = None
) -> Response:
    """Make a workspace, or say what is kept of its content; one that was deleted is there again, empty."""
    _need_organization(caller)
    with api_of(request).write(caller) as connection:
        tenancy.set_workspace(
            connection,
            caller.reader.organization_id,
            _id(workspace),
            content=None if body is None else body.content,
            why=checked_word("why", why),
            actor=caller.actor,
        )
    return Response(status_code=204)


@router.delete("/workspaces/{workspace:path}", response_model=model_of(Deleted), summary="Delete a workspace")
def delete_workspace(request: Request, caller: Administering, workspace: str, why: Why = None) -> Response:
    """Delete a workspace and all that is its; what comes later for it is refused."""
    return _delete(
        request, caller, Subject(organization_id=caller.reader.organization_id, workspace_id=_id(workspace)), why
    )


@router.delete("/users/{user:path}", response_model=model_of(Deleted), summary="Delete what a user left")
def delete_user(request: Request, caller: Administering, user: str, why: Why = None) -> Response:
    """Delete a user and all that he left; what comes later of him is refused."""
    return _delete(request, caller, Subject(organization_id=caller.reader.organization_id, user_id=_id(user)), why)


@router.delete("/traces/{trace_id}", response_model=model_of(Deleted), summary="Delete a trace")
def delete_trace(request: Request, caller: Administering, trace_id: str, why: Why = None) -> Response:
    """Delete a single trace."""
    return _delete(request, caller, Subject(organization_id=caller.reader.organization_id, trace_id=_id(trace_id)), why)


@router.put(
    "/workflows/{workflow:path}", status_code=204, response_class=Response, summary="Bind a workflow to a workspace"
)
def put_workflow(request: Request, caller: Administering, workflow: str, body: WorkflowBody) -> Response:
    """Let the spans of a workflow that name no workspace belong to one."""
    _need_organization(caller)
    with api_of(request).write(caller) as connection:
        tenancy.set_workflow(
            connection, caller.reader.organization_id, _id(workflow), _id(body.workspace_id), actor=caller.actor
        )
    return Response(status_code=204)


def _delete(request: Request, caller: Caller, subject: Subject, why: str | None) -> Response:
    _need_organization(caller)
    return JSONResponse(as_json(Deleted(rows=api_of(request).delete(subject, caller, checked_word("why", why)))))


def _need_organization(caller: Caller) -> None:
    if caller.reader.workspace_id is not None:
        raise PermissionDeniedError("this API key is bound to a workspace, and tenants are the organization's")


def _id(value: str) -> str:
    if not is_identifier(value):
        raise InvalidQueryError("an id of at most 200 bytes without control characters is expected")
    return value
