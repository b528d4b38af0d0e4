"""What several subcommands share: options, the settings that they make, and how answers are spelled."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any, TypeVar

import click
from rich.console import Console

from otel_obs.postgres.embedded import EmbeddedPostgres, dsn_of
from otel_obs.pricing.rows import dollars
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


def time_option(*names: str, help: str) -> Callable[[_F], _F]:  # noqa: A002  # click's name
    """Add an option that takes a moment."""
    return click.option(*names, callback=_time, metavar="TIME", help=help)


def period_options(function: _F) -> _F:
    """Add ``--since``, ``--until`` and ``--org``."""
    function = click.option("--org", metavar="ID", help="One organization; without it all of them.")(function)
    function = time_option("--until", help="First moment no longer counted.")(function)
    return time_option("--since", help="First moment (ISO 8601; UTC without an offset).")(function)


def _time(_: click.Context, __: click.Parameter, value: str | None) -> datetime | None:
    if value is None:
        return None
    try:
        found = datetime.fromisoformat(value.replace("Z", "+00:00"))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a time such as 2026-11-24 or 2026-11-24T08:00:00Z") from None
    return found if found.tzinfo is not None else found.replace(tzinfo=timezone.utc)


def amount(_: click.Context, __: click.Parameter, value: str | None) -> Decimal | None:
    """Read an amount of money."""
    try:
        return None if value is None else dollars(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def rfc3339(moment: datetime | None) -> str | None:
    """Return *moment* as scripts get it: UTC."""
    return None if moment is None else moment.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")


def console_for_people() -> Console:
    """Return the terminal; where there is none, lines are long enough for a table."""
    console = Console()
    return console if console.is_terminal else Console(width=120)


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


def settings_from(**options: str | None) -> Settings:
    """Return the settings: options over variables over defaults."""
    names = {"grpc": "GRPC_ENDPOINT", "http": "HTTP_ENDPOINT", "api": "API_ENDPOINT"}
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
