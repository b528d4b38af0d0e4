"""The ``otel-obs`` command: its subcommands, and what an error means to the shell."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version

import click

from otel_obs.cli.audit import audit
from otel_obs.cli.budgets import budgets
from otel_obs.cli.costs import costs
from otel_obs.cli.database import dsn, migrate, psql
from otel_obs.cli.demo import demo
from otel_obs.cli.doctor import doctor
from otel_obs.cli.flags import flags
from otel_obs.cli.importing import import_file
from otel_obs.cli.keys import keys
from otel_obs.cli.maintain import maintain
from otel_obs.cli.prices import prices
from otel_obs.cli.quarantine import quarantine
from otel_obs.cli.recommend import recommend
from otel_obs.cli.run import gateway, up
from otel_obs.cli.serve import serve
from otel_obs.cli.tail import tail
from otel_obs.cli.tenants import org, trace, user, workflow, workspace
from otel_obs.errors import (
    ConfigurationError,
    EmbeddedPostgresError,
    MigrationChangedError,
    ObsError,
    SchemaTooNewError,
    SchemaTooOldError,
    StorageUnavailableError,
)
from otel_obs.instrumentation.command import instrumentation
from otel_obs.settings import unknown_variables

FAILED, USAGE, NO_DATABASE, WRONG_SCHEMA = 1, 2, 3, 4
"""Exit codes."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("otel-obs"), prog_name="otel-obs")
def command() -> None:
    """Know what your AI agents did and what they cost: OpenTelemetry in, your own PostgreSQL out."""
    for name in unknown_variables(os.environ):
        click.echo(f"otel-obs: {name} is no setting of otel_obs", err=True)


for subcommand in (
    demo,
    up,
    gateway,
    serve,
    maintain,
    migrate,
    doctor,
    dsn,
    psql,
    costs,
    budgets,
    recommend,
    tail,
    prices,
    quarantine,
    audit,
    flags,
    keys,
    org,
    workspace,
    user,
    workflow,
    trace,
    import_file,
    instrumentation,
):
    command.add_command(subcommand)


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
