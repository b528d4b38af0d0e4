# ruff: noqa: INP001, S311, T201 -- a program that prints; what is random here is no secret
"""How many spans a second become rows, and what does that take? Ours, PostgreSQL's limit, others, side by side.

Each round measures every system once, in an order of its own, with requests that none has seen before, as soon as all
its processes have served and come to rest; medians of the rounds are compared. Durable means: rows that are committed.
Where other programs use the machine as well, seconds of CPU tell more than seconds of the clock.

    python -m benchmarks.gateway [--rounds 5] [--spans 24000] [--peers] [--write]
"""

from __future__ import annotations

import argparse
import gzip
import os
import platform
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from random import Random

import psycopg
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks import limit
from benchmarks.peers import mlflow, phoenix
from benchmarks.processes import cpu_s, memory_mb, rest
from benchmarks.sender import Sent, send
from benchmarks.systems import ROOT, Running, System, ask, ours
from benchmarks.workload import SPANS_OF_TRACE, Body, Expected, Shape, requests_of
from otel_obs.postgres import schema
from otel_obs.postgres.account import home_of
from otel_obs.postgres.embedded import EmbeddedPostgres
from otel_obs.postgres.locks import FileLock

LIMIT = "limit: rows made beforehand, COPY"
WARM = 500
"""How far the seed of the first requests is from that of those that are measured."""
WARM_SPANS, WARM_BATCH, WARM_SENDERS = 960, 48, 16
"""Of connections enough that each process gets some."""
HALF = 700
"""The same for those that come at half of the rate."""
QUIET_S = 15.0
"""Rows that did not come for so long after the last answer are lost."""
BEGIN, END = "<!-- make bench -->", "<!-- end of make bench -->"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One system in one round."""

    spans_a_second: float
    """Durable ones."""
    server_cpu_s: float
    """For a million spans, settling included."""
    postgres_cpu_s: float
    p99_ms: float = 0.0
    """Of answers, with senders that always have one more."""
    half_p99_ms: float = 0.0
    """The same at half of these spans a second."""
    memory_mb: float = 0.0
    lost: int = 0
    """Spans that were accepted and have no row."""
    refused: int = 0
    cost_ratio: float = 1.0
    """Sum of the stored costs for each dollar that the calls cost."""

    @property
    def cpu_s(self) -> float:
        """Return the CPU time of server and PostgreSQL for a million spans."""
        return self.server_cpu_s + self.postgres_cpu_s


@dataclass(frozen=True, slots=True)
class Cluster:
    """The PostgreSQL that all systems use."""

    url: str
    pid: int
    folder: Path

    def database(self, name: str) -> str:
        """Return the URI of a database, made if need be."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            known = connection.execute("SELECT FROM pg_database WHERE datname = %s", (name,)).fetchone()
            if known is None:
                connection.execute(psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(name)))
        return self.url.replace("@/otel_obs?", f"@/{name}?")


@contextmanager
def cluster() -> Iterator[Cluster]:
    """Give a durable PostgreSQL of our own."""
    # Sockets want short paths.
    with tempfile.TemporaryDirectory(prefix="oo", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o711)
        with EmbeddedPostgres(folder) as url:
            _, home = home_of(folder)
            pid = int((home / "cluster" / "postmaster.pid").read_text().split()[0])
            yield Cluster(url, pid, folder)
        # The server goes when its last user has gone, a little later.
        with FileLock(folder / "supervisor.lock") as supervisor:
            supervisor.exclusive(120)


def main() -> None:
    """Measure, and print a table; with --write into the docs too."""
    options = _options()
    systems = [ours(way, workers) for workers in options.workers for way in options.ways]
    if options.peers:
        systems += [peer(workers) for workers in options.workers for peer in (mlflow, phoenix)]
    found: dict[str, list[Measured]] = {LIMIT: []}
    with cluster() as postgres:
        for system in systems:
            if not system.is_peer:
                schema.migrate(postgres.database(system.database))
        schema.migrate(postgres.database("bench_limit"))
        for number in range(options.rounds):
            for position, system in Random(options.seed + number).sample(list(enumerate(systems)), len(systems)):
                shape = _shape(options, system, seed=options.seed + 1000 * number + position)
                measured, expected = measure(system, postgres, shape)
                found.setdefault(system.name, []).append(measured)
                print(f"round {number + 1}: {system.name}: {measured}", flush=True)
                if position == 0:
                    found[LIMIT].append(_limit(postgres, postgres.database(system.database), expected))
                    print(f"round {number + 1}: {LIMIT}: {found[LIMIT][-1]}", flush=True)
    versions = {system.name: system.version() for system in systems}
    table = _table(found, versions, options)
    print(table)
    if options.write:
        for page in (ROOT / "docs" / "benchmarks.md", ROOT / "README.md"):
            replace_between(page, table)


