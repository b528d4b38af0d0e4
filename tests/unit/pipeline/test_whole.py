"""A trace that its batch settled for good is what settling it again would make of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_obs.model import Decoded, LogRecord, Span
from otel_obs.pipeline.batching import batch_of
from otel_obs.pipeline.ingest import receive
from otel_obs.pipeline.memory import MemoryStore
from otel_obs.rows.batch import Batch, Whole
from otel_obs.tenancy import Sender
from tests.builders import agent, chat, make_log, make_span, tool
from tests.corpus import NAMES, records_of
from tests.rows import MAPPING, RECEIVED_AT, SETTLING, batch, price


def rows_of(store: MemoryStore, traces: set[tuple[str, str]]) -> list[dict[Any, Any]]:
    tables: list[dict[Any, Any]] = [store.events, store.calls, store.runs, store.checks, store.contents]
    return [{key: row for key, row in table.items() if key[:2] in traces} for table in tables]


def final(found: Batch) -> set[tuple[str, str]]:
    """Return the traces that are said to be final, if nothing else was stored."""
    return {
        (organization, trace_id)
        for (organization, trace_id), whole in found.whole.items()
        if whole.resource_hash is None
        or len(found.call_scopes[sender := (organization, whole.resource_hash)]) == 1
        or sender not in found.root_callers
    }


def is_final(found: Batch) -> bool:
    """Settle what is said to be final anyway, and tell whether nothing became of it."""
    store = MemoryStore()
    store.write(found)
    before = rows_of(store, final(found))
    while store.settle(SETTLING, limit=1000, all_now=True):
        pass
    return rows_of(store, final(found)) == before


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
@settings(max_examples=8, deadline=None)
def test_any_part_of_a_capture_that_is_said_to_be_final_is(name: str, data: st.DataObject) -> None:
    records = records_of(name)
    chosen = data.draw(st.sets(st.sampled_from(range(len(records)))) | st.just(set(range(len(records)))))
    part = [records[position] for position in data.draw(st.permutations(sorted(chosen)))]
    spans = [record for record in part if isinstance(record, Span)]
    logs = [record for record in part if isinstance(record, LogRecord)]
    requests = [receive(Decoded(spans=spans, logs=logs), Sender(), RECEIVED_AT, MAPPING)]

    found = batch_of(requests, price)

    stored = {(event.organization_id, event.trace_id) for event in found.events}
    assert found.whole.keys() <= stored
    assert is_final(found)


def a_run(number: int = 1, **more: Any) -> list[Span]:
    """Return a trace of three spans, whose call is named."""
    run = make_span(agent("writer"), trace_id=f"{number:032x}", duration_ms=500)
    called = chat(response_id=f"r{number}", **more)
    return [
        run,
        make_span(called, trace_id=run.trace_id, parent=run, scope="client"),
        make_span(tool("search"), trace_id=run.trace_id, parent=run),
    ]


def test_the_usual_traces_are_final_with_as_many_events_as_they_have() -> None:
    one, other = a_run(1), a_run(2)

    found = batch([*one, *other[1:], other[1]])

    (sender,) = found.resources
    assert found.whole == {
        ("default", one[0].trace_id): Whole(3, sender[1]),
        ("default", other[0].trace_id): Whole(2, sender[1]),
    }
    assert is_final(found)


def a_nameless_call() -> list[Span]:
    run, _, _ = a_run()
    return [run, make_span(chat(), trace_id=run.trace_id, parent=run, scope="client")]


def a_call_alone() -> list[Span]:
    return [make_span(chat(response_id="r1"), trace_id=f"{5:032x}", scope="client")]


@pytest.mark.parametrize("spans", [a_nameless_call(), a_call_alone()], ids=["without an id", "alone"])
def test_a_call_of_which_another_trace_may_tell_is_final_while_its_sender_has_one_instrumentation(
    spans: list[Span],
) -> None:
    found = batch(spans)

    (sender,) = found.resources
    assert found.whole == {("default", spans[0].trace_id): Whole(len(spans), sender[1])}
    assert found.call_scopes == {sender: {"client"}}
    assert is_final(found)


def test_with_two_instrumentations_such_a_call_is_not_final() -> None:
    found = batch([*a_nameless_call(), make_span(chat(response_id="r"), trace_id=f"{6:032x}", scope="wire")])

    (sender,) = found.resources
    assert found.call_scopes == {sender: {"client", "wire"}}
    assert found.root_callers == {sender}
    assert final(found) == set()


def test_with_two_instrumentations_of_which_none_loses_the_context_it_is() -> None:
    run, call = a_nameless_call()
    wire = make_span(chat(response_id="r"), trace_id=run.trace_id, parent=call, scope="wire")

    found = batch([run, call, wire])

    (sender,) = found.resources
    assert found.call_scopes == {sender: {"client", "wire"}}
    assert found.root_callers == set()
    assert final(found) == {("default", run.trace_id)}
    assert is_final(found)


def test_a_trace_whose_calls_two_senders_report_is_not_final() -> None:
    run, call = a_nameless_call()
    elsewhere = make_span(chat(), trace_id=run.trace_id, parent=run, scope="client", resource={"service.name": "other"})

    assert batch([run, call, elsewhere]).whole == {}


def test_what_belongs_to_no_trace_is_never_whole() -> None:
    details = "gen_ai.client.inference.operation.details"

    found = batch(logs=[make_log(chat(response_id="r1"), event_name=details, trace_id="", span_id="", at_ms=5)])

    assert len(found.calls) == 1
    assert found.whole == {}
