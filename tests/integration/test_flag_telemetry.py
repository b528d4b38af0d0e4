"""Evaluations are telemetry: rows of their own, what each variant costs, and which flags can go."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from openfeature import api
from openfeature.contrib.hook.opentelemetry import TracingHook
from openfeature.evaluation_context import EvaluationContext
from openfeature.event import EventDetails, ProviderEvent
from openfeature.exception import ErrorCode, ProviderNotReadyError
from openfeature.flag_evaluation import Reason
from openfeature.provider import ProviderStatus
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import otel_obs
from otel_obs.analytics.costs import costs
from otel_obs.client import Client
from otel_obs.flags.stale import stale_flags
from otel_obs.flags.store import Change, FlagScope, set_flag
from otel_obs.model import LogRecord, Span, SpanEvent
from otel_obs.otlp.sdk import SpanReader
from otel_obs.postgres.store import PostgresStore
from tests import command
from tests.builders import MS, START_NS, chat, make_log, make_span
from tests.rows import batch
from tests.waiting import until

CURRENT = {"feature_flag.key": "model", "feature_flag.result.variant": "large"}
DEPRECATED = {"feature_flag.key": "model", "feature_flag.variant": "large", "feature_flag.provider_name": "flagd"}


@pytest.fixture
def client(database: str) -> Iterator[Client]:
    with otel_obs.connect(database, organization_id="acme") as found:
        yield found


@pytest.fixture
def exported() -> Iterator[tuple[TracerProvider, InMemorySpanExporter]]:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield provider, exporter
    provider.shutdown()


def evaluations(connection: psycopg.Connection) -> list[tuple[Any, ...]]:
    return connection.execute(
        "SELECT name, status, error_type, context->'attributes' FROM event_logs "
        "WHERE event_type = 'feature_flag' ORDER BY timestamp, name"
    ).fetchall()


def event(attributes: dict[str, Any], name: str = "feature_flag.evaluation", *, at_ms: float = 0) -> SpanEvent:
    return SpanEvent(name=name, time_unix_nano=START_NS + int(at_ms * MS), attributes=attributes)


@pytest.mark.parametrize("attributes", [CURRENT, DEPRECATED], ids=["current", "deprecated"])
@pytest.mark.parametrize("name", ["feature_flag.evaluation", "feature_flag"])
def test_span_events_and_log_records_of_all_ages_become_rows(
    store: PostgresStore, connection: psycopg.Connection, attributes: dict[str, Any], name: str
) -> None:
    span = make_span(events=[event(attributes, name), event(attributes, "exception")])
    log = make_log(attributes, event_name=name, at_ms=1, span_id=span.span_id)
    failed = make_log({**attributes, "error.type": "flag_not_found"}, event_name=name, at_ms=2)

    store.write(batch([span], [log, failed]))

    assert evaluations(connection) == [
        ("model", "unset", None, attributes),
        ("model", "unset", None, attributes),
        ("model", "unset", "flag_not_found", {**attributes, "error.type": "flag_not_found"}),
    ]


def test_the_standard_hook_and_our_provider_make_rows(
    client: Client, store: PostgresStore, connection: psycopg.Connection,
    exported: tuple[TracerProvider, InMemorySpanExporter],
) -> None:  # fmt: skip
    client.set_flag("model", True, variants={"off": "mini", "large": "4o"}, rollout={"large": 100})
    api.set_provider_and_wait(client.provider())
    provider, exporter = exported
    openfeature = api.get_client()
    openfeature.add_hooks([TracingHook()])
    try:
        with provider.get_tracer("app").start_as_current_span("request"):
            assert openfeature.get_string_value("model", "none", EvaluationContext("alice")) == "4o"
            assert openfeature.get_boolean_value("nobody's", default_value=True) is True
    finally:
        api.clear_hooks()
        api.shutdown()

    store.write(batch(SpanReader().decode(exporter.get_finished_spans()).spans, organization="acme"))

    (served, missing) = sorted(evaluations(connection))
    assert (served[0], served[3]["feature_flag.result.variant"], served[3]["feature_flag.result.reason"]) == (
        "model", "large", "split",
    )  # fmt: skip
    assert (served[3]["feature_flag.context.id"], served[3]["feature_flag.provider.name"]) == ("alice", "otel_obs")
    assert missing[:3] == ("nobody's", "error", "flag_not_found")


def test_a_client_that_records_evaluations_writes_them_on_the_current_span(
    database: str, exported: tuple[TracerProvider, InMemorySpanExporter]
) -> None:
    provider, exporter = exported
    with otel_obs.connect(database, organization_id="acme", record_evaluations=True) as client:
        client.set_flag("new", True, percent=100)
        client.is_enabled("new", "alice")
        with provider.get_tracer("app").start_as_current_span("request"):
            client.is_enabled("new", "alice")
            client.is_enabled("new", "alice")
            client.is_enabled("nobody's", "alice")

    (span,) = exporter.get_finished_spans()
    assert [item.name for item in span.events] == ["feature_flag.evaluation"] * 3
    assert dict(span.events[1].attributes or {}) == {
        "feature_flag.key": "new", "feature_flag.result.variant": "on", "feature_flag.result.reason": "split",
        "feature_flag.context.id": "alice", "feature_flag.provider.name": "otel_obs",
        "feature_flag.set.id": "acme", "feature_flag.version": "1",
    }  # fmt: skip
    assert (span.events[2].attributes or {})["error.type"] == "flag_not_found"


def test_our_provider_answers_each_type_and_puts_errors_into_the_answer(client: Client) -> None:
    client.set_flag("on", True)
    client.set_flag("text", True, variants={"on": "yes", "off": "no"})
    client.set_flag("number", True, variants={"on": 2, "off": 0})
    client.set_flag("object", True, variants={"on": {"a": [1]}})
    client.set_flag("hers", True, user_id="alice")
    client.set_flag("split", True, percent=50)
    api.set_provider_and_wait(client.provider())
    openfeature, alice = api.get_client(), EvaluationContext("alice")
    try:
        assert openfeature.get_boolean_value("on", default_value=False) is True
        assert openfeature.get_string_value("text", "") == "yes"
        assert openfeature.get_integer_value("number", 7) == 2
        assert openfeature.get_float_value("number", 7.5) == 2.0
        assert openfeature.get_object_value("object", {}) == {"a": [1]}
        hers = openfeature.get_boolean_details("hers", default_value=False, evaluation_context=alice)
        assert (hers.value, hers.reason, hers.flag_metadata) == (
            True, Reason.TARGETING_MATCH, {"scope": "user", "version": 1},
        )  # fmt: skip
        his = openfeature.get_boolean_details("hers", default_value=True, evaluation_context=EvaluationContext("bob"))
        assert (his.value, his.reason, his.error_code) == (True, Reason.DEFAULT, None)
        assert openfeature.get_string_details("on", "x").error_code == ErrorCode.TYPE_MISMATCH
        assert openfeature.get_integer_details("nobody's", 3).error_code == ErrorCode.FLAG_NOT_FOUND
        split = openfeature.get_boolean_details("split", default_value=True)
        assert (split.value, split.error_code) == (True, ErrorCode.TARGETING_KEY_MISSING)
    finally:
        api.shutdown()


def test_our_provider_says_what_changed_and_when_it_is_stale(database: str, connection: psycopg.Connection) -> None:
    with otel_obs.connect(database, organization_id="acme") as client:
        changes: list[EventDetails] = []
        openfeature = api.get_client()
        openfeature.add_handler(ProviderEvent.PROVIDER_CONFIGURATION_CHANGED, changes.append)
        api.set_provider_and_wait(client.provider())
        try:
            assert openfeature.get_provider_status() == ProviderStatus.READY
            client.set_flag("new", True)
            set_flag(connection, "theirs", FlagScope(organization_id="other"), Change(is_enabled=True))
            until(lambda: len(changes) == 2)
            assert [change.flags_changed for change in changes] == [["new"], []]

            connection.execute("ALTER TABLE flag_set RENAME TO away")
            until(lambda: (client.snapshot.refresh(0.1), openfeature.get_provider_status() == ProviderStatus.STALE)[1])
            stale = openfeature.get_boolean_details("new", default_value=False)
            assert (stale.value, stale.flag_metadata["stale"]) == (True, True)

            connection.execute("ALTER TABLE away RENAME TO flag_set")
            until(lambda: openfeature.get_provider_status() == ProviderStatus.READY)
        finally:
            api.shutdown()


def test_our_provider_without_a_database_is_not_ready_and_answers_defaults() -> None:
    with otel_obs.connect(command.NO_SERVER) as client:
        with pytest.raises(ProviderNotReadyError):
            api.set_provider_and_wait(client.provider())
        try:
            assert api.get_client().get_provider_status() == ProviderStatus.ERROR
            assert api.get_client().get_boolean_value("new", default_value=True) is True
        finally:
            api.shutdown()


def call(trace: int, at_ms: float, tokens: int = 100) -> Span:
    return make_span(chat(tokens, 0), trace_id=f"{trace:032x}", start_ms=at_ms, duration_ms=1)


def evaluated(trace: int, at_ms: float, variant: str, flag: str = "model") -> LogRecord:
    attributes = {"feature_flag.key": flag, "feature_flag.result.variant": variant}
    return make_log(attributes, event_name="feature_flag.evaluation", trace_id=f"{trace:032x}", at_ms=at_ms)


def by_variant(
    connection: psycopg.Connection, *keys: str, **asked: Any
) -> dict[tuple[str | None, ...], Decimal | None]:
    found = costs(connection, keys or ["flag_variant"], flag="model", **asked)
    assert sum(row.calls for row in found.rows) == found.total.calls
    assert sum((row.cost_cents or 0) for row in found.rows) == (found.total.cost_cents or 0)
    return {tuple(row.keys): row.cost_cents for row in found.rows}


def test_a_call_belongs_to_the_last_evaluation_before_it_in_its_trace(
    store: PostgresStore, connection: psycopg.Connection
) -> None:
    spans = [
        call(1, 0, 1), call(1, 10, 10), call(1, 20, 100), call(1, 30, 1000),
        call(2, 50, 10_000), call(3, 50, 100_000),
    ]  # fmt: skip
    logs = [
        evaluated(1, 10, "small"), evaluated(1, 21, "large"), evaluated(1, 5, "other", "colour"),
        evaluated(2, 60, "late"), evaluated(3, 1, "large"),
    ]  # fmt: skip

    store.write(batch(spans, logs))

    assert by_variant(connection) == {
        ("small",): Decimal(110), ("large",): Decimal(101_000), (None,): Decimal(10_001),
    }  # fmt: skip
    assert by_variant(connection, "model", "flag_variant")[("gpt-4o-mini", "small")] == Decimal(110)


def test_the_deprecated_name_and_a_value_without_a_variant_are_variants_too(
    store: PostgresStore, connection: psycopg.Connection
) -> None:
    old = make_span(events=[event(DEPRECATED)], trace_id=f"{1:032x}", duration_ms=50)
    value = {"feature_flag.key": "model", "feature_flag.result.value": '"gpt-4o"'}
    bare = make_span(events=[event(value)], trace_id=f"{2:032x}", duration_ms=50)

    store.write(batch([old, bare, call(1, 5), call(2, 5)]))

    assert by_variant(connection) == {("large",): Decimal(100), ('"gpt-4o"',): Decimal(100)}


@pytest.mark.parametrize("seed", range(3))
def test_variants_sum_to_the_total_and_are_what_a_reader_would_say(
    store: PostgresStore, connection: psycopg.Connection, seed: int
) -> None:
    random_ = random.Random(seed)
    spans, logs, expected = [], [], dict[tuple[str | None, ...], Decimal]()
    for trace in range(1, 40):
        moments = random_.sample(range(0, 4000, 2), 12)
        asked = sorted((moment, random_.choice("abc")) for moment in moments[:4])
        logs += [evaluated(trace, at, variant, random_.choice(["model", "colour"])) for at, variant in asked]
        for at in moments[4:]:
            tokens = random_.randrange(1, 1000)
            spans.append(call(trace, at, tokens))
            mine = [
                log for log in logs if log.trace_id == f"{trace:032x}" and log.attributes["feature_flag.key"] == "model"
            ]
            before = [log for log in mine if log.time_unix_nano <= START_NS + at * MS]
            last = max(before, key=lambda log: log.time_unix_nano, default=None)
            key = (None if last is None else str(last.attributes["feature_flag.result.variant"]),)
            expected[key] = expected.get(key, Decimal(0)) + tokens

    store.write(batch(spans, logs))

    assert by_variant(connection) == expected


def test_a_period_and_an_organization_narrow_calls_and_not_what_they_belong_to(
    store: PostgresStore, connection: psycopg.Connection
) -> None:
    store.write(batch([call(1, 10, 1), call(1, 2000, 10)], [evaluated(1, 5, "small")], organization="acme"))
    store.write(batch([call(1, 10, 100)], [evaluated(1, 5, "large")], organization="other"))
    start = datetime.fromtimestamp(START_NS / 1e9, tz=timezone.utc)

    assert by_variant(connection) == {("small",): Decimal(11), ("large",): Decimal(100)}
    assert by_variant(connection, organization_id="acme") == {("small",): Decimal(11)}
    assert by_variant(connection, since=start + timedelta(seconds=1)) == {("small",): Decimal(10)}
    assert by_variant(connection, until=start + timedelta(seconds=1), organization_id="acme") == {
        ("small",): Decimal(1)
    }


def test_stale_flags_are_those_that_nobody_asks_for_that_everyone_has_or_that_expired(
    store: PostgresStore, connection: psycopg.Connection
) -> None:
    now = datetime.fromtimestamp(START_NS / 1e9, tz=timezone.utc) + timedelta(days=2)
    for name, change in {
        "unused": Change(is_enabled=True, rollout={"on": 50}, owner="team-a"),
        "model": Change(is_enabled=True, rollout={"on": 50}),
        "asked": Change(is_enabled=True, rollout={"on": 50}),
        "everyone": Change(is_enabled=True),
        "expired": Change(is_enabled=True, expires_at=now - timedelta(hours=1)),
        "young": Change(is_enabled=True, rollout={"on": 50}),
        "hers": Change(is_enabled=False),
    }.items():
        set_flag(connection, name, FlagScope(), change)
    set_flag(connection, "hers", FlagScope(organization_id="acme", user_id="alice"), Change(is_enabled=True))
    # What is older than its time of change is set with triggers off.
    connection.execute("ALTER TABLE feature_flags DISABLE TRIGGER USER")
    connection.execute("UPDATE feature_flags SET updated_at = %s", (now - timedelta(days=60),))
    connection.execute("UPDATE feature_flags SET updated_at = %s WHERE flag_name = 'young'", (now - timedelta(days=3),))
    used = [("asked", now - timedelta(days=1)), ("everyone", now), ("expired", now), ("hers", now)]
    for name, at in [*used, ("unused", now - timedelta(days=31))]:
        connection.execute("INSERT INTO flag_usage VALUES ('acme', %s, %s)", (name, at))
    store.write(batch([], [evaluated(1, 0, "large")], organization="acme"))

    found = {flag.flag_name: flag for flag in stale_flags(connection, now=now, days=30)}

    assert {name: flag.reasons for name, flag in found.items()} == {
        "unused": ("not_evaluated",), "everyone": ("rolled_out",), "expired": ("expired",),
    }  # fmt: skip
    assert (found["unused"].owner, found["unused"].last_evaluated_at) == ("team-a", now - timedelta(days=31))
    assert "model" in {flag.flag_name for flag in stale_flags(connection, now=now + timedelta(days=40), days=30)}


def test_events_and_executions_are_rows_of_their_own(client: Client, connection: psycopg.Connection) -> None:
    began = datetime.now(tz=timezone.utc)
    first = client.record_execution(
        "nightly", status="error", latency_ms=12.5, error_type="ValueError", user_id="alice", workspace_id="research",
        agent_id="planner", run_id="r1", conversation_id="c1",
        context={"rows": 3, "odd": float("nan"), "nul": "a\x00b"},
    )  # fmt: skip
    second = client.log_event("approval", "asked a human", user_id="bob")

    assert client.flush(10)

    rows = connection.execute(
        "SELECT event_id, event_type, name, organization_id, workspace_id, user_id, trace_id, status, error_type,"
        " latency_ms, agent_id, flow_id, run_id, conversation_id, context FROM event_logs ORDER BY event_type DESC"
    ).fetchall()
    assert rows == [
        (
            first, "workflow", "nightly", "acme", "research", "alice", "", "error", "ValueError", 12.5, "planner",
            "nightly", "r1", "c1",
            {"attributes": {"rows": 3, "odd": "NaN", "nul": "a\ufffdb"}, "flags": ["sanitized"]},
        ),
        (
            second, "approval", "asked a human", "acme", "default", "bob", "", "unset", None, None, None, None, None,
            None, {},
        ),
    ]  # fmt: skip
    assert first is not None
    assert second is not None
    assert first < second
    assert (first[14], first[19] in "89ab") == ("7", True)
    assert abs(int(first.replace("-", "")[:12], 16) / 1000 - began.timestamp()) < 60
    assert connection.execute("SELECT count(*) FROM unsettled_traces").fetchone() == (0,)


def test_an_event_belongs_to_the_trace_in_which_it_is_logged(
    client: Client, connection: psycopg.Connection, exported: tuple[TracerProvider, InMemorySpanExporter]
) -> None:
    with exported[0].get_tracer("app").start_as_current_span("request") as span:
        client.log_event("approval")
        client.record_execution("nightly")

    assert client.flush(10)

    rows: dict[str, str] = dict(connection.execute("SELECT event_type, trace_id FROM event_logs").fetchall())
    assert rows == {"approval": f"{span.get_span_context().trace_id:032x}", "workflow": ""}


def test_a_forked_child_writes_its_own_events_and_none_of_its_parent(
    client: Client, connection: psycopg.Connection
) -> None:
    client.log_event("before")
    assert client.flush(10)

    child = os.fork()
    if not child:
        client.log_event("child")
        os._exit(0 if client.flush(20) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    client.log_event("after")
    assert client.flush(10)

    rows = connection.execute("SELECT event_type, count(*) FROM event_logs GROUP BY 1 ORDER BY 1").fetchall()
    assert rows == [("after", 1), ("before", 1), ("child", 1)]
    assert client.dropped == {}


def test_nothing_that_is_recorded_raises_and_what_is_lost_is_counted() -> None:
    with otel_obs.connect(command.NO_SERVER) as client:
        assert client.log_event(None, object(), context=3) is None  # type: ignore[arg-type]
        assert client.record_execution("x", latency_ms="long") is None  # type: ignore[arg-type]
        assert client.log_event("mine") is not None
    assert client.log_event("late") is None

    assert client.dropped == {"TypeError": 1, "ValueError": 1, "storage_unavailable": 1, "closed": 1}


def test_what_a_deleted_organization_records_is_refused_and_counted(
    client: Client, connection: psycopg.Connection
) -> None:
    client.log_event("mine")
    assert client.flush(10)
    connection.execute("DELETE FROM organizations WHERE id = 'acme'")

    client.log_event("mine")
    assert client.flush(10)

    assert client.dropped == {"organization_deleted": 1}
    assert connection.execute("SELECT count(*) FROM event_logs").fetchone() == (0,)


def test_costs_by_variant_in_the_terminal(store: PostgresStore, database: str) -> None:
    store.write(batch([call(1, 10, 7)], [evaluated(1, 5, "small")]))

    done = command.run("costs", "--by", "flag_variant", "--flag", "model", "--json", "--database-url", database)

    found = json.loads(done.stdout)
    assert [(row["flag_variant"], row["cost_cents"]) for row in found["rows"]] == [("small", 7.0)]
    assert found["total"]["cost_cents"] == 7.0
    for wrong in (("--by", "flag_variant"), ("--by", "day", "--flag", "model")):
        assert command.run("costs", *wrong, "--database-url", database).returncode == 2
