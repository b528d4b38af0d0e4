"""Prices in the database: those that were used, those of operators, and past calls priced again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg_pool import ConnectionPool

from otel_obs.analytics.prices import Period, disagreements, unpriced
from otel_obs.dialects.reading import read, read_log
from otel_obs.maintenance.jobs import JOBS, run
from otel_obs.maintenance.reprice import Asked, Repriced, reprice_calls
from otel_obs.maintenance.work import Work
from otel_obs.model import Decoded, Span
from otel_obs.pipeline.batching import batch_of
from otel_obs.pipeline.ingest import Mapping, call_of, receive, reprice
from otel_obs.pipeline.mapping import price_by
from otel_obs.pipeline.stored import settling
from otel_obs.postgres import audit
from otel_obs.postgres.pool import conninfo, open_pool
from otel_obs.postgres.prices import Current, operator_prices, price_of, store_prices
from otel_obs.postgres.queries import load
from otel_obs.postgres.store import PostgresStore
from otel_obs.pricing.book import PriceBook
from otel_obs.pricing.catalog import EPOCH, default_catalog
from otel_obs.pricing.price import dollars_by
from otel_obs.pricing.rows import OPERATOR, PriceRow, UnitPrice, price_row
from otel_obs.rows import CallRow
from otel_obs.tenancy import Sender
from tests import command
from tests.builders import agent, chat, make_span
from tests.rows import RECEIVED_AT


class World:
    """A database with a gateway's writer in front of it."""

    def __init__(self, database: str, pool: ConnectionPool) -> None:
        self.database = database
        self.pool = pool
        self.book = PriceBook(default_catalog())
        price = price_by(self.book)
        self.store = PostgresStore(pool, self.book.row, current=Current(self.book, partial(reprice, price=price)))
        self.mapping = Mapping(read=read, read_log=read_log, price=price)
        self.settling = settling(partial(reprice, price=price))

    def write(self, spans: Sequence[Span], *, organization: str = "default") -> None:
        received = receive(Decoded(spans=spans), Sender(organization_id=organization), RECEIVED_AT, self.mapping)
        self.store.write(batch_of([received], self.mapping.price))

    def settle(self) -> None:
        while self.store.settle(self.settling, limit=1000, all_now=True):
            pass

    def set(self, *rows: PriceRow) -> None:
        with psycopg.connect(conninfo(self.database)) as connection:
            for row in rows:
                store_prices(connection, [row])
                connection.commit()

    def ask(self, query: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(conninfo(self.database)) as connection:
            return connection.execute(query).fetchall()

    def calls(self) -> list[CallRow]:
        return [CallRow(*row) for row in self.ask("SELECT * FROM model_cost_logs ORDER BY trace_id, event_id")]

    def reprice(self, **asked: Any) -> Repriced:
        return reprice_calls(self.pool, self.book, Asked(**asked))


@pytest.fixture
def world(database: str) -> Iterator[World]:
    pool = open_pool(database)
    try:
        yield World(database, pool)
    finally:
        pool.close(2.0)


def own(model: str = "house-model", dollars: str = "2", **more: Any) -> PriceRow:
    units = {"input_mtok": UnitPrice(Decimal(dollars)), "output_mtok": UnitPrice(Decimal(dollars) * 4)}
    fields = {"provider": "", "valid_from": EPOCH, "valid_to": None, **more}
    return price_row(model_name=model, source=OPERATOR, unit_prices=units, **fields)


HOUSE = partial(chat, 1_000, 500, model="house-model", more={"gen_ai.provider.name": "house"})
"""2 dollars in and 8 out a million: 0.2 and 0.4 cents."""


def test_the_price_of_each_call_is_kept_and_gives_the_same_cost_again(world: World) -> None:
    world.write(
        [
            make_span(chat(1_000, 200, response_id="a", model="gpt-4o-2024-08-06")),
            make_span(
                chat(3_000, 200, response_id="b", model="claude-haiku-4-5", more={
                    "gen_ai.provider.name": "anthropic", "gen_ai.usage.cache_read.input_tokens": 1_000,
                })
            ),
            make_span(chat(300_000, 10, response_id="c", model="gemini-2.5-pro", more={
                "gen_ai.provider.name": "gcp.gemini"})),
        ]
    )  # fmt: skip

    rows = world.ask(
        "SELECT id, organization_id, provider, model_name, valid_from, valid_to, source, unit_prices, conditions "
        "FROM model_prices"
    )
    prices = {row[0]: price_of(row) for row in rows}

    assert len(prices) == 3
    for call in world.calls():
        assert call.price_id is not None
        dollars = dollars_by(prices[call.price_id].unit_prices, call_of(call).usage)
        assert dollars is not None
        assert call.cost_usd == dollars * 100


def test_a_price_holds_from_the_next_call_on_that_is_written_whoever_writes_it(world: World) -> None:
    """Also for calls that were priced already, and only waited to be written."""
    received = receive(
        Decoded(spans=[make_span(HOUSE(response_id="a"))]),
        Sender(organization_id="default"),
        RECEIVED_AT,
        world.mapping,
    )
    waiting = batch_of([received], world.mapping.price)
    world.set(own())

    world.store.write(waiting)
    world.write([make_span(HOUSE(response_id="b"))])

    assert [call.cost_usd for call in world.calls()] == [Decimal("0.6"), Decimal("0.6")]
    assert world.ask("SELECT count(DISTINCT price_id) FROM model_cost_logs JOIN model_prices ON id = price_id") == [
        (1,)
    ]


def test_who_settles_with_old_prices_in_mind_does_not_bring_them_back(world: World) -> None:
    """Another process set the price and priced again; this one settles the trace that was left to be settled."""
    outer = make_span(HOUSE(response_id="a"), scope="outer", duration_ms=120)
    world.write([outer])
    world.write([make_span(HOUSE(response_id="a"), scope="inner", parent=outer)])
    world.settle()
    world.set(own())
    reprice_calls(world.pool, PriceBook(default_catalog()), Asked())

    world.settle()

    assert [call.cost_usd for call in world.calls()] == [Decimal("0.6")]


def test_prices_stay_for_ever(world: World) -> None:
    world.write([make_span(chat(response_id="a"))])

    for change in ("UPDATE model_prices SET provider = 'x'", "DELETE FROM model_prices", "TRUNCATE model_prices"):
        with pytest.raises(psycopg.errors.RestrictViolation), psycopg.connect(conninfo(world.database)) as connection:
            connection.execute(change)


def test_calls_that_had_no_price_get_one_and_their_agents_totals_follow(world: World) -> None:
    root = make_span(agent("buyer"), duration_ms=500)
    world.write([root, make_span(HOUSE(response_id="a"), parent=root), make_span(chat(response_id="b"), parent=root)])
    world.settle()
    known = world.calls()[1].cost_usd
    assert known is not None
    assert world.calls()[0].cost_reason == "unknown_model"
    world.set(own())

    done = {found.job: found for found in run(("reprice",), Work(pool=world.pool, book=world.book, now=RECEIVED_AT))}

    assert (done["reprice"].status, dict(done["reprice"].result or {})["rows_changed"]) == ("done", 1)
    call = world.calls()[0]
    assert (call.cost_usd, call.cost_source, call.cost_reason) == (Decimal("0.6"), "computed", None)
    assert world.ask("SELECT cost_cents FROM agent_trace_history") == [(known + Decimal("0.6"),)]
    assert world.ask("SELECT count(*) FROM unsettled_traces") == [(0,)]


def test_a_dry_run_tells_the_same_and_changes_nothing(world: World) -> None:
    world.write([make_span(HOUSE(response_id="a")), make_span(chat(response_id="b"))])
    before = world.calls()
    world.set(own())

    told = reprice_calls(world.pool, world.book, Asked(), dry_run=True)

    assert world.calls() == before
    assert world.ask("SELECT count(*) FROM audit_log") == [(0,)]
    done = world.reprice()
    assert (told.rows_examined, told.rows_changed) == (done.rows_examined, done.rows_changed) == (2, 1)
    assert (told.before_cents, told.after_cents) == (done.before_cents, done.after_cents)
    assert told.after_cents - told.before_cents == Decimal("0.6")
    assert sum(call.cost_usd or 0 for call in world.calls()) == done.after_cents


def test_only_what_is_asked_for_is_priced_again(world: World) -> None:
    spans = [make_span(HOUSE(response_id=f"r{hour}"), start_ms=hour * 3_600_000) for hour in range(4)]
    world.write(spans)
    world.write([make_span(HOUSE(response_id="r0"))], organization="other")
    start = world.calls()[0].timestamp
    world.set(own())

    assert world.reprice(organization_id="other").rows_changed == 1
    assert world.reprice(model="another").rows_examined == 0
    assert world.reprice(since=start + timedelta(hours=1), until=start + timedelta(hours=3)).rows_changed == 2
    assert world.reprice(model="house-model").rows_changed == 2


def test_a_model_is_asked_for_under_all_of_its_names_and_not_its_neighbours(world: World) -> None:
    names = [
        "gpt-4o",
        "gpt-4o-2024-08-06",
        "openai/GPT-4o",
        "gpt-4o-mini",
        "gpt-4o-2024-08-06.ft-1",
        "my-gpt-4o",
        "gpt.4o",
    ]
    world.write([make_span(chat(response_id=f"r{n}", model=name)) for n, name in enumerate(names)])

    assert world.reprice(model="gpt-4o").rows_examined == 3


def test_sums_come_with_the_shares_that_are_not_priced_or_estimated(world: World) -> None:
    root = make_span(agent("buyer", **{"user.id": "ann"}), duration_ms=500)
    world.write([
        root, make_span(HOUSE(response_id="a"), parent=root), make_span(chat(response_id="b"), parent=root),
        make_span(chat(None, None, response_id="c"), parent=root),
    ])  # fmt: skip
    world.settle()
    with psycopg.connect(conninfo(world.database)) as connection:
        connection.execute("UPDATE model_cost_logs SET usage_source = 'estimated' WHERE response_id = 'b'")
    keys = ("day", "model", "agent", "user", "workspace", "flow")

    done = command.run("costs", "--by", ",".join(keys), "--json", "--database-url", world.database)
    for_people = command.run("costs", "--by", "agent", "--database-url", world.database)
    missing = command.run("prices", "unpriced", "--database-url", world.database)

    found = json.loads(done.stdout)
    assert found["by"] == list(keys)
    assert {row["model"]: (row["unpriced_calls"], row["estimated_calls"]) for row in found["rows"]} == {
        "house-model": (1, 0),
        "gpt-4o-mini": (1, 1),
    }
    assert {row["user"] for row in found["rows"]} == {"ann"}
    assert (found["total"]["calls"], found["total"]["calls_with_usage"]) == (3, 2)
    assert (found["total"]["unpriced_calls"], found["total"]["estimated_calls"]) == (2, 1)
    assert "2 (67%)" in for_people.stdout
    assert "1 (33%)" in for_people.stdout
    assert "2 (67%) have no cost" in missing.stdout
    assert "1 (33%) an estimated one" in missing.stdout


def test_maintain_settles_what_processes_that_are_gone_left_behind(world: World) -> None:
    root = make_span(agent("buyer"), duration_ms=500)
    world.write([make_span(chat(response_id="a"), parent=root)])
    world.write([root])
    with psycopg.connect(conninfo(world.database)) as connection:
        connection.execute("UPDATE unsettled_traces SET first_at = now() - interval '1 minute'")

    done = command.run("maintain", "--once", "settle", "--json", "--database-url", world.database)

    (job,) = json.loads(done.stdout)["jobs"]
    assert (job["job"], job["status"], job["result"]) == ("settle", "done", {"traces": 1})
    assert world.ask("SELECT input_tokens, jsonb_array_length(execution_nodes) FROM agent_trace_history") == [(100, 1)]
    assert world.ask("SELECT count(*) FROM unsettled_traces") == [(0,)]


def test_each_call_has_the_price_of_its_own_time(world: World) -> None:
    early, late = make_span(HOUSE(response_id="a")), make_span(HOUSE(response_id="b"), start_ms=86_400_000)
    world.write([early, late])
    change = datetime.fromtimestamp(late.start_time_unix_nano / 1e9, tz=timezone.utc)
    world.set(own(dollars="2"), own(dollars="1", valid_from=change))

    world.reprice()

    costs = {call.event_id: call.cost_usd for call in world.calls()}
    assert (costs[early.span_id], costs[late.span_id]) == (Decimal("0.6"), Decimal("0.3"))


def test_a_run_that_breaks_off_is_continued_where_it_was(world: World) -> None:
    world.write([make_span(HOUSE(response_id=f"r{number}"), start_ms=number) for number in range(10)])
    world.set(own())

    class BrokenOffError(Exception):
        pass

    def after_two_batches(so_far: Repriced) -> None:
        if so_far.rows_examined == 6:
            raise BrokenOffError

    with pytest.raises(BrokenOffError):
        reprice_calls(world.pool, world.book, Asked(), batch=3, batch_done=after_two_batches)
    assert sum(call.cost_usd is not None for call in world.calls()) == 6
    batches: list[int] = []
    done = reprice_calls(
        world.pool, world.book, Asked(), batch=3, batch_done=lambda so_far: batches.append(so_far.rows_examined)
    )

    assert batches == [9, 10]
    assert (done.rows_examined, done.rows_changed) == (10, 10)
    assert all(call.cost_usd == Decimal("0.6") for call in world.calls())
    assert world.ask("SELECT count(*), count(finished_at), max(rows_changed) FROM reprice_runs") == [(1, 1, 10)]


def test_runs_at_once_change_each_call_once(world: World) -> None:
    world.write([make_span(HOUSE(response_id=f"r{number}"), start_ms=number) for number in range(40)])
    world.set(own())

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda _: reprice_calls(world.pool, world.book, Asked(), batch=5), range(2)))

    assert [call.cost_usd for call in world.calls()] == [Decimal("0.6")] * 40
    assert world.ask("SELECT sum(rows_changed) FROM reprice_runs") == [(40,)]


