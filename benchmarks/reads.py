# ruff: noqa: INP001, T201 -- a program that prints
"""How long do the questions take that a dashboard asks, over 90 days of calls of 200 workspaces?

``make bench-reads`` (``CALLS=10000000`` for the large run) fills a PostgreSQL of its own, or the empty database
that ``--database-url`` names, asks each question as a tenant's reader and, beside it, the same of raw rows: without
roll-ups, or without the index that serves it. Printed is the quickest answer; the table goes to
``docs/benchmarks.md``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import platform
import secrets
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import psycopg
from psycopg import sql
from psycopg_pool import ConnectionPool

from otel_obs.analytics import agents, costs, errors, events, metrics, spend, traces
from otel_obs.analytics.filters import Filters
from otel_obs.maintenance.rollups import roll_up
from otel_obs.postgres import partitions, schema
from otel_obs.postgres.budgets import Budget, spending
from otel_obs.postgres.embedded import EmbeddedPostgres
from otel_obs.postgres.pool import conninfo, open_pool
from otel_obs.postgres.queries import load
from otel_obs.postgres.reading import Reader, reading
from otel_obs.postgres.store import PostgresStore
from otel_obs.rows import EventRow
from otel_obs.rows.batch import Batch
from otel_obs.settings import Settings
from otel_obs.web.server import ApiServer

DAYS, WORKSPACES, CALLS_A_TRACE, CLIENTS = 90, 200, 10, 100
AT_ONCE = 200_000
PATIENCE_S = 60
MIN_ROUNDS, ENOUGH_MS = 3, 5000
REPORT = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"
BEGIN, END = "<!-- reads: written by benchmarks/reads.py -->", "<!-- reads: end -->"

# Whose call it is: sizes of workspaces differ (the largest has 7 % of all), each has eight agents, each agent one
# workflow and three models; traces of a conversation lie in one workspace.
_WHO = """
    LATERAL (SELECT n / 10 AS t, hashint8(n / 30) & 65535 AS h) AS x,
    LATERAL (SELECT floor(200 * power(h / 65536.0::double precision, 2))::int AS w, hashint8(t) & 65535 AS k) AS y,
    LATERAL (SELECT mod(w * 7 + mod(k, 8), 50) AS a) AS z,
    LATERAL (SELECT %(since)s::timestamptz + %(step)s::interval * n AS at,
        200 / (0.01 + (hashint8(n) & 1023) / 1024.0) AS took) AS s"""
_CALLS = f"""
INSERT INTO model_cost_logs (organization_id, workspace_id, user_id, trace_id, span_id, event_id, "timestamp",
    received_at, agent_id, flow_id, conversation_id, provider, model_name, operation, response_id, input_tokens,
    output_tokens, is_batch, cost_usd, cost_source, usage_source, status, latency_ms, environment)
SELECT 'acme', 'ws' || w, 'user' || mod(h * 31 + w, 20000), md5(t::text), substr(md5('llm' || n), 1, 16),
    substr(md5('llm' || n), 1, 16), at, at, 'agent' || a, 'flow' || mod(a, 20), 'conversation' || t / 3, 'openai',
    'model' || mod(a * 3 + mod(n, 3), 12), 'chat', 'answer' || n, 200 + mod(n, 4000), 20 + mod(n, 300), false,
    CASE WHEN mod(n, 200) > 0 THEN 0.01 + mod(n, 97) / 100.0 END,
    CASE WHEN mod(n, 200) = 0 THEN 'unpriced' ELSE 'computed' END, 'reported', 'unset', took,
    CASE WHEN mod(t, 10) = 0 THEN 'staging' ELSE 'production' END
FROM generate_series(%(first)s::bigint, %(last)s) AS n, {_WHO}
"""  # noqa: S608
_EVENTS = f"""
INSERT INTO event_logs (organization_id, workspace_id, user_id, trace_id, span_id, event_id, "timestamp", received_at,
    event_type, name, status, error_type, latency_ms, parent_span_id, service_name, environment, agent_id, flow_id,
    conversation_id, inherited, context)
