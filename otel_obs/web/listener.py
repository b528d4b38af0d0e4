"""An HTTP server in a thread: listens on one address and answers what is routed."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from threading import Thread

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from otel_obs.receiver.http import behind, encrypted, listen
from otel_obs.receiver.tls import Certificates


class HttpListener:
    """Serves *app*, or just some routes, on *endpoint* until it is stopped."""

    def __init__(
        self,
        app: ASGIApp | Sequence[BaseRoute],
        endpoint: str,
        certificates: Certificates | None = None,
        trusted_proxies: Sequence[str] = (),
    ) -> None:
        self._endpoint = endpoint
        if isinstance(app, Sequence):
            app = Starlette(routes=list(app))
            app.router.redirect_slashes = False
        self.app = app
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            ws="none",
            **behind(trusted_proxies),
        )
        self._server = uvicorn.Server(encrypted(config, certificates))
        self._thread: Thread | None = None

    def start(self) -> str:
        """Listen, and return where.

        Raises:
            ConfigurationError: the address cannot be listened on.
        """
        listener = listen(self._endpoint)
        port = listener.getsockname()[1]
        self._thread = Thread(target=self._run, args=(listener,), name="otel-obs-api", daemon=True)
        self._thread.start()
        return f"{self._endpoint.rpartition(':')[0]}:{port}"

    def _run(self, listener: socket.socket) -> None:
        with closing(listener):
            anyio.run(partial(self._server.serve, sockets=[listener]))

    def stop(self, grace_s: float = 5.0) -> None:
        """Accept nothing more, and let what is under way finish within *grace_s* seconds."""
        self._server.config.timeout_graceful_shutdown = max(1, int(grace_s))
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(grace_s + 2)
