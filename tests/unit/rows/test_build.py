"""What one span or log record becomes, and what never becomes of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import pytest

from otel_obs.model import Content, Decoded, Link, LogRecord, Reading, Span, SpanEvent
from otel_obs.pipeline.ingest import Mapping, Received, receive
from otel_obs.rows.build import RecordRows
from otel_obs.rows.meaning import ContentPolicy
from otel_obs.tenancy import Sender
from tests.builders import MS, START_NS, agent, chat, make_log, make_span, tool
from tests.rows import MAPPING, RECEIVED_AT, price

START = datetime(2026, 11, 18, 11, 6, 40, tzinfo=timezone.utc)
CANARY = "canary-of-a-prompt"
PROSE = "What was said, at length. "
MIB = 1024 * 1024
DETAILS = "gen_ai.client.inference.operation.details"
MESSAGES = json.dumps([{"role": "user", "parts": [{"type": "text", "content": CANARY}]}])

Record = Span | LogRecord


def received(records: Sequence[Record], mapping: Mapping = MAPPING) -> Received:
    decoded = Decoded(
        spans=[record for record in records if isinstance(record, Span)],
        logs=[record for record in records if isinstance(record, LogRecord)],
    )
    return receive(decoded, Sender(), RECEIVED_AT, mapping)


def rows_of(record: Record, mapping: Mapping = MAPPING) -> RecordRows:
    (rows,) = received([record], mapping).records
    return rows


def reads_as(reading: Reading, **more: Any) -> Mapping:
    """Return a mapping under which every span means *reading*."""
    return Mapping(read=lambda _: reading, read_log=lambda _: reading, price=price, **more)


def says(*parts: str) -> Mapping:
    """Return a mapping under which every span says *parts*, one after the other."""
    names: list[Any] = ["input", "output", "system", "tools", "tool_arguments", "tool_result", "reference"]
    return reads_as(Reading(contents=tuple(Content(name, body) for name, body in zip(names, parts, strict=False))))


def prose(size: int) -> str:
    return (PROSE * (size // len(PROSE) + 1))[:size]


SAID: dict[str, Record] = {
    "messages": make_span(chat(more={"gen_ai.input.messages": MESSAGES, "gen_ai.output.messages": MESSAGES})),
    "system": make_span(chat(more={"gen_ai.system_instructions": CANARY, "gen_ai.tool.definitions": MESSAGES})),
    "tool": make_span(
        tool("search", **{"gen_ai.tool.call.arguments": MESSAGES, "gen_ai.tool.call.result": {"answer": [CANARY]}})
    ),
    "agent": make_span(agent("writer", **{"gen_ai.input.messages": MESSAGES, "gen_ai.output.messages": MESSAGES})),
    "numbered prompts": make_span(chat(more={"gen_ai.prompt.0.role": "user", "gen_ai.prompt.0.content": CANARY})),
    "openinference": make_span(
        {
            "openinference.span.kind": "LLM",
            "llm.model_name": "gpt-4o-mini",
            "input.value": CANARY,
            "llm.input_messages.0.message.content": CANARY,
            "llm.token_count.prompt": 7,
        }
    ),
    "parameters of a request": make_span(
        {
            "openinference.span.kind": "LLM",
            "input.value": CANARY,
            "llm.invocation_parameters": json.dumps({"inputText": CANARY, "config": {"tools": [CANARY]}, "top_p": 1}),
            "llm.prompt_template.variables": json.dumps({"context": CANARY}),
        }
    ),
    "parameters of a request under a vendor's name": make_span(
        {
            "langwatch.span.type": "llm",
            "langwatch.params": json.dumps({"tools": [CANARY], "temperature": 1}),
            "braintrust.metadata": json.dumps({"model": "m", "response_format": {"schema": CANARY}}),
            "gen_ai.request.parameters": json.dumps({"messages": [CANARY]}),
            "llm.request.functions": json.dumps([CANARY]),
            "embedding.embeddings": CANARY,
            "unseen.input_json": CANARY,
        }
    ),
    "events of LlamaIndex": make_span(
        {"llamaindex.step.input_summary": f"AgentInput(input=[{CANARY!r}])"},
        events=[
            SpanEvent(
                "LLMChatEndEvent",
                START_NS,
                {"class_name": "LLMChatEndEvent", "messages": CANARY, "response.raw.choices": CANARY},
            )
        ],
        scope="llamaindex.opentelemetry.tracer",
    ),
    "what ran in a workflow": make_span(
        {"gen_ai.workflow.input": CANARY, "gen_ai.framework.pipeline.output_data": CANARY}
    ),
    "an event of an unknown name": make_span(
        {"gen_ai.workflow.input": CANARY}, events=[SpanEvent("no-rain_result", START_NS, {"input": CANARY})]
    ),
    "an agent described by its instructions": make_span(
        agent("writer", **{"gen_ai.agent.description": CANARY}), scope="openlit.instrumentation.pydantic_ai"
    ),
    "a span of no dialect": make_span({"gen_ai.prompt": CANARY}),
    "span events": make_span(
        chat(),
        events=[
            SpanEvent("gen_ai.user.message", START_NS, {"content": CANARY}),
            SpanEvent("gen_ai.choice", START_NS, {"message": {"content": CANARY}, "index": 0}),
            SpanEvent(DETAILS, START_NS, {"gen_ai.input.messages": MESSAGES}),
        ],
    ),
    "the body of a log record": make_log(event_name="gen_ai.user.message", body={"content": CANARY}),
    "a short body of a log record": make_log(event_name="gen_ai.choice", body=CANARY),
    "attributes of a log record": make_log(chat(more={"gen_ai.input.messages": MESSAGES}), event_name=DETAILS),
}


@pytest.mark.parametrize("record", SAID.values(), ids=SAID)
def test_what_was_said_is_in_the_contents_and_not_in_the_event_nor_the_call(record: Record) -> None:
    rows = rows_of(record)

    assert any(CANARY in (row.body or "") for row in rows.contents)
    assert CANARY not in repr((rows.event, rows.call, rows.check, rows.extra_events, rows.sent_by))


@pytest.mark.parametrize("record", SAID.values(), ids=SAID)
def test_content_that_is_not_to_be_stored_is_nowhere(record: Record) -> None:
    rows = rows_of(record, replace(MAPPING, policy=ContentPolicy(store=False)))

    assert CANARY not in repr(rows)
    assert all(row.body is None and row.body_encrypted is None for row in rows.contents)


def test_what_a_request_was_set_to_is_kept_without_what_was_said() -> None:
    parameters = {
        "model": "gpt-4o", "temperature": 0.5, "stream": True, "stop": None, "thinking": {"budget_tokens": 1024},
        "messages": [{"content": CANARY}], "system": CANARY, "http_options": {"headers": {"key": CANARY}},
        "notes": prose(200),
    }  # fmt: skip
    span = make_span({"openinference.span.kind": "LLM", "llm.invocation_parameters": json.dumps(parameters)})

    kept = json.loads(rows_of(span).event.context["attributes"]["llm.invocation_parameters"])

    assert kept == {
        "model": "gpt-4o", "temperature": 0.5, "stream": True, "stop": None, "thinking": {"budget_tokens": 1024},
    }  # fmt: skip


def test_parameters_that_came_as_an_object_may_hold_anything() -> None:
    """Bytes and lists are no settings, and no reason to lose the span."""
    sent = {"temperature": 1, "schema": b"\x00", "stop": ["a"], "n": {"seed": 2, "key": b"k"}}
    span = make_span({"openinference.span.kind": "LLM", "llm.invocation_parameters": sent})

    kept = rows_of(span).event.context["attributes"]["llm.invocation_parameters"]

    assert json.loads(kept) == {"temperature": 1, "n": {"seed": 2}}


def test_parameters_that_say_nothing_else_are_left_out() -> None:
    span = make_span({"openinference.span.kind": "LLM", "llm.invocation_parameters": json.dumps({"prompt": CANARY})})

    assert "llm.invocation_parameters" not in rows_of(span).event.context["attributes"]


def test_a_line_of_a_log_that_quotes_what_was_said_is_named_by_its_module() -> None:
    line = SpanEvent(f"tool answered {CANARY}", START_NS, {"level": "INFO", "target": "rig::agent"})

    of_a_tool, of_nobody = (rows_of(make_span(said, events=[line])).event for said in (tool("search"), {}))

    assert [event["name"] for event in of_a_tool.context["events"]] == ["rig::agent"]
    assert CANARY not in repr(of_a_tool)
    assert [event["name"] for event in of_nobody.context["events"]] == [line.name]


def test_a_run_whose_content_is_not_stored_is_still_a_run() -> None:
    rows = rows_of(SAID["agent"], replace(MAPPING, policy=ContentPolicy(store=False)))

    assert rows.run is not None
    assert (rows.run.agent_name, rows.run.input_context, rows.run.output_summary) == ("writer", None, None)


def test_a_run_knows_what_it_was_asked_and_answered() -> None:
    rows = rows_of(SAID["agent"])

    assert rows.run is not None
    assert rows.run.input_context == {"input": json.loads(MESSAGES)}
    assert rows.run.output_summary == CANARY


def test_a_summary_has_at_most_2000_characters() -> None:
    rows = rows_of(make_span(agent("writer", **{"gen_ai.output.messages": "é" * 5000})))

    assert rows.run is not None
    assert rows.run.output_summary == "é" * 2000


@pytest.mark.parametrize(
    ("resource", "environment"),
    [({"deployment.environment.name": "staging"}, "staging"), ({"service.name": "tests"}, "")],
    ids=["said", "not said"],
)
def test_a_run_tells_its_environment_and_that_nobody_said_any(resource: dict[str, str], environment: str) -> None:
    rows = rows_of(make_span(agent("writer"), resource=resource))

    assert rows.run is not None
    assert rows.run.environment == environment


@pytest.mark.parametrize(
    ("resource", "environment"),
    [({"deployment.environment.name": "staging"}, "staging"), ({"service.name": "tests"}, "")],
    ids=["said", "not said"],
)
def test_a_call_tells_its_environment_and_that_nobody_said_any(resource: dict[str, str], environment: str) -> None:
    rows = rows_of(make_span(chat(), resource=resource))

    assert rows.call is not None
    assert rows.call.environment == environment


def test_a_part_that_fits_is_stored_whole() -> None:
    (row,) = rows_of(make_span(), says("é" * 512)).contents

    assert (row.body, row.bytes, row.truncated) == ("é" * 512, 1024, False)
    assert row.sha256 == hashlib.sha256(("é" * 512).encode()).hexdigest()


def test_a_part_too_long_is_cut_between_characters_and_keeps_size_and_hash_of_the_whole() -> None:
    whole = "é" * 1000

    (row,) = rows_of(make_span(), replace(says(whole), policy=ContentPolicy(max_bytes=1001))).contents

    assert (row.body, row.bytes, row.truncated) == ("é" * 500, 2000, True)
    assert row.sha256 == hashlib.sha256(whole.encode()).hexdigest()


def test_of_two_texts_for_one_part_the_first_is_stored() -> None:
    reading = Reading(contents=(Content("input", "one"), Content("input", "two"), Content("output", "")))

    assert [(row.part, row.body) for row in rows_of(make_span(), reads_as(reading)).contents] == [("input", "one")]


def test_media_are_not_stored_with_what_was_said() -> None:
    image = "data:image/png;base64," + "iVBORw0KGgo" * 100

    (row,) = rows_of(make_span(), says(f"Look at this: {image}")).contents

    assert row.body is not None
    assert row.body.startswith("Look at this: [image/png; ")
    assert "iVBORw0KGgo" not in row.body


def test_a_span_of_16_mib_is_stored() -> None:
    rows = rows_of(make_span(), says(*[prose(4 * MIB)] * 4))

    assert sum(len((row.body or "").encode()) for row in rows.contents) == 16 * MIB


@pytest.mark.parametrize(
    ("parts", "max_bytes"),
    [([4 * MIB] * 4 + [1], 4 * MIB), ([16 * MIB + 1], 32 * MIB), ([5 * MIB] * 5, 4 * MIB)],
    ids=["a byte more in five parts", "a byte more in one part", "five parts that were cut"],
)
def test_a_span_above_16_mib_is_refused_and_its_neighbours_are_not(parts: list[int], max_bytes: int) -> None:
    large, small = make_span(name="large"), make_span(name="small")
    said = says(*(prose(size) for size in parts)).read(large)
    mapping = Mapping(
        read=lambda span: said if span is large else Reading(),
        read_log=MAPPING.read_log,
        price=price,
        policy=ContentPolicy(max_bytes=max_bytes),
    )

    found = received([small, large, replace(small, span_id="a" * 16)], mapping)

    assert [record.event.name for record in found.records] == ["small", "small"]
    assert [(item.reason, item.signal) for item in found.quarantined] == [("span_too_large", "traces")]


def test_a_span_whose_only_part_is_cut_is_not_too_large() -> None:
    (row,) = rows_of(make_span(), says(prose(17 * MIB))).contents

    assert (row.bytes, row.truncated, len(row.body or "")) == (17 * MIB, True, 4 * MIB)


@pytest.mark.parametrize(
    ("nanoseconds", "microseconds"), [(0, 0), (999, 0), (1_000, 1), (123_456_999, 123_456), (999_999_999, 999_999)]
)
def test_a_timestamp_is_cut_to_microseconds(nanoseconds: int, microseconds: int) -> None:
    span = replace(make_span(), start_time_unix_nano=START_NS + nanoseconds)

    assert rows_of(span).event.timestamp == START.replace(microsecond=microseconds)


@pytest.mark.parametrize(
    ("duration_ns", "latency_ms"), [(0, 0), (1, 0.000_001), (1_500_000, 1.5), (3_600_000 * MS, 3_600_000)]
)
def test_latency_is_in_milliseconds(duration_ns: int, latency_ms: float) -> None:
    span = replace(make_span(), end_time_unix_nano=START_NS + duration_ns)

    event = rows_of(span).event

    assert event.latency_ms == latency_ms
    assert event.context.get("flags") is None


@pytest.mark.parametrize(
    ("start_ns", "end_ns", "flags"),
    [
        (START_NS, START_NS - 1, ["negative_duration"]),
        (START_NS, 1, ["negative_duration"]),
        (START_NS, 0, ["unfinished"]),
        (0, 0, ["unfinished", "clock_skew"]),
    ],
    ids=["ends a little before it starts", "ends in 1970", "does not end", "has no times"],
)
def test_a_duration_that_cannot_be_is_not_known(start_ns: int, end_ns: int, flags: list[str]) -> None:
    span = replace(make_span(), start_time_unix_nano=start_ns, end_time_unix_nano=end_ns)

    event = rows_of(span).event

    assert event.latency_ms is None
    assert event.context["flags"] == flags


@pytest.mark.parametrize(
    ("days", "skewed"),
    [(-801, True), (-799, False), (0, False), (27, False), (29, True)],
    ids=["801 days ago", "799 days ago", "now", "27 days ahead", "29 days ahead"],
)
def test_a_time_outside_the_weeks_is_flagged(days: int, skewed: bool) -> None:
    start_ns = int(RECEIVED_AT.timestamp() + days * 86_400) * 1_000 * MS
    span = replace(make_span(), start_time_unix_nano=start_ns, end_time_unix_nano=start_ns + 1)

    assert ("clock_skew" in rows_of(span).event.context.get("flags", [])) == skewed


@pytest.mark.parametrize(
    ("status_code", "failed", "status"),
    [
        (0, False, "unset"),
        (1, False, "ok"),
        (2, False, "error"),
        (7, False, "unset"),
        (0, True, "error"),
        (1, True, "error"),
    ],
)
def test_a_span_failed_if_it_says_so_or_its_dialect_proves_it(status_code: int, failed: bool, status: str) -> None:
    rows = rows_of(make_span(status_code=status_code), reads_as(Reading(failed=failed)))

    assert rows.event.status == status


@pytest.mark.parametrize(
    ("severity_number", "failed", "status"),
    [(0, False, "unset"), (9, False, "unset"), (16, False, "unset"), (17, False, "error"), (24, False, "error"),
     (9, True, "error")],
)  # fmt: skip
def test_a_log_record_is_an_error_from_severity_17_on(severity_number: int, failed: bool, status: str) -> None:
    rows = rows_of(make_log(severity_number=severity_number), reads_as(Reading(event_type="log", failed=failed)))

    assert rows.event.status == status


def test_the_type_of_an_error_is_that_of_the_exception_where_nobody_names_it() -> None:
    exception = SpanEvent("exception", START_NS, {"exception.type": "TimeoutError", "exception.message": "late"})

    assert rows_of(make_span(status_code=2, events=[exception])).event.error_type == "TimeoutError"
    assert rows_of(make_span({"error.type": "429"}, status_code=2, events=[exception])).event.error_type == "429"


def test_a_log_record_without_a_time_of_its_own_is_dated_by_who_observed_it() -> None:
    record = replace(make_log(), time_unix_nano=0, observed_time_unix_nano=START_NS + 1_000)

    assert rows_of(record).event.timestamp == START.replace(microsecond=1)


RECORD = make_log({"key": "value"}, event_name="an event", body="a body", span_id="b" * 16, at_ms=1)
OTHERS: dict[str, LogRecord] = {
    "trace": replace(RECORD, trace_id="c" * 32),
    "span": replace(RECORD, span_id="c" * 16),
    "time": replace(RECORD, time_unix_nano=RECORD.time_unix_nano + 1),
    "name": replace(RECORD, event_name="another event"),
    "body": replace(RECORD, body="another body"),
    "type of body": replace(RECORD, body=["a body"]),
    "attributes": replace(RECORD, attributes={"key": "another value"}),
    "type of attribute": replace(RECORD, attributes={"key": ["value"]}),
    "end of a long body": replace(RECORD, body=PROSE * 20_000 + "!"),
    "end of a long attribute": replace(RECORD, attributes={"key": PROSE * 20_000 + "!"}),
    "end of long bytes": replace(RECORD, body=b"\x00" * 300_000 + b"!"),
}
PLAIN: dict[str, LogRecord] = {
    "end of a long body": replace(RECORD, body=PROSE * 20_000 + "?"),
    "end of a long attribute": replace(RECORD, attributes={"key": PROSE * 20_000 + "?"}),
    "end of long bytes": replace(RECORD, body=b"\x00" * 300_000 + b"?"),
}


@pytest.mark.parametrize("what", OTHERS)
def test_log_records_that_differ_are_two_events(what: str) -> None:
    one, other = rows_of(PLAIN.get(what, RECORD)), rows_of(OTHERS[what])

    assert one.event.event_id != other.event.event_id


def test_the_same_log_record_is_the_same_event_whenever_it_comes_and_whatever_stands_beside_it() -> None:
    again = replace(RECORD, attributes=dict(RECORD.attributes), observed_time_unix_nano=START_NS + 5)

    first = rows_of(RECORD).event
    second = receive(Decoded(logs=[OTHERS["body"], again]), Sender(), START, MAPPING).records[1].event

    assert (first.event_id, first.timestamp) == (second.event_id, second.timestamp)


def test_the_order_of_attributes_is_no_difference_between_log_records() -> None:
    pairs: list[tuple[str, Any]] = [("a", 1), ("b", 2), ("c", {"d": 3, "e": 4})]

    ids = {rows_of(replace(RECORD, attributes=dict(attributes))).event.event_id for attributes in (pairs, pairs[::-1])}

    assert len(ids) == 1


def test_a_log_record_is_another_event_than_the_span_that_it_names() -> None:
    event = rows_of(RECORD).event

    assert (event.span_id, event.parent_span_id) == (RECORD.span_id, RECORD.span_id)
    assert event.event_id != event.span_id
    assert 0 < len(event.event_id.encode()) <= 200


def evaluation(flag: str = "new-checkout", at_ms: int = 1) -> SpanEvent:
    return SpanEvent("feature_flag.evaluation", START_NS + at_ms * MS, {"feature_flag.key": flag})


def test_a_kind_and_a_status_of_a_later_release_are_kept_as_flags() -> None:
    later = replace(make_span(), kind=99, status_code=7)

    assert rows_of(later).event.context["flags"] == ["unspecified_kind(99)", "unspecified_status(7)"]
    assert rows_of(later).event.status == "unset"
    assert all("flags" not in rows_of(replace(make_span(), kind=kind)).event.context for kind in range(6))


def test_flag_evaluations_of_a_span_are_events_of_their_own_even_if_they_are_alike() -> None:
    span = make_span(events=[evaluation(), SpanEvent("something else"), evaluation(), evaluation("other", 2)])

    rows, again = rows_of(span), rows_of(replace(span, events=list(span.events)))

    found = [(row.event_type, row.name, row.span_id, row.parent_span_id) for row in rows.extra_events]
    names = ["new-checkout", "new-checkout", "other"]
    assert found == [("feature_flag", name, span.span_id, span.span_id) for name in names]
    assert len({row.event_id for row in rows.extra_events} | {rows.event.event_id}) == 4
    assert rows.extra_events == again.extra_events
    assert [row.timestamp.microsecond for row in rows.extra_events] == [1000, 1000, 2000]


def test_the_event_of_a_span_is_named_by_its_span_id() -> None:
    span = make_span()

    assert rows_of(span).event.event_id == span.span_id


def test_context_holds_what_was_sent_under_the_names_as_sent_and_nothing_that_is_empty() -> None:
    event = SpanEvent("cache.hit", START_NS, {"cache.key": "k"})
    link = Link("d" * 32, "e" * 16)
    sent = {"http.request.method": "POST", "n": 3, "nested": {"a": [1, 2.5, True, None]}}

    full = rows_of(make_span(sent, events=[event], links=[link], flags=("sanitized",))).event.context
    empty = rows_of(replace(make_span(), scope=type(make_span().scope)())).event.context

    assert full["attributes"] == sent
    assert full["scope"] == {"name": "test"}
    assert [(item["name"], item["attributes"]) for item in full["events"]] == [("cache.hit", {"cache.key": "k"})]
    assert full["links"] == [{"trace_id": "d" * 32, "span_id": "e" * 16}]
    assert full["flags"] == ["sanitized"]
    assert empty == {}


def test_context_tells_what_the_sender_left_out_and_how_it_sampled() -> None:
    span = replace(
        make_span({"a": 1}), trace_state="ot=th:c", dropped_attributes_count=3, dropped_events_count=0,
        dropped_links_count=1,
    )  # fmt: skip

    context = rows_of(span).event.context

    assert context["trace_state"] == "ot=th:c"
    assert context["attributes"] == {"a": 1, "otel.dropped_attributes_count": 3, "otel.dropped_links_count": 1}


def test_how_much_was_left_out_is_told_where_the_context_is_cut_as_well() -> None:
    many = {f"attribute {number}": "x" * 200 for number in range(1024)}

    context = rows_of(replace(make_span(many), dropped_attributes_count=3976)).event.context

    assert len(context["attributes"]) < 1024
    assert context["attributes"]["otel.dropped_attributes_count"] == 3976


def test_a_tracestate_has_a_bound_of_its_own_and_is_whole_where_others_are_cut() -> None:
    told = rows_of(replace(make_span({f"{n:04d}": "x" * 500 for n in range(900)}), trace_state="ot=th:fd70a3d70a3d71"))
    endless = rows_of(replace(make_span(), trace_state="a=" + "b" * 9000))

    assert told.event.context["flags"] == ["truncated"]
    assert told.event.context["trace_state"] == "ot=th:fd70a3d70a3d71"
    assert len(endless.event.context["trace_state"]) == 1024


def test_a_large_attribute_is_cut_and_the_span_is_kept() -> None:
    event = rows_of(make_span({"large": prose(MIB), "small": "kept"})).event

    assert len(json.dumps(event.context, ensure_ascii=False).encode()) <= 64 * 1024
    assert event.context["flags"] == ["truncated"]
    assert event.context["attributes"]["small"] == "kept"


LONG = "".join(hashlib.sha256(bytes([number])).hexdigest() + " é" for number in range(200))


def test_columns_with_an_index_never_outgrow_it() -> None:
    """A btree refuses entries of more than a third of a page (2,704 bytes)."""
    attributes = chat(
        response_id=LONG,
        model=LONG,
        more={
            "gen_ai.provider.name": LONG, "gen_ai.agent.name": LONG, "gen_ai.agent.id": LONG, "user.id": LONG,
            "session.id": LONG, "gen_ai.conversation.id": LONG, "otel_obs.workflow.id": LONG,
            "otel_obs.workflow.run.id": LONG, "server.address": LONG, "gen_ai.response.finish_reasons": [LONG],
        },
    )  # fmt: skip
    resource = {"service.name": LONG, "service.version": LONG, "deployment.environment.name": LONG}

    rows = rows_of(make_span(attributes, name=LONG, resource=resource))

    assert rows.call is not None
    event, call = rows.event._asdict(), rows.call._asdict()
    assert {name: len(value.encode()) for name, value in (event | call).items()
            if isinstance(value, str) and len(value.encode()) > 1024} == {}  # fmt: skip
    for name in ("user_id", "agent_id", "flow_id", "run_id", "conversation_id", "model_name", "request_model"):
        assert 0 < len(call[name].encode()) <= 200, name


def test_an_id_that_a_span_names_holds_no_control_characters() -> None:
    event = rows_of(make_span({"user.id": "a\x00\n\x7f\x85b", "session.id": "\n"})).event

    assert (event.user_id, event.conversation_id) == ("ab", None)


def test_a_workspace_that_nobody_names_is_told_from_one_that_is_called_default() -> None:
    nobody = rows_of(make_span()).event
    named = rows_of(make_span({"otel_obs.workspace.id": "default"})).event

    assert (nobody.workspace_id, nobody.workspace_is_known) == ("default", False)
    assert (named.workspace_id, named.workspace_is_known) == ("default", True)


def test_a_span_that_names_a_workspace_that_is_none_is_refused_with_its_reason() -> None:
    found = received([make_span({"otel_obs.workspace.id": "a\nb"}), make_span()])

    assert len(found.records) == 1
    assert [(item.reason, item.workspace_id) for item in found.quarantined] == [("tenant_id_malformed", "default")]


def test_spans_that_are_not_about_genai_are_left_out_and_counted_where_only_those_are_wanted() -> None:
    spans = [make_span(), make_span(chat()), make_span({"http.request.method": "GET"}), make_span(tool("search"))]

    found = received(spans, replace(MAPPING, genai_only=True))

    assert [record.event.event_type for record in found.records] == ["llm", "tool"]
    assert found.dropped == 2


def test_what_is_sent_of_a_span_that_still_runs_is_unfinished_and_a_quick_span_is_not() -> None:
    update = make_span({"judgment.span_kind": "tool", "judgment.update_id": 0}, duration_ms=0)
    quick = make_span({"gen_ai.operation.name": "execute_tool"}, duration_ms=0)
    ended = replace(update, end_time_unix_nano=update.start_time_unix_nano + 5 * MS)

    assert [rows_of(span).event.latency_ms for span in (update, quick, ended)] == [None, 0, 5]
    assert rows_of(update).event.context["flags"] == ["unfinished"]
