"""The API and the dashboard as one server, on connections of their own: readers never starve writers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import psycopg
from starlette.routing import BaseRoute

from otel_obs.analytics.searching import FOR_A_PAGE, Patience
from otel_obs.maintenance import tenancy
from otel_obs.postgres import schema
from otel_obs.postgres.pool import open_pool, translated
from otel_obs.postgres.reading import reading
from otel_obs.postgres.roles import check_reader
from otel_obs.postgres.vault import vault_of
from otel_obs.receiver.auth import Authenticator
from otel_obs.receiver.tls import certificates_of
from otel_obs.settings import Settings
from otel_obs.tenancy import limits_of
from otel_obs.web import api, audit, budgets, dashboard, flags, keeping, stream, tenants
from otel_obs.web.access import Api, by_nothing
from otel_obs.web.app import create_app
from otel_obs.web.dashboard import files
from otel_obs.web.dashboard.page import Desk
from otel_obs.web.dashboard.sessions import Sessions, by_keys_or_session
from otel_obs.web.health import health_routes
from otel_obs.web.listener import HttpListener
from otel_obs.web.live import Live
from otel_obs.web.lookups import FlagLookups, authenticator_of, may_measure

READERS = 8
"""Questions that are answered at the same time."""
ANSWER_WITHIN_S = 10.0
_FITS_FOR_S = 5.0


class ApiServer:
    """Answers ``/api/v1`` and ``/ofrep/v1`` on the API endpoint, and shows the dashboard at ``/``."""

    def __init__(
        self,
        settings: Settings,
        database_url: str,
        *,
        authenticator: Authenticator | None = None,
        measure: Callable[[], bytes] = bytes,
        also_check: Callable[[], None] = lambda: None,
        routes: Sequence[BaseRoute] = (),
        patience: Patience = FOR_A_PAGE,
    ) -> None:
        """Make a server; keys are told by *authenticator*, or by one of its own where *settings* ask for keys.

        Raises:
            ConfigurationError: others could read without a key, or unencrypted.
        """
        settings.check_listener(settings.api_endpoint)
        certificates = certificates_of(settings)
        self._pool = open_pool(database_url, max_size=READERS, statement_timeout_s=ANSWER_WITHIN_S)
        self._own_authenticator = None if authenticator is not None else authenticator_of(settings, self._pool)
        authenticator = authenticator or self._own_authenticator
        self._lookups = FlagLookups(settings, database_url, authenticator)
        self._also_check = also_check
        self._fits_until = 0.0
        idle = timedelta(minutes=settings.session_idle_minutes) or None
        sessions = None if authenticator is None else Sessions(self._pool, authenticator, idle)
        access = Api(
            authenticate=by_nothing
            if authenticator is None or sessions is None
            else by_keys_or_session(authenticator, sessions),
            read=lambda caller: reading(self._pool, caller.reader, timeout_s=ANSWER_WITHIN_S),
            write=lambda _: self._writing(),
            delete=lambda subject, caller, why: tenancy.delete(self._pool, subject, why=why, actor=caller.actor),
            private_webhooks=settings.webhook_private,
            grace=timedelta(days=settings.retention_grace_days),
            vault=vault_of(settings),
            patience=patience,
        )
        health = health_routes(self.check, measure, may_measure(settings, authenticator))
        self._live = Live(access.read)
        app = create_app(
            access,
            [
                api.router,
                audit.router,
                budgets.router,
                keeping.router,
                flags.router,
                stream.router,
                tenants.router,
                *dashboard.routers,
            ],
            [*health, *self._lookups.routes, *files.routes, *routes],
        )
        app.state.live = self._live
        self.otlp = (settings.grpc_endpoint, settings.http_endpoint)
        """Where OTLP is taken, as pages tell it; whoever started a gateway knows better."""
        app.state.desk = Desk(
            own=self._writing,
            sessions=sessions,
            otlp=lambda: self.otlp,
            retention_grace=timedelta(days=settings.retention_grace_days),
            limits=limits_of(settings),
            paths=dashboard.paths(),
        )
        self._listener = HttpListener(app, settings.api_endpoint, certificates, settings.trusted_proxies)

    def start(self) -> str:
        """Listen, and return where.

        Raises:
            ConfigurationError: the address cannot be listened on.
        """
        if self._own_authenticator is not None:
            self._own_authenticator.start()
        self._lookups.start()
        return self._listener.start()

    def check(self) -> None:
        """See to it that questions can be answered, and that nobody is answered with what is not theirs.

        Raises:
            ObsError: they cannot; the message says why.
        """
        self._also_check()
        if time.monotonic() < self._fits_until:
            return
        with translated(), self._pool.connection() as connection:
            schema.check(connection, goes_on=self._fits_until > 0)
            check_reader(connection)
        self._fits_until = time.monotonic() + _FITS_FOR_S

    @contextmanager
    def _writing(self) -> Iterator[psycopg.Connection]:
        """Give a connection that no policy binds."""
        with translated(), self._pool.connection() as connection:
            yield connection

    def stop(self, grace_s: float = 5.0) -> None:
        """Accept nothing more, let what is under way finish, and let go of the database."""
        self._live.close()
        self._lookups.close()
        self._listener.stop(grace_s)
        if self._own_authenticator is not None:
            self._own_authenticator.close()
        self._pool.close(1.0)
