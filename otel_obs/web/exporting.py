"""Who took rows as a file?  Lists as CSV or JSON lines are written down in the audit log before they leave."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute
from starlette.responses import Response

from otel_obs.postgres import audit
from otel_obs.web.access import Api, Caller

_EXPORTS = ("csv", "jsonl")
_TOLD = ("format", "since", "until", "workspace_id", "user_id", "limit", "group_by")
"""Parameters of an export that are written down; words that were looked for may be what somebody said."""


class ExportingRoute(APIRoute):
    """Writes down who took rows as a file, before they leave."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request."""
        handler = super().get_route_handler()

        async def answered(request: Request) -> Response:
            response = await handler(request)
            caller: Caller | None = getattr(request.state, "caller", None)
            if caller is not None and request.query_params.get("format") in _EXPORTS:
                await run_in_threadpool(_exported, request, caller)
            return response

        return answered


def _exported(request: Request, caller: Caller) -> None:
    api: Api = request.app.state.api
    query = request.query_params
    with api.write(caller) as connection:
        audit.append(
            connection,
            action="data.export",
            subject=request.url.path,
            organization_id=caller.reader.organization_id,
            after={name: query[name][:200].replace("\x00", "") for name in _TOLD if name in query},
            actor=caller.actor,
        )
