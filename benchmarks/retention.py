# ruff: noqa: INP001, T201 -- a program that prints
"""What does retention cost?  Rows a second when weeks are emptied, when others keep theirs, and in one plain DELETE.

    python benchmarks/retention.py [ROWS]

Rows of event_logs and span_contents over ten weeks, on an embedded PostgreSQL of its own, or on a database of its own
on the server that OTEL_OBS_DATABASE_URL names. Three times the same rows, for the ratios.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path

import psycopg

from otel_obs.maintenance.retention import Retention
from otel_obs.maintenance.work import Work
from otel_obs.postgres import partitions, schema
from otel_obs.postgres.embedded import EmbeddedPostgres
from otel_obs.postgres.pool import conninfo, open_pool
from otel_obs.postgres.scratch import scratch_database
from otel_obs.pricing.book import PriceBook
from otel_obs.pricing.catalog import default_catalog

NOW = datetime.now(tz=timezone.utc)
BEGIN = partitions.week_of(NOW - timedelta(days=200))
WEEKS = 10
FILL = """
    WITH new AS (
        SELECT %(begin)s::timestamptz + (n %% %(weeks)s) * interval '7 days' + n %% 600000 * interval '1 second' AS at,
            md5(n::text) AS trace_id, lpad(to_hex(n), 16, '0') AS span_id
        FROM generate_series(1, %(rows)s) AS n
    ), events AS (
        INSERT INTO event_logs (organization_id, workspace_id, trace_id, span_id, event_id, "timestamp", received_at,
            event_type, name, status, latency_ms, context)
        SELECT %(org)s, 'w', trace_id, span_id, span_id, at, at, 'llm', 'chat', 'ok', 1,
            jsonb_build_object('attributes', jsonb_build_object('gen_ai.request.model', 'm', 'x', repeat('y', 200)))
        FROM new
    )
    INSERT INTO span_contents (organization_id, workspace_id, trace_id, span_id, event_id, "timestamp", received_at,
        part, body, bytes, sha256, truncated)
    SELECT %(org)s, 'w', trace_id, span_id, span_id, at, at, 'input', repeat('prompt ', 60), 420, '', false FROM new
"""


@contextmanager
def _server() -> Iterator[str]:
    given = os.environ.get("OTEL_OBS_DATABASE_URL")
    if given:
        with scratch_database(given) as url:
            yield url
        return
    folder = Path(tempfile.mkdtemp(prefix="oo", dir="/tmp"))  # short enough for a socket
    folder.chmod(0o711)
    try:
        with EmbeddedPostgres(folder) as url:
            yield url
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _size(connection: psycopg.Connection) -> int:
    row = connection.execute(
        "SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('event_logs') "
        "UNION ALL SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('span_contents')"
    ).fetchall()
    return int(sum(found[0] for found in row))


def _filled(connection: psycopg.Connection, rows: int, keeper: int) -> None:
    connection.execute("TRUNCATE event_logs, span_contents, retention_runs, partition_deletes")
    partitions.ensure(connection, [BEGIN], NOW)
    connection.execute(
        "INSERT INTO organizations (id, plan) VALUES ('acme', 'free'), ('other', NULL) ON CONFLICT DO NOTHING"
    )
    for org, count in (("acme", rows), ("other", keeper)):
        connection.execute(FILL, {"begin": BEGIN, "weeks": WEEKS, "rows": count, "org": org})
    connection.execute("ANALYZE event_logs, span_contents")


def _retained(url: str) -> dict[str, int]:
    pool = open_pool(url, statement_timeout_s=600, wait_s=30)
    try:
        report = Retention(Work(pool=pool, book=PriceBook(default_catalog()), now=NOW)).run()
    finally:
        pool.close(2.0)
    found: dict[str, int] = {"rows": sum(gone.rows for gone in report.rows.values())}
    for item in report.disk:
        found[item["action"]] = found.get(item["action"], 0) + item["bytes"]
    return found


def main() -> None:
    """Measure, and print a line for each way."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    with _server() as url:
        schema.migrate(url)
        with psycopg.connect(conninfo(url), autocommit=True) as connection:
            for name, keeper in (("nobody else is there", 0), ("others keep a tenth", rows // 10)):
                _filled(connection, rows, keeper)
                before = _size(connection)
                began = time.perf_counter()
                found = _retained(url)
                took = time.perf_counter() - began
                print(
                    f"{name}: {found} in {took:.2f} s, {found['rows'] / took:,.0f} rows/s, "
                    f"disk {before / 1e6:.0f} -> {_size(connection) / 1e6:.0f} MB"
                )
            _filled(connection, rows, rows // 10)
            before = _size(connection)
            began = time.perf_counter()
            for table in ("event_logs", "span_contents"):
                connection.execute(f"DELETE FROM {table} WHERE organization_id = 'acme'")  # noqa: S608
                connection.execute(f"VACUUM {table}")
            took = time.perf_counter() - began
            print(
                f"one DELETE a table and VACUUM: {2 * rows} rows in {took:.2f} s, {2 * rows / took:,.0f} rows/s, "
                f"disk {before / 1e6:.0f} -> {_size(connection) / 1e6:.0f} MB"
            )


if __name__ == "__main__":
    main()
