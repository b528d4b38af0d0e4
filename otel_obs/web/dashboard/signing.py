"""``/sign-in`` and ``/sign-out``."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from otel_obs.errors import ObsError, PermissionDeniedError, TooManyAttemptsError, UnauthenticatedError
from otel_obs.receiver.http import address_of
from otel_obs.web.dashboard.forms import OwnForm
from otel_obs.web.dashboard.page import desk_of, pages, render
from otel_obs.web.dashboard.sessions import forget, keep, token_of

router = pages()


@router.get("/sign-in")
def sign_in_page(request: Request, next: Annotated[str, Query(max_length=4000)] = "/") -> Response:  # noqa: A002
    """Ask for a key."""
    if desk_of(request).sessions is None:
        return RedirectResponse("/", status_code=303)
    return render(request, "sign_in.html", next=_inside(next), problem=None)


@router.post("/sign-in")
def sign_in(request: Request, form: OwnForm) -> Response:
    """Begin a session, a new one whatever the browser held before."""
    sessions = desk_of(request).sessions
    if sessions is None:
        return RedirectResponse("/", status_code=303)
    target = _inside(form.get("next", "/"))
    try:
        token = sessions.sign_in(form.get("key", "").strip(), token_of(request), address_of(request))
    except UnauthenticatedError:
        problem = "That is no valid API key. It may have been revoked, or cut off when it was copied."
        return render(request, "sign_in.html", status=401, next=target, problem=problem)
    except TooManyAttemptsError as error:
        return render(request, "sign_in.html", status=429, next=target, problem=str(error))
    except PermissionDeniedError as error:
        return render(request, "sign_in.html", status=403, next=target, problem=str(error))
    except ObsError as error:
        return render(request, "sign_in.html", status=503, next=target, problem=str(error))
    response = RedirectResponse(target, status_code=303)
    keep(request, response, token)
    return response


@router.post("/sign-out")
def sign_out(request: Request, form: OwnForm) -> Response:
    """End the session, also for whoever copied its cookie."""
    del form
    sessions, token = desk_of(request).sessions, token_of(request)
    if sessions is not None and token is not None:
        sessions.sign_out(token)
    response = RedirectResponse("/sign-in", status_code=303)
    forget(request, response)
    return response


def _inside(target: str) -> str:
    """Return *target* if it is a page of ours, else the first one."""
    is_path = target.startswith("/") and not target.startswith(("//", "/\\"))
    return target if is_path and target.isprintable() else "/"
