"""What is rare is found piece by piece: each answer says how far it looked, and the next one goes on there."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from html import unescape
from typing import Any, NamedTuple

import httpx
import psycopg
import pytest
from psycopg.errors import QueryCanceled

from otel_obs.analytics import agents, events, traces
from otel_obs.analytics.filters import Filters, cursor, moment, place, word
from otel_obs.analytics.searching import FOR_A_FILE, Found, Patience, Search, search
from otel_obs.errors import SearchTooLongError
from otel_obs.postgres import partitions
from otel_obs.postgres.pool import conninfo
from otel_obs.postgres.reading import Reader, read_as
from otel_obs.settings import Settings
from otel_obs.web.server import ApiServer

NOW = datetime.now(tz=timezone.utc).replace(microsecond=0)
SINCE = NOW - timedelta(days=60)
PIECE = Patience(0)
"""For one piece of the search."""

# Seven traces begin at the same time, so that pieces end between those of one time; each 700th is dear.
EVENTS = """
INSERT INTO event_logs (organization_id, workspace_id, user_id, trace_id, span_id, event_id, "timestamp", received_at,
    event_type, name, status, latency_ms, conversation_id, environment, inherited, context)
SELECT 'acme', 'ws' || mod(n, 3), 'user' || mod(n, 4), md5(n::text), substr(md5(n::text), 1, 16),
    substr(md5(n::text), 1, 16), %(now)s::timestamptz - (n / 7 + 1) * interval '3 hours', %(now)s,
    CASE WHEN mod(n, 500) = 0 THEN 'evaluation' ELSE 'workflow' END,
    CASE WHEN mod(n, 900) = 0 THEN 'a zebra' ELSE 'a horse' END, 'unset', n,
    CASE WHEN mod(n, 2) = 0 THEN 'talk' || n / 7 ELSE 'long talk' || mod(n, 40) END,
    CASE WHEN mod(n, 490) < 2 THEN 'staging' ELSE 'production' END, 256, '{}'
FROM generate_series(1, 3000) AS n
"""
CALLS = """
INSERT INTO model_cost_logs (organization_id, workspace_id, trace_id, span_id, event_id, "timestamp", received_at,
    provider, model_name, operation, is_batch, cost_usd, cost_source, status)
SELECT organization_id, workspace_id, trace_id, span_id, event_id, "timestamp", received_at, 'openai',
    CASE WHEN mod(latency_ms::int, 1100) = 0 THEN 'rare' ELSE 'usual' END, 'chat', false,
    CASE WHEN mod(latency_ms::int, 700) = 0 THEN 900 ELSE 1 END, 'computed', 'unset'
