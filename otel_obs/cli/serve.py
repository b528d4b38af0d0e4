"""``serve``: the API, for whoever asks."""

from __future__ import annotations

import logging

import click

from otel_obs.cli.options import database, database_options, settings_from
from otel_obs.cli.running import stop_signals, until_ready
from otel_obs.web.server import ApiServer


@click.command()
@click.option("--api", metavar="HOST:PORT", help="Where the API listens; port 0: a free one.")
@database_options
def serve(**options: str | None) -> None:
    """Answer questions over HTTP: the JSON API, until Ctrl-C. It never migrates."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    settings = settings_from(**options)
    with stop_signals() as stop, database(settings) as url:
        server = ApiServer(settings, url)
        where = server.start()
        try:
            if until_ready(server.check, stop):
                click.echo(f"ready api={where}")
                stop.wait()
        finally:
            server.stop()
