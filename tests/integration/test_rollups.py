"""Roll-ups say what the rows say, however the rows came to be what they are."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from psycopg_pool import ConnectionPool

from otel_obs.analytics.filters import Filters
from otel_obs.analytics.metrics import Step, get_system_metrics, periods
from otel_obs.analytics.spend import spend
from otel_obs.maintenance.reprice import Asked, reprice_calls
from otel_obs.maintenance.rollups import roll_up
from otel_obs.postgres.pool import open_pool
from otel_obs.postgres.rollups import DaysOfRows, days_of_rows
from otel_obs.postgres.store import PostgresStore
from otel_obs.pricing.book import PriceBook
from otel_obs.pricing.catalog import default_catalog
from tests.builders import agent, chat, make_span
from tests.maintenance import DAY, cover, fill, set_plan
from tests.rows import SETTLING, batch
from tests.showroom import now_ms

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
NOW = datetime.now(tz=timezone.utc)
FROM_ROWS = """
    SELECT m.workspace_id, (m."timestamp" AT TIME ZONE 'UTC')::date AS day,
        extract(hour FROM m."timestamp" AT TIME ZONE 'UTC')::int AS hour, m.provider, m.model_name, m.agent_id,
        m.flow_id, coalesce(e.environment, ''), m.input_tokens, m.cost_usd, m.status, m.cost_source, m.usage_source,
        m.output_tokens
    FROM model_cost_logs AS m JOIN event_logs AS e USING (organization_id, "timestamp", trace_id, event_id)
    WHERE m.organization_id = %s
"""
FROM_ROLLUPS = """
    SELECT workspace_id, day, hour, provider, model_name, agent_id, flow_id, environment, calls, calls_with_usage,
        unpriced_calls, input_tokens, cost_cents
    FROM usage_rollups WHERE organization_id = %s
