"""Flag lookups over HTTP (OFREP), as ``serve`` and ``maintain`` have them: a snapshot of the flags, and who may ask."""

from __future__ import annotations

from collections.abc import Callable

from psycopg_pool import ConnectionPool
from starlette.requests import Request
from starlette.routing import Route

from otel_obs.flags import ofrep
from otel_obs.flags.asked import anyone, by_key
from otel_obs.flags.snapshot import Snapshot
from otel_obs.postgres.keys import PostgresKeys
from otel_obs.receiver.auth import ADMIN, FLAGS, READ, Authenticator, authenticator_by, is_still_allowed
from otel_obs.receiver.http import address_of
from otel_obs.settings import Settings, is_loopback


class FlagLookups:
    """Answers ``/ofrep/v1`` from memory."""

    def __init__(self, settings: Settings, database_url: str, authenticator: Authenticator | None) -> None:
        """Make it; *authenticator* None: nobody is asked for a key."""
        self._snapshot = Snapshot(settings.direct_database_url or database_url)
        if authenticator is None:
            authenticate = anyone(settings.organization_id)
        else:
            keys = authenticator
            authenticate = by_key(lambda headers, address: keys.authenticate(headers, FLAGS, address=address))
        self.routes: list[Route] = ofrep.routes(self._snapshot, authenticate, still_may=may_listen(authenticator))

    def start(self) -> None:
        """Begin to follow the flags."""
        self._snapshot.start()

    def close(self) -> None:
        """Stop following them, and end streams."""
        self._snapshot.close()


def may_listen(authenticator: Authenticator | None) -> Callable[[str], bool]:
    """Return what tells whether the holder of a key may go on following flags: not once it is revoked, or expires."""
    if authenticator is None:
        return lambda _: True
    return lambda key_id: is_still_allowed(lambda: authenticator.holder(key_id, FLAGS))


def authenticator_of(settings: Settings, pool: ConnectionPool) -> Authenticator | None:
    """Return what tells callers by their keys, which wait in *pool*; None where no keys are asked for."""
    return authenticator_by(PostgresKeys(pool)) if settings.auth == "keys" else None


def may_measure(settings: Settings, authenticator: Authenticator | None) -> Callable[[Request], object]:
    """Return what refuses metrics to whoever has no key for them, where other machines can ask."""
    if authenticator is None or is_loopback(settings.api_endpoint):
        return lambda _: None
    return lambda request: authenticator.authenticate(request.headers.items(), READ, ADMIN, address=address_of(request))
