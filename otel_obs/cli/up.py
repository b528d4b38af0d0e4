"""``up``: everything on one machine, until it is told to stop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import click

from otel_obs.cli.gateway import Beside, serve_until_told
from otel_obs.cli.logs import log_to_stderr
from otel_obs.cli.maintain import maintenance_pool, scheduler_of
from otel_obs.cli.options import database, database_options, listen_options, settings_from
from otel_obs.cli.workers import Workers
from otel_obs.maintenance.metrics import MaintenanceMetrics
from otel_obs.postgres import schema
from otel_obs.server import Gateway, Listening
from otel_obs.settings import Settings
from otel_obs.web.server import ApiServer


@click.command()
@database_options
@listen_options
@click.option("--api", metavar="HOST:PORT", help="Where the API listens; port 0: a free one.")
def up(**options: str | None) -> None:
    """Run everything on this machine until Ctrl-C: PostgreSQL, migrations, OTLP, the API, maintenance."""
    log_to_stderr()
    settings = settings_from(**options)
    with database(settings) as url:
        for name in schema.migrate(settings.direct_database_url or url):
            click.echo(f"applied {name}", err=True)
        serve_until_told(settings, url, lambda server: _Everything(server, settings, url))


class _Everything(Beside):
    """The API and maintenance."""

    def __init__(self, server: Gateway | Workers, settings: Settings, url: str) -> None:
        self._settings = settings
        self._url = url
        self._api = api_of(server, settings, url)
        self._registry = server.metrics.registry if isinstance(server, Gateway) else server.registry
        self._listening: Listening | None = None

    def start(self, listening: Listening) -> Listening:
        self._api.otlp = (listening.grpc, listening.http)
        self._listening = replace(listening, api=self._api.start())
        return self._listening

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Run the jobs of maintenance meanwhile; the gateway settles what it writes itself."""
        if self._listening is not None:
            _say_what_next(self._settings, self._listening)
        pool = maintenance_pool(self._url)
        scheduler = scheduler_of(self._settings, pool, settles=False)
        self._registry.register(MaintenanceMetrics(pool))
        scheduler.start()
        try:
            yield
        finally:
            scheduler.stop()
            pool.close(1.0)

    def stop(self) -> None:
        self._api.stop()


def api_of(server: Gateway | Workers, settings: Settings, url: str) -> ApiServer:
    """Return the API beside a gateway: it knows the same keys, and shows the same metrics.

    Beside several workers it has a memory of keys of its own.
    """
    if isinstance(server, Workers):
        return ApiServer(settings, url, measure=server.exposition, also_check=server.can_take)
    return ApiServer(
        settings,
        url,
        authenticator=server.authenticator,
        measure=server.metrics.exposition,
        also_check=server.check,
    )


def _say_what_next(settings: Settings, listening: Listening) -> None:
    scheme = settings.scheme
    where = "" if settings.database_url else f"  the rows are in {settings.data_dir}"
    lines = (
        "",
        "  send OpenTelemetry to",
        f"    OTEL_EXPORTER_OTLP_ENDPOINT={scheme}://{listening.http}                                    (OTLP/HTTP)",
        f"    OTEL_EXPORTER_OTLP_ENDPOINT={scheme}://{listening.grpc} OTEL_EXPORTER_OTLP_PROTOCOL=grpc   (OTLP/gRPC)",
        f"  look at it: {scheme}://{listening.api}/" + (" (sign in with a key)" if settings.auth == "keys" else ""),
        f"  ask the API: {scheme}://{listening.api}/api/v1/metrics, /traces, /costs ... (/api/v1/openapi.json)",
        "  ask in another terminal",
        "    otel-obs costs --by day,model",
        "    otel-obs psql -c 'TABLE model_costs'",
        where,
        "  Ctrl-C stops",
    )
    click.echo("\n".join(line for line in lines if line or line is lines[0]), err=True)