def test_a_call_that_is_told_twice_keeps_its_new_price_when_its_trace_is_settled_again(world: World) -> None:
    outer = make_span(HOUSE(response_id="a"), scope="outer", duration_ms=120)
    inner = make_span(HOUSE(response_id="a"), scope="inner", parent=outer)
    world.write([outer])
    world.write([inner])
    world.settle()
    world.set(own())
    world.reprice()

    world.write([make_span(name="late", parent=outer)])
    world.settle()

    assert [call.cost_usd for call in world.calls()] == [Decimal("0.6")]


def test_a_reported_cost_gives_way_to_one_that_can_be_computed(world: World) -> None:
    world.write([make_span(HOUSE(response_id="a", more={"gen_ai.usage.cost": 0.02}))])
    assert [(call.cost_usd, call.cost_source) for call in world.calls()] == [(Decimal(2), "reported")]
    world.set(own())

    world.reprice()

    (call,) = world.calls()
    assert (call.cost_usd, call.cost_source, call.reported_cost_cents) == (Decimal("0.6"), "computed", Decimal(2))


def test_repricing_is_sealed_in_the_audit_log(world: World) -> None:
    world.write([make_span(HOUSE(response_id="a"))])
    world.set(own())
    world.reprice()
    world.set(own(dollars="4", valid_from=EPOCH, salt="second"))
    world.reprice(model="house-model")

    with psycopg.connect(conninfo(world.database)) as connection:
        entries = [entry for entry, _ in audit.entries(connection)]
        assert audit.verify(connection)[:2] == (2, None)
    assert [(entry.before, (entry.after or {})["cost_cents"]) for entry in entries] == [
        ({"cost_cents": "0"}, "0.600"),
        ({"cost_cents": "0.600"}, "1.200"),
    ]