def measure(system: System, postgres: Cluster, shape: Shape) -> tuple[Measured, Expected]:
    """Return what *system* does with a workload."""
    requests, expected = requests_of(shape)
    bodies = _bodies(system, requests)
    warm = _bodies(system, requests_of(replace(shape, seed=shape.seed + WARM, spans=WARM_SPANS, batch=WARM_BATCH))[0])
    url = postgres.database(system.database)
    log = postgres.folder / f"{system.database}.log"
    # One connection for all questions: connecting costs PostgreSQL more than they do.
    with system.running(url, log) as server, asking(url) as asker:

        def used() -> tuple[float, float]:
            return cpu_s(*server.pids), cpu_s(postgres.pid) - cpu_s(asker.info.backend_pid)

        headers = dict(server.headers)
        rows = ask(asker, system.spans_sql)
        rows = until(asker, system.spans_sql, rows + send(server.urls, warm, headers, senders=WARM_SENDERS).accepted)
        until(asker, system.pending_sql, 0)
        cost = ask(asker, system.cost_sql)
        rest(*server.pids, postgres.pid)
        before = used()
        with watched(*server.pids) as peak:
            began = time.perf_counter()
            sent = send(server.urls, bodies, headers)
            stored = until(asker, system.spans_sql, rows + sent.accepted) - rows
            seconds = time.perf_counter() - began
            until(asker, system.pending_sql, 0)
            used_server, used_postgres = (after - former for after, former in zip(used(), before, strict=True))
            half, half_usd = _at_half(system, server, shape, stored / seconds)
            accepted = sent.accepted + half.accepted
            lost = rows + accepted - until(asker, system.spans_sql, rows + accepted)
        cost = ask(asker, system.cost_sql) - cost
    millions = max(stored, 1) / 1e6
    return (
        Measured(
            spans_a_second=stored / seconds,
            server_cpu_s=used_server / millions,
            postgres_cpu_s=used_postgres / millions,
            p99_ms=sent.latency_ms(0.99),
            half_p99_ms=half.latency_ms(0.99),
            memory_mb=max(peak),
            lost=int(lost),
            refused=sent.refused + half.refused,
            cost_ratio=cost / (expected.cost_usd + half_usd),
        ),
        expected,
    )


def _bodies(system: System, requests: Sequence[ExportTraceServiceRequest]) -> list[Body]:
    bodies = map(system.body_of, requests)
    return [_compressed(body) for body in bodies] if system.compressed else list(bodies)