SELECT 'acme', 'ws' || w, 'user' || mod(h * 31 + w, 20000), md5(t::text), substr(md5(kind || n), 1, 16),
    substr(md5(kind || n), 1, 16), at, at, kind, kind || ' ' || mod(n, 30),
    CASE WHEN kind = 'llm' AND mod(n, 50) = 7 OR kind = 'workflow' AND mod(t, 60) = 0 THEN 'error' ELSE 'unset' END,
    CASE WHEN kind = 'llm' AND mod(n, 50) = 7 THEN 'error' || mod(n / 50, 7) END,
    CASE WHEN kind = 'llm' THEN took ELSE took * 8 END,
    CASE WHEN kind = 'llm' THEN substr(md5('workflow' || t * 10), 1, 16) END, 'assistant',
    CASE WHEN mod(t, 10) = 0 THEN 'staging' ELSE 'production' END, 'agent' || a, 'flow' || mod(a, 20),
    'conversation' || t / 3, CASE WHEN kind = 'workflow' THEN 256 ELSE 0 END,
    '{{"attributes": {{"gen_ai.operation.name": "chat", "server.address": "api.example.com"}}}}'
FROM generate_series(%(first)s::bigint, %(last)s) AS n, {_WHO},
    unnest(CASE WHEN mod(n, 10) = 0 THEN ARRAY['workflow', 'llm'] ELSE ARRAY['llm'] END) AS kind
"""  # noqa: S608
_RUNS = f"""
INSERT INTO agent_trace_history (organization_id, workspace_id, user_id, trace_id, span_id, event_id, "timestamp",
    received_at, agent_id, agent_name, flow_id, status, latency_ms, execution_nodes, input_tokens, output_tokens,
    cost_cents, environment)
SELECT 'acme', 'ws' || w, 'user' || mod(h * 31 + w, 20000), md5(t::text), substr(md5('workflow' || n), 1, 16),
    substr(md5('workflow' || n), 1, 16), at, at, 'agent' || a, 'Agent', 'flow' || mod(a, 20),
    CASE WHEN mod(t, 60) = 0 THEN 'error' ELSE 'unset' END, took * 8, '[]', 20000, 1500, 4,
    CASE WHEN mod(t, 10) = 0 THEN 'staging' ELSE 'production' END
