# ruff: noqa: INP001, S608, T201 -- a program that prints, with our own names in its SQL
"""Does a span cost more where much is stored, or where requests look otherwise? Our gateway alone, by gRPC.

Rows are made of rows: traces that the gateway wrote are copied with other ids into the same week, the bodies of
contents shortened, until the hot tables hold so many. Answers follow commits: what senders send is durable.

After a checkpoint PostgreSQL writes each page that is changed for the first time into its log as a whole. A thousand
traces find few such pages in small tables and thousands in large ones, and none where a checkpoint was long ago: what
that costs says when the last checkpoint was, not how many rows there are. So each size is measured twice, the sizes in
turn: without whole pages, as it is long after a checkpoint, and right after one, which is the worst that happens.
In between lies what a gateway sees that is busy for hours.

    python -m benchmarks.linear [--rows 10000 1000000 10000000] [--spans 12000] [--write]
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import partial

import psycopg
from psycopg import sql

from benchmarks.gateway import Cluster, cluster, replace_between, until, watched
from benchmarks.processes import cpu_s
from benchmarks.sender import send
from benchmarks.systems import ROOT, System, ask, ours
from benchmarks.workload import Shape, requests_of
from otel_obs.postgres import schema
from otel_obs.postgres.copying import TABLES

BEGIN, END = "<!-- make bench-linear -->", "<!-- end of make bench-linear -->"
SEED_SPANS = 2400
COPIES_AT_ONCE = 40
WARM_SPANS = 1200
FILLED = 70
"""Percent of an index's page that rows leave full which come one by one: a new index would be packed, and split."""
_INDEXES = """
SELECT indexname, replace(indexdef, ' ON ONLY ', ' ON ') FROM pg_indexes
WHERE schemaname = 'otel_obs' AND tablename = ANY(%s) AND indexdef NOT LIKE '%% UNIQUE %%'
"""
BODY_BYTES = 200
"""So much is left of a content that is copied: its size is not what is asked for."""
SPANS = 12_000

