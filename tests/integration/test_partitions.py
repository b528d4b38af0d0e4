"""Weeks are there before they are needed, on demand in the past, and edge partitions hold the rest."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import psycopg
import pytest

from otel_obs.postgres import partitions, schema
from otel_obs.postgres.pool import conninfo
from otel_obs.postgres.store import PostgresStore
from tests.builders import make_span
from tests.rows import batch

NOW = datetime(2026, 11, 24, 12, tzinfo=timezone.utc)
WEEK = timedelta(days=7)


def test_a_week_begins_on_monday_at_midnight_utc() -> None:
    east = timezone(timedelta(hours=5))

    assert partitions.week_of(datetime(2026, 11, 23, 0, 30, tzinfo=timezone.utc)) == datetime(
        2026, 11, 23, tzinfo=timezone.utc
    )
    assert partitions.week_of(datetime(2026, 11, 23, 0, 30, tzinfo=east)) == datetime(2026, 11, 16, tzinfo=timezone.utc)


def test_four_weeks_are_made_ahead(connection: psycopg.Connection) -> None:
    start, end = partitions.ensure(connection, (), NOW)

    assert start <= NOW
    assert end >= NOW + 4 * WEEK


def test_weeks_follow_each_other_without_a_gap_down_to_what_is_needed(connection: psycopg.Connection) -> None:
    wanted = NOW - timedelta(days=100)

    start, end = partitions.ensure(connection, [wanted], NOW)

    names = connection.execute(
        "SELECT relname FROM pg_class WHERE relname ~ '^event_logs_[0-9]{8}$' ORDER BY relname"
    ).fetchall()
    assert start == partitions.week_of(wanted)
    assert len(names) == (end - start) // WEEK


def test_doing_it_again_changes_nothing(connection: psycopg.Connection) -> None:
    first = partitions.ensure(connection, [NOW - timedelta(days=30)], NOW)

    assert partitions.ensure(connection, [NOW], NOW) == first


def test_what_is_older_than_the_window_makes_no_weeks(connection: psycopg.Connection) -> None:
    start, _ = partitions.ensure(connection, [NOW - timedelta(days=5000)], NOW)

    assert start > NOW - partitions.WINDOW


def test_rows_move_out_of_an_edge_when_their_week_is_made(empty_database: str) -> None:
    schema.migrate(empty_database)
    late = datetime.now(tz=timezone.utc) + timedelta(days=60)
    with psycopg.connect(conninfo(empty_database), autocommit=True) as connection:
        connection.execute(
            """
            INSERT INTO event_logs (organization_id, workspace_id, trace_id, span_id, event_id, "timestamp",
                                    received_at, event_type, name, status, context)
            VALUES ('o', 'w', 't', 's', 'e', %(at)s, %(at)s, 'span', 'x', 'ok', '{}')
            """,
            {"at": late},
        )
        assert connection.execute("SELECT count(*) FROM event_logs_late").fetchone() == (1,)

        partitions.ensure(connection, (), late)

        assert connection.execute("SELECT count(*) FROM event_logs_late").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM event_logs").fetchone() == (1,)


@pytest.mark.parametrize(
    ("start_ns", "edge"),
    [(0, "early"), (1_000_000_000, "early"), (2**64 - 1, "late")],
    ids=["no time at all", "1970", "2554"],
)
def test_spans_of_no_sensible_time_lie_at_the_edge_and_are_flagged(
    store: PostgresStore, connection: psycopg.Connection, start_ns: int, edge: str
) -> None:
    span = make_span(duration_ms=1)
    odd = type(span)(
        **{name: getattr(span, name) for name in span.__slots__}
        | {"start_time_unix_nano": start_ns, "end_time_unix_nano": start_ns}
    )

    store.write(batch([odd]))
    store.write(batch([odd]))

    rows = connection.execute("SELECT tableoid::regclass::text, context -> 'flags' FROM event_logs").fetchall()
    assert len(rows) == 1
    assert rows[0][0] == f"event_logs_{edge}"
    assert "clock_skew" in rows[0][1]
