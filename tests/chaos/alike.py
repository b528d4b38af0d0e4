"""Does the compiled package make the same rows as its source, whatever a request holds?

Captures of real senders get values of any kind in place of some of their own, and times, ids and names that nobody
expects: compiled code checks types, so it is there that it could differ. Each request gives a line that stands for its
rows; ``make compiled`` lets both packages write these lines, and compares them.
"""

from __future__ import annotations

import argparse
import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from otel_obs.model import Decoded
from otel_obs.otlp.decode import decode_logs, decode_traces
from otel_obs.otlp.decode_json import decode_traces_json
from otel_obs.pipeline import recorded
from otel_obs.pipeline.batching import batch_of
from otel_obs.pipeline.ingest import receive
from otel_obs.tenancy import Sender
from tests.corpus import NAMES, Body, capture
from tests.otlp_json import as_json
from tests.rows import MAPPING, RECEIVED_AT

TEXTS = (
    "", "null", "None", "{}", "[]", "[1]", "true", "-5", "12", "1.5", "nan", "1e999", "9" * 30, "a\x00b", "é" * 300,
    '{"a":', "{'a': 1}", '{"usage": {"prompt_tokens": [1], "completion_tokens": {}}}', '[{"role": 1}, null]',
    "[" * 900 + "]" * 900, '{"messages":' * 300 + "1" + "}" * 300, "data:image/png;base64," + "A" * 100, "x" * 5000,
)  # fmt: skip
NUMBERS = (0, 1, -1, 65_535, 10**12, 2**63 - 1, -(2**63))
FLOATS = (0.0, 0.1, -1.5, 3.0, 1e308, float("nan"), float("inf"))
TIMES = (0, 1, 10**18, 2**64 - 1)
KEYS = ("", "a", "role", "content", "input_tokens", "model", "id")
DEPTHS = (10, 32, 33, 100, 300, 1000, 3000, 30_000)


def lines(count: int, seed: int) -> Iterator[str]:
    """Yield what stands for the rows of so many requests."""
    chance = random.Random(seed)
    bodies = [body for name in NAMES for body in capture(name).bodies]
    for depth in DEPTHS:
        yield _said(decode_traces_json, _nested(depth))
    for _ in range(count):
        body = chance.choice(bodies)
        request = _changed(chance, body)
        decode = decode_traces if body.signal == "traces" else decode_logs
        yield _said(decode, request.SerializeToString())
        if isinstance(request, ExportTraceServiceRequest):
            yield _said(decode_traces_json, as_json(request))


def _said(decode: Callable[[bytes], Decoded], body: bytes) -> str:
    try:
        received = receive(decode(body), Sender(), RECEIVED_AT, MAPPING)
        batch = batch_of([received], MAPPING.price)
    except Exception as error:  # noqa: BLE001  # that it is the same one is what is asked
        return f"{type(error).__name__}: {error}"
    # Sets of names come in another order in each process.
    scopes = {sender: sorted(found) for sender, found in batch.call_scopes.items()}
    made = repr((replace(batch, call_scopes={}, root_callers=frozenset()), scopes, sorted(batch.root_callers)))
    return hashlib.sha256(recorded.to_bytes(received) + made.encode(errors="replace")).hexdigest()


def _nested(depth: int) -> bytes:
    value = b'{"arrayValue": {"values": [' * depth + b'{"intValue": "1"}' + b"]}}" * depth
    ids = b'"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174"'
    span = b"{" + ids + b', "attributes": [{"key": "k", "value": ' + value + b"}]}"
    return b'{"resourceSpans": [{"scopeSpans": [{"spans": [' + span + b"]}]}]}"


def _changed(chance: random.Random, body: Body) -> ExportTraceServiceRequest | ExportLogsServiceRequest:
    if body.signal == "logs":
        logs = ExportLogsServiceRequest.FromString(body.data)
        records = [item for group in logs.resource_logs for part in group.scope_logs for item in part.log_records]
        for record in records:
            _mix(chance, record.attributes)
            if chance.random() < 0.3:
                _put_any(chance, record.body)
        return logs
    traces = ExportTraceServiceRequest.FromString(body.data)
    spans = [item for group in traces.resource_spans for part in group.scope_spans for item in part.spans]
    for group in traces.resource_spans:
        _mix(chance, group.resource.attributes)
    for span in spans:
        for attributes in (span.attributes, *(event.attributes for event in span.events)):
            _mix(chance, attributes)
        _change_span(chance, span, spans)
    return traces


def _change_span(chance: random.Random, span: Any, spans: Sequence[Any]) -> None:
    changes: dict[str, Sequence[object]] = {
        "start_time_unix_nano": TIMES,
        "end_time_unix_nano": TIMES,
        "name": TEXTS,
        "parent_span_id": (b"", b"x", span.span_id, bytes(8), chance.choice(spans).span_id),
        "trace_id": (b"", b"x", bytes(16), spans[0].trace_id),
    }
    for name, values in changes.items():
        if chance.random() < 0.07:
            setattr(span, name, chance.choice(values))


def _mix(chance: random.Random, attributes: Any) -> None:
    for attribute in attributes:
        if chance.random() < 0.12:
            _put_any(chance, attribute.value)
    if attributes and chance.random() < 0.1:
        again = attributes.add(key=chance.choice(attributes).key)
        _put_any(chance, again.value)


def _put_any(chance: random.Random, value: AnyValue, depth: int = 0) -> None:
    value.Clear()
    match chance.randrange(8):
        case 0 | 1:
            value.string_value = chance.choice(TEXTS)
        case 2:
            value.int_value = chance.choice(NUMBERS)
        case 3:
            value.double_value = chance.choice(FLOATS)
        case 4:
            value.bool_value = chance.random() < 0.5
        case 5:
            value.bytes_value = chance.randbytes(chance.randrange(200))
        case 6 if depth < 4:
            value.array_value.SetInParent()
            for _ in range(chance.randrange(4)):
                _put_any(chance, value.array_value.values.add(), depth + 1)
        case 7 if depth < 4:
            value.kvlist_value.SetInParent()
            for _ in range(chance.randrange(4)):
                _put_any(chance, value.kvlist_value.values.add(key=chance.choice(KEYS)).value, depth + 1)
        case _:
            pass


def main() -> None:
    """Read the command line, and write the lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("requests", type=int)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    for line in lines(given.requests, given.seed):
        print(line)  # noqa: T201


if __name__ == "__main__":
    main()
