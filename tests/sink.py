"""An OTLP receiver that keeps what it is sent."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_obs.model import Span
from otel_obs.otlp.decode import decode_traces


@dataclass
class Sink:
    """Where it listens, and what has come in."""

    endpoint: str = ""
    spans: list[Span] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        return [span.name for span in self.spans]

    def attributes(self, name: str) -> dict[str, Any]:
        (found,) = [span for span in self.spans if span.name == name]
        return dict(found.attributes)

    def parent(self, name: str) -> str | None:
        (found,) = [span for span in self.spans if span.name == name]
        return next((span.name for span in self.spans if span.span_id == found.parent_span_id), None)

    def environment(self) -> dict[str, str]:
        return {
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.endpoint,
        }


@contextmanager
def otlp_sink() -> Iterator[Sink]:
    """Run a receiver."""
    sink = Sink()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            assert ExportTraceServiceRequest.FromString(body)
            sink.spans.extend(decode_traces(body).spans)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        sink.endpoint = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield sink
        finally:
            server.shutdown()
            thread.join()