FROM event_logs
"""


@dataclass(frozen=True)
class World:
    connection: psycopg.Connection
    client: httpx.Client


@pytest.fixture(scope="module")
def world(module_database: str) -> Iterator[World]:
    server = ApiServer(Settings.from_env({}, {"API_ENDPOINT": "127.0.0.1:0"}), module_database, patience=PIECE)
    with psycopg.connect(conninfo(module_database), autocommit=True) as connection:
        partitions.ensure(connection, [SINCE, NOW], NOW)
        for statement in (EVENTS, CALLS):
            connection.execute(statement, {"now": NOW})
        connection.execute("ANALYZE")
        try:
            with httpx.Client(base_url=f"http://{server.start()}", timeout=30) as client:
                yield World(connection, client)
        finally:
            server.stop()


def _filters(**more: Any) -> Filters:
    return Filters(organization_id="acme", since=SINCE, until=NOW, **more)


Find = Callable[..., Found[Any]]


def _pages(world: World, find: Find, filters: Filters, limit: int, patience: Patience = PIECE) -> list[Found[Any]]:
    """Return all answers to a search, until there are no more."""
    found: list[Found[Any]] = []
    while not found or found[-1].next_cursor is not None:
        goes_on = found[-1].next_cursor if found else None
        with read_as(world.connection, Reader(organization_id="acme")):
            found.append(find(world.connection, filters, limit=limit, cursor=goes_on, patience=patience))
        assert len(found) < 500
    return found


@pytest.mark.parametrize(
    ("find", "more", "count"),
    [
        (traces.search, {"min_cost_cents": 900}, 4),
        (traces.search, {"model": "rare"}, 2),
        (traces.search, {"text": "zebra"}, 3),
        (traces.search, {"min_latency_ms": 2950}, 51),
        (traces.search, {"model": "nobody"}, 0),
        (traces.search, {"workspace_id": "ws1", "min_cost_cents": 900}, 2),
        (traces.search, {"workspace_id": "ws1"}, 1000),
        (traces.search, {}, 3000),
        (events.events, {"text": "zebra", "workspace_id": "ws0"}, 3),
        (events.events, {}, 3000),
        (events.scores, {}, 6),
        (agents.conversations, {}, 429 + 20),
        (agents.conversations, {"environment": "staging"}, 10),
        (agents.conversations, {"environment": "nowhere"}, 0),
    ],
    ids=lambda given: getattr(given, "__name__", repr(given)),
)
@pytest.mark.parametrize("limit", [40, 60, 500])
def test_pieces_together_are_the_whole(find: Find, more: dict[str, Any], count: int, limit: int, world: World) -> None:
    in_pieces = _pages(world, find, _filters(**more), limit)
    in_one = _pages(world, find, _filters(**more), 500, Patience(60))

    found = [item for page in in_pieces for item in page.items]
    assert found == [item for page in in_one for item in page.items]
    assert len(found) == count
    assert all(len(page.items) <= limit for page in in_pieces)


def test_an_answer_says_how_far_it_looked_while_that_is_not_all(world: World) -> None:
    pages = _pages(world, traces.search, _filters(min_cost_cents=900), 50)

    reached = [page.searched_to for page in pages]
    assert len(pages) > 3
    assert reached[-1] is None
    times = [at for at in reached[:-1] if at is not None]
    assert len(times) == len(pages) - 1
    assert times == sorted(times, reverse=True)
    assert all(SINCE < at < NOW for at in times)
    for page, at in zip(pages, times, strict=False):
        assert all(row.started_at >= at for row in page.items)


def test_a_full_page_was_searched_as_far_as_it_is_full(world: World) -> None:
    first = _pages(world, traces.search, _filters(), 50)[0]

    assert len(first.items) == 50
    assert first.searched_to is None
    assert first.next_cursor is not None


def test_what_is_found_soon_is_found_outright(world: World) -> None:
    (found,) = _pages(world, traces.search, _filters(min_cost_cents=900), 50, Patience(60))

    assert (len(found.items), found.next_cursor, found.searched_to) == (4, None, None)


@pytest.mark.parametrize(
    ("find", "days"), [(events.events, 11), (events.scores, 11), (traces.search, 60), (agents.conversations, 60)]
)
def test_lists_of_events_are_planned_for_the_newest_weeks_first(
    find: Find, days: int, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else they would be for each week of the period; what tells of other weeks in any case is asked for at once."""
    since: list[datetime] = []

    class Noting(psycopg.Cursor[Any]):
        def execute(self, query: Any, params: Any = None, **more: Any) -> Any:
            if isinstance(params, dict) and "after_time" in params:
                since.append(params["since"])
            return super().execute(query, params, **more)

    with read_as(world.connection, Reader(organization_id="acme")):
        monkeypatch.setattr(world.connection, "cursor_factory", Noting)
        find(world.connection, _filters(), limit=5)

    assert NOW - since[0] <= timedelta(days=days)
    assert (since[0] == SINCE) == (days == 60)


def test_a_file_is_whole_or_is_none(world: World) -> None:
    (whole,) = _pages(world, traces.search, _filters(min_cost_cents=900), 50, FOR_A_FILE)

    assert len(whole.items) == 4
    with pytest.raises(SearchTooLongError):
        _pages(world, traces.search, _filters(min_cost_cents=900), 50, Patience(0, is_whole=True))


