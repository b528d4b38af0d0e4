"""What an operator does once in a while: upgrade, back up, restore, move to the next PostgreSQL.

The commands are those of ``docs/operations.md``.
"""

from __future__ import annotations

import gzip
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path

import psycopg
import pytest

from otel_obs.errors import EmbeddedPostgresError, SchemaTooOldError
from otel_obs.postgres import schema
from otel_obs.postgres.binaries import find
from otel_obs.postgres.embedded import EmbeddedPostgres
from otel_obs.postgres.pool import conninfo
from otel_obs.server import Gateway
from otel_obs.settings import Settings
from tests.command import run
from tests.fix_postgres import POSTGRES_15, short_folder, until_stopped
from tests.ledger import Ledger, adds_up, present
from tests.maintenance import counts as rows_of
from tests.maintenance import fill

DATA = Path(__file__).parents[1] / "data"
RELEASED = "schema-0010.sql.gz"
"""A dump of a database that a program of that time has filled."""
VERSIONS = [migration.version for migration in schema.packaged()]
TABLES = ("event_logs", "model_cost_logs", "agent_trace_history", "span_contents", "quarantine")


def counts(connection: psycopg.Connection) -> list[int]:
    found = [connection.execute(f"SELECT count(*) FROM otel_obs.{table}").fetchone() for table in TABLES]  # noqa: S608
    return [row[0] for row in found if row is not None]


@contextmanager
def gateway(database: str, folder: Path) -> Iterator[Callable[..., Ledger]]:
    settings = Settings.from_env(
        {}, {"GRPC_ENDPOINT": "127.0.0.1:0", "HTTP_ENDPOINT": "127.0.0.1:0", "DATA_DIR": str(folder)}
    )
    found = Gateway(settings, database)
    listening = found.start()
    try:
        yield lambda **more: Ledger(listening.http, **more)
    finally:
        found.stop()


def psql(folder: Path, uri: str, script: bytes) -> None:
    subprocess.run(
        [str(folder / "psql"), "-q", "-v", "ON_ERROR_STOP=1", uri], input=script, check=True, stdout=subprocess.DEVNULL
    )


def test_a_database_of_a_release_is_upgraded_with_its_rows(empty_database: str, tmp_path: Path) -> None:
    with psycopg.connect(empty_database, autocommit=True) as connection:
        connection.execute(
            "DO $$ BEGIN CREATE ROLE otel_obs_reader NOLOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$"
        )
    psql(find().folder, empty_database, gzip.decompress((DATA / RELEASED).read_bytes()))
    with psycopg.connect(conninfo(empty_database), autocommit=True) as connection:
        before = counts(connection)
        costs = connection.execute("SELECT sum(cost_cents), count(*) FROM model_costs").fetchone()
        assert all(before)
        with pytest.raises(SchemaTooOldError):
            schema.check(connection)

        applied = schema.migrate(empty_database)

        assert applied
        assert counts(connection) == before
        assert connection.execute("SELECT sum(cost_cents), count(*) FROM model_costs").fetchone() == costs
        with gateway(empty_database, tmp_path) as ledger_of:
            ledger = ledger_of(bad=True, spans=50)
            assert ledger.insist(0)
        after = counts(connection)
        assert (after[0], after[4]) == (before[0] + 49, before[4] + 1)
        assert schema.migrate(empty_database) == []


@pytest.mark.parametrize("version", [VERSIONS[-2], 27, 13])
def test_rows_of_each_older_schema_are_there_after_an_upgrade_and_others_can_be_written(
    version: int, empty_database: str, tmp_path: Path
) -> None:
    schema.migrate(empty_database, [migration for migration in schema.packaged() if migration.version <= version])
    now = datetime.now(tz=timezone.utc)
    with psycopg.connect(conninfo(empty_database), autocommit=True) as connection:
        connection.execute("INSERT INTO organizations (id, plan) VALUES ('acme', 'free')")
        fill(connection, [("acme", now - timedelta(days=days)) for days in range(5)])
        before = rows_of(connection, "acme")
        assert sum(before.values()) >= 5 * 6

        names = schema.migrate(empty_database)

        assert len(names) == sum(known > version for known in VERSIONS)
        after = rows_of(connection, "acme")
        assert {table: after.get(table) for table in before} == before
        with gateway(empty_database, tmp_path) as ledger_of:
            ledger = ledger_of(bad=True, spans=50)
            assert ledger.insist(0)
        assert connection.execute("SELECT count(*) FROM event_logs").fetchone() == (5 + 49,)
    assert schema.status(empty_database).pending == ()