FROM generate_series((%(first)s::bigint + 9) / 10 * 10, %(last)s, 10) AS n, {_WHO}
"""  # noqa: S608
_TENANTS = """
WITH registered AS (INSERT INTO organizations (id) VALUES ('acme') RETURNING id)
INSERT INTO workspaces (organization_id, id) SELECT id, 'ws' || n FROM registered, generate_series(0, 199) AS n
"""
_INDEXES = """
SELECT indexname, replace(indexdef, ' ON ONLY ', ' ON ') FROM pg_indexes
WHERE schemaname = 'otel_obs' AND tablename = ANY(%s) AND indexdef NOT LIKE '%% UNIQUE %%'
"""
_NO_INDEX = """
SELECT set_config(name, 'off', true)
FROM unnest('{enable_indexscan,enable_indexonlyscan,enable_bitmapscan}'::text[]) AS name
"""


@dataclass(frozen=True)
class World:
    """A filled database."""

    url: str
    pool: ConnectionPool
    now: datetime
    calls: int

    def filters(self, days: float, **more: Any) -> Filters:
        """Return what is asked of the last *days*."""
        return Filters(organization_id="acme", since=self.now - timedelta(days=days), until=self.now, **more)


def fill(url: str, calls: int, now: datetime) -> None:
    """Store *calls* calls, evenly over the days; indexes are made afterwards, which takes half the time."""
    since = now - timedelta(days=DAYS)
    asked = {"since": since, "step": timedelta(days=DAYS) / calls}

    def store(first: int) -> None:
        with psycopg.connect(conninfo(url), autocommit=True) as connection:
            for statement in (_CALLS, _EVENTS, _RUNS):
                connection.execute(statement, {**asked, "first": first, "last": min(first + AT_ONCE - 1, calls)})
        print(f"\r{first:,} calls stored", end="", flush=True)

    with psycopg.connect(conninfo(url), autocommit=True) as connection:
        partitions.ensure(connection, [since, now], now)
        connection.execute(_TENANTS)
        indexes = connection.execute(_INDEXES, (list(partitions.HOT_TABLES),)).fetchall()
        for name, _ in indexes:
            connection.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(name)))
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(store, range(1, calls + 1, AT_ONCE)))
        connection.execute("SET maintenance_work_mem = '512MB'")
        for _, definition in indexes:
            connection.execute(definition)
        connection.execute(
            "INSERT INTO touched_days SELECT 'acme', (%s::timestamptz AT TIME ZONE 'UTC')::date + n "
            "FROM generate_series(0, %s) AS n",
            (since, DAYS),
        )
        connection.execute("VACUUM ANALYZE")
    print()


@contextmanager
def world(url: str | None, calls: int, folder: Path | None = None) -> Iterator[World]:
    """Give a filled database: *url*, or one of its own; one in *folder* is left there, and filled once."""
    with ExitStack() as stack:
        if url is None:
            if folder is None:
                made = tempfile.TemporaryDirectory(prefix="oo", dir="/tmp", ignore_cleanup_errors=True)
                folder = Path(stack.enter_context(made))  # sockets want short paths
                folder.chmod(0o711)
            url = stack.enter_context(EmbeddedPostgres(folder, durable=False))
        schema.migrate(url)
        if (now := _filled(url)) is None:
            now = datetime.now(tz=timezone.utc)
            fill(url, calls, now)
        pool = open_pool(url, max_size=8, statement_timeout_s=600)
        stack.callback(pool.close, 2.0)
        began = time.monotonic()
        rolled = roll_up(pool, now)
        print(f"{rolled['days']} days rolled up in {time.monotonic() - began:.1f} s")
        with pool.connection() as connection:
            connection.execute("ANALYZE usage_rollups")
        yield World(url, pool, now, calls)


def _filled(url: str) -> datetime | None:
    """Return when the newest call of a filled database began."""
    with psycopg.connect(conninfo(url)) as connection:
        row = connection.execute("""SELECT max("timestamp") FROM model_cost_logs""").fetchone()
    return None if row is None else row[0]


Question = Callable[[psycopg.Connection], Any]


def questions(found: World) -> dict[str, tuple[Question, Question]]:
    """Return what is asked, and the same of raw rows."""
    month, largest = found.filters(30), found.filters(30, workspace_id="ws0")
    midnight = found.now.replace(hour=0, minute=0, second=0, microsecond=0)
    whole_days = replace(largest, since=midnight - timedelta(days=30), until=midnight)
    dear, said = found.filters(DAYS, min_cost_cents=1e6), found.filters(DAYS, text="zebra")
    trace_id = _trace(found)
    budgets = [
        Budget(organization_id="acme", id=f"b{n}", workspace_id=f"ws{n}", period="month", amount_cents=Decimal(1))
        for n in range(WORKSPACES)
    ]

    def costs_of(asked: Filters, *by: str) -> tuple[Question, Question]:
        of_rows = {
            **asked.parameters, "flag": None, "limit": spend.MAX_GROUPS, "rolled_days": [], "starts": [asked.since],
            "ends": [asked.until], "first": asked.since, "last": asked.until,
        }  # fmt: skip

        def ours(connection: psycopg.Connection) -> Any:
            return spend.spend(connection, asked, by)

        return ours, lambda connection: costs.ask(connection, by, of_rows)

    def indexed(question: Question) -> tuple[Question, Question]:
        def unindexed(connection: psycopg.Connection) -> Any:
            connection.execute(_NO_INDEX)
            return question(connection)

        return question, unindexed

    def in_pieces(asked: Filters) -> tuple[Question, Question]:
        in_one = {**asked.parameters, **dict.fromkeys(("after_time", "after_trace", "trace_ids")), "limit": 50}
        statement = load("traces")["search_traces"]
        return (
            lambda connection: traces.search(connection, asked),
            lambda connection: connection.execute(statement, in_one).fetchall(),
        )

    return {
        "month of the largest workspace, whole days, by day and model": costs_of(whole_days, "day", "model"),
        "the same until now": costs_of(largest, "day", "model"),
        "month of the organization, by workspace": costs_of(month, "workspace"),
        "top agents of a month, by cost": costs_of(month, "agent"),
        "the same of one environment": costs_of(replace(month, environment="staging"), "agent"),
        "users of a month of one environment, by cost": costs_of(replace(month, environment="staging"), "user"),
        "what is spent of 200 budgets of a month": (
            lambda connection: spending(connection, budgets, found.now),
            costs_of(replace(month, since=budgets[0].starts(found.now)), "workspace")[1],
        ),
        "what is spent of one of them": indexed(lambda connection: spending(connection, budgets[:1], found.now)),
        "executions, latency, calls, cost: month of the largest workspace": indexed(
            lambda connection: metrics.get_system_metrics(connection, largest)
        ),
        "the same of the organization": indexed(lambda connection: metrics.get_system_metrics(connection, month)),
        "runs of agents of a week, with latency": indexed(
            lambda connection: agents.agents(connection, found.filters(7))
        ),
        "runs of agents of a month in one environment": indexed(
            lambda connection: agents.agents(connection, replace(month, environment="staging"))
        ),
        "errors of a week, by type and node": indexed(
            lambda connection: errors.get_error_logs(connection, found.filters(7))
        ),
        "newest errors of the largest workspace": indexed(
            lambda connection: events.events(connection, replace(largest, status="error"))
        ),
        "newest traces of a workspace": indexed(lambda connection: traces.search(connection, largest)),
        "traces of a user of 90 days": indexed(
            lambda connection: traces.search(connection, found.filters(DAYS, user_id="user7"))
        ),
        "traces of 90 days that cost more than any, first answer": in_pieces(dear),
        "traces of 90 days with a word that nobody said, first answer": in_pieces(said),
        "newest conversations of a month": indexed(lambda connection: agents.conversations(connection, month)),
        "one trace by its id": indexed(lambda connection: traces.trace(connection, "acme", trace_id)),
    }


def _trace(found: World) -> str:
    with found.pool.connection() as connection:
        row = connection.execute("SELECT md5(%s::text)", (found.calls // 20,)).fetchone()
    return "" if row is None else str(row[0])


def timed(found: World, question: Question, rounds: int) -> float:
    """Return the quickest of some answers, in milliseconds, as a tenant's reader gets it; infinity where none comes."""
    took = []
    while len(took) < rounds and (len(took) < MIN_ROUNDS or sum(took) < ENOUGH_MS):
        with reading(found.pool, Reader(organization_id="acme"), timeout_s=PATIENCE_S) as connection:
            began = time.perf_counter()
            try:
                question(connection)
            except psycopg.errors.QueryCanceled:
                return math.inf
            took.append((time.perf_counter() - began) * 1000)
    return min(took)