@pytest.mark.parametrize(
    "tamper",
    [
        "UPDATE audit_log SET why = 'no reason' WHERE id = 2",
        "DELETE FROM audit_log WHERE id = 2",
        "UPDATE audit_log SET at = at + interval '1 second' WHERE id = 2",
        "UPDATE audit_log SET previous_hash = hash WHERE id = 3",
        "DELETE FROM audit_log WHERE id = 3",
        "DELETE FROM audit_log WHERE id > 1",
    ],
    ids=["edited", "left out", "moved in time", "chained otherwise", "cut off", "restored from an older backup"],
)
def test_an_audit_log_that_was_tampered_with_is_found_out(database: str, tamper: str, tmp_path: Path) -> None:
    asked = ("audit", "verify", "--json", "--database-url", database, "--data-dir", str(tmp_path))
    with psycopg.connect(conninfo(database)) as connection:
        for number in range(3):
            audit.append(connection, action="test", subject=str(number), after={"n": number, "s": "ö\u2028"})
        assert audit.verify(connection)[:2] == (3, None)
        connection.execute("ALTER TABLE audit_log DISABLE TRIGGER USER")
        connection.commit()
        right = command.run(*asked)

        connection.execute(tamper)
        connection.commit()
        wrong = command.run(*asked)

    assert (right.returncode, json.loads(right.stdout)) == (0, {"ok": True, "rows": 3, "first_bad": None})
    found = json.loads(wrong.stdout)
    assert (wrong.returncode, found["ok"]) == (1, False)
    assert found["first_bad"] in {2, 3}


