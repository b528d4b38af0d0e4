"""Senders that remember: what was sent, what became of it, and does that add up with what is in the database?

Ids are made of a seed and a number, so what is expected needs no store of its own.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import grpc
import psycopg
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.otlp_json import as_json

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
START_NS = 1_795_000_000_000_000_000
BAD_EVERY = 50
"""Of so many spans one has no trace id, where a ledger sends bad ones."""


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
    prompt: int = 0
    """Characters of what each span says that a model was asked."""
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

    def request(self, number: int) -> ExportTraceServiceRequest:
        request = ExportTraceServiceRequest()
        part = request.resource_spans.add().scope_spans.add()
        for index in range(self.spans):
            identity = number * self.spans + index
            is_bad = self.bad and identity % BAD_EVERY == BAD_EVERY - 1
            span = part.spans.add(
                trace_id=b"" if is_bad else self.trace_id(number),
                span_id=(identity + 1).to_bytes(8, "big"),
                name="x" * self.padding or f"span {identity}",
                start_time_unix_nano=START_NS + identity * 1000,
                end_time_unix_nano=START_NS + identity * 1000 + 1_000_000,
            )
            if self.prompt:
                span.attributes.add(key="gen_ai.operation.name").value.string_value = "chat"
                span.attributes.add(key="gen_ai.input.messages").value.string_value = "x" * self.prompt
        return request

    def trace_id(self, number: int) -> bytes:
        return self.seed.to_bytes(8, "big") + (number + 1).to_bytes(8, "big")

    def keys(self, numbers: Iterable[int]) -> set[tuple[str, str]]:
        """Return the (trace, span) of each good span of these batches."""
        return {
            (self.trace_id(number).hex(), f"{number * self.spans + index + 1:016x}")
            for number in numbers
            for index in range(self.spans)
            if not (self.bad and (number * self.spans + index) % BAD_EVERY == BAD_EVERY - 1)
        }

    def bads(self, numbers: Iterable[int]) -> int:
        """Return how many spans of these batches have no id."""
        return sum(self.spans for _ in numbers) - len(self.keys(numbers))

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
    """Return the balance, once it was seen that nothing is missing, nothing is twice, nothing is made up.

    sent = committed + quarantined + refused; acknowledged is there; each is there once.
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
    noted = connection.execute(
        "SELECT count(DISTINCT (received_at, sha256)) FROM otel_obs.quarantine WHERE reason = 'trace_id:absent'"
    ).fetchone()
    assert noted is not None
    bad = sum(ledger.bads(ledger.acked) for ledger in ledgers)
    assert noted[0] >= bad, "a rejected span has no note"
    return {
        "sent": len(sent), "acknowledged": len(acked), "committed": len(found), "refused": len(sent - found),
        "doubtful": len(doubtful - acked), "quarantined": int(noted[0]), "twice": len(rows) - len(found),
    }  # fmt: skip