def compared(found: World, name: str, pair: tuple[Question, Question], rounds: int) -> str:
    """Return a line of the table."""
    ours, raw = pair
    timed(found, ours, 1)
    took, on_rows = timed(found, ours, rounds), timed(found, raw, 1)
    if math.isinf(on_rows):
        limit = PATIENCE_S * 1000
        return f"| {name} | {took:,.1f} | more than {limit:,} | more than {limit / took:,.0f} |"
    return f"| {name} | {took:,.1f} | {on_rows:,.1f} | {on_rows / took:,.1f} |"


async def _listen(url: str, opened: asyncio.Semaphore, arrivals: list[float], wanted: int) -> None:
    async with (
        httpx.AsyncClient(timeout=60) as client,
        client.stream("GET", f"{url}/api/v1/stream?organization_id=acme") as answer,
    ):
        ready = False
        async for line in answer.aiter_lines():
            if line == "event: metrics" and not ready:
                ready = True
                opened.release()
            if line.startswith("data: ") and '"sent_at"' not in line and '"live ' in line:
                name = json.loads(line.removeprefix("data: "))["name"]
                arrivals.append((time.time() - float(name.split()[1])) * 1000)
                if json.loads(line.removeprefix("data: "))["name"].endswith(f" {wanted}"):
                    return


async def live(found: World, url: str, events: int = 20) -> tuple[list[float], float]:
    """Return how long events took to each of the clients, in milliseconds, and the questions a second meanwhile."""
    opened, arrivals = asyncio.Semaphore(0), list[float]()
    listeners = [asyncio.create_task(_listen(url, opened, arrivals, events)) for _ in range(CLIENTS)]
    for _ in listeners:
        await opened.acquire()
    store = PostgresStore(found.pool)
    before, began = _transactions(found), time.monotonic()
    for number in range(1, events + 1):
        await asyncio.to_thread(store.write, Batch(events=[_event(f"live {time.time()} {number}")]))
        await asyncio.sleep(0.5)
    await asyncio.wait_for(asyncio.gather(*listeners), 60)
    return arrivals, (_transactions(found) - before - events) / (time.monotonic() - began)