SHAPES: tuple[tuple[str, Callable[[Shape], Shape]], ...] = (
    ("the usual: 12 spans a trace, 512 a request", lambda shape: shape),
    ("1 span a request", lambda shape: replace(shape, spans=shape.spans // 8, batch=1)),
    ("5,000 spans a request", lambda shape: replace(shape, batch=5000)),
    ("traces of 3,000 spans", lambda shape: replace(shape, traces=max(1, shape.spans // 3000))),
    ("prompts of 200 KB", lambda shape: replace(shape, spans=shape.spans // 20, batch=64, prompt_bytes=200_000)),
    ("nine HTTP spans beside each", lambda shape: replace(shape, spans=shape.spans // 10, noise=9)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One workload."""

    spans_a_second: float
    cpu_us: float
    """Of the gateway and of PostgreSQL, a span, settling included."""
    p99_ms: float
    memory_mb: float


def main() -> None:
    """Measure, and print two tables; with --write into the docs too."""
    options = _options()
    system = ours("grpc", options.workers)
    with cluster() as postgres:
        lines = [_said(options), "", *_head("rows in the tables")]
        _whole_pages(postgres, on=False)
        stored = {
            url: _fill(system, postgres, url, rows) for rows in sorted(options.rows) for url in [_made(postgres, rows)]
        }
        sizes = [(url, is_after) for url in stored for is_after in (False, True)]
        found: dict[tuple[str, bool], list[Measured]] = {size: [] for size in sizes}
        for number in range(options.rounds):
            for url, is_after in sizes:
                _whole_pages(postgres, on=is_after)
                found[url, is_after].append(_once(system, postgres, url, _shape(options, number)))
                print(f"{stored[url]:,}, right after a checkpoint: {is_after}: {found[url, is_after][-1]}", flush=True)
        for (url, is_after), measured in found.items():
            name = f"{stored[url]:,}{', right after a checkpoint' if is_after else ''}"
            lines.append(_line(name, _median(measured)))
        _whole_pages(postgres, on=True)
        lines += ["", *_head("workload")]
        url = postgres.database("linear_shapes")
        schema.migrate(url)
        for name, shaped in SHAPES if options.shapes else ():
            lines.append(_line(name, _measured(system, postgres, url, options, shaped)))
            print(lines[-1], flush=True)
    table = "\n".join(lines)
    print(table)
    if options.write:
        replace_between(ROOT / "docs" / "benchmarks.md", table, BEGIN, END)


def _made(postgres: Cluster, rows: int) -> str:
    url = postgres.database(f"linear_{rows}")
    schema.migrate(url)
    return url


def _whole_pages(postgres: Cluster, *, on: bool) -> None:
    """Have pages written to the log as a whole after a checkpoint, which is now, or not."""
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(f"ALTER SYSTEM SET full_page_writes = {'on' if on else 'off'}")
        connection.execute("SELECT pg_reload_conf()")
        connection.execute("CHECKPOINT")


def _shape(options: argparse.Namespace, number: int) -> Shape:
    """Return a workload that was not seen before."""
    return Shape(spans=options.spans, seed=int(time.time() * 1000) % 10**9 + number)


def _measured(
    system: System, postgres: Cluster, url: str, options: argparse.Namespace, shaped: Callable[[Shape], Shape]
) -> Measured:
    """Return the medians of some repetitions."""
    return _median([_once(system, postgres, url, shaped(_shape(options, n))) for n in range(options.rounds)])


def _median(found: Sequence[Measured]) -> Measured:
    names = ("spans_a_second", "cpu_us", "p99_ms", "memory_mb")
    return Measured(**{name: statistics.median(getattr(one, name) for one in found) for name in names})


def _once(system: System, postgres: Cluster, url: str, shape: Shape) -> Measured:
    bodies = [system.body_of(request) for request in requests_of(shape)[0]]
    warm = [
        system.body_of(request) for request in requests_of(replace(shape, seed=shape.seed + 1, spans=WARM_SPANS))[0]
    ]
    log = postgres.folder / "linear.log"
    with system.running(url, log) as server, psycopg.connect(url, autocommit=True) as asker:
        send(server.urls, warm, dict(server.headers), senders=1)
        until(asker, system.pending_sql, 0)
        used = cpu_s(*server.pids) + cpu_s(postgres.pid)
        with watched(*server.pids) as peak:
            sent = send(server.urls, bodies, dict(server.headers))
            until(asker, system.pending_sql, 0)
        used = cpu_s(*server.pids) + cpu_s(postgres.pid) - used
    return Measured(
        spans_a_second=sent.accepted / sent.seconds,
        cpu_us=1e6 * used / max(1, sent.accepted),
        p99_ms=sent.latency_ms(0.99),
        memory_mb=max(peak),
    )


def _fill(system: System, postgres: Cluster, url: str, rows: int) -> int:
    """See to it that the hot tables hold about *rows* rows; return how many they do."""
    requests, expected = requests_of(Shape(spans=SEED_SPANS, seed=rows))
    with system.running(url, postgres.folder / "linear.log") as server:
        send(server.urls, [system.body_of(request) for request in requests], dict(server.headers))
        with psycopg.connect(url, autocommit=True) as connection:
            until(connection, system.pending_sql, 0)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET search_path TO otel_obs")
        seed = sum(ask(connection, f"SELECT count(*) FROM {table}") for table in TABLES)
        copies = max(0, round(rows / seed) - 1)
        with _without_indexes(connection, to_be_made=copies > COPIES_AT_ONCE), ThreadPoolExecutor(2) as threads:
            list(threads.map(partial(_copied, url, expected.trace_ids, copies), (*TABLES, "call_registry")))
        connection.execute("VACUUM ANALYZE")
    return int(seed * (copies + 1))


@contextmanager
def _without_indexes(connection: psycopg.Connection, *, to_be_made: bool) -> Iterator[None]:
    """Make the indexes anew afterwards, which takes half the time of keeping them."""
    indexes = connection.execute(_INDEXES, [list(TABLES)]).fetchall() if to_be_made else []
    for name, _ in indexes:
        connection.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(name)))
    yield
    connection.execute("SET maintenance_work_mem = '512MB'")
    for _, definition in indexes:
        head, where, condition = definition.partition(" WHERE ")
        connection.execute(f"{head} WITH (fillfactor = {FILLED}){where}{condition}")


def _copied(url: str, trace_ids: Sequence[str], copies: int, table: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET search_path TO otel_obs")
        for first in range(1, copies + 1, COPIES_AT_ONCE):
            last = min(copies, first + COPIES_AT_ONCE - 1)
            connection.execute(_copy(connection, table), [first, last, trace_ids])


def _copy(connection: psycopg.Connection, table: str) -> sql.Composed:
    columns = [
        row[0]
        for row in connection.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped "
            "ORDER BY attnum",
            [table],
        )
    ]
    changed = {
        "trace_id": "md5(t.trace_id || '.' || n)",
        "response_id": "t.response_id || '.' || n",
        "timestamp": "t.\"timestamp\" + n %% 1000 * interval '1 second'",
        "body": f"left(t.body, {BODY_BYTES})",
    }
    values = [sql.SQL(changed.get(name) or f't."{name}"') for name in columns]  # type: ignore[arg-type]  # our names
    return sql.SQL(
        "INSERT INTO {table} ({columns}) SELECT {values} FROM {table} AS t, generate_series(%s::int, %s::int) AS n "
        "WHERE t.trace_id = ANY(%s::text[])"
    ).format(
        table=sql.Identifier(table),
        columns=sql.SQL(", ").join(map(sql.Identifier, columns)),
        values=sql.SQL(", ").join(values),
    )


def _said(options: argparse.Namespace) -> str:
    return (
        f"{datetime.now(tz=timezone.utc):%Y-%m-%d}, {os.cpu_count()} cores, {platform.machine()}, Python "
        f"{platform.python_version()}, {options.workers} process{'es' if options.workers > 1 else ''}, medians of "
        f"{options.rounds} times {options.spans:,} spans, load of the machine {os.getloadavg()[2]:.0f}."
    )


def _head(first: str) -> Sequence[str]:
    columns = (first, "durable spans/s", "CPU us a span, server + PostgreSQL", "p99 ms", "MB")
    return (f"| {' | '.join(columns)} |", f"|---|{'--:|' * (len(columns) - 1)}")


def _line(name: str, found: Measured) -> str:
    cells = (name, f"{found.spans_a_second:,.0f}", f"{found.cpu_us:,.0f}", f"{found.p99_ms:,.0f}")
    return f"| {' | '.join(cells)} | {found.memory_mb:,.0f} |"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    number = partial(parser.add_argument, type=int)
    number("--rows", nargs="*", default=[10_000, 1_000_000, 10_000_000])
    number("--spans", default=SPANS, help="spans of a measurement")
    number("--rounds", default=3)
    number("--workers", default=1)
    parser.add_argument("--no-shapes", dest="shapes", action="store_false")
    parser.add_argument("--write", action="store_true", help="the tables into docs/benchmarks.md")
    return parser.parse_args()


if __name__ == "__main__":
    main()
