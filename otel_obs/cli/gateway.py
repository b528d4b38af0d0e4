"""``gateway``: OTLP in, until it is told to stop."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import click

from otel_obs.cli.garbage import search_seldom
from otel_obs.cli.logs import log_to_stderr
from otel_obs.cli.options import database, database_options, listen_options, settings_from
from otel_obs.cli.running import stop_signals, until_ready
from otel_obs.cli.workers import Workers, workers_by_default
from otel_obs.postgres.pool import uri_with_search_path
from otel_obs.server import Gateway, Listening, write_run_file
from otel_obs.settings import Settings


class Beside:
    """What runs beside a gateway in one process: nothing."""

    def start(self, listening: Listening) -> Listening:
        """Begin; return where everything listens."""
        return listening

    def serving(self) -> AbstractContextManager[None]:
        """Give what holds while requests are taken."""
        return nullcontext()

    def stop(self) -> None:
        """End."""


@click.command()
@database_options
@listen_options
def gateway(**options: str | None) -> None:
    """Run OTLP only; run as many as you want on one database. It never migrates."""
    log_to_stderr()
    settings = settings_from(**options)
    with database(settings) as url:
        serve_until_told(settings, url, lambda _: Beside())


def serve_until_told(settings: Settings, url: str, beside: Callable[[Gateway | Workers], Beside]) -> None:
    """Run a gateway, or as many processes as *settings* say, with what *beside* makes, until SIGINT or SIGTERM."""
    with stop_signals() as stop:
        settings = replace(settings, workers=settings.workers or workers_by_default())
        server = Gateway(settings, url) if settings.workers == 1 else Workers(settings, url)
        other = beside(server)
        listening = other.start(server.start())
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        run_file = settings.data_dir / "run.json"
        try:
            if until_ready(server.can_take, stop):
                write_run_file(run_file, listening, uri_with_search_path(url))
                also = "" if listening.api is None else f" api={listening.api}"
                click.echo(f"ready grpc={listening.grpc} http={listening.http}{also}")
                with other.serving():
                    search_seldom()
                    stop.wait()
        finally:
            click.echo("stopping: finishing what was accepted", err=True)
            run_file.unlink(missing_ok=True)
            other.stop()
            server.stop()