def test_unpriced_calls_are_listed_by_what_is_missing(world: World) -> None:
    world.write(
        [
            make_span(HOUSE(response_id="a")),
            make_span(HOUSE(response_id="b")),
            make_span(chat(None, None, response_id="c")),
            make_span(chat(response_id="d")),
        ]
    )

    with psycopg.connect(conninfo(world.database)) as connection:
        found = unpriced(connection, Period())

    assert [(row.provider, row.model_name, row.reason, row.calls, row.input_tokens) for row in found] == [
        ("house", "house-model", "unknown_model", 2, 2_000),
        ("openai", "gpt-4o-mini", "no_usage", 1, None),
    ]


def test_costs_that_emitters_report_are_compared_with_ours(world: World) -> None:
    # gpt-4o: 2.50 dollars in, 10 out a million: 1,000 and 200 tokens are 0.45 cents.
    def reported(name: str, dollars: float) -> Span:
        return make_span(chat(1_000, 200, response_id=name, model="gpt-4o", more={"gen_ai.usage.cost": dollars}))

    wrong = reported("wrong", 0.0090)
    world.write([reported("equal", 0.0045), reported("within five per cent", 0.0047), wrong])

    with psycopg.connect(conninfo(world.database)) as connection:
        compared, found = disagreements(connection, Period())

    assert compared == 3
    assert [(row.calls, row.cost_cents, row.reported_cents, row.span_id) for row in found] == [
        (1, Decimal("0.45"), Decimal("0.9"), wrong.span_id)
    ]


