"""What every store holds to: the same claims over memory and PostgreSQL."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from itertools import permutations

import psycopg
import pytest

from otel_obs.errors import StorageRejectedError
from otel_obs.model import Span
from otel_obs.pipeline.memory import MemoryStore
from otel_obs.postgres.pool import conninfo
from otel_obs.rows.batch import Batch
from tests.builders import agent, chat, make_log, make_span, tool
from tests.fix_kept import Kept, in_memory, in_postgres
from tests.rows import batch

OTHER_TRACE = "f" * 32


def test_a_batch_sent_twice_is_stored_once(kept: Kept) -> None:
    found = batch([make_span(chat(response_id="r1")), make_span(tool("search"))])

    first, second = kept.store.write(found), kept.store.write(found)

    assert (first.stored, first.duplicates) == (2, 0)
    assert (second.stored, second.duplicates) == (0, 2)
    assert (len(kept.events), len(kept.calls)) == (2, 1)


def test_batches_that_share_a_span_store_the_others(kept: Kept) -> None:
    shared, one, other = make_span(), make_span(), make_span()

    kept.write([shared, one])
    kept.write([other, shared])

    assert len(kept.events) == 3


def test_the_same_span_twice_in_one_request_is_one_row(kept: Kept) -> None:
    span = make_span(chat(response_id="r1"))

    kept.write([span, span])

    assert (len(kept.events), len(kept.calls)) == (1, 1)


def test_a_finished_span_replaces_an_unfinished_one_with_all_that_it_means(kept: Kept) -> None:
    finished = make_span(chat(response_id="r1", more={"gen_ai.output.messages": "hello"}))
    unfinished = replace(finished, end_time_unix_nano=0, attributes={"gen_ai.operation.name": "chat"})

    kept.write([unfinished])
    kept.write([finished])
    kept.write([unfinished])

    assert kept.events[finished.span_id].latency_ms == 100
    assert [call.response_id for call in kept.calls] == ["r1"]
    assert [content.body for content in kept.contents] == ["hello"]


def test_a_span_seen_again_with_other_content_stays_as_it_was_and_is_counted_as_a_conflict(kept: Kept) -> None:
    span = make_span({"first": "yes"})

    kept.write([span])
    same = kept.store.write(batch([span, make_span()]))
    unfinished = kept.store.write(batch([replace(span, end_time_unix_nano=0)]))
    other = kept.store.write(batch([replace(span, attributes={"first": "no"})]))
    again = kept.store.write(batch([replace(span, attributes={"first": "no"})]))

    assert [written.conflicts for written in (same, unfinished, other, again)] == [0, 0, 1, 1]
    assert kept.events[span.span_id].context["attributes"] == {"first": "yes"}
    [noted] = kept.quarantined()
    assert (noted.reason, noted.signal, noted.payload) == ("conflict", "traces", b"")
    [stored, came] = re.findall(r"[0-9a-f]{64}", noted.detail)
    assert stored != came == noted.sha256
    assert noted.detail.startswith(f"trace {span.trace_id}, event {span.span_id}: ")


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["poor first", "rich first"])
def test_two_reports_of_a_response_id_are_one_call_the_richer_whichever_comes_first(
    kept: Kept, order: tuple[int, int]
) -> None:
    outer = make_span(chat(response_id="r1"), scope="framework")
    inner = make_span(
        chat(response_id="r1", more={"gen_ai.usage.cache_read.input_tokens": 40}), scope="client", parent=outer
    )
    reports = (outer, inner)

    for position in order:
        kept.write([reports[position]])
    kept.settle()

    assert [(call.span_id, call.cache_read_tokens) for call in kept.calls] == [(inner.span_id, 40)]
    assert kept.events[outer.span_id].cost_state == "duplicate"
    assert kept.events[outer.span_id].counted_span_id == inner.span_id


def test_the_second_report_of_a_call_is_not_counted_even_before_settling(kept: Kept) -> None:
    kept.write([make_span(chat(response_id="r1"), scope="one")])
    kept.write([make_span(chat(response_id="r1"), scope="two", trace_id=OTHER_TRACE)])

    assert len(kept.calls) == 1


def test_a_call_told_in_two_traces_is_one_row_with_the_agent_of_the_one_that_knows_it(kept: Kept) -> None:
    run = make_span(agent("writer"), duration_ms=500)
    kept.write([make_span(chat(response_id="r1"), scope="client", trace_id=OTHER_TRACE, start_ms=10)])

    kept.write([run, make_span(chat(response_id="r1"), scope="framework", parent=run, start_ms=5)])
    kept.settle()

    assert [(call.agent_id, call.response_id) for call in kept.calls] == [("writer", "r1")]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["poor first", "rich first"])
def test_a_call_is_of_the_environment_of_the_report_that_is_counted(kept: Kept, order: tuple[int, int]) -> None:
    reports = (
        make_span(chat(response_id="r1"), scope="gateway", resource={"deployment.environment.name": "edge"}),
        make_span(
            chat(response_id="r1", more={"gen_ai.usage.cache_read.input_tokens": 40}),
            scope="client", trace_id=OTHER_TRACE, resource={"deployment.environment.name": "staging"},
        ),
    )  # fmt: skip

    for position in order:
        kept.write([reports[position]])
    kept.settle()

    assert [(call.span_id, call.environment) for call in kept.calls] == [(reports[1].span_id, "staging")]


def test_a_server_that_repeats_ids_for_other_calls_has_all_of_them_counted(kept: Kept) -> None:
    for position in range(6):
        attributes = chat(100 + position, 10 + position, response_id=f"r{position % 2}")
        kept.write([make_span(attributes, start_ms=position * 60_000, trace_id=f"{position + 1:032x}")])
    kept.settle()

    assert len(kept.calls) == 6


def test_an_answer_from_a_cache_long_after_is_not_counted(kept: Kept) -> None:
    kept.write([make_span(chat(response_id="r1"))])
    kept.write([make_span(chat(response_id="r1"), start_ms=3_600_000, trace_id=OTHER_TRACE)])
    kept.settle()

    later = next(event for event in kept.events.values() if event.trace_id == OTHER_TRACE)
    assert len(kept.calls) == 1
    assert later.cost_state == "duplicate"
    assert "cached_response" in later.context["flags"]


def a_trace() -> list[Span]:
    """Return an agent in a workflow whose calls are told twice, without response ids."""
    flow = make_span(
        {"gen_ai.operation.name": "invoke_workflow", "gen_ai.workflow.name": "flow", "user.id": "ann"},
        duration_ms=1000,
        span_id="00000000000000f1",
    )
    run = make_span(agent("writer"), parent=flow, start_ms=10, duration_ms=900, span_id="00000000000000a1")
    outer = make_span(chat(), scope="framework", parent=run, start_ms=20, duration_ms=100, span_id="00000000000000c1")
    inner = make_span(chat(), scope="client", parent=outer, start_ms=21, duration_ms=98, span_id="00000000000000c2")
    used = make_span(tool("search"), parent=run, start_ms=200, span_id="00000000000000d1")
    return [flow, run, outer, inner, used]


def test_what_settles_is_the_same_in_every_order(kept: Kept) -> None:
    """Every order of five spans, each in a request of its own, with settling in between."""
    reference = in_memory()
    reference.write(a_trace())
    reference.settle()
    if isinstance(kept.store, MemoryStore):
        for order in permutations(a_trace()):
            other = in_memory()
            for span in order:
                other.write([span])
                other.settle()
            assert other.everything() == reference.everything()
    else:
        for span in a_trace()[::-1]:
            kept.write([span])
            kept.settle()
        assert [len(rows) for rows in kept.everything()] == [len(rows) for rows in reference.everything()]
        assert kept.calls == reference.calls
        assert kept.runs == reference.runs


def test_agent_workflow_and_user_are_handed_down(kept: Kept) -> None:
    for span in a_trace()[::-1]:
        kept.write([span])
    kept.settle()

    call = kept.calls[0]
    assert (call.agent_id, call.flow_id, call.user_id) == ("writer", "flow", "ann")


def test_a_run_has_its_totals_and_its_nodes_in_the_order_of_their_start(kept: Kept) -> None:
    kept.write(a_trace())
    kept.settle()

    run = kept.runs[0]
    assert (run.input_tokens, run.output_tokens, run.cost_cents) == (100, 20, Decimal(120))
    assert [(node["type"], node["name"]) for node in run.execution_nodes] == [
        ("span", "a span"),
        ("llm", "a span"),
        ("tool", "search"),
    ]


def test_totals_of_nested_runs_do_not_count_a_call_twice(kept: Kept) -> None:
    boss = make_span(agent("boss"), duration_ms=1000)
    helper = make_span(agent("helper"), parent=boss, start_ms=10, duration_ms=500)

    kept.write([boss, helper, make_span(chat(), parent=helper, start_ms=20)])
    kept.settle()

    totals = {run.agent_name: run.input_tokens for run in kept.runs}
    nodes = {run.agent_name: [(node["type"], node["tokens"]) for node in run.execution_nodes] for run in kept.runs}
    assert totals == {"boss": None, "helper": 100}
    assert nodes["boss"] == [("agent", 120)]


def test_usage_on_a_log_record_is_a_call_only_if_no_span_tells_it(kept: Kept) -> None:
    details = "gen_ai.client.inference.operation.details"
    span = make_span(chat(response_id="r1"))

    kept.store.write(
        batch(logs=[make_log(chat(response_id="r1"), event_name=details, span_id=span.span_id, at_ms=100)])
    )
    kept.store.write(batch(logs=[make_log(chat(response_id="r2"), event_name=details, trace_id="", at_ms=100)]))
    kept.write([span])
    kept.settle()

    assert sorted((call.response_id, call.span_id) for call in kept.calls) == [("r1", span.span_id), ("r2", "")]


def test_organizations_with_the_same_ids_have_nothing_to_do_with_each_other(kept: Kept) -> None:
    span = make_span(chat(response_id="r1"))

    kept.store.write(batch([span], organization="a"))
    kept.store.write(batch([span], organization="b"))
    kept.settle()

    assert sorted(call.organization_id for call in kept.calls) == ["a", "b"]


def test_two_writers_of_one_batch_at_once_store_it_once(database: str) -> None:
    for kept in in_postgres(database):
        found = [batch([make_span(chat(response_id=f"r{n}"), trace_id=f"{n:032x}") for n in range(1, 50)])]
        reverse = replace(found[0], events=found[0].events[::-1], calls=found[0].calls[::-1])

        with ThreadPoolExecutor(8) as writers:
            list(writers.map(kept.store.write, [found[0], reverse] * 8))

        assert (len(kept.events), len(kept.calls)) == (49, 49)


def test_a_row_that_the_database_refuses_stores_nothing_of_its_batch(database: str) -> None:
    for kept in in_postgres(database):
        good = batch([make_span(chat(response_id="r1")), make_span(chat(response_id="r2"))])
        calls = [good.calls[0], good.calls[1]._replace(cost_usd=-good.calls[1].cost_usd)]  # type: ignore[operator]

        with pytest.raises(StorageRejectedError) as refused:
            kept.store.write(replace(good, calls=calls))

        assert kept.events == {}
        assert "r2" not in str(refused.value)


def test_rows_of_a_deleted_workspace_go_to_quarantine(database: str) -> None:
    for kept in in_postgres(database):
        span = make_span({"otel_obs.workspace.id": "gone"})
        kept.write([span])
        with psycopg.connect(conninfo(database), autocommit=True) as connection:
            connection.execute("DELETE FROM workspaces WHERE id = 'gone'")

            written = kept.store.write(batch([make_span({"otel_obs.workspace.id": "gone"}), make_span()]))

            assert list(written.refused.values()) == ["workspace_deleted"]
            assert [event.workspace_id for event in kept.events.values()] == ["default"]
            assert connection.execute("SELECT reason FROM quarantine").fetchall() == [("workspace_deleted",)]


def test_tenants_and_users_are_registered_with_their_first_row(database: str) -> None:
    for kept in in_postgres(database):
        kept.store.write(batch([make_span({"otel_obs.workspace.id": "w", "user.id": "u"})], organization="o"))

        with psycopg.connect(conninfo(database)) as connection:
            assert connection.execute("SELECT id FROM organizations").fetchall() == [("o",)]
            assert connection.execute("SELECT organization_id, id FROM workspaces").fetchall() == [("o", "w")]
            assert connection.execute("SELECT organization_id, id FROM users").fetchall() == [("o", "u")]


def test_an_empty_batch_is_nothing(kept: Kept) -> None:
    assert kept.store.write(Batch()).stored == 0


@pytest.mark.parametrize("weeks", [-3, 3, -200])
def test_a_trace_whose_spans_lie_weeks_apart_is_settled_as_one(kept: Kept, weeks: int) -> None:
    above = make_span(agent("writer"), start_ms=weeks * 7 * 24 * 3_600_000)
    call = make_span(chat(response_id="r1"), parent=above)
    kept.write([above])
    kept.settle()

    kept.write([call, make_span(agent("other"), trace_id=OTHER_TRACE)])
    kept.settle()

    assert [(found.agent_id, found.response_id) for found in kept.calls] == [("writer", "r1")]
    assert sorted((run.agent_id, run.input_tokens) for run in kept.runs) == [("other", None), ("writer", 100)]
