# ruff: noqa: INP001, T201 -- a program that prints
"""How long does asking for a flag take, beside a dictionary, OpenFeature's in-memory provider, and the database?

Run with ``make bench-flags``. All ways are timed in turn, round after round; the median of the rounds' ratios is
printed, so that whatever else the machine does slows all of them.
"""

from __future__ import annotations

import statistics
import tempfile
import timeit
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from openfeature.provider.in_memory_provider import InMemoryFlag, InMemoryProvider

import otel_obs
from otel_obs.client import Client
from otel_obs.postgres import schema
from otel_obs.postgres.embedded import EmbeddedPostgres
from otel_obs.postgres.pool import conninfo

ROUNDS = 40
FLAGS = 100
USER = "user-17"
ONE_FLAG = "SELECT is_enabled FROM feature_flags WHERE flag_name = %s"  # what a lookup without a snapshot would do


@contextmanager
def world() -> Iterator[tuple[Client, psycopg.Connection]]:
    """Give a client with a hundred flags, and a connection to their database."""
    # Sockets want short paths; the server goes when its last user has gone, a little later.
    with tempfile.TemporaryDirectory(prefix="oo", dir="/tmp", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        with EmbeddedPostgres(Path(folder), durable=False) as url:
            schema.migrate(url)
            with psycopg.connect(conninfo(url), autocommit=True) as connection, otel_obs.connect(url) as client:
                connection.execute(
                    "INSERT INTO feature_flags (flag_name, is_enabled) SELECT 'flag-' || n, n %% 2 = 0 "
                    "FROM generate_series(1, %s) AS n",
                    (FLAGS,),
                )
                client.set_flag("hers", True)
                client.set_flag("hers", False, user_id=USER)
                client.set_flag("split", True, percent=50)
                yield client, connection


def ways(client: Client, connection: psycopg.Connection) -> dict[str, timeit.Timer]:
    """Return what is timed, by what it is called."""
    table = {f"flag-{number}": number % 2 == 0 for number in range(FLAGS)}
    api.set_provider_and_wait(client.provider(), "ours")
    memory = {name: InMemoryFlag("on", {"on": True, "off": False}) for name in table}
    api.set_provider_and_wait(InMemoryProvider(memory), "memory")
    known = {
        "table": table,
        "by_user": {(name, USER, None): value for name, value in table.items()},
        "flags": client,
        "ours": api.get_client("ours"),
        "theirs": api.get_client("memory"),
        "context": EvaluationContext(USER),
        "connection": connection,
        "name": "flag-42",
        "user": USER,
        "one_flag": ONE_FLAG,
    }
    statements = {
        "dict: table.get(name, False)": "table.get(name, False)",
        "dict: table.get((name, user, None), False)": "by_user.get((name, user, None), False)",
        "is_enabled, the same for everyone": "flags.is_enabled(name)",
        "is_enabled, the same for everyone, with a user": "flags.is_enabled(name, user)",
        "is_enabled, set for users": "flags.is_enabled('hers', user)",
        "is_enabled, half of the users": "flags.is_enabled('split', user)",
        "evaluate (variant, reason)": "flags.evaluate('hers', user)",
        "OpenFeature, our provider": "ours.get_boolean_value(name, False, context)",
        "OpenFeature, its in-memory provider": "theirs.get_boolean_value(name, False, context)",
        "PostgreSQL, one row": "connection.execute(one_flag, (name,)).fetchone()",
    }
    return {name: timeit.Timer(statement, globals=known) for name, statement in statements.items()}


def main() -> None:
    """Print times and ratios."""
    with world() as (client, connection):
        timers = ways(client, connection)
        # About a hundredth of a second for each in a round.
        numbers = {name: max(1, timer.autorange()[0] // 20) for name, timer in timers.items()}
        times: dict[str, list[float]] = {name: [] for name in timers}
        for _ in range(ROUNDS):
            for name, timer in timers.items():
                times[name].append(timer.timeit(numbers[name]) / numbers[name] * 1e9)
        api.shutdown()
    plain, keyed = times["dict: table.get(name, False)"], times["dict: table.get((name, user, None), False)"]
    memory = times["OpenFeature, its in-memory provider"]
    print(f"{'':47} {'ns':>9} {'x get(name)':>12} {'x get((...))':>13} {'x in-memory provider':>21}")
    for name, taken in times.items():
        ratios = (
            statistics.median(one / other for one, other in zip(taken, beside, strict=True))
            for beside in (plain, keyed, memory)
        )
        first, second, third = ratios
        print(f"{name:47} {statistics.median(taken):9,.0f} {first:12,.1f} {second:13,.1f} {third:21,.3f}")


if __name__ == "__main__":
    main()