def test_operators_prices_come_back_as_they_were_set(world: World) -> None:
    tiered = price_row(
        provider="openai", model_name="m", valid_from=EPOCH, valid_to=RECEIVED_AT, source=OPERATOR,
        organization_id="acme", unit_prices={"input_mtok": UnitPrice(Decimal("0.1"), ((1_000, Decimal("0.2")),))},
    )  # fmt: skip
    world.set(own(), tiered)

    with psycopg.connect(conninfo(world.database)) as connection:
        assert operator_prices(connection) == [own(), tiered]


def test_prices_set_with_the_command_reprice_audit_and_list(world: World) -> None:
    world.write([make_span(HOUSE(response_id="a"))])

    def prices(*arguments: str) -> Any:
        done = command.run("prices", *arguments, "--json", "--database-url", world.database)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    missing = prices("unpriced")["items"]
    row = prices("set", "house-model", "--input", "2", "--output", "8", "--tier", "output@900=16", "--why", "contract")
    told, done = prices("reprice", "--dry-run"), prices("reprice", "--model", "house-model")

    assert [(item["model_name"], item["calls"]) for item in missing] == [("house-model", 1)]
    assert row["unit_prices"] == {"input_mtok": "2", "output_mtok": {"base": "8", "tiers": [[900, "16"]]}}
    assert done.keys() == {"dry_run", "rows_examined", "rows_changed", "before_cents", "after_cents", "by"}
    # 1,000 in at 2 dollars and, being more than 900, 500 out at 16 dollars a million
    assert (told["dry_run"], told["after_cents"], done["after_cents"]) == (True, 1.0, 1.0)
    assert prices("unpriced") == {
        "items": [],
        "next_cursor": None,
        "calls": 1,
        "unpriced_calls": 0,
        "estimated_calls": 0,
    }
    assert [item["id"] for item in prices("list")["items"]] == [row["id"]]
    assert [row[0] for row in world.ask("SELECT action FROM audit_log ORDER BY id")] == ["prices.set", "prices.reprice"]


