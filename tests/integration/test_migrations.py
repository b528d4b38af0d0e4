"""Migrations: applied once, refused when changed or too new, resumed when broken off."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as StillWaiting
from dataclasses import replace

import psycopg
import pytest

from otel_obs.errors import MigrationChangedError, SchemaTooNewError, SchemaTooOldError, StorageUnavailableError
from otel_obs.postgres import schema
from otel_obs.postgres.partitions import HOT_TABLES
from otel_obs.postgres.pool import conninfo
from otel_obs.postgres.schema import Migration
from otel_obs.rows import AgentRunRow, CallRow, CheckRow, ContentRow, EventRow
from tests.fix_postgres import new_database

NAMES = [f"{migration.version:04}_{migration.name}" for migration in schema.packaged()]


@pytest.fixture(params=["server_dsn", "postgres_15_dsn"])
def any_database(request: pytest.FixtureRequest) -> Iterator[str]:
    with new_database(request.getfixturevalue(request.param)) as uri:
        yield uri


def test_all_of_them_apply_and_then_none_is_pending(any_database: str) -> None:
    assert schema.migrate(any_database) == NAMES
    assert schema.migrate(any_database) == []
    assert schema.status(any_database).pending == ()


def test_four_runners_at_once_apply_each_once(empty_database: str) -> None:
    with ThreadPoolExecutor(4) as runners:
        applied = list(runners.map(schema.migrate, [empty_database] * 4))

    assert sorted(name for names in applied for name in names) == NAMES


def test_a_changed_file_is_refused_and_nothing_is_applied(empty_database: str) -> None:
    schema.migrate(empty_database)
    first, *rest = schema.packaged()
    changed = (
        replace(first, text=first.text + "\n-- another thought"),
        *rest,
        Migration(9000, "new", "CREATE TABLE x ()"),
    )

    with pytest.raises(MigrationChangedError, match=NAMES[0]):
        schema.migrate(empty_database, changed)

    assert schema.status(empty_database).pending == ()


def test_a_schema_newer_than_the_program_is_refused(empty_database: str) -> None:
    schema.migrate(empty_database, (*schema.packaged(), Migration(9000, "new", "SELECT 1")))

    with pytest.raises(SchemaTooNewError, match="upgrade otel_obs"):
        schema.migrate(empty_database)
    with pytest.raises(SchemaTooNewError), psycopg.connect(conninfo(empty_database)) as connection:
        schema.check(connection)


def test_a_schema_older_than_the_program_is_told_to_migrate(empty_database: str) -> None:
    with pytest.raises(SchemaTooOldError, match="otel-obs migrate"), psycopg.connect(empty_database) as connection:
        schema.check(connection)


def test_a_migration_that_fails_leaves_nothing_behind(empty_database: str) -> None:
    broken = (*schema.packaged(), Migration(9000, "broken", "CREATE TABLE otel_obs.half (); SELECT 1/0"))

    with pytest.raises(Exception, match="SQLSTATE 22012"):
        schema.migrate(empty_database, broken)

    assert schema.status(empty_database, broken).pending == ("9000_broken",)
    with psycopg.connect(empty_database) as connection:
        assert connection.execute("SELECT to_regclass('otel_obs.half')").fetchone() == (None,)


def test_a_file_outside_a_transaction_is_recorded_only_after_it_succeeded(empty_database: str) -> None:
    schema.migrate(empty_database)
    text = "CREATE INDEX CONCURRENTLY IF NOT EXISTS resources_seen_idx ON otel_obs.resources (first_seen);\n"
    failing = (*schema.packaged(), Migration(9000, "index", text + "SELECT 1/0;\n", transactional=False))
    mended = (*schema.packaged(), Migration(9000, "index", text, transactional=False))

    with pytest.raises(Exception, match="SQLSTATE 22012"):
        schema.migrate(empty_database, failing)
    assert schema.status(empty_database, mended).pending == ("9000_index",)

    assert schema.migrate(empty_database, mended) == ["9000_index"]


def test_an_index_whose_making_was_interrupted_is_made_anew(empty_database: str) -> None:
    schema.migrate(empty_database)
    text = "CREATE INDEX CONCURRENTLY IF NOT EXISTS resources_seen_idx ON otel_obs.resources (first_seen);\n"
    migrations = (*schema.packaged(), Migration(9000, "index", text, transactional=False))
    with psycopg.connect(empty_database, autocommit=True) as connection:
        connection.execute("INSERT INTO otel_obs.resources (organization_id, hash, attributes) VALUES ('a', 'h', '{}')")
        with pytest.raises(psycopg.errors.DivisionByZero):
            connection.execute(
                "CREATE INDEX CONCURRENTLY resources_seen_idx ON otel_obs.resources ((1 / (length(hash) - 1)))"
            )

    assert schema.migrate(empty_database, migrations) == ["9000_index"]

    with psycopg.connect(empty_database) as connection:
        found = connection.execute(
            "SELECT indisvalid, pg_get_indexdef(indexrelid) FROM pg_index "
            "WHERE indexrelid = 'otel_obs.resources_seen_idx'::regclass"
        ).fetchone()
    assert found is not None
    assert found[0]
    assert "first_seen" in found[1]


def test_a_reader_that_holds_a_lock_delays_a_migration_but_does_not_break_it(empty_database: str) -> None:
    schema.migrate(empty_database)
    more = (*schema.packaged(), Migration(9000, "more", "ALTER TABLE otel_obs.resources ADD COLUMN more text"))

    with psycopg.connect(empty_database) as reader, ThreadPoolExecutor(1) as runner:
        reader.execute("SELECT count(*) FROM otel_obs.resources")
        applied = runner.submit(schema.migrate, empty_database, more)
        with pytest.raises(StillWaiting):
            applied.result(timeout=2.5)
        reader.rollback()

        assert applied.result(timeout=60) == ["9000_more"]


def test_a_database_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(StorageUnavailableError):
        schema.status("postgresql://nobody@127.0.0.1:1/none")


def test_every_table_and_column_is_explained(connection: psycopg.Connection) -> None:
    silent = connection.execute(
        """
        SELECT c.relname, a.attname
        FROM pg_class AS c
        LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE c.relnamespace = 'otel_obs'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
            AND (obj_description(c.oid, 'pg_class') IS NULL OR col_description(c.oid, a.attnum) IS NULL)
        """
    ).fetchall()

    assert silent == []


@pytest.mark.parametrize(
    ("table", "row"),
    list(zip(HOT_TABLES, (EventRow, CallRow, AgentRunRow, CheckRow, ContentRow), strict=True)),
    ids=HOT_TABLES,
)
def test_the_order_of_fields_is_that_of_columns(
    connection: psycopg.Connection, table: str, row: type[EventRow]
) -> None:
    columns = connection.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 ORDER BY attnum", (table,)
    ).fetchall()

    assert [name for (name,) in columns] == list(row._fields)


def test_who_knows_an_older_schema_can_go_on_with_a_newer_one(empty_database: str) -> None:
    """Columns are only added, and may be NULL; what writers call has the arguments that it had (docs/operations.md)."""
    columns = """
        SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull
        FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE c.relnamespace = 'otel_obs'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
    """
    functions = "SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'otel_obs'::regnamespace"
    schema.migrate(empty_database, [migration for migration in schema.packaged() if migration.version <= 44])
    with psycopg.connect(empty_database, autocommit=True) as connection:
        before = [set(connection.execute(what).fetchall()) for what in (columns, functions)]
        schema.migrate(empty_database)
        after = [set(connection.execute(what).fetchall()) for what in (columns, functions)]

    known = {table for table, *_ in before[0]}
    assert [old - new for old, new in zip(before, after, strict=True)] == [set(), set()]
    assert [row for row in after[0] - before[0] if row[0] in known and row[3]] == []


def test_hot_tables_have_the_key_and_no_foreign_key(connection: psycopg.Connection) -> None:
    keys = connection.execute(
        """
        SELECT conrelid::regclass::text, contype::text, array_agg(attname::text ORDER BY attname)
        FROM pg_constraint JOIN pg_attribute ON attrelid = conrelid AND attnum = ANY (conkey)
        WHERE conrelid = ANY (%s::regclass[]) AND contype IN ('p', 'f')
        GROUP BY 1, 2, conname
        """,
        (list(HOT_TABLES),),
    ).fetchall()

    identity = {"organization_id", "timestamp", "trace_id", "event_id"}
    assert len(keys) == len(HOT_TABLES)
    for table, kind, columns in keys:
        assert kind == "p"
        assert set(columns) - {"part"} == identity, table