class Row(NamedTuple):
    at: datetime
    id: str


def _slow(statement: Any, *, seconds: float) -> Search:
    return Search(
        statement=statement,
        steps="""
            SELECT "timestamp" FROM event_logs WHERE organization_id = 'acme' AND "timestamp" < %(until)s
            ORDER BY "timestamp" DESC OFFSET %(size)s LIMIT 1
        """,
        asked={
            "since": SINCE, "until": NOW, "after_time": None, "after_trace": None, "limit": 50, "seconds": seconds,
        },
        after=("after_time", "after_trace"),
        limit=50,
    )  # fmt: skip


def _search(world: World, sought: Search, patience: Patience) -> Found[Any]:
    with read_as(world.connection, Reader(organization_id="acme")):
        return search(world.connection, sought, Row, lambda row: (row.at, row.id), patience)


def test_a_piece_that_takes_too_long_is_looked_at_in_smaller_ones(world: World) -> None:
    # Seven rows and one are soon looked at, and more are not.
    statement = """
        SELECT "timestamp" AS at, trace_id AS id FROM event_logs
        WHERE organization_id = 'acme' AND "timestamp" >= %(since)s AND "timestamp" < %(until)s
            AND (SELECT count(*) < 20 OR pg_sleep(%(seconds)s) IS NULL FROM event_logs
                 WHERE organization_id = 'acme' AND "timestamp" >= %(since)s AND "timestamp" < %(until)s)
        ORDER BY "timestamp" DESC, trace_id DESC
        LIMIT %(limit)s::int + 1
    """

    found = _search(world, _slow(statement, seconds=60), Patience(0, piece_s=0.5))

    assert 0 < len(found.items) < 20
    assert found.searched_to is not None


def test_where_not_even_one_row_can_be_looked_at_nothing_is_said_to_be_searched(world: World) -> None:
    statement = """SELECT now() AS at, '' AS id FROM pg_sleep(%(seconds)s)"""

    with pytest.raises(QueryCanceled):
        _search(world, _slow(statement, seconds=60), Patience(0, piece_s=0.05))


def test_the_api_says_how_far_it_looked_and_a_file_is_whole(world: World) -> None:
    asked = {"organization_id": "acme", "since": "60d", "min_cost_cents": "900"}

    answer = world.client.get("/api/v1/traces", params=asked)
    file = world.client.get("/api/v1/traces", params={**asked, "format": "csv"})

    assert answer.status_code == file.status_code == 200, answer.text
    page = answer.json()
    assert page["items"] == []
    assert page["searched_to"].endswith("Z")
    at, rest = place(page["next_cursor"], moment, word)
    assert (at, rest) == (datetime.fromisoformat(page["searched_to"].replace("Z", "+00:00")), "")
    assert len(list(csv.DictReader(io.StringIO(file.text)))) == 4
    assert "link" not in file.headers


def test_the_dashboard_searches_further_back_until_all_is_found(world: World) -> None:
    path: str | None = "/traces?organization_id=acme&since=60d&min_cost_cents=900"
    links, pages = 0, 0
    while path is not None:
        page = world.client.get(path)
        assert page.status_code == 200, page.text
        pages += 1
        links += len(set(re.findall(r'href="(/traces/[0-9a-f]{32})', page.text)))
        further = re.search(r'<a class="button primary" href="([^"]+)" rel="next">Search further back', page.text)
        assert bool(further) == ("Searched back to" in page.text)
        if pages == 1:
            assert "nothing yet" in page.text
        path = None if further is None else unescape(further[1])

    assert links == 4
    assert pages > 3


def test_a_cursor_that_goes_on_is_checked_like_any_other(world: World) -> None:
    for broken in ("x", cursor("2026-01-01", ""), cursor(NOW, "", "")):
        answer = world.client.get("/api/v1/traces", params={"organization_id": "acme", "cursor": broken})

        assert answer.status_code == 400, answer.text
