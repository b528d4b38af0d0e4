"""Programs of this release go on while the schema becomes that of a newer one, which has more columns everywhere."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from psycopg import sql

from otel_obs.maintenance import tenancy
from otel_obs.maintenance.export import export
from otel_obs.maintenance.jobs import JOBS
from otel_obs.maintenance.reprice import Asked, reprice_calls
from otel_obs.maintenance.sweeping import Subject
from otel_obs.model import Span
from otel_obs.postgres import audit
from otel_obs.postgres.copying import TABLES
from otel_obs.postgres.pool import conninfo, open_pool
from otel_obs.postgres.queries import load
from otel_obs.postgres.store import PostgresStore
from otel_obs.postgres.vault import Vault
from otel_obs.pricing.book import PriceBook
from otel_obs.pricing.catalog import default_catalog
from otel_obs.rows import EventRow
from otel_obs.sealing import ConfiguredKeys
from otel_obs.settings import Settings
from otel_obs.web import server as api_server
from otel_obs.web.server import ApiServer
from tests import showroom
from tests.builders import agent, chat, make_span
from tests.corpus import NAMES, records_of
from tests.fix_kept import Kept, in_postgres
from tests.fix_postgres import new_database
from tests.maintenance import counts, done, set_plan
from tests.rows import SETTLING, batch

COLUMN = "of_a_newer_release"
EVERY_TABLE = """
SELECT c.relname FROM pg_class AS c
WHERE c.relnamespace = 'otel_obs'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
"""


def widen(url: str) -> None:
    """Give each table a column that this release does not know; what is there is said in rows of hot tables."""
    with psycopg.connect(conninfo(url), autocommit=True) as connection:
        for (table,) in connection.execute(EVERY_TABLE).fetchall():
            name = sql.Identifier(table)
            connection.execute(sql.SQL("ALTER TABLE {} ADD COLUMN {} text").format(name, sql.Identifier(COLUMN)))
            if table in TABLES:
                connection.execute(sql.SQL("UPDATE {} SET {} = 'said'").format(name, sql.Identifier(COLUMN)))
        connection.execute("INSERT INTO schema_migrations (version, name, checksum) VALUES (9000, 'newer', 'x')")


def kept_in(stack: ExitStack, url: str) -> Kept:
    found = in_postgres(url)
    stack.callback(found.close)  # type: ignore[attr-defined]  # a generator
    return next(found)


def test_what_is_written_and_settled_is_the_same(server_dsn: str, template_database: str) -> None:
    """Of each capture half is written before, and then all of it: new, known, replaced, counted elsewhere."""
    with ExitStack() as stack:
        urls = [stack.enter_context(new_database(server_dsn, template_database)) for _ in range(2)]
        here, newer = (kept_in(stack, url) for url in urls)
        requests = [
            [record for record in records_of(name) if isinstance(record, Span)][start::2]
            for name in NAMES
            for start in (0, 1)
        ]

        def write(number: int) -> list[Any]:
            found = batch(requests[number])
            return [kept.store.write(found) for kept in (here, newer)]

        for number in range(0, len(requests), 2):
            write(number)
        for kept in (here, newer):
            kept.store.settle(SETTLING, limit=20, all_now=True)
        widen(urls[1])
        written = [write(number) for number in range(len(requests))]
        for kept in (here, newer):
            kept.settle()

        assert all(one == other for one, other in written)
        assert sum(one.duplicates for one, _ in written) > 100
        assert newer.everything() == here.everything()
        assert all(newer.everything()[:3])


@pytest.mark.parametrize("name", ["events_of_traces", "events_of_keys"])
def test_events_are_read_in_the_order_of_their_fields(name: str, connection: psycopg.Connection) -> None:
    """Their columns are written out: settling reads a part of the context only."""
    now = datetime.now(tz=timezone.utc)
    asked = {
        "organization_id": "",
        "trace_ids": [""],
        "event_ids": [""],
        "timestamps": [now],
        "since": now,
        "until": now,
    }

    found = connection.execute(load("settle")[name], asked)

    assert tuple(column.name for column in found.description or ()) == EventRow._fields


def test_reports_of_a_call_that_a_newer_release_kept_are_read(database: str) -> None:
    with ExitStack() as stack:
        kept = kept_in(stack, database)
        outer = make_span(chat(response_id="r1"), scope="framework")
        kept.write([make_span(chat(response_id="r1"), scope="client", trace_id="f" * 32)])
        kept.write([outer])
        with psycopg.connect(conninfo(database)) as connection:
            connection.execute(
                "UPDATE call_reports SET report = jsonb_set(report, '{row,of_a_newer_release}', '1') || '{\"more\": 2}'"
            )

        kept.settle()

        assert [call.response_id for call in kept.calls] == ["r1"]


@pytest.fixture
def api(database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    monkeypatch.setattr(api_server, "_FITS_FOR_S", 0.0)
    server = ApiServer(Settings.from_env({}, {"API_ENDPOINT": "127.0.0.1:0"}), database)
    try:
        with httpx.Client(base_url=f"http://{server.start()}", timeout=30) as client:
            yield client
    finally:
        server.stop()


def test_every_answer_of_the_api_is_the_same(database: str, api: httpx.Client) -> None:
    showroom.furnish(database)
    now = datetime.now(tz=timezone.utc).replace(microsecond=0)
    asked = {
        "organization_id": showroom.ORGANIZATION,
        "since": (now - timedelta(days=14)).isoformat(),
        "until": now.isoformat(),
    }
    described = api.get("/api/v1/openapi.json").json()["paths"]
    paths = [path for path, ways in described.items() if "get" in ways and "{" not in path and "stream" not in path]

    def answers() -> dict[str, Any]:
        found = {path: api.get(path, params=asked) for path in paths}
        for item in found["/api/v1/traces"].json()["items"][:3]:
            path = f"/api/v1/traces/{item['trace_id']}"
            found[path] = api.get(path, params=asked)
        told = {path: (answer.status_code, answer.json()) for path, answer in found.items()}
        del told["/api/v1/retention"][1]["cutoff"]  # of the moment in which it is asked
        return told

    assert api.get("/readyz").status_code == 200
    before = answers()
    widen(database)

    assert answers() == before
    assert api.get("/readyz").status_code == 200
    assert {path: status for path, (status, _) in before.items() if status >= 500} == {}
    assert before["/api/v1/costs"][1]["total"]["calls"] > 0


def test_jobs_exports_and_deletions_do_what_they_did(database: str, tmp_path: Path) -> None:
    now = datetime.now(tz=timezone.utc)
    pool = open_pool(database)
    vault = Vault(ConfiguredKeys([("key", secrets.token_bytes(32))]))
    try:
        store = PostgresStore(pool, vault=vault)
        said = {"gen_ai.input.messages": "a question"}
        for trace, days in enumerate((1, 3, 200)):
            start = showroom.now_ms() - days * 86_400_000
            run = make_span(agent("writer", **said), trace_id=f"{trace:032x}", start_ms=start)
            ask = make_span(
                chat(response_id=f"r{trace}", more=said), trace_id=f"{trace:032x}", parent=run, start_ms=start
            )
            store.write(batch([run, ask], organization="acme"))
        with psycopg.connect(conninfo(database), autocommit=True) as connection:
            set_plan(connection, "acme", "free", now - timedelta(days=300))
            widen(database)

            jobs = done(pool, now, *JOBS, vault=vault)

            assert {name: job.status for name, job in jobs.items()} == dict.fromkeys(JOBS, "done")
            assert counts(connection, "acme")["event_logs"] == 4
            assert counts(connection, "acme")["usage_rollups"] > 0
            for kind in ("jsonl", "parquet"):
                exported = export(connection, Subject(organization_id="acme"), tmp_path, kind=kind, vault=vault)
                assert {table: exported[table] for table in TABLES} == {
                    table: counts(connection, "acme")[table] for table in TABLES
                }
            repriced = reprice_calls(pool, PriceBook(default_catalog()), Asked())
            assert (repriced.rows_examined, repriced.rows_changed) == (2, 2)
            lines = (tmp_path / "agent_trace_history.jsonl").read_text().splitlines()
            assert [json.loads(line)["input_context"] is None for line in lines] == [False, False]
            assert all(json.loads(line)[COLUMN] == "said" for line in lines)

            tenancy.delete(pool, Subject(organization_id="acme"))

            assert {table: rows for table, rows in counts(connection, "acme").items() if rows and table in TABLES} == {}
            assert audit.first_bad(connection) is None
    finally:
        pool.close(2.0)