def _at_half(system: System, server: Running, shape: Shape, spans_a_second: float) -> tuple[Sent, float]:
    """Return what becomes of requests at half of what the system takes, and what their calls cost (US dollars)."""
    more, expected = requests_of(replace(shape, seed=shape.seed + HALF, spans=shape.spans // 4))
    sent = send(server.urls, _bodies(system, more), dict(server.headers), spans_a_second=spans_a_second / 2)
    return sent, expected.cost_usd


def _limit(postgres: Cluster, written: str, expected: Expected) -> Measured:
    chunks = limit.rows_of(written, expected.trace_ids)
    rest(postgres.pid)
    used, own = cpu_s(postgres.pid), time.process_time()
    seconds = limit.copy(postgres.database("bench_limit"), chunks)
    own = time.process_time() - own
    # What a session used is its parent's once it has ended.
    time.sleep(0.2)
    used = cpu_s(postgres.pid) - used
    millions = expected.spans / 1e6
    return Measured(
        spans_a_second=expected.spans / seconds, server_cpu_s=own / millions, postgres_cpu_s=used / millions
    )


@contextmanager
def asking(url: str) -> Iterator[psycopg.Connection]:
    """Give a connection for questions, all of whose work is done by the process that it has in PostgreSQL."""
    with psycopg.connect(url, autocommit=True, options="-c max_parallel_workers_per_gather=0") as connection:
        yield connection


@contextmanager
def watched(*pids: int) -> Iterator[list[float]]:
    """Give the memory that the server has meanwhile, looked at now and then."""
    found, stop = [memory_mb(*pids)], threading.Event()

    def look() -> None:
        while not stop.wait(1.0):
            found.append(memory_mb(*pids))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        stop.set()
        thread.join()


def until(connection: psycopg.Connection, sql: str, wanted: float) -> float:
    """Return the number that *sql* gives once it is *wanted*, or has not changed for long."""
    last, since, began = -1.0, time.monotonic(), time.monotonic()
    while True:
        now = ask(connection, sql)
        if now == wanted or time.monotonic() - since > QUIET_S:
            return now
        if now != last:
            last, since = now, time.monotonic()
        # Late by a few hundredths of the time at most, with few questions, for these take of what is measured.
        time.sleep(min(1.0, max(0.05, (time.monotonic() - began) / 25)))


def _compressed(body: Body) -> Body:
    return replace(body, data=gzip.compress(body.data, 6, mtime=0))


def _shape(options: argparse.Namespace, system: System, *, seed: int) -> Shape:
    spans = int(options.spans * system.part)
    return Shape(
        spans=spans,
        batch=options.batch,
        noise=options.noise,
        prompt_bytes=options.prompt_bytes,
        traces=max(1, spans // options.trace) if options.trace > SPANS_OF_TRACE else 0,
        seed=seed,
    )


def _table(found: dict[str, list[Measured]], versions: dict[str, str], options: argparse.Namespace) -> str:
    best = _median(found[LIMIT], "spans_a_second"), _median(found[LIMIT], "cpu_s")
    cpus = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    said = (
        f"{datetime.now(tz=timezone.utc):%Y-%m-%d}, {cpus}, {options.rounds} interleaved rounds, requests of "
        f"{options.batch} spans, load of the machine {os.getloadavg()[2]:.0f}. Medians; in parentheses least and most."
    )
    columns = (
        "system", "durable spans/s", "of the limit", "CPU s a million spans, server + PostgreSQL",
        "times the limit", "p99 ms", "p99 ms at half of it", "MB", "lost", "refused", "cost stored / spent",
    )  # fmt: skip
    lines = [said, "", f"| {' | '.join(columns)} |", f"|---|{'--:|' * (len(columns) - 1)}"]
    for name, rounds in sorted(found.items(), key=lambda item: -_median(item[1], "spans_a_second")):
        rate, cpu = _median(rounds, "spans_a_second"), _median(rounds, "cpu_s")
        low, high = min(r.spans_a_second for r in rounds), max(r.spans_a_second for r in rounds)
        of_server = f"{_median(rounds, 'server_cpu_s'):,.0f} + {_median(rounds, 'postgres_cpu_s'):,.0f}"
        rest = (
            ("",) * 6
            if name == LIMIT
            else (
                f"{_median(rounds, 'p99_ms'):,.0f}",
                f"{_median(rounds, 'half_p99_ms'):,.0f}",
                f"{_median(rounds, 'memory_mb'):,.0f}",
                f"{sum(measured.lost for measured in rounds):,}",
                f"{sum(measured.refused for measured in rounds):,}",
                f"{_median(rounds, 'cost_ratio'):.2f}",
            )
        )
        cells = (
            f"{name} {versions.get(name, '')}".strip(),
            f"{rate:,.0f} ({low:,.0f}-{high:,.0f})",
            f"{rate / best[0]:.3f}",
            of_server,
            f"{cpu / best[1]:.1f}",
            *rest,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _median(rounds: Sequence[Measured], name: str) -> float:
    return statistics.median(getattr(measured, name) for measured in rounds)


def replace_between(page: Path, table: str, begin: str = BEGIN, end: str = END) -> None:
    """Put *table* between the marks of a page."""
    before, _, rest = page.read_text().partition(begin)
    page.write_text(f"{before}{begin}\n{table}\n{end}{rest.partition(end)[2]}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    number = partial(parser.add_argument, type=int)
    number("--rounds", default=5)
    number("--spans", default=24_576, help="spans of a measurement; peers, which take longer, get a part of them")
    number("--batch", default=512, help="spans of a request")
    number("--trace", default=SPANS_OF_TRACE, help="spans of a trace")
    number("--prompt-bytes", default=2048)
    number("--seed", default=int(time.time()) % 10**6 * 100)
    number("--workers", default=[1, 2], nargs="+")
    parser.add_argument("--noise", type=float, default=0.0, help="spans of HTTP requests for each span about GenAI")
    parser.add_argument("--ways", default=["grpc", "protobuf", "json", "gzip"], nargs="+")
    parser.add_argument("--peers", action="store_true", help="MLflow and Phoenix too, installed into build/peers")
    parser.add_argument("--write", action="store_true", help="the table into README.md and docs/benchmarks.md")
    return parser.parse_args()


if __name__ == "__main__":
    main()
