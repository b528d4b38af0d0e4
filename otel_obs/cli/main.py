"""The ``otel-obs`` command: its subcommands, and what an error means to the shell."""

from __future__ import annotations

import importlib
import os
import sys
from importlib.metadata import version

import click

from otel_obs.cli.built import how_built
from otel_obs.errors import (
    ConfigurationError,
    EmbeddedPostgresError,
    MigrationChangedError,
    ObsError,
    SchemaTooNewError,
    SchemaTooOldError,
    StorageUnavailableError,
)
from otel_obs.settings import unknown_variables

FAILED, USAGE, NO_DATABASE, WRONG_SCHEMA = 1, 2, 3, 4
"""Exit codes."""


COMMANDS = {
    "demo": "otel_obs.cli.demo:demo",
    "up": "otel_obs.cli.up:up",
    "gateway": "otel_obs.cli.gateway:gateway",
    "serve": "otel_obs.cli.serve:serve",
    "maintain": "otel_obs.cli.maintain:maintain",
    "migrate": "otel_obs.cli.database:migrate",
    "doctor": "otel_obs.cli.doctor:doctor",
    "dsn": "otel_obs.cli.database:dsn",
    "psql": "otel_obs.cli.database:psql",
    "costs": "otel_obs.cli.costs:costs",
    "budgets": "otel_obs.cli.budgets:budgets",
    "recommend": "otel_obs.cli.recommend:recommend",
    "tail": "otel_obs.cli.tail:tail",
    "prices": "otel_obs.cli.prices:prices",
    "quarantine": "otel_obs.cli.quarantine:quarantine",
    "audit": "otel_obs.cli.audit:audit",
    "flags": "otel_obs.cli.flags:flags",
    "keys": "otel_obs.cli.keys:keys",
    "org": "otel_obs.cli.tenants:org",
    "workspace": "otel_obs.cli.tenants:workspace",
    "user": "otel_obs.cli.tenants:user",
    "workflow": "otel_obs.cli.tenants:workflow",
    "trace": "otel_obs.cli.tenants:trace",
    "import": "otel_obs.cli.importing:import_file",
    "instrumentation": "otel_obs.instrumentation.command:instrumentation",
}
"""Where each command is: imported when it is asked for, so that it needs its own extra only."""


class _Commands(click.Group):
    """Knows its subcommands by name."""

    def list_commands(self, _: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, _: click.Context, name: str) -> click.Command | None:
        return subcommand(name) if name in COMMANDS else None


def subcommand(name: str) -> click.Command:
    """Return the command *name*, or what says which package it lacks here."""
    module, _, attribute = COMMANDS[name].partition(":")
    try:
        found: click.Command = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        if str(error.name).startswith("otel_obs"):
            raise
        return _missing(name, str(error.name))
    return found


def _missing(name: str, package: str) -> click.Command:
    """Return what stands for a command that this installation cannot run."""

    def run(**_: object) -> None:
        raise ConfigurationError(f"{name} needs {package}, which is not installed: pip install 'otel-obs[all]'")

    return click.Command(
        name,
        callback=run,
        params=[click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED)],
        context_settings={"ignore_unknown_options": True},
        help=f"Not installed: needs {package}.",
    )


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(f"{version('otel-obs')} ({how_built()})", prog_name="otel-obs")
def command() -> None:
    """Know what your AI agents did and what they cost: OpenTelemetry in, your own PostgreSQL out."""
    for name in unknown_variables(os.environ):
        click.echo(f"otel-obs: {name} is no setting of otel_obs", err=True)


def main() -> None:
    """Run the command and leave with its exit code."""
    try:
        code = command(standalone_mode=False)
    except click.exceptions.Abort:
        code = FAILED
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except click.exceptions.Exit as left:
        code = left.exit_code
    except ObsError as error:
        click.echo(f"otel-obs: {error}", err=True)
        code = exit_code(error)
    except BrokenPipeError:
        # Whoever reads our output has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = FAILED
    sys.exit(code if isinstance(code, int) else 0)


def exit_code(error: ObsError) -> int:
    """Return what *error* means to the shell."""
    match error:
        case ConfigurationError():
            return USAGE
        case StorageUnavailableError() | EmbeddedPostgresError():
            return NO_DATABASE
        case SchemaTooOldError() | SchemaTooNewError() | MigrationChangedError():
            return WRONG_SCHEMA
        case _:
            return FAILED
