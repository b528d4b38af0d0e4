"""``serve``: the API, for whoever asks."""

from __future__ import annotations

import logging
import signal
import threading

import click

from otel_obs.cli.options import database, database_options, settings_from
from otel_obs.errors import ObsError, SchemaTooNewError, UnsafeReaderError
from otel_obs.web.server import ApiServer

LOOK_EVERY_S = 1.0


@click.command()
@click.option("--api", metavar="HOST:PORT", help="Where the API listens; port 0: a free one.")
@database_options
def serve(**options: str | None) -> None:
    """Answer questions over HTTP: the JSON API, until Ctrl-C. It never migrates."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    settings = settings_from(**options)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with database(settings) as url:
        server = ApiServer(settings, url)
        where = server.start()
        try:
            if _wait_until_ready(server, stop):
                click.echo(f"ready api={where}")
                stop.wait()
        finally:
            server.stop()


def _wait_until_ready(server: ApiServer, stop: threading.Event) -> bool:
    """Return True once questions can be answered.

    Raises:
        SchemaTooNewError, UnsafeReaderError: they never will.
    """
    said = ""
    while not stop.is_set():
        try:
            server.check()
        except (SchemaTooNewError, UnsafeReaderError):
            raise
        except ObsError as error:
            if str(error) != said:
                said = str(error)
                click.echo(f"waiting: {error}", err=True)
        else:
            return True
        stop.wait(LOOK_EVERY_S)
    return False
