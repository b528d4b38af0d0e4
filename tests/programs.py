"""Programs that end spans, and where their spans go: what tests of the span processor begin with."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider

from otel_obs.processor import Limits, ReliableSpanProcessor
from tests.command import environment
from tests.folders import files
from tests.waiting import until


class Destination:
    """An OTLP/HTTP server that can go away, come back, and refuse."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.requests: list[ExportTraceServiceRequest] = []
        self.refused_name: str | None = None
        self._server: ThreadingHTTPServer | None = None
        self._port = 0
        self.start()
        self.stop()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1/traces"

    @property
    def counted(self) -> Counter[str]:
        return Counter(self.names)

    def start(self) -> None:
        destination = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                request = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(destination._answer(request))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._server.daemon_threads = True
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def _answer(self, request: ExportTraceServiceRequest) -> int:
        names = [
            span.name
            for resource_spans in request.resource_spans
            for scope_spans in resource_spans.scope_spans
            for span in scope_spans.spans
        ]
        if self.refused_name in names:
            return 400
        self.names += names
        self.requests.append(request)
        return 200

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


PROGRAM = """
import atexit, os, signal, sys, threading, time
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from otel_obs.processor import Limits, ReliableSpanProcessor

endpoint, spool = {places}
{before}
processor = ReliableSpanProcessor(
    {exporter}, spool=spool, limits=Limits({limits})
)
provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(processor)
tracer = provider.get_tracer("program")

def work(*names):
    for name in names:
        with tracer.start_as_current_span(name):
            pass

def say(word):
    print(word, flush=True)

{body}
"""
PATIENT = "schedule_delay_s=60"
"""So that nothing but the end of the process makes spans go."""
HTTP = "OTLPSpanExporter(endpoint, timeout=1)"


def source(
    destination: Destination,
    spool: Path,
    body: str,
    *,
    before: str = "",
    limits: str = PATIENT,
    exporter: str = HTTP,
) -> str:
    """Return a program that has ``work`` for names of spans, ``say``, ``processor`` and *body*."""
    places = repr((destination.endpoint, str(spool)))
    return PROGRAM.format(places=places, before=before, body=body, limits=limits, exporter=exporter)


def program(destination: Destination, spool: Path, body: str, **more: str) -> subprocess.Popen[str]:
    """Start it."""
    return started([sys.executable, "-c", source(destination, spool, body, **more)])


def started(command: list[str], cwd: Path | None = None, **environ: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, cwd=cwd, env=environment(**environ), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def heard(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line == f"{word}\n", f"{line!r}, " + (process.stderr.read() if process.stderr else "")


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, errors = process.communicate(timeout=120)
    return process.returncode, errors


def drain(destination: Destination, spool: Path) -> None:
    """Let another process send what is on disk."""
    processor = ReliableSpanProcessor(
        OTLPSpanExporter(destination.endpoint), spool=spool, limits=Limits(schedule_delay_s=0.05), on_sigterm=False
    )
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    until(lambda: not files(spool, "*.spool"))
    provider.shutdown()
