# ruff: noqa: INP001 -- a program
"""How quickly does a server take requests? Several senders, each with a connection of its own."""

from __future__ import annotations

import http.client
import json
import select
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from benchmarks.workload import Body

TIMEOUT_S = 120
_EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


@dataclass(slots=True)
class Sent:
    """What became of requests."""

    seconds: float = 0.0
    accepted: int = 0
    """Spans."""
    refused: int = 0
    latencies_s: list[float] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)

    def latency_ms(self, part: float) -> float:
        """Return the time within which that part of the requests were answered."""
        ordered = sorted(self.latencies_s)
        return 1000 * ordered[min(len(ordered) - 1, int(len(ordered) * part))] if ordered else 0.0


class _Way(Protocol):
    def send(self, data: bytes) -> tuple[str, int]:
        """Return the answer and how many spans it rejects."""


class _Http:
    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=TIMEOUT_S)
        self._path, self._headers = parts.path, dict(headers)

    def send(self, data: bytes) -> tuple[str, int]:
        if self._is_ended():
            self._connection.close()
        try:
            self._connection.request("POST", self._path, data, self._headers)
            response = self._connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            return type(error).__name__, 0
        if response.status != http.HTTPStatus.OK:
            return str(response.status), 0
        return "ok", _rejected(body, is_json="json" in response.headers.get("Content-Type", ""))

    def _is_ended(self) -> bool:
        """Tell whether the server has ended the connection, as uvicorn does after 5 s without a request."""
        socket = self._connection.sock
        return socket is not None and bool(select.select([socket], [], [], 0)[0])


class _Grpc:
    def __init__(self, target: str, metadata: Mapping[str, str]) -> None:
        # A connection for each: channels to one target would share theirs.
        channel = grpc.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)])
        self._call = channel.unary_unary(_EXPORT)
        self._metadata = [(name.lower(), value) for name, value in metadata.items()]

    def send(self, data: bytes) -> tuple[str, int]:
        try:
            return "ok", _rejected(self._call(data, timeout=TIMEOUT_S, metadata=self._metadata), is_json=False)
        except grpc.RpcError as error:
            return str(error.code().name), 0  # type: ignore[attr-defined]  # what is raised is also a Call


def _rejected(body: bytes, *, is_json: bool) -> int:
    if not body:
        return 0
    if is_json:
        found: Any = json.loads(body).get("partialSuccess") or {}
        return int(found.get("rejectedSpans", 0))
    return int(ExportTraceServiceResponse.FromString(body).partial_success.rejected_spans)


def send(
    urls: Sequence[str],
    bodies: Iterable[Body],
    headers: Mapping[str, str],
    *,
    senders: int = 4,
    spans_a_second: float | None = None,
) -> Sent:
    """Send all *bodies*, one after the other or *spans_a_second*; none twice.

    Each sender has one connection, to one of *urls* (``grpc://`` or ``http://``) in turn. What a service sends goes to
    one of them, as it does where connections last.
    """
    todo: list[list[Body]] = [[] for _ in urls]
    for body in bodies:
        todo[body.service % len(urls)].append(body)
    lock, sent = threading.Lock(), Sent()
    due = time.perf_counter()

    def work(url: str, mine: Iterator[Body]) -> None:
        nonlocal due
        way = _way(url, headers)
        while True:
            with lock:
                body, at = next(mine, None), due
                due += body.spans / spans_a_second if body is not None and spans_a_second else 0.0
            if body is None:
                return
            time.sleep(max(0.0, at - time.perf_counter()))
            # Who waited for a sender to be free waited for its answer.
            began = min(at, time.perf_counter()) if spans_a_second else time.perf_counter()
            answer, rejected = way.send(body.data)
            took = time.perf_counter() - began
            with lock:
                sent.latencies_s.append(took)
                sent.answers[answer] += 1
                taken = body.spans - rejected if answer == "ok" else 0
                sent.accepted += taken
                sent.refused += body.spans - taken

    shares = [(url, iter(share)) for url, share in zip(urls, todo, strict=True)]
    threads = [threading.Thread(target=work, args=shares[number % len(shares)]) for number in range(senders)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sent.seconds = time.perf_counter() - began
    return sent


def _way(url: str, headers: Mapping[str, str]) -> _Way:
    scheme, _, target = url.partition("://")
    return _Grpc(target, headers) if scheme == "grpc" else _Http(url, headers)
