"""``up`` and ``gateway``: processes that run until they are told to stop."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import click
from prometheus_client import CollectorRegistry

from otel_obs.cli.garbage import search_seldom
from otel_obs.cli.logs import log_to_stderr
from otel_obs.cli.maintain import maintenance_pool, scheduler_of
from otel_obs.cli.options import database, database_options, listen_options, settings_from
from otel_obs.cli.workers import Workers, workers_by_default
from otel_obs.errors import ObsError, SchemaTooNewError, UnsafeReaderError
from otel_obs.maintenance.metrics import MaintenanceMetrics
from otel_obs.postgres import schema
from otel_obs.postgres.pool import uri_with_search_path
from otel_obs.server import Gateway, Listening, write_run_file
from otel_obs.settings import Settings
from otel_obs.web.server import ApiServer

LOOK_EVERY_S = 1.0
SAY_EVERY_S = 10.0


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
        _serve(settings, url, _say_what_next, everything=True)


@click.command()
@database_options
@listen_options
def gateway(**options: str | None) -> None:
    """Run OTLP only; run as many as you want on one database. It never migrates."""
    log_to_stderr()
    settings = settings_from(**options)
    with database(settings) as url:
        _serve(settings, url, lambda *_: None)


def _serve(
    settings: Settings, url: str, say: Callable[[Settings, Listening], None], *, everything: bool = False
) -> None:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    settings = replace(settings, workers=settings.workers or workers_by_default())
    server = Gateway(settings, url) if settings.workers == 1 else Workers(settings, url)
    api = _api_of(server, settings, url) if everything else None
    listening = server.start()
    if api is not None:
        api.otlp = (listening.grpc, listening.http)
        listening = replace(listening, api=api.start())
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    run_file = settings.data_dir / "run.json"
    try:
        if _wait_until_ready(server, stop):
            write_run_file(run_file, listening, uri_with_search_path(url))
            also = "" if listening.api is None else f" api={listening.api}"
            click.echo(f"ready grpc={listening.grpc} http={listening.http}{also}")
            say(settings, listening)
            search_seldom()
            registry = server.metrics.registry if isinstance(server, Gateway) else server.registry
            with _maintained(settings, url, registry) if everything else nullcontext():
                stop.wait()
    finally:
        click.echo("stopping: finishing what was accepted", err=True)
        run_file.unlink(missing_ok=True)
        if api is not None:
            api.stop()
        server.stop()


def _api_of(server: Gateway | Workers, settings: Settings, url: str) -> ApiServer:
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


@contextmanager
def _maintained(settings: Settings, url: str, registry: CollectorRegistry) -> Iterator[None]:
    """Run the jobs of maintenance meanwhile; the gateway settles what it writes itself."""
    pool = maintenance_pool(url)
    scheduler = scheduler_of(settings, pool, settles=False)
    registry.register(MaintenanceMetrics(pool))
    scheduler.start()
    try:
        yield
    finally:
        scheduler.stop()
        pool.close(1.0)


def _wait_until_ready(server: Gateway | Workers, stop: threading.Event) -> bool:
    """Return True once requests can be taken, by the database or on disk; until then senders are told to come again.

    Raises:
        SchemaTooNewError: this program will never fit that database.
        UnsafeReaderError: one tenant could read another's rows there.
    """
    said_at = -SAY_EVERY_S
    while not stop.is_set():
        waits_for = _waits_for(server)
        if waits_for is None:
            return True
        if time.monotonic() - said_at > SAY_EVERY_S:
            said_at = time.monotonic()
            click.echo(f"waiting: {waits_for}", err=True)
        stop.wait(LOOK_EVERY_S)
    return False


def _waits_for(server: Gateway | Workers) -> ObsError | None:
    try:
        server.can_take()
    except (SchemaTooNewError, UnsafeReaderError):
        raise
    except ObsError as error:
        return error
    return None


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