@pytest.fixture
def folders() -> Iterator[tuple[Path, Path]]:
    with short_folder() as first, short_folder() as second:
        yield first, second


def test_a_copy_of_the_stopped_folder_is_a_backup_and_senders_fill_in_what_came_after_it(
    folders: tuple[Path, Path],
) -> None:
    original, restored = folders
    with EmbeddedPostgres(original) as uri:
        schema.migrate(uri)
        with gateway(uri, original) as ledger_of:
            early = ledger_of()
            assert [early.insist(number) for number in range(3)]
    until_stopped(original)
    subprocess.run(["cp", "-a", f"{original}/.", str(restored)], check=True)
    with EmbeddedPostgres(original) as uri, gateway(uri, original) as ledger_of:
        late = ledger_of()
        assert [late.insist(number) for number in range(3, 5)]

    with EmbeddedPostgres(restored) as uri, psycopg.connect(uri, autocommit=True) as connection:
        assert set(present(connection)) == early.keys(range(3))
        with gateway(uri, restored) as ledger_of:
            again = ledger_of()
            assert [again.insist(number) for number in range(5)]
        assert adds_up(connection, again)["committed"] == 100


def test_a_dump_of_the_running_server_goes_into_a_server_of_the_next_version(folders: tuple[Path, Path]) -> None:
    if not (POSTGRES_15 / "pg_dump").exists():
        pytest.skip("PostgreSQL 15 is not installed here")
    if find().major <= 15:
        pytest.skip("there is no newer PostgreSQL here")
    old, new = folders
    with EmbeddedPostgres(old, bin_dir=POSTGRES_15) as uri:
        schema.migrate(uri)
        with gateway(uri, old) as ledger_of:
            ledger = ledger_of(bad=True, spans=50)
            assert ledger.insist(0)
        # Of the newer version: it reads both, and the older server refuses nothing that it asks.
        dump = subprocess.run(
            [str(find().folder / "pg_dump"), "--no-owner", "--no-toast-compression", "--schema=otel_obs", uri],
            check=True,
            capture_output=True,
        ).stdout
    until_stopped(old)
    (new / "dump.sql").write_bytes(dump)
    (new / "dump.sql").chmod(0o644)

    assert run("psql", "--data-dir", str(new), "-qc", "CREATE ROLE otel_obs_reader NOLOGIN").returncode == 0
    done = run("psql", "--data-dir", str(new), "-q", "-v", "ON_ERROR_STOP=1", "-f", str(new / "dump.sql"))
    assert done.returncode == 0, done.stderr
    assert run("migrate", "--data-dir", str(new)).returncode == 0

    with EmbeddedPostgres(new) as uri, psycopg.connect(uri, autocommit=True) as connection:
        assert connection.info.server_version // 10_000 == find().major
        assert set(present(connection)) == ledger.keys([0])
        with gateway(uri, new) as ledger_of:
            again = ledger_of(bad=True, spans=50)
            assert again.insist(0)
            assert again.insist(1)
        assert adds_up(connection, again)["committed"] == 98
        assert connection.execute("SELECT count(*) FROM otel_obs.quarantine").fetchone() == (3,)


def test_a_folder_of_a_version_whose_programs_are_gone_says_what_to_do(folders: tuple[Path, Path]) -> None:
    folder, _ = folders
    with EmbeddedPostgres(folder):
        pass
    until_stopped(folder)
    version = next(folder.rglob("cluster/PG_VERSION"))
    version.write_text("12\n")

    with pytest.raises(EmbeddedPostgresError, match="made by PostgreSQL 12"):
        EmbeddedPostgres(folder).start()
