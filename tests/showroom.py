"""Two weeks of an agency's traffic, the same each time, at real prices: enough for every page of the dashboard."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from functools import partial
from typing import Any

import psycopg

from otel_obs.flags.store import Change, FlagScope, set_flag
from otel_obs.model import Decoded, LogRecord, Rejected, Span, SpanEvent
from otel_obs.pipeline.batching import batch_of
from otel_obs.pipeline.ingest import Mapping, receive, reprice
from otel_obs.pipeline.mapping import mapping_of
from otel_obs.pipeline.stored import settling
from otel_obs.postgres.budgets import Budget, Wanted, set_budget
from otel_obs.postgres.pool import conninfo, open_pool
from otel_obs.postgres.store import PostgresStore
from otel_obs.pricing.book import PriceBook
from otel_obs.pricing.catalog import default_catalog
from otel_obs.settings import Settings
from otel_obs.tenancy import Sender
from tests.builders import MS, START_NS, agent, chat, make_span, tool
from tests.corpus import NAMES, records_of

ORGANIZATION = "acme"
FLAG = "concise-answers"
LONG_ROOT = "abc0000000000001"
MINUTE_MS = 60_000.0
USERS = ("dana@example.com", "kim@example.com", "lee@example.com", "robin@example.com")
MODELS = (
    ("gpt-5-mini", "openai"),
    ("gpt-4o", "openai"),
    ("claude-sonnet-4-5", "anthropic"),
    ("gemini-2.5-flash", "gcp.gemini"),
)
QUESTION = "I was charged twice for my order. Where is my money?"
ANSWER = "You were charged twice, I am sorry. The second payment of $49.00 goes back to your card within three days."


def _message(role: str, text: str) -> str:
    return json.dumps([{"role": role, "parts": [{"type": "text", "content": text}]}])


def price_mapping() -> Mapping:
    return mapping_of(Settings.from_env({}), PriceBook(default_catalog()))


def write(
    url: str, records: Sequence[Span | LogRecord], organization: str = ORGANIZATION, *, settle: bool = True
) -> None:
    """Store *records* as one request of *organization*, and settle them unless that is left to others."""
    mapping = price_mapping()
    pool = open_pool(url)
    try:
        store = PostgresStore(pool)
        spans = [record for record in records if isinstance(record, Span)]
        logs = [record for record in records if isinstance(record, LogRecord)]
        now = datetime.now(tz=timezone.utc)
        for start in range(0, max(len(spans), len(logs)), 2000):
            decoded = Decoded(spans=spans[start : start + 2000], logs=logs[start : start + 2000])
            received = receive(decoded, Sender(organization_id=organization), now, mapping)
            store.write(batch_of([received], mapping.price))
        while settle and store.settle(settling(partial(reprice, price=mapping.price)), limit=200, all_now=True):
            pass
    finally:
        pool.close(2.0)


def now_ms() -> float:
    """Return the time as builders count it."""
    return (datetime.now(tz=timezone.utc).timestamp() * 1e9 - START_NS) / 1e6


def captures(names: Sequence[str] = tuple(NAMES)) -> list[Span | LogRecord]:
    """Return captures of real instrumentations, as if they had been made some hours ago."""
    found: list[Span | LogRecord] = []
    end = int(datetime.now(tz=timezone.utc).timestamp() * 1e9) - 7_200_000_000_000
    for name in names:
        records = records_of(name)
        times = [record.start_time_unix_nano for record in records if isinstance(record, Span)]
        if not times:
            continue
        shift = end - max(times)
        for record in records:
            if isinstance(record, Span):
                ends = record.end_time_unix_nano + shift if record.end_time_unix_nano else 0
                found.append(
                    replace(record, start_time_unix_nano=record.start_time_unix_nano + shift, end_time_unix_nano=ends)
                )
            else:
                found.append(replace(record, time_unix_nano=record.time_unix_nano + shift))
    return found


def traffic(days: int = 14, seed: int = 7) -> list[Span]:
    """Return runs of a support workflow: busier by day, dearer lately, sometimes failing."""
    chance = random.Random(seed)
    found: list[Span] = []
    now = now_ms()
    for hour in range(days * 24):
        of_day = (datetime.now(tz=timezone.utc) - timedelta(hours=hour)).hour
        busy = 3 if 8 <= of_day <= 18 else 1
        for _ in range(chance.randint(0, busy)):
            found += ticket(chance, now - (hour * 60 + chance.uniform(2, 58)) * MINUTE_MS, dear=hour < days * 12)
    return found


def ticket(chance: random.Random, at: float, *, dear: bool) -> list[Span]:
    """Return the spans of one support ticket."""
    trace_id = f"{chance.getrandbits(128):032x}"
    talk = f"ticket-{chance.randint(1000, 1060)}"
    who = {
        "user.id": chance.choice(USERS),
        "session.id": talk,
        "otel_obs.workspace.id": chance.choice(("support", "sales")),
    }
    fails = chance.random() < 0.06
    spans: list[Span] = []

    def add(attributes: dict[str, Any], name: str, parent: Span | None, start: float, took: float, **more: Any) -> Span:
        made = make_span(
            {**attributes, **who},
            name=name,
            trace_id=trace_id,
            span_id=f"{chance.getrandbits(64):016x}",
            parent=parent,
            start_ms=at + start,
            duration_ms=took,
            resource={"service.name": "support", "deployment.environment.name": "production"},
            **more,
        )
        spans.append(made)
        return made

    def ask(parent: Span, start: float, took: float, models: Sequence[tuple[str, str]], size: int) -> None:
        model, provider = chance.choice(models)
        cached = int(size * chance.choice((0, 0, 0.6)))
        said = {
            "gen_ai.provider.name": provider,
            "gen_ai.usage.cache_read.input_tokens": cached,
            "gen_ai.input.messages": _message("user", f"Ticket {talk}: {QUESTION}"),
            "gen_ai.output.messages": _message("assistant", ANSWER),
        }
        attributes = chat(
            size, chance.randint(80, 900), response_id=f"resp-{chance.getrandbits(60):x}", model=model, more=said
        )
        add(attributes, f"chat {model}", parent, start, took)

    slow = chance.lognormvariate(0, 0.45)
    length = 5200 * slow
    flow = add(
        {"gen_ai.operation.name": "invoke_workflow", "gen_ai.workflow.name": "support_ticket"},
        "invoke_workflow support_ticket",
        None,
        0,
        length,
        status_code=2 if fails else 0,
    )
    said = {"feature_flag.key": FLAG, "feature_flag.result.variant": chance.choice(("on", "off"))}
    asked = SpanEvent(name="feature_flag.evaluation", time_unix_nano=flow.start_time_unix_nano + MS, attributes=said)
    spans[0] = replace(flow, events=(asked,))
    triage = add(agent("triage"), "invoke_agent triage", flow, 20 * slow, 900 * slow)
    ask(triage, 30 * slow, 850 * slow, MODELS[:1], chance.randint(300, 900))
    research = add(agent("researcher"), "invoke_agent researcher", flow, 950 * slow, 2400 * slow)
    for index in range(chance.randint(1, 3)):
        add(tool("search_orders"), "execute_tool search_orders", research, (980 + index * 260) * slow, 240 * slow)
    if fails:
        add(
            {**tool("refund"), "error.type": "timeout"},
            "execute_tool refund",
            research,
            1800 * slow,
            500 * slow,
            status_code=2,
        )
    ask(research, 1900 * slow, 1400 * slow, MODELS[1:] if dear else MODELS[2:], chance.randint(3000, 14000))
    writer = add(agent("writer"), "invoke_agent writer", flow, 3400 * slow, 1750 * slow)
    ask(
        writer,
        3450 * slow,
        1650 * slow,
        (*MODELS[:3], ("in-house-7b", "in-house")) if chance.random() < 0.2 else MODELS[1:3],
        chance.randint(1200, 5200),
    )
    return spans


def long_trace(count: int = 3000) -> list[Span]:
    """Return one trace of many spans: agents under a workflow, calls and tools under agents."""
    at = now_ms() - 30 * MINUTE_MS
    trace_id = "abc" + "0" * 26 + "123"
    root = make_span(
        {"gen_ai.operation.name": "invoke_workflow", "gen_ai.workflow.name": "nightly index"},
        name="nightly index",
        trace_id=trace_id,
        span_id=LONG_ROOT,
        start_ms=at,
        duration_ms=count * 20.0,
    )
    spans = [root]
    while len(spans) < count:
        start = at + len(spans) * 20.0
        run = make_span(
            agent(f"indexer {len(spans) // 30}"),
            name="agent",
            trace_id=trace_id,
            parent=root,
            start_ms=start,
            duration_ms=590,
        )
        spans.append(run)
        spans += [
            make_span(
                chat(100, 20, response_id=f"r{len(spans)}-{index}") if index % 3 else tool("read page"),
                name=f"step {index}",
                trace_id=trace_id,
                parent=run,
                start_ms=start + index * 20,
                duration_ms=18,
            )
            for index in range(min(29, count - len(spans)))
        ]
    return spans


def flags(url: str) -> None:
    """Set some flags."""
    with psycopg.connect(conninfo(url), autocommit=True) as connection:
        acme = FlagScope(organization_id=ORGANIZATION)
        set_flag(
            connection,
            FLAG,
            acme,
            Change(
                is_enabled=True,
                rollout={"on": 20},
                owner="support-team",
                description="Shorter answers to simple tickets",
            ),
            why="first fifth",
            actor="dana",
        )
        set_flag(connection, FLAG, acme, Change(is_enabled=True, rollout={"on": 50}), why="no complaints", actor="dana")
        set_flag(
            connection,
            FLAG,
            FlagScope(organization_id=ORGANIZATION, user_id=USERS[0]),
            Change(is_enabled=True, rollout={}),
            why="wants it",
            actor="kim",
        )
        set_flag(connection, "new-research-agent", acme, Change(is_enabled=False), actor="kim")


def refused(url: str) -> None:
    """Let some records be refused."""
    mapping = price_mapping()
    pool = open_pool(url)
    try:
        now = datetime.now(tz=timezone.utc)
        items = [Rejected(reason=reason, payload=b"kept") for reason in ("trace_id:wrong_length", "span_too_large")]
        received = receive(Decoded(rejected=items), Sender(organization_id=ORGANIZATION), now, mapping)
        PostgresStore(pool).write(batch_of([received], mapping.price))
    finally:
        pool.close(2.0)


def kept(url: str) -> None:
    """Let the organization have a plan, under which something was deleted by a night's jobs."""
    with psycopg.connect(conninfo(url), autocommit=True) as connection:
        connection.execute("UPDATE organizations SET plan = 'free' WHERE id = %s", (ORGANIZATION,))
        connection.execute(
            "INSERT INTO retention_runs (run_id, ran_at, organization_id, table_name, cutoff, rows, bytes, duration_ms,"
            " action) SELECT 'r', now(), %s, name, now() - interval '90 days', 1234, 5678901, 250, 'delete'"
            " FROM unnest(ARRAY['event_logs', 'model_cost_logs']) AS t (name)",
            (ORGANIZATION,),
        )
        connection.execute(
            "INSERT INTO maintenance_jobs VALUES ('retention', now(), now(), NULL), ('rollups', now(), NULL, 'slow')"
        )


def budgets(url: str) -> None:
    """Set budgets: one that holds, one that does not."""
    with psycopg.connect(conninfo(url), autocommit=True) as connection:
        for name, cents, model in (("all of it", 100_000, None), ("gpt-4o", 10, "gpt-4o")):
            budget = Budget(
                organization_id=ORGANIZATION, id=name, period="month", amount_cents=Decimal(cents), model_name=model
            )
            set_budget(connection, Wanted(budget=budget))


def furnish(url: str) -> None:
    """Write all of it."""
    write(url, [*traffic(), *captures(), *long_trace()])
    flags(url)
    refused(url)
    kept(url)
    budgets(url)