def test_lists_of_prices_come_in_pages(world: World) -> None:
    world.set(*(own(f"model-{number}") for number in range(5)))
    seen: list[str] = []
    cursor: tuple[str, ...] = ()
    for _ in range(5):
        done = command.run("prices", "list", "--limit", "2", *cursor, "--json", "--database-url", world.database)
        page = json.loads(done.stdout)
        seen += [item["model_name"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = ("--cursor", page["next_cursor"])

    assert seen == [f"model-{number}" for number in range(5)]


@pytest.mark.parametrize(
    "arguments",
    [
        ("set", "m"),
        ("set", "m", "--input", "-1"),
        ("set", "m", "--input", "NaN"),
        ("set", "m", "--input", "1", "--withdraw"),
        ("set", "m", "--unit", "input_mtok"),
        ("set", "m", "--input", "1", "--tier", "output@5=1"),
        ("set", "m", "--input", "1", "--from", "2026-02-01", "--until", "2026-01-01"),
        ("list", "--cursor", "nonsense"),
        ("reprice", "--since", "yesterday"),
    ],
    ids=" ".join,
)
def test_wrong_prices_exit_with_2_and_change_nothing(arguments: tuple[str, ...], world: World) -> None:
    done = command.run("prices", *arguments, "--database-url", world.database)

    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert world.ask("SELECT count(*) FROM model_prices") == [(0,)]


def test_maintain_once_runs_the_jobs_and_says_what_they_did(world: World) -> None:
    world.write([make_span(HOUSE(response_id="a"))])
    world.set(own())

    done = command.run("maintain", "--once", "--json", "--database-url", world.database)

    found = json.loads(done.stdout)
    assert done.returncode == 0
    assert found.keys() == {"now", "dry_run", "leader", "jobs"}
    assert {job["job"]: job["status"] for job in found["jobs"]} == dict.fromkeys(JOBS, "done")
    assert all(job.keys() == {"job", "status", "duration_ms", "error", "result"} for job in found["jobs"])
    assert [call.cost_usd for call in world.calls()] == [Decimal("0.6")]


@pytest.mark.parametrize(("asks_unpriced", "index"), [(True, "_idx"), (False, "_pkey")], ids=["unpriced", "all"])
def test_calls_to_be_priced_again_come_in_the_order_of_an_index(world: World, asks_unpriced: bool, index: str) -> None:
    world.write([make_span(HOUSE(response_id="a"))])
    names = (
        "since",
        "until",
        "model",
        "organization_id",
        "after_time",
        "after_organization",
        "after_trace",
        "after_event",
    )
    asked = {**dict.fromkeys(names), "unpriced": asks_unpriced, "limit": 10}

    with psycopg.connect(conninfo(world.database)) as connection:
        connection.execute("SET enable_seqscan = off")
        plan = [row[0] for row in connection.execute("EXPLAIN " + load("reprice")["calls_after"], asked).fetchall()]

    scans = [line for line in plan if "Scan" in line]
    assert scans
    assert all(f"{index} on model_cost_logs" in line for line in scans)
    assert not any("Sort " in line.partition("(")[0].replace("Sort Key", "") for line in plan)
