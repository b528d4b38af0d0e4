"""Options that several subcommands share, and the settings that they make."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from otel_obs.postgres.embedded import EmbeddedPostgres, dsn_of
from otel_obs.settings import Settings

_F = TypeVar("_F", bound=Callable[..., Any])


def database_options(function: _F) -> _F:
    """Add ``--database-url`` and ``--data-dir``."""
    function = click.option("--data-dir", metavar="DIR", help="Folder of the embedded PostgreSQL.")(function)
    return click.option("--database-url", metavar="URI", help="PostgreSQL to use instead of the embedded one.")(
        function
    )


def listen_options(function: _F) -> _F:
    """Add ``--grpc`` and ``--http``."""
    function = click.option("--http", metavar="HOST:PORT", help="Where OTLP/HTTP listens; port 0: a free one.")(
        function
    )
    return click.option("--grpc", metavar="HOST:PORT", help="Where OTLP/gRPC listens; port 0: a free one.")(function)


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


def settings_from(**options: str | None) -> Settings:
    """Return the settings: options over variables over defaults."""
    names = {"grpc": "GRPC_ENDPOINT", "http": "HTTP_ENDPOINT"}
    return Settings.from_env(os.environ, {names.get(name, name.upper()): value for name, value in options.items()})


@contextmanager
def database(settings: Settings) -> Iterator[str]:
    """Give the URI of the database, an embedded one kept up meanwhile."""
    if settings.database_url is not None:
        yield settings.database_url
    else:
        with EmbeddedPostgres(settings.data_dir) as uri:
            yield uri


def database_uri(settings: Settings) -> str:
    """Return the URI of the database, running or not."""
    return settings.database_url or dsn_of(settings.data_dir)
