"""Recommendations over traffic of which it is known what is right to say, silence among it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from otel_obs.analytics.filters import Filters
from otel_obs.analytics.prompt_caching import LONG, SHORT, Arrival, simulate
from otel_obs.analytics.recommendations import Finding, recommendations
from otel_obs.model import Call, Content, Usage
from otel_obs.postgres.prices import store_prices
from otel_obs.pricing.catalog import default_catalog
from otel_obs.pricing.price import price
from otel_obs.pricing.rows import UnitPrice, price_row
from otel_obs.rows import CallRow
from otel_obs.rows.prefixes import LENGTHS, prefix_hashes
from tests.builders import chat, make_span
from tests.command import inside
from tests.maintenance import cover
from tests.rows import batch

NOW = datetime(2026, 11, 25, 12, tzinfo=timezone.utc)
_number = itertools.count(1)

Traffic = Callable[..., None]


def call(
    model: str = "gpt-4o",
    *,
    at: timedelta = timedelta(hours=1),
    provider: str = "openai",
    usage: Usage | None = None,
    is_batch: bool = False,
    **columns: Any,
) -> dict[str, Any]:
    """Return a row of ``model_cost_logs``, *at* before now, priced as any other."""
    usage = usage or Usage(input_tokens=1000, output_tokens=400)
    moment = NOW - at
    cost = price(
        Call(operation="chat", provider=provider, request_model=model, usage=usage, is_batch=is_batch),
        moment, default_catalog(), "acme",
    )  # fmt: skip
    number = next(_number)
    nothing = dict.fromkeys(CallRow._fields)
    return {
        **nothing,
        "organization_id": "acme", "workspace_id": "w", "trace_id": f"{number:032x}", "span_id": f"{number:016x}",
        "event_id": f"{number:016x}", "timestamp": moment, "received_at": moment, "provider": provider,
        "model_name": model, "request_model": model, "operation": "chat", "input_tokens": usage.input_tokens,
        "cache_read_tokens": usage.cache_read_tokens, "cache_write_tokens": usage.cache_write_tokens,
        "output_tokens": usage.output_tokens, "reasoning_tokens": usage.reasoning_tokens, "is_batch": is_batch,
        "cost_usd": cost.cents, "cost_source": cost.source, "cost_reason": cost.reason, "price_id": cost.price_id,
        "usage_source": "reported", "status": "unset", "latency_ms": 500.0, **columns,
    }  # fmt: skip


def store(connection: psycopg.Connection, found: Sequence[dict[str, Any]]) -> None:
    cover(connection, [row["timestamp"] for row in found], NOW)
    ids = {row["price_id"] for row in found if row["price_id"]}
    store_prices(connection, [row for id_ in ids if (row := default_catalog().row(id_)) is not None])
    names = ", ".join(f'"{name}"' for name in CallRow._fields)
    places = ", ".join(f"%({name})s" for name in CallRow._fields)
    with connection.cursor() as cursor:
        cursor.executemany(f"INSERT INTO model_cost_logs ({names}) VALUES ({places})", found)  # noqa: S608  # our own names


def told(connection: psycopg.Connection, **more: Any) -> dict[str, Finding]:
    """Return the findings by kind, of which there is one each."""
    asked = Filters(organization_id="acme", since=NOW - timedelta(days=30), until=NOW, **more)
    found = recommendations(connection, asked).findings
    assert len({one.kind for one in found}) == len(found)
    return {one.kind: one for one in found}


def cost_of(found: Sequence[dict[str, Any]]) -> Decimal:
    return sum((row["cost_usd"] for row in found), Decimal(0))


def test_no_calls_no_advice(connection: psycopg.Connection) -> None:
    assert told(connection) == {}


def test_a_prompt_with_short_answers_may_do_with_the_smaller_model(connection: psycopg.Connection) -> None:
    short = Usage(input_tokens=1000, output_tokens=20)
    found = [call(usage=short, prompt_name="classify", at=timedelta(minutes=n + 1)) for n in range(30)]
    store(connection, found)

    one = told(connection)["cheaper_model"]

    smaller = cost_of([call("gpt-4o-mini", usage=short) for _ in found])
    assert one.saving_cents == pytest.approx(cost_of(found) - smaller)
    assert (one.subject["prompt"], one.confidence, one.calls) == ("classify", "medium", 30)
    assert "gpt-4o-mini" in one.finding
    assert {item.trace_id for item in one.evidence} <= {row["trace_id"] for row in found}
    assert len(one.evidence) == 5


@pytest.mark.parametrize(
    "more",
    [
        {"usage": Usage(input_tokens=1000, output_tokens=900), "prompt_name": "essay"},
        {"model": "gpt-4o-mini", "usage": Usage(input_tokens=1000, output_tokens=20), "prompt_name": "classify"},
        {"usage": Usage(input_tokens=1000, output_tokens=20)},
        {"usage": Usage(input_tokens=1000, output_tokens=20), "prompt_name": "p", "usage_source": "estimated"},
        {"usage": Usage(input_tokens=1000, output_tokens=20), "prompt_name": "p", "model": "a-model-of-our-own"},
        {"model": "gpt-4o", "conversation_id": "talk", "agent_id": "a"},
    ],
    ids=["long answers", "small already", "no prompt known", "guessed tokens", "no price", "nothing odd"],
)  # fmt: skip
def test_nothing_is_said_where_nothing_is_known_to_cost_less(
    more: dict[str, Any], connection: psycopg.Connection
) -> None:
    store(connection, [call(at=timedelta(minutes=n + 1), **more) for n in range(30)])

    assert set(told(connection)) <= {"unpriced_model"}


def test_guessed_and_unpriced_calls_are_counted_beside_the_saving_and_not_in_it(connection: psycopg.Connection) -> None:
    short = Usage(input_tokens=1000, output_tokens=20)
    sure = [call(usage=short, prompt_name="p") for _ in range(25)]
    guessed = [call(usage=short, prompt_name="p", usage_source="estimated") for _ in range(7)]
    unknown = [{**call(usage=short, prompt_name="p"), "cost_usd": None, "cost_source": "unpriced"} for _ in range(3)]
    store(connection, [*sure, *guessed, *unknown])

    one = told(connection)["cheaper_model"]

    assert one.cost_cents == cost_of(sure)
    assert (one.estimated_calls, one.unpriced_calls) == (7, 3)
    assert any("7 more such calls have guessed tokens" in caveat for caveat in one.caveats)
    assert any("3 more such calls have no cost" in caveat for caveat in one.caveats)


def test_exact_repeats_cost_what_all_but_the_first_cost(connection: psycopg.Connection) -> None:
    large = Usage(input_tokens=50_000, output_tokens=2000)
    found = [call(usage=large, prompt_hash="same", at=timedelta(hours=n + 1)) for n in range(4)]
    failed = call(usage=large, prompt_hash="retried", at=timedelta(hours=9), status="error")
    retry = call(usage=large, prompt_hash="retried", at=timedelta(hours=8))
    elsewhere = call(usage=large, prompt_hash="same", workspace_id="another")
    store(connection, [*found, failed, retry, elsewhere])

    by_kind = told(connection)

    assert by_kind["exact_repeats"].saving_cents == cost_of(found[:3])
    assert by_kind["exact_repeats"].calls == 3
    assert by_kind["failed_calls"].saving_cents == failed["cost_usd"]


def test_money_for_broken_off_answers_is_told_and_attempts_without_a_sum(connection: psycopg.Connection) -> None:
    lost = [call(finish_reason="abandoned", usage=Usage(input_tokens=9000, output_tokens=5000)) for _ in range(3)]
    store(connection, [*lost, *[call(attempts=3, model="gpt-4.1") for _ in range(6)]])

    by_kind = told(connection)

    assert by_kind["failed_calls"].saving_cents == cost_of(lost)
    assert by_kind["retried_calls"].saving_cents is None
    assert "12 more attempts" in by_kind["retried_calls"].finding


def _talk(tokens: Sequence[int], **more: Any) -> list[dict[str, Any]]:
    return [
        call(
            usage=Usage(input_tokens=count, output_tokens=300),
            conversation_id="talk",
            at=timedelta(hours=20 - n),
            **more,
        )
        for n, count in enumerate(tokens)
    ]


def test_a_conversation_that_carries_ever_more_is_told(connection: psycopg.Connection) -> None:
    store(connection, _talk([1000, 5000, 10_000, 15_000, 20_000, 25_000]))

    one = told(connection)["context_growth"]

    beyond = 3000 + 8000 + 13_000 + 18_000 + 23_000
    assert one.saving_cents == pytest.approx(Decimal(beyond) * Decimal("2.5") / 10_000)
    assert one.confidence == "low"


@pytest.mark.parametrize("tokens", [[5000] * 8, [1000, 8000, 12_000], [20_000, 1000, 9000, 1000, 20_000, 1000]])
def test_a_conversation_that_does_not_grow_is_not_told(tokens: list[int], connection: psycopg.Connection) -> None:
    store(connection, _talk(tokens))

    assert "context_growth" not in told(connection)


def test_a_workflow_that_nobody_waits_for_may_run_in_batches(connection: psycopg.Connection) -> None:
    nightly = [call(flow_id="nightly", usage=Usage(input_tokens=5000, output_tokens=900)) for _ in range(25)]
    online = [call(flow_id="chat", user_id="u") for _ in range(25)]
    batches = [call(flow_id="done", is_batch=True) for _ in range(25)]
    store(connection, [*nightly, *online, *batches])

    one = told(connection)["batch_eligible"]

    assert one.subject["flow"] == "nightly"
    assert one.saving_cents == pytest.approx(cost_of(nightly) / 2)


def test_mostly_reasoning_is_told_with_half_of_what_it_cost(connection: psycopg.Connection) -> None:
    deep = Usage(input_tokens=100, output_tokens=5000, reasoning_tokens=4500)
    shallow = Usage(input_tokens=100, output_tokens=5000, reasoning_tokens=500)
    found = [call("gpt-5", usage=deep, agent_id="deep") for _ in range(20)]
    store(connection, [*found, *[call("gpt-5", usage=shallow, agent_id="shallow") for _ in range(20)]])

    one = told(connection)["reasoning_share"]

    assert one.subject["agent"] == "deep"
    assert one.saving_cents == pytest.approx(Decimal(20 * 4500) * Decimal(10) / 10_000 / 2)


def test_a_cache_that_is_written_and_not_read_is_waste(connection: psycopg.Connection) -> None:
    written = Usage(input_tokens=50_000, cache_write_tokens=40_000, cache_read_tokens=0, output_tokens=10)
    read = Usage(input_tokens=50_000, cache_write_tokens=0, cache_read_tokens=40_000, output_tokens=10)
    anthropic: dict[str, Any] = {"model": "claude-sonnet-4-5", "provider": "anthropic"}
    wasted = [call(usage=written, agent_id="wasteful", **anthropic) for _ in range(5)]
    paid = [call(usage=usage, agent_id="thrifty", **anthropic) for usage in (written, read, read)]
    store(connection, [*wasted, *paid])

    one = told(connection)["cache_write_waste"]

    assert one.subject["agent"] == "wasteful"
    assert one.saving_cents == pytest.approx(Decimal(5 * 40_000) * Decimal("0.75") / 10_000)


def test_models_without_a_price_are_told_without_a_saving(connection: psycopg.Connection) -> None:
    store(connection, [call("a-model-of-our-own", provider="our-server") for _ in range(3)])
    asked = Filters(organization_id="acme", since=NOW - timedelta(days=1), until=NOW)

    found = recommendations(connection, asked)

    (one,) = found.findings
    assert (one.kind, one.saving_cents, one.calls) == ("unpriced_model", None, 3)
    assert found.caveats == ["3 of 3 calls have no cost: what they cost is in no figure here."]


def test_another_organization_s_calls_are_no_evidence(connection: psycopg.Connection) -> None:
    store(connection, [call(prompt_hash="same", organization_id="umbrella") for _ in range(50)])

    assert told(connection) == {}


PRICE = price_row(
    provider="anthropic", model_name="m", valid_from=NOW, valid_to=None, source="test",
    unit_prices={
        "input_mtok": UnitPrice(Decimal(10)), "cache_read_mtok": UnitPrice(Decimal(1)),
        "cache_write_mtok": UnitPrice(Decimal("12.5")), "cache_write_1h_mtok": UnitPrice(Decimal(20)),
        "output_mtok": UnitPrice(Decimal(50)),
    },
)  # fmt: skip


def _arrivals(gaps_s: Sequence[float], *, hashes: Sequence[str] | None = None, **more: Any) -> list[Arrival]:
    """Return calls of 6,144 tokens that share the first two thirds, so many seconds after each other."""
    moments = itertools.accumulate(gaps_s, initial=0.0)
    known: dict[str, Any] = {
        "busy_ms": 1000.0, "provider": "anthropic", "model_name": "m", "agent_id": "a", "workspace_id": "w",
        "input_tokens": 6144, "cost_cents": Decimal("6.144"), "price_id": PRICE.id, "trace_id": "t", "event_id": "e",
    }  # fmt: skip
    return [
        Arrival(
            timestamp=NOW + timedelta(seconds=moment),
            prefix_hashes=hashes or ["4k", "6k", "8k", f"own {n}"],
            **{**known, **more},
        )
        for n, moment in enumerate(moments)
    ]


PRICES = {PRICE.id: PRICE}


def _share(count: int, dollars: str) -> Decimal:
    """Return the cents that so many reads or writes of the beginning save: 8 of at most 16 KiB, 3,072 tokens."""
    return Decimal(count * (6144 * LENGTHS[2] // LENGTHS[4])) * Decimal(dollars) / 10_000


def test_calls_within_five_minutes_of_each_other_read_and_the_first_writes() -> None:
    (found,) = simulate(_arrivals([60] * 9), PRICES)

    assert (found.lasts, found.calls, found.hits) == (SHORT, 10, 9)
    assert found.saving_cents == _share(9, "9") - _share(1, "2.5")


def test_each_use_lets_the_cache_live_longer_and_a_longer_gap_writes_again() -> None:
    (found,) = simulate(_arrivals([299, 299, 299, 3700, 10]), PRICES)

    assert (found.lasts, found.hits) == (SHORT, 4)
    assert found.saving_cents == _share(4, "9") - _share(2, "2.5")


def test_calls_half_an_hour_apart_want_the_cache_that_lives_for_an_hour() -> None:
    (found,) = simulate(_arrivals([1800] * 9), PRICES)

    assert (found.lasts, found.hits) == (LONG, 9)
    assert found.saving_cents == _share(9, "9") - _share(1, "10")


@pytest.mark.parametrize(
    ("gaps", "more"),
    [
        ([7200] * 20, {}),
        ([0.1] * 3, {"busy_ms": 60_000.0}),
        ([60] * 20, {"provider": "openai"}),
        ([60] * 20, {"price_id": "of somebody who sells no cache"}),
        ([], {}),
    ],
    ids=["seldom", "at the same time", "caches by itself", "no price", "one call"],
)
def test_caching_that_would_not_pay_is_not_advised(gaps: list[float], more: dict[str, Any]) -> None:
    assert simulate(_arrivals(gaps, **more), PRICES) == []


def test_prompts_that_share_nothing_are_not_cached() -> None:
    calls = [one for n in range(20) for one in _arrivals([], hashes=[f"{n}a", f"{n}b"])]

    assert simulate(calls, PRICES) == []


def test_caching_is_advised_with_its_evidence_by_the_price_of_the_calls(connection: psycopg.Connection) -> None:
    anthropic: dict[str, Any] = {"model": "claude-sonnet-4-5", "provider": "anthropic", "agent_id": "a"}
    usage = Usage(input_tokens=40_000, output_tokens=10)
    found = [
        call(usage=usage, prefix_hashes=["4k", "6k", "8k"], at=timedelta(minutes=n + 1), **anthropic) for n in range(10)
    ]
    store(connection, found)

    one = told(connection)["prompt_caching"]

    tokens = 40_000 * LENGTHS[2] // LENGTHS[3]
    assert one.saving_cents == pytest.approx(Decimal(tokens) * (9 * Decimal("2.7") - Decimal("0.75")) / 10_000)
    assert one.evidence


def test_beginnings_are_hashed_at_ingest_and_shared_by_prompts_that_begin_alike() -> None:
    shared = "x" * 10_000
    first, second, other = (
        prefix_hashes([Content("input", said), Content("system", system)])
        for system, said in ((shared, "one" * 900), (shared, "two" * 900), ("y" + shared, "one" * 900))
    )

    assert first is not None
    assert second is not None
    assert other is not None
    assert [a == b for a, b in zip(first, second, strict=True)] == [True, True, True, False]
    assert not set(first) & set(other)
    assert prefix_hashes([Content("input", "short"), Content("output", "z" * 9000)]) is None
    more = {"gen_ai.system_instructions": shared}
    (row,) = batch([make_span(chat(more=more))]).calls
    assert row.prefix_hashes is not None
    assert len(row.prefix_hashes) == 3


def test_the_command_says_it_in_the_terminal_and_to_scripts(connection: psycopg.Connection, database: str) -> None:
    store(connection, [call(prompt_hash="same") for _ in range(20)])
    asked = ("recommend", "--database-url", database, "--org", "acme", "--until", NOW.isoformat())

    shown, scripted = inside(*asked), inside(*asked, "--json")
    silent = inside(*asked, "--min-saving", "1000", "--json")

    (finding,) = json.loads(scripted.stdout)["findings"]
    assert (finding["kind"], finding["saving_cents"]) == ("exact_repeats", 19 * 0.65)
    assert finding["evidence"][0].keys() == {"trace_id", "event_id"}
    assert "exact_repeats: saves $0.12" in shown.stdout
    assert json.loads(silent.stdout)["findings"] == []
