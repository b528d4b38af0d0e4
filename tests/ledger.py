"""Senders that remember: what was sent, what became of it, and does that add up with what is in the database?

Ids are made of a seed and a number, so what is expected needs no store of its own.
"""

from __future__ import annotations

import http.client
import json
import re
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import grpc
import psycopg
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from psycopg.conninfo import make_conninfo

from otel_obs.maintenance.rollups import roll_up
from otel_obs.postgres.pool import open_pool
from tests.otlp_json import as_json

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
START_NS = 1_795_000_000_000_000_000
BAD_EVERY = 50
"""Of so many spans one has no trace id, where a ledger sends bad ones."""
CALL_EVERY = 10
"""Of so many spans one is a call to a model."""
AFTER_ALL = datetime(2026, 12, 1, tzinfo=timezone.utc)
"""When all days are over on which anything is sent."""
Bad = tuple[int, int]


@dataclass
class Ledger:
    """One sender's book."""

    address: str
    """HTTP, or gRPC where *way* says so."""
    way: str = "protobuf"
    seed: int = 1
    spans: int = 20
    bad: bool = False
    padding: int = 0
    call_every: int = CALL_EVERY
    """0: none is a call."""
    prompt: int = 0
    """How long what each call was asked is (bytes)."""
    sent: set[int] = field(default_factory=set)
    """Numbers of batches."""
    acked: set[int] = field(default_factory=set)
    refused: dict[int, Any] = field(default_factory=dict)
    """Batches that were answered with something else than success, by their last answer."""
    doubtful: set[int] = field(default_factory=set)
    """Batches whose answer never came."""
    rejected: int = 0
    slowest_s: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)
    _channel: Any = None

    def __getstate__(self) -> dict[str, Any]:
        """A book goes from process to process, a lock and a channel do not."""
        return {name: value for name, value in vars(self).items() if name not in {"lock", "_channel"}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, lock=threading.Lock(), _channel=None)

    def request(self, number: int) -> ExportTraceServiceRequest:
        request = ExportTraceServiceRequest()
        part = request.resource_spans.add().scope_spans.add()
        for index in range(self.spans):
            identity = number * self.spans + index
            is_bad = self._is_bad(identity)
            span = part.spans.add(
                trace_id=b"" if is_bad else self.trace_id(number),
                span_id=(identity + 1).to_bytes(8, "big"),
                name=f"bad {self.seed}.{identity};" if is_bad else "x" * self.padding or f"span {identity}",
                start_time_unix_nano=START_NS + identity * 1000,
                end_time_unix_nano=START_NS + identity * 1000 + 1_000_000,
            )
            if self._is_call(identity):
                self._make_call(span, identity)
        return request

    def _is_bad(self, identity: int) -> bool:
        return self.bad and identity % BAD_EVERY == BAD_EVERY - 1

    def _is_call(self, identity: int) -> bool:
        return self.call_every > 0 and identity % self.call_every == 0

    def _make_call(self, span: Span, identity: int) -> None:
        said = {"gen_ai.operation.name": "chat", "gen_ai.response.model": "gpt-4o-mini",
                "gen_ai.provider.name": "openai", "gen_ai.response.id": f"{self.seed}.{identity}"}  # fmt: skip
        for key, value in said.items():
            span.attributes.add(key=key).value.string_value = value
        if self.prompt:
            word = f"{self.seed}.{identity} "
            span.attributes.add(key="gen_ai.input.messages").value.string_value = word * (self.prompt // len(word))
        span.attributes.add(key="gen_ai.usage.input_tokens").value.int_value = identity % 1000
        span.attributes.add(key="gen_ai.usage.output_tokens").value.int_value = 7

    def trace_id(self, number: int) -> bytes:
        return self.seed.to_bytes(8, "big") + (number + 1).to_bytes(8, "big")

    def keys(self, numbers: Iterable[int]) -> set[tuple[str, str]]:
        """Return the (trace, span) of each good span of these batches."""
        return {
            (self.trace_id(number).hex(), f"{number * self.spans + index + 1:016x}")
            for number in numbers
            for index in range(self.spans)
            if not self._is_bad(number * self.spans + index)
        }

    def calls(self) -> set[tuple[str, str]]:
        """Return which of the spans that were sent are calls."""
        return {key for key in self.keys(self.sent) if self._is_call(int(key[1], 16) - 1)}

    def bads(self, numbers: Iterable[int]) -> set[Bad]:
        """Return (seed, number) of each span of these batches that has no id."""
        identities = (number * self.spans + index for number in numbers for index in range(self.spans))
        return {(self.seed, identity) for identity in identities if self._is_bad(identity)}

    def send(self, number: int, timeout_s: float = 10.0) -> bool:
        """Send a batch once; return True if it was acknowledged."""
        with self.lock:
            self.sent.add(number)
        began = time.monotonic()
        try:
            answer = self._ask(self.request(number), timeout_s)
        except (OSError, http.client.HTTPException) as error:
            answer = type(error).__name__
        took_s = time.monotonic() - began
        with self.lock:
            self.slowest_s = max(self.slowest_s, took_s)
            if isinstance(answer, int):
                self.rejected += answer if number not in self.acked else 0
                self.acked.add(number)
                self.refused.pop(number, None)
                self.doubtful.discard(number)
                return True
            if isinstance(answer, str):
                self.doubtful.add(number)
            else:
                self.refused[number] = answer[0]
        return False

    def send_all(self, numbers: Iterable[int]) -> bool:
        """Send each batch once; return True if all were acknowledged."""
        return min([self.send(number) for number in numbers])

    def insist(self, number: int, within_s: float = 60.0) -> bool:
        """Send a batch until it is acknowledged, as a Collector does."""
        until = time.monotonic() + within_s
        while not self.send(number):
            if time.monotonic() > until:
                return False
            time.sleep(0.2)
        return True

    def _ask(self, request: ExportTraceServiceRequest, timeout_s: float) -> int | str | tuple[int]:
        if self.way == "grpc":
            return self._call(request.SerializeToString(), timeout_s)
        body = as_json(request) if self.way == "json" else request.SerializeToString()
        kind = "application/json" if self.way == "json" else "application/x-protobuf"
        connection = http.client.HTTPConnection(self.address, timeout=timeout_s)
        try:
            connection.request("POST", "/v1/traces", body, {"content-type": kind})
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        if response.status != 200:
            return (response.status,)
        if self.way == "json":
            return int(json.loads(content).get("partialSuccess", {}).get("rejectedSpans", 0))
        return int(ExportTraceServiceResponse.FromString(content).partial_success.rejected_spans)

    def _call(self, body: bytes, timeout_s: float) -> int | str | tuple[int]:
        with self.lock:
            if self._channel is None:
                options = [("grpc.max_reconnect_backoff_ms", 500), ("grpc.initial_reconnect_backoff_ms", 100)]
                self._channel = grpc.insecure_channel(self.address, options)
        try:
            answer = self._channel.unary_unary(EXPORT, None, None)(body, timeout=timeout_s)
        except grpc.RpcError as error:
            told: Any = error
            if "otel" not in str(told.trailing_metadata()) and not dict(told.trailing_metadata() or ()):
                return str(told.code())
            return (int(told.code().value[0]),)
        return int(ExportTraceServiceResponse.FromString(answer).partial_success.rejected_spans)

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()


def present(connection: psycopg.Connection) -> list[tuple[str, str]]:
    return connection.execute("SELECT trace_id, span_id FROM otel_obs.event_logs").fetchall()


def adds_up(connection: psycopg.Connection, *ledgers: Ledger) -> dict[str, int]:
    """Return the balance, once it was seen by id that nothing is missing, nothing is twice, nothing is made up.

    sent = committed + quarantined + refused, for nothing is on disk any more; acknowledged is there; each is there
    once; each call among them is one call; roll-ups say what the rows say.
    """
    rows = present(connection)
    found = set(rows)
    acked = set().union(*(ledger.keys(ledger.acked) for ledger in ledgers))
    sent = set().union(*(ledger.keys(ledger.sent) for ledger in ledgers))
    refused = set().union(*(ledger.keys(ledger.refused) for ledger in ledgers))
    doubtful = set().union(*(ledger.keys(ledger.doubtful) for ledger in ledgers))
    assert len(rows) == len(found), "a span is there twice"
    assert acked <= found, f"{len(acked - found)} acknowledged spans are missing"
    assert found <= sent, "there are spans that nobody sent"
    assert found | refused | doubtful == sent, "spans are neither there nor refused"
    noted = quarantined(connection)
    bad = set().union(*(ledger.bads(ledger.acked) for ledger in ledgers))
    assert bad <= noted, f"{len(bad - noted)} rejected spans have no note"
    assert noted <= set().union(*(ledger.bads(ledger.sent) for ledger in ledgers)), "a note of what nobody sent"
    calls = connection.execute("SELECT trace_id, span_id FROM otel_obs.model_cost_logs").fetchall()
    assert len(calls) == len(set(calls)), "a call is there twice"
    assert set(calls) == found & set().union(*(ledger.calls() for ledger in ledgers)), "a call is missing, or made up"
    roll_up_now(connection)
    from_rows, from_rollups = (connection.execute(statement).fetchall() for statement in (_ROWS, _ROLLUPS))
    assert from_rollups == from_rows, "roll-ups differ from the rows"
    return {
        "sent": len(sent), "acknowledged": len(acked), "committed": len(found), "refused": len(sent - found),
        "doubtful": len(doubtful - acked), "quarantined": len(noted), "twice": len(rows) - len(found),
    }  # fmt: skip


def quarantined(connection: psycopg.Connection) -> set[Bad]:
    """Return which bad spans have a note, by what was kept of them."""
    kept = connection.execute("SELECT payload FROM otel_obs.quarantine WHERE reason = 'trace_id:absent'").fetchall()
    return {(int(seed), int(number)) for row in kept for seed, number in re.findall(rb"bad (\d+)\.(\d+);", row[0])}


def roll_up_now(connection: psycopg.Connection) -> None:
    """Roll up what is there; what comes later has to be found by the next time."""
    pool = open_pool(make_conninfo(connection.info.dsn), max_size=1, wait_s=30)
    try:
        roll_up(pool, AFTER_ALL)
    finally:
        pool.close(2.0)


_ROWS = """
    SELECT ("timestamp" AT TIME ZONE 'UTC')::date, count(*), sum(input_tokens), sum(output_tokens), sum(cost_usd)
    FROM otel_obs.model_cost_logs GROUP BY 1 ORDER BY 1
"""
_ROLLUPS = """
    SELECT day, sum(calls), sum(input_tokens), sum(output_tokens), sum(cost_cents)
    FROM otel_obs.usage_rollups WHERE hour IS NULL GROUP BY 1 ORDER BY 1
"""
