"""Who is asking, and whose rows may be shown?

A key's organization (and workspace, if it is bound to one) decides. Without keys, which is for loopback addresses
only, the parameter ``organization_id`` does; then requests are answered only if they were sent to such an address, or
a page of somebody else could read them through a name that it lets point here.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta

import psycopg
from starlette.requests import Request

from otel_obs.analytics.searching import FOR_A_PAGE, Patience
from otel_obs.errors import InvalidQueryError, PermissionDeniedError
from otel_obs.maintenance.sweeping import Subject
from otel_obs.postgres.reading import Reader
from otel_obs.postgres.vault import Vault
from otel_obs.receiver.auth import Authenticator, Principal
from otel_obs.receiver.http import address_of
from otel_obs.settings import is_identifier, is_loopback
from otel_obs.tenancy import DEFAULT


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who is asking."""

    reader: Reader
    scopes: frozenset[str] | None
    """What the key allows; None: everything, for nobody is asked for keys."""
    actor: str
    """Who changes are written down under."""
    is_operator: bool = False
    """Any organization may be asked for."""

    def may(self, scope: str) -> bool:
        """Tell whether *scope* is allowed."""
        return self.scopes is None or scope in self.scopes

    def need(self, scope: str) -> None:
        """See to it that *scope* is allowed.

        Raises:
            PermissionDeniedError: it is not.
        """
        if not self.may(scope):
            raise PermissionDeniedError(f"this API key lacks the scope {scope}")


Authenticate = Callable[[Request, str], Caller]
"""Tells who sends a request that needs a scope.

Raises:
    ObsError: nobody who may.
"""


Read = Callable[[Caller], AbstractContextManager[psycopg.Connection]]
"""Gives a connection that sees what a caller may see, in a read-only transaction."""


@dataclass(frozen=True, slots=True)
class Api:
    """What requests are answered with; ``app.state.api``."""

    authenticate: Authenticate
    read: Read
    write: Read
    """Gives a connection of the schema's owner: whoever uses it says whose rows it changes."""
    delete: Callable[[Subject, Caller, str | None], int]
    """Deletes a tenant's rows in small transactions, for a reason; returns how many went."""
    private_webhooks: bool = False
    """Whether alerts may be posted inside private networks."""
    grace: timedelta = timedelta(days=7)
    """How long more days than a plan says still count."""
    vault: Vault | None = None
    """Opens what is encrypted; None: nobody does here."""
    patience: Patience = FOR_A_PAGE
    """How long a page of a search may take."""


def by_keys(authenticator: Authenticator) -> Authenticate:
    """Return how callers are told by their API keys."""

    def authenticate(request: Request, scope: str) -> Caller:
        found = authenticator.authenticate(request.headers.items(), scope, address=address_of(request))
        return caller_of(found, request)

    return authenticate


def caller_of(found: Principal, request: Request) -> Caller:
    """Return whose rows the holder of a key asks for: an operator's names any organization, by its parameter.

    Raises:
        InvalidQueryError: no organization can be called that.
    """
    asked = request.query_params.get("organization_id") if found.is_operator else None
    return Caller(
        reader=Reader(organization_id=_named(asked or found.organization_id), workspace_id=found.workspace_id),
        scopes=found.scopes,
        actor=f"key:{found.key_id}",
        is_operator=found.is_operator,
    )


def _named(organization_id: str) -> str:
    if not is_identifier(organization_id):
        raise InvalidQueryError("organization_id: at most 200 bytes without control characters are expected")
    return organization_id


def by_nothing(request: Request, scope: str) -> Caller:
    """Return who is asking where no keys are asked for."""
    del scope
    if not is_local(request.headers.get("host", "")):
        raise PermissionDeniedError("without keys this is answered on loopback addresses only")
    organization_id = _named(request.query_params.get("organization_id", DEFAULT))
    return Caller(reader=Reader(organization_id=organization_id), scopes=None, actor="local")


def is_https(request: Request) -> bool:
    """Tell whether the browser asks over https: here, or at a proxy on this machine or one that is trusted."""
    if request.url.scheme == "https":
        return True
    address = address_of(request)
    is_near = bool(address) and is_loopback(f"[{address}]:0" if ":" in address else f"{address}:0")
    return is_near and request.headers.get("x-forwarded-proto", "").strip() == "https"


def is_local(host: str) -> bool:
    """Tell whether *host*, a header's value, names this machine."""
    try:
        return is_loopback(host if ":" in host.rpartition("]")[2] else f"{host}:80")
    except ValueError:
        return False