"""


@pytest.fixture
def pool(database: str) -> Iterator[ConnectionPool]:
    found = open_pool(database, wait_s=30)
    try:
        yield found
    finally:
        found.close(2.0)


def expected(connection: psycopg.Connection, organization: str, but: DaysOfRows) -> dict[tuple[Any, ...], list[Any]]:
    """Return what roll-ups of whole days must say of an organization, added up here, row by row."""
    sums: dict[tuple[Any, ...], list[Any]] = {}
    for workspace, day, _, *dimensions, tokens, cost, _status, _source, _usage, output in connection.execute(
        FROM_ROWS, (organization,)
    ):
        if day in but:
            continue
        found = sums.setdefault((workspace, day, *dimensions), [0, 0, 0, None, None])
        found[0] += 1
        found[1] += tokens is not None or output is not None
        found[2] += cost is None
        if tokens is not None:
            found[3] = (found[3] or 0) + tokens
        if cost is not None:
            found[4] = (found[4] or Decimal(0)) + cost
    return sums


def rolled(connection: psycopg.Connection, organization: str, but: DaysOfRows) -> dict[tuple[Any, ...], list[Any]]:
    return {
        (row[0], row[1], *row[3:8]): list(row[8:])
        for row in connection.execute(FROM_ROLLUPS, (organization,))
        if row[2] is None and row[1] not in but
    }


def settle(store: PostgresStore) -> None:
    while store.settle(SETTLING, limit=100, all_now=True):
        pass


def a_trace(rnd: random.Random, number: int, end_ms: float = 0.0) -> list[Any]:
    """Return a run with calls, some of them told twice, some without usage, over several days."""
    start = end_ms - DAY_MS * rnd.randrange(4)
    named = {"otel_obs.workspace.id": rnd.choice("ab"), "user.id": rnd.choice(("ann", "bob"))}
    trace = f"{number:032x}"
    environment = {"deployment.environment.name": rnd.choice(("staging", "production", ""))}
    root = make_span(
        agent(rnd.choice(("writer", "reader")), **named), trace_id=trace, start_ms=start, resource=environment
    )
    spans = [root]
    for position in range(rnd.randrange(1, 4)):
        tokens = rnd.choice((None, 10, 200))
        call = chat(
            tokens, tokens, response_id=rnd.choice((None, f"{number}.{position}")), model=rnd.choice(("gpt-4o", "o3"))
        )
        spans.append(make_span(call, trace_id=trace, parent=root, start_ms=start + 10 * position, resource=environment))
        if rnd.random() < 0.4:  # told by a process of another environment as well
            spans.append(
                make_span(call, trace_id=trace, parent=spans[-1], start_ms=start + 10 * position, scope="twin")
            )
    return spans


@pytest.mark.parametrize("seed", range(3))
def test_late_repeated_priced_again_and_deleted_calls_are_right_whenever_it_is_looked_at(
    seed: int, connection: psycopg.Connection, pool: ConnectionPool, store: PostgresStore
) -> None:
    rnd = random.Random(seed)
    book = PriceBook(default_catalog())
    traces = [a_trace(rnd, number) for number in range(1, 13)]
    later = [span for trace in traces for span in trace]
    rnd.shuffle(later)

    def check() -> None:
        but = days_of_rows(connection, "acme")
        assert rolled(connection, "acme", but) == expected(connection, "acme", but)

    steps = ["write"] * 8 + [
        "again",
        "settle",
        "settle",
        "roll",
        "roll",
        "roll",
        "reprice",
        "older",
        "user",
        "workspace",
    ]
    rnd.shuffle(steps)
    written: list[Any] = []
    for step in [*steps, "write all", "settle", "roll"]:
        match step:
            case "write" | "write all":
                some = later[: len(later) if step == "write all" else 5]
                del later[: len(some)]
                written += some
                store.write(batch(some, organization="acme"))
            case "again" if written:
                store.write(batch(rnd.sample(written, min(4, len(written))), organization="acme"))
            case "settle":
                settle(store)
            case "roll":
                roll_up(pool, NOW)
            case "reprice":
                reprice_calls(pool, book, Asked(model="o3"))
            case "older":
                # A gateway of before 0045 had written some of them.
                connection.execute("UPDATE model_cost_logs SET environment = NULL WHERE ascii(event_id) % 2 = 0")
                connection.execute("UPDATE call_reports SET report = report #- '{row,environment}'")
            case "user":
                connection.execute("DELETE FROM users WHERE id = 'bob'")
            case "workspace":
                connection.execute("DELETE FROM workspaces WHERE id = 'b'")
        check()

    assert days_of_rows(connection, "acme").touched == frozenset()
    assert rolled(connection, "acme", DaysOfRows(after=date.max))
    settle(store)


def test_a_day_is_rolled_up_once_it_is_over_and_settled(connection: psycopg.Connection, pool: ConnectionPool) -> None:
    set_plan(connection, "acme", None, NOW)
    midnight = NOW.replace(hour=0, minute=0, second=0, microsecond=0)
    cover(connection, [midnight], NOW)
    fill(connection, [("acme", midnight + timedelta(hours=5)), ("acme", midnight + timedelta(hours=23))])

    roll_up(pool, midnight + DAY + timedelta(minutes=20))
    early = days_of_rows(connection, "acme")
    roll_up(pool, midnight + DAY + timedelta(minutes=40))
    over = days_of_rows(connection, "acme")

    assert midnight.date() in early
    assert midnight.date() not in over
    assert (midnight + DAY).date() in over
    rows = connection.execute("SELECT hour, calls, cost_cents FROM usage_rollups ORDER BY hour NULLS FIRST").fetchall()
    assert rows == [(None, 2, Decimal("1.0")), (5, 1, Decimal("0.5")), (23, 1, Decimal("0.5"))]


def test_hours_are_kept_for_three_days(connection: psycopg.Connection, pool: ConnectionPool) -> None:
    set_plan(connection, "acme", None, NOW)
    midnight = NOW.replace(hour=0, minute=0, second=0, microsecond=0)
    cover(connection, [midnight], NOW)
    for day in range(6):
        fill(connection, [("acme", midnight + day * DAY)])

    for day in range(1, 7):
        roll_up(pool, midnight + day * DAY + timedelta(hours=2))

    whole = connection.execute("SELECT count(*) FROM usage_rollups WHERE hour IS NULL").fetchone()
    hours = connection.execute("SELECT day FROM usage_rollups WHERE hour IS NOT NULL ORDER BY day").fetchall()
    assert whole == (6,)
    assert hours == [((midnight + day * DAY).date(),) for day in (3, 4, 5)]


def test_a_writer_that_has_not_committed_yet_is_not_forgotten(
    database: str, connection: psycopg.Connection, pool: ConnectionPool, store: PostgresStore
) -> None:
    store.write(batch([make_span(chat(1, 1, response_id="a"))], organization="acme"))
    with psycopg.connect(database, options="-csearch_path=otel_obs") as writer:
        fill(writer, [("acme", NOW - 5 * DAY)])
        writer.execute("INSERT INTO touched_days VALUES ('acme', %s)", ((NOW - 5 * DAY).date(),))
        roll_up(pool, NOW)
        writer.commit()

    seen = days_of_rows(connection, "acme")
    roll_up(pool, NOW)

    assert (NOW - 5 * DAY).date() in seen
    but = days_of_rows(connection, "acme")
    assert rolled(connection, "acme", but) == expected(connection, "acme", but)
    assert len(rolled(connection, "acme", but)) == 2


def test_nobody_has_roll_ups_who_does_not_exist(connection: psycopg.Connection) -> None:
    assert NOW.date() in days_of_rows(connection, "nobody")
    assert date(1970, 1, 1) in days_of_rows(connection, "nobody")


def _told(connection: psycopg.Connection, asked: Filters, step: Step) -> dict[datetime, tuple[Any, ...]]:
    """Return what is to be told of each period, added up here, row by row."""
    found: dict[datetime, list[Any]] = {}
    for at, tokens, cost, status in connection.execute(
        'SELECT "timestamp", input_tokens, cost_usd, status FROM model_cost_logs'
        ' WHERE organization_id = %s AND "timestamp" >= %s AND "timestamp" < %s',
        (asked.organization_id, asked.since, asked.until),
    ):
        starts = max(start for start in periods(asked.since, asked.until, step) if start <= at)
        sums = found.setdefault(starts, [0, None, None, 0, 0])
        sums[0] += 1
        sums[1] = sums[1] if tokens is None else (sums[1] or 0) + tokens
        sums[2] = sums[2] if cost is None else (sums[2] or Decimal(0)) + cost
        sums[3] += cost is None
        sums[4] += status == "error"
    return {starts: tuple(sums) for starts, sums in found.items()}


def test_figures_are_those_of_the_rows_whatever_is_rolled_up(
    connection: psycopg.Connection, pool: ConnectionPool, store: PostgresStore
) -> None:
    rnd = random.Random(1)
    midnight = NOW.replace(hour=0, minute=0, second=0, microsecond=0)

    def write(numbers: range) -> None:
        spans = [span for number in numbers for span in a_trace(rnd, number, now_ms() - rnd.randrange(20) * HOUR_MS)]
        store.write(batch(spans, organization="acme"))
        settle(store)

    write(range(1, 60))
    steps: tuple[Step, ...] = ("hour", "day", "week", "month")

    def check() -> None:
        for since in (NOW - 3.4 * DAY, midnight - 4 * DAY):
            asked = Filters(organization_id="acme", since=since, until=NOW + DAY)
            for step in steps:
                found = get_system_metrics(connection, asked, step)
                told = {
                    figures.starts: (
                        figures.calls, figures.input_tokens, figures.cost_cents, figures.unpriced_calls,
                        figures.failed_calls,
                    )
                    for figures in found.periods
                    if figures.calls
                }  # fmt: skip
                assert told == _told(connection, asked, step)
                assert found.total.calls == sum(figures.calls for figures in found.periods)
                assert found.total.executions == sum(figures.executions for figures in found.periods)
            by_hour = spend(connection, asked, ["hour", "model", "agent"])
            from_rows = spend(connection, asked, ["hour", "model", "agent", "operation"])
            assert [row._replace(keys=row.keys[:3]) for row in from_rows.rows] == list(by_hour.rows)

        days = Filters(organization_id="acme", since=midnight - 2 * DAY, until=midnight)
        before = get_system_metrics(connection, days).before
        assert before == get_system_metrics(connection, days.before).total
        assert before.executions
        assert before.latency_p50_ms is not None

    check()
    roll_up(pool, NOW)
    assert connection.execute("SELECT count(*) FROM usage_rollups WHERE hour IS NOT NULL").fetchone() != (0,)
    check()
    write(range(60, 80))
    assert days_of_rows(connection, "acme").touched
    check()
