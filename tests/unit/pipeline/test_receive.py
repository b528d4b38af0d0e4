"""One record that our program stumbles over costs no other record anything."""

from __future__ import annotations

from dataclasses import replace

import pytest

from otel_obs.model import Decoded, LogRecord, Reading, Span
from otel_obs.pipeline.ingest import receive
from otel_obs.tenancy import Sender
from tests.builders import chat, make_log, make_span
from tests.rows import MAPPING, RECEIVED_AT


def test_a_record_that_cannot_be_read_is_kept_and_its_neighbours_are_stored(caplog: pytest.LogCaptureFixture) -> None:
    def read(span: Span) -> Reading:
        if span.name == "odd":
            raise ValueError(f"a prompt in {span.name}")
        return MAPPING.read(span)

    def read_log(record: LogRecord) -> Reading:
        if record.event_name == "odd":
            raise KeyError(record.event_name)
        return MAPPING.read_log(record)

    spans = [make_span(name=name) for name in ("a", "odd", "b")]
    logs = [make_log(event_name=name) for name in ("c", "odd", "d")]

    received = receive(
        Decoded(spans=spans, logs=logs), Sender(), RECEIVED_AT, replace(MAPPING, read=read, read_log=read_log)
    )

    assert [record.event.name for record in received.records] == ["a", "b", "c", "d"]
    assert [(item.signal, item.reason) for item in received.quarantined] == [
        ("traces", "not_understood"),
        ("logs", "not_understood"),
    ]
    assert all(b"odd" in item.payload for item in received.quarantined)
    assert "ValueError in test_receive.py" in caplog.text
    assert "prompt" not in caplog.text


@pytest.mark.parametrize(
    ("address", "endpoint"),
    [
        ("api.openai.com", "api.openai.com"),
        ("https://user:secret@api.openai.com:8443/v1?key=x#y", "api.openai.com:8443"),
        ("http://[::1]:4000/v1", "[::1]:4000"),
        ("x://[what is not an address]", "[what is not an address]"),
        ("https://[", "["),
        ("https://", None),
    ],
)
def test_where_a_call_went_is_told_without_credentials_and_whatever_stands_there(
    address: str, endpoint: str | None
) -> None:
    span = make_span(chat(more={"server.address": address}))

    (record,) = receive(Decoded(spans=[span]), Sender(), RECEIVED_AT, MAPPING).records

    assert record.call is not None
    assert record.call.endpoint == endpoint