def _transactions(found: World) -> int:
    with found.pool.connection() as connection:
        connection.execute("SELECT pg_stat_force_next_flush()")
        row = connection.execute(
            "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
        ).fetchone()
    return 0 if row is None else int(row[0])


def _event(name: str) -> EventRow:
    now = datetime.now(tz=timezone.utc)
    span_id = secrets.token_hex(8)
    nothing = dict.fromkeys(EventRow._fields)
    given = {
        "organization_id": "acme", "workspace_id": "ws7", "trace_id": secrets.token_hex(16), "span_id": span_id,
        "event_id": span_id, "timestamp": now, "received_at": now, "event_type": "tool", "name": name,
        "status": "unset", "inherited": 0, "context": {},
    }  # fmt: skip
    return EventRow(**{**nothing, **given})  # type: ignore[arg-type]  # what is not given may be None


def streamed(found: World) -> list[str]:
    """Return the rows of the table about the live stream."""
    settings = Settings.from_env({}, {"API_ENDPOINT": "127.0.0.1:0"})
    server = ApiServer(settings, found.url)
    try:
        arrivals, asked = asyncio.run(live(found, f"http://{server.start()}"))
    finally:
        server.stop()
    cuts = statistics.quantiles(arrivals, n=100)
    told = f"{len(arrivals):,} of {20 * CLIENTS:,} arrived"
    took = f"{cuts[49]:,.0f} (p95 {cuts[94]:,.0f})"
    means = f"{asked:.1f} transactions a second for all of them"
    return [f"| an event to {CLIENTS} listeners of the stream | {took} | {means} | {told} |"]


def report(found: World, lines: Sequence[str]) -> str:
    """Return the section of the report."""
    with found.pool.connection() as connection:
        row = connection.execute(
            "SELECT current_setting('server_version'), pg_database_size(current_database())"
        ).fetchone()
        rollups = connection.execute("SELECT count(*), count(hour) FROM usage_rollups").fetchone()
    assert row is not None  # noqa: S101
    assert rollups is not None  # noqa: S101
    load_1m = os.getloadavg()[0]
    what = (
        f"{found.now:%Y-%m-%d}: {found.calls:,} calls of {DAYS} days and {WORKSPACES} workspaces "
        f"({row[1] / 1e9:.1f} GB); "
        f"{rollups[0]:,} roll-ups, {rollups[1]:,} of them by hour; the largest workspace has 7 % of the calls."
    )
    where = (
        f"PostgreSQL {row[0]}, Python {platform.python_version()}, otel_obs {version('otel-obs')}, {os.cpu_count()} "
        f"cores of {_cpu()}; load {load_1m:.1f}, other programs among it."
    )
    return "\n".join(
        [
            BEGIN,
            what,
            where,
            "",
            "| question | ms | on raw rows, ms | raw / ours |",
            "|---|---|---|---|",
            *lines,
            END,
        ]
    )


def _cpu() -> str:
    try:
        found = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    except OSError:
        found = []
    return found[0].partition(": ")[2] if found else platform.machine()


def write_down(section: str) -> None:
    """Put *section* in the place of the one before."""
    text = REPORT.read_text() if REPORT.exists() else "# Benchmarks\n"
    if BEGIN in text:
        head, _, rest = text.partition(BEGIN)
        text = head + section + rest.partition(END)[2]
    else:
        text += f"\n## Reading\n\n`make bench-reads`. {_EXPLAINED}\n\n{section}\n"
    REPORT.write_text(text)


_EXPLAINED = (
    "The quickest of 3 to 25 answers to a tenant's reader, under row-level security. On raw rows, once: costs without "
    "roll-ups,\nthe rest without indexes (the scan that a schema without them would do)."
)


def main() -> None:
    """Fill, ask, tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("calls", type=int, nargs="?", default=1_000_000)
    parser.add_argument("--database-url", help="an empty database; without it one of its own")
    parser.add_argument("--folder", type=Path, help="keep the database here, and ask the one that is there")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    asked = parser.parse_args()
    with world(asked.database_url, asked.calls, asked.folder) as found:
        lines = []
        for name, pair in questions(found).items():
            lines.append(compared(found, name, pair, asked.rounds))
            print(lines[-1], flush=True)
        lines.extend(streamed(found))
        section = report(found, lines)
    print(section)
    if asked.write:
        write_down(section)


if __name__ == "__main__":
    main()
