"""What is kept on disk of a request gives the rows that the request would have given."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from otel_obs.model import Decoded
from otel_obs.pipeline import recorded
from otel_obs.pipeline.accepted import JSON, PROTOBUF, ROWS, Accepted, accepted_of
from otel_obs.pipeline.ingest import Received, receive
from otel_obs.pipeline.sealing import KeyedSealer, Sealer, sealer_of
from otel_obs.pipeline.segment import Record
from otel_obs.rows.meaning import ContentPolicy
from otel_obs.sealing import SealedError
from otel_obs.tenancy import Sender, TenantDefaults
from tests.builders import chat, make_span
from tests.corpus import NAMES, capture
from tests.rows import MAPPING, RECEIVED_AT

KEY, OTHER_KEY = ("a", b"a" * 32), ("b", b"b" * 32)
DEFAULTS = TenantDefaults(organization_id="o", workspace_id="w")
SENDER = Sender(organization_id="acme", workspace_id="header", bound_workspace_id="bound", key_id="k")


def accepted(signal: str, encoding: str, body: bytes, **more: Any) -> Accepted:
    known = {"sender": Sender(), "defaults": DEFAULTS, "received_at": RECEIVED_AT, "records": 3}
    return Accepted(signal=signal, encoding=encoding, body=body, **{**known, **more})


def directly(signal: str, body: bytes) -> Received:
    from otel_obs.otlp.decode import decode_logs, decode_traces  # noqa: PLC0415

    decoded = decode_traces(body) if signal == "traces" else decode_logs(body)
    return receive(decoded, Sender(), RECEIVED_AT, replace(MAPPING, defaults=DEFAULTS))


@pytest.mark.parametrize("name", NAMES)
def test_the_rows_of_a_capture_come_back_from_disk_as_sent_and_as_rows(name: str) -> None:
    for found in capture(name).bodies:
        rows = directly(found.signal, found.data)

        as_sent = accepted_of(accepted(found.signal, PROTOBUF, found.data).record()).received(MAPPING)
        as_rows = accepted_of(accepted(found.signal, ROWS, recorded.to_bytes(rows)).record()).received(MAPPING)

        assert as_sent == rows
        assert as_rows == rows


def test_everything_that_is_known_of_a_request_comes_back() -> None:
    whole = accepted("logs", JSON, b"\x00body", sender=SENDER)

    assert accepted_of(whole.record()) == whole


def test_what_was_dropped_is_not_in_the_rows() -> None:
    mapping = replace(MAPPING, policy=ContentPolicy(store=False))
    spans = [make_span(chat(response_id="r", more={"gen_ai.input.messages": "a secret"}))]

    rows = receive(Decoded(spans=spans), Sender(), RECEIVED_AT, mapping)

    assert b"secret" not in recorded.to_bytes(rows)
    assert recorded.from_bytes(recorded.to_bytes(rows)) == rows


@pytest.mark.parametrize(
    ("encoding", "body", "reason"),
    [(PROTOBUF, b"\xff", "not_decodable"), (JSON, b"{", "not_decodable"), (ROWS, b"{}", "not_readable"),
     ("new", b"x", "not_readable")],
)  # fmt: skip
def test_what_cannot_be_read_is_one_note_with_all_of_it(encoding: str, body: bytes, reason: str) -> None:
    found = accepted("traces", encoding, body, sender=SENDER).received(MAPPING)

    (note,) = found.quarantined
    assert (found.records, note.reason, note.payload) == ((), reason, body)
    assert (note.organization_id, note.workspace_id) == ("acme", "bound")


def test_a_body_is_sealed_with_the_first_key_and_read_with_any() -> None:
    record = accepted("traces", PROTOBUF, b"a secret").record()

    sealed = KeyedSealer([KEY, OTHER_KEY]).seal(record)

    assert b"secret" not in sealed.body
    assert sealed.header["kid"] == "a"
    assert KeyedSealer([OTHER_KEY, KEY]).open(sealed) == record
    assert KeyedSealer([KEY]).open(record) == record
    assert KeyedSealer([KEY]).seal(record).body != sealed.body


def test_what_was_changed_moved_or_sealed_with_another_key_is_not_read() -> None:
    sealer = KeyedSealer([KEY])
    sealed = sealer.seal(accepted("traces", PROTOBUF, b"a secret").record())
    damaged = [
        Record(sealed.header, sealed.body[:-1] + bytes([sealed.body[-1] ^ 1])),
        Record(sealed.header, b""),
        Record({**sealed.header, "organization": "theirs"}, sealed.body),
        Record({**sealed.header, "received_at": (RECEIVED_AT + timedelta(days=1)).isoformat()}, sealed.body),
    ]

    for record in damaged:
        with pytest.raises(SealedError, match="not what the key"):
            sealer.open(record)
    for other in (Sealer(), sealer_of([OTHER_KEY])):
        with pytest.raises(SealedError, match="not in OTEL_OBS_ENCRYPTION_KEYS"):
            other.open(sealed)
