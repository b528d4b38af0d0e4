# ruff: noqa: INP001, T201 -- a program that prints
"""How many spans a second become rows, and what does that take? Ours, PostgreSQL's limit, others, side by side.

Each round measures every system once, one after the other, with requests that none has seen before; medians of the
rounds are compared. Durable means: rows that are committed. Where other programs use the machine as well, seconds of
CPU tell more than seconds of the clock.

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

import psycopg

from benchmarks import limit
from benchmarks.processes import cpu_s, memory_mb
from benchmarks.sender import Sent, send
from benchmarks.systems import ROOT, Running, System, ask, install, mlflow, ours, phoenix
from benchmarks.workload import SPANS_OF_TRACE, Body, Expected, Shape, requests_of
from otel_obs.postgres import schema
from otel_obs.postgres.account import home_of
from otel_obs.postgres.embedded import EmbeddedPostgres

LIMIT = "limit: rows made beforehand, COPY"
WARM = 500
"""How far the seed of the first requests is from that of those that are measured."""
HALF = 700
"""The same for those that come at half of the rate."""
QUIET_S = 15.0
"""Rows that did not come for so long after the last answer are lost."""
COSTS_WITHIN_S = 10.0
"""Others compute costs some time after they have stored spans."""
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
    # Sockets want short paths; the server goes when its last user has gone, a little later.
    with tempfile.TemporaryDirectory(prefix="oo", dir="/tmp", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o711)
        with EmbeddedPostgres(folder) as url:
            _, home = home_of(folder)
            pid = int((home / "cluster" / "postmaster.pid").read_text().split()[0])
            yield Cluster(url, pid, folder)


def main() -> None:
    """Measure, and print a table; with --write into the docs too."""
    options = _options()
    systems = [ours(way, workers) for workers in options.workers for way in options.ways]
    if options.peers:
        install("mlflow", also=("psycopg2-binary",))
        install("arize-phoenix", also=("asyncpg", "psycopg", "psycopg2-binary"))
        systems += [mlflow(), phoenix()]
    found: dict[str, list[Measured]] = {LIMIT: []}
    with cluster() as postgres:
        for system in systems:
            if not system.is_peer:
                schema.migrate(postgres.database(system.database))
        schema.migrate(postgres.database("bench_limit"))
        for number in range(options.rounds):
            for position, system in enumerate(systems):
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
    bodies = [_compressed(body) if system.compressed else body for body in map(system.body_of, requests)]
    warm = [system.body_of(item) for item in requests_of(replace(shape, seed=shape.seed + WARM, spans=48))[0]]
    url = postgres.database(system.database)
    log = postgres.folder / f"{system.database}.log"
    # One connection for all questions: connecting costs PostgreSQL more than they do.
    with system.running(url, log) as server, psycopg.connect(url, autocommit=True) as asker:
        headers = dict(server.headers)
        rows = ask(asker, system.spans_sql)
        bodies_before = [_compressed(body) if system.compressed else body for body in warm]
        rows = until(asker, system.spans_sql, rows + send(server.url, bodies_before, headers, senders=1).accepted)
        until(asker, system.pending_sql, 0)
        cost = ask(asker, system.cost_sql)
        used, used_postgres = cpu_s(server.pid), cpu_s(postgres.pid)
        with watched(server.pid) as peak:
            began = time.perf_counter()
            sent = send(server.url, bodies, headers)
            stored = until(asker, system.spans_sql, rows + sent.accepted) - rows
            seconds = time.perf_counter() - began
            until(asker, system.pending_sql, 0)
            used, used_postgres = cpu_s(server.pid) - used, cpu_s(postgres.pid) - used_postgres
            half, spent = Sent(), expected.cost_usd
            if not system.is_peer:
                half, more_usd = _at_half(system, server, shape, stored / seconds)
                spent += more_usd
                until(asker, system.spans_sql, rows + sent.accepted + half.accepted)
        if system.is_peer:
            time.sleep(COSTS_WITHIN_S)
        cost = ask(asker, system.cost_sql) - cost
    millions = max(stored, 1) / 1e6
    return (
        Measured(
            spans_a_second=stored / seconds,
            server_cpu_s=used / millions,
            postgres_cpu_s=used_postgres / millions,
            p99_ms=sent.latency_ms(0.99),
            half_p99_ms=half.latency_ms(0.99),
            memory_mb=max(peak),
            lost=int(sent.accepted - stored),
            refused=sent.refused,
            cost_ratio=cost / spent,
        ),
        expected,
    )


def _at_half(system: System, server: Running, shape: Shape, spans_a_second: float) -> tuple[Sent, float]:
    """Return what becomes of requests at half of what the system takes, and what their calls cost (US dollars)."""
    more, expected = requests_of(replace(shape, seed=shape.seed + HALF, spans=shape.spans // 4))
    bodies = [_compressed(body) if system.compressed else body for body in map(system.body_of, more)]
    sent = send(server.url, bodies, dict(server.headers), spans_a_second=spans_a_second / 2)
    return sent, expected.cost_usd


def _limit(postgres: Cluster, written: str, expected: Expected) -> Measured:
    chunks = limit.rows_of(written, expected.trace_ids)
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
def watched(pid: int) -> Iterator[list[float]]:
    """Give the memory that the server has meanwhile, looked at now and then."""
    found, stop = [memory_mb(pid)], threading.Event()

    def look() -> None:
        while not stop.wait(1.0):
            found.append(memory_mb(pid))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        stop.set()
        thread.join()


def until(connection: psycopg.Connection, sql: str, wanted: float) -> float:
    """Return the number that *sql* gives once it is *wanted*, or has not changed for long."""
    last, since = -1.0, time.monotonic()
    while True:
        now = ask(connection, sql)
        if now == wanted or time.monotonic() - since > QUIET_S:
            return now
        if now != last:
            last, since = now, time.monotonic()
        time.sleep(0.3)


def _compressed(body: Body) -> Body:
    return Body(data=gzip.compress(body.data, 6, mtime=0), spans=body.spans)


def _shape(options: argparse.Namespace, system: System, *, seed: int) -> Shape:
    spans = options.peer_spans if system.is_peer else options.spans
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
                f"{_median(rounds, 'half_p99_ms'):,.0f}" if _median(rounds, "half_p99_ms") else "",
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
    number("--spans", default=24_000, help="spans of a measurement")
    number("--peer-spans", default=1200, help="the same for peers, which take longer")
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
