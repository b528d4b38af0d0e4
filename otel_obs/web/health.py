"""Is the process alive, can it do its work, and what does it count?  ``/healthz``, ``/readyz``, ``/metrics``."""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from otel_obs.errors import ObsError
from otel_obs.receiver.http import refusal
from otel_obs.receiver.status import answer_to


def health_routes(
    check: Callable[[], None], measure: Callable[[], bytes], may_measure: Callable[[Request], object] = lambda _: None
) -> list[Route]:
    """Return the routes; *check* raises an ``ObsError`` while the process cannot do its work.

    *measure* returns metrics in Prometheus' text format; *may_measure* raises an ``ObsError`` for who may not see them.
    """

    def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    def readyz(_: Request) -> Response:
        try:
            check()
        except ObsError as error:
            return JSONResponse({"ready": False, "reason": str(error)}, status_code=503)
        return JSONResponse({"ready": True})

    def metrics(request: Request) -> Response:
        try:
            may_measure(request)
        except ObsError as error:
            return refusal(answer_to(error), json=True)
        return Response(measure(), media_type="text/plain; version=0.0.4")

    return [
        Route("/healthz", healthz, methods=["GET"]),
        Route("/readyz", readyz, methods=["GET"]),
        Route("/metrics", metrics, methods=["GET"]),
    ]
