"""Whose browser is it?  A cookie that stands for an API key; the key decides at each request, as if it were sent.

The cookie is HttpOnly and SameSite=Strict, over https also Secure and ``__Host-``. It counts for requests that only
read, and for forms that prove to come from a page of ours (``forms``).
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from psycopg_pool import ConnectionPool
from starlette.requests import Request
from starlette.responses import Response

from otel_obs.errors import PermissionDeniedError, UnauthenticatedError
from otel_obs.flags.limits import RateLimit
from otel_obs.postgres import audit, sessions
from otel_obs.postgres.keys import presented
from otel_obs.postgres.pool import translated
from otel_obs.receiver.auth import READ, Authenticator, Principal
from otel_obs.web.access import Authenticate, Caller, by_keys, caller_of, is_https

_NAME = "otel_obs_session"
_CREDENTIALS = ("authorization", "x-api-key")
MAX_TOKEN = 200
FAILURES_PER_S, FAILURES_AT_ONCE = 0.1, 20
"""How many failed sign-ins a process writes down."""
_GOES_ON_BY_ITSELF = "/api/v1/stream"
"""What no browser asks for because somebody does something: it stays open, and is opened again, for nobody too."""


class Sessions:
    """The sessions in the database, and the keys that they stand for."""

    def __init__(self, pool: ConnectionPool, authenticator: Authenticator, idle: timedelta | None = None) -> None:
        """Make it: a session that is not used for *idle* ends; None: none does."""
        self._pool = pool
        self._idle = idle
        self._authenticator = authenticator
        self._failures = RateLimit(FAILURES_PER_S, FAILURES_AT_ONCE)

    def sign_in(self, key: str, replaces: str | None, address: str = "") -> str:
        """Begin a session for the holder of *key* and return its token; the session *replaces* ends.

        Raises:
            ObsError: it is no valid key, lacks the scope ``read``, or nobody can tell now.
        """
        try:
            principal = self._authenticator.authenticate([("x-api-key", key)], READ, address=address)
        except (UnauthenticatedError, PermissionDeniedError):
            self._tell_failure(key)
            raise
        with translated(), self._pool.connection() as connection:
            return sessions.open_session(
                connection,
                key_id=principal.key_id,
                organization_id=principal.organization_id,
                now=datetime.now(tz=timezone.utc),
                replaces=replaces,
            )

    def _tell_failure(self, key: str) -> None:
        """Write down that somebody could not sign in, unless that happens all the time."""
        if self._failures.wait_s("sign-in"):
            return
        found = presented(key)
        with translated(), self._pool.connection() as connection:
            audit.append(
                connection,
                action="dashboard.sign_in_failed",
                subject="no key of ours" if found is None else found.id,
                actor="nobody",
            )

    def sign_out(self, token: str) -> None:
        """End a session."""
        with translated(), self._pool.connection() as connection:
            sessions.close_session(connection, token)

    def holder(self, token: str, scope: str, *, is_use: bool = True) -> Principal:
        """Return who holds *token*; *is_use* says whether somebody does something with it.

        Raises:
            UnauthenticatedError: the session ended, or its key was revoked or has expired.
            PermissionDeniedError: the key lacks *scope*.
        """
        with translated(), self._pool.connection() as connection:
            now = datetime.now(tz=timezone.utc)
            key_id = sessions.key_of_session(connection, token, now, idle=self._idle, is_use=is_use)
        if key_id is None:
            raise UnauthenticatedError
        return self._authenticator.holder(key_id, scope)


def by_keys_or_session(authenticator: Authenticator, found: Sessions) -> Authenticate:
    """Return how callers are told by their API keys, or by the cookie of a browser that is signed in."""
    keys = by_keys(authenticator)

    def authenticate(request: Request, scope: str) -> Caller:
        token = token_of(request)
        if token is None or any(name in request.headers for name in _CREDENTIALS):
            return keys(request, scope)
        if request.method not in ("GET", "HEAD") and not getattr(request.state, "is_own_form", False):
            raise PermissionDeniedError("a browser changes things with forms of the dashboard only")
        is_use = request.url.path != _GOES_ON_BY_ITSELF
        return caller_of(found.holder(token, scope, is_use=is_use), request)

    return authenticate


def token_of(request: Request) -> str | None:
    """Return the token that a browser sends; None without one."""
    token = request.cookies.get(_name(request))
    return token if token and len(token) <= MAX_TOKEN else None


def keep(request: Request, response: Response, token: str) -> None:
    """Let the browser hold *token* until it is closed, or the session ends."""
    response.set_cookie(
        _name(request),
        token,
        max_age=int(sessions.LASTS.total_seconds()),
        httponly=True,
        samesite="strict",
        secure=is_https(request),
    )


def forget(request: Request, response: Response) -> None:
    """Let the browser forget its token."""
    response.delete_cookie(_name(request), httponly=True, samesite="strict", secure=is_https(request))


def _name(request: Request) -> str:
    return f"__Host-{_NAME}" if is_https(request) else _NAME
