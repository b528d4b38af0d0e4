# ruff: noqa: INP001, T201 -- a program that prints
"""What does telemetry cost the application that makes it?

Spans: CPU time of the thread that ends them, and of its whole process, for each span: without any processor, with the
SDK's BatchSpanProcessor and with ours, which send to the same server by the same exporter, then by ours, and with ours
that writes to PostgreSQL. Spans come at a rate that all variants can follow, so that none is cheap because it drops
some: what was sent and what arrived is compared. Measuring ends with a flush, so that nothing is left for later.

What a process pays once (imports, prices, connecting, the first spans) is told apart; all variants are warm, and have
searched for garbage, when the measuring begins.

Calls: CPU time of the thread that calls a function which our decorators wrap, beside one that makes its span by hand.

Each measurement is a process of its own, the rounds are interleaved, and a ratio is the median of the ratios of the
rounds, so that what else the machine does hits both sides.

What is installed is measured: `make bench-app` does so with the compiled package.

    python benchmarks/in_process.py [--quick]
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests
from openai.types.chat import ChatCompletion
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

if TYPE_CHECKING:
    from otel_obs.processor import ReliableSpanProcessor

BARE, STOCK, MIXED, OURS, POSTGRES, AWAY = (
    "bare SDK",
    "BatchSpanProcessor + OTLP",
    "our processor + OTLP",
    "ours + OTLP",
    "ours + PostgreSQL",
    "ours + PostgreSQL, away",
)
VARIANTS = (BARE, STOCK, MIXED, OURS, POSTGRES, AWAY)
BY_HAND, TOOL, AGENT, WORKFLOW, LLM = "span by hand", "@tool", "@agent", "@workflow", "@llm, OpenAI's answer"
CALLS = (BY_HAND, TOOL, AGENT, WORKFLOW, LLM)

ATTRIBUTES = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o-mini",
    "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
    "gen_ai.request.temperature": 0.2,
    "gen_ai.request.max_tokens": 800,
    "gen_ai.response.finish_reasons": ("stop",),
    "gen_ai.input.messages": json.dumps([{"role": "user", "parts": [{"type": "text", "content": "word " * 200}]}]),
    "gen_ai.output.messages": json.dumps([{"role": "assistant", "parts": [{"type": "text", "content": "word " * 60}]}]),
    "server.address": "api.openai.com",
    "server.port": 443,
}
"""A call as instrumentations of the GenAI conventions report it, with 1.5 kB of content, but for id and tokens."""
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 0,
    "model": "gpt-4o-mini-2024-07-18",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "It was paid."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1200, "completion_tokens": 240, "total_tokens": 1440},
}
SPANS_A_SECOND = 1000
BURST = 50
WARM_UP = 1000
ENDS = 1000

SINK = """
import http.server, sys
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
count = 0
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        global count
        request = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
        count += sum(len(s.spans) for r in request.resource_spans for s in r.scope_spans)
        self.answer(b"")
    def do_GET(self):
        self.answer(str(count).encode())
    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


def calls_made(count: int) -> list[dict[str, Any]]:
    """Return the attributes of *count* calls: each has an id and tokens of its own."""
    chance = random.Random(count)  # noqa: S311  # no secret
    return [
        {
            **ATTRIBUTES,
            "gen_ai.response.id": f"chatcmpl-{secrets.token_hex(12)}",
            "gen_ai.usage.input_tokens": chance.randrange(1, 4000),
            "gen_ai.usage.output_tokens": chance.randrange(1, 400),
        }
        for _ in range(count)
    ]


def measure(variant: str, count: int, endpoint: str, database: str, spool: str) -> dict[str, float]:
    """Return what a span costs, in microseconds: ``thread``, ``process`` (CPU) and ``end_p99`` (wall clock).

    ``start`` is what the process pays once, in milliseconds of CPU.
    """
    at_first = time.process_time()
    provider = TracerProvider(shutdown_on_exit=False)
    processor = add_processor(provider.add_span_processor, variant, endpoint, database, spool)
    tracer = provider.get_tracer("benchmark")

    def burst(calls: Sequence[dict[str, Any]]) -> float:
        before = time.thread_time()
        for attributes in calls:
            with tracer.start_as_current_span("chat gpt-4o-mini", attributes=attributes):
                pass
        return time.thread_time() - before

    def at_pace(calls: Sequence[dict[str, Any]]) -> float:
        thread, began = 0.0, time.monotonic()
        for first in range(0, len(calls), BURST):
            thread += burst(calls[first : first + BURST])
            time.sleep(max(0.0, began + (first + BURST) / SPANS_A_SECOND - time.monotonic()))
        return thread

    burst(calls_made(BURST))
    provider.force_flush()
    start = time.process_time() - at_first
    spans, warm_up = calls_made(count), calls_made(WARM_UP)
    at_pace(warm_up)
    provider.force_flush()
    gc.collect()
    process_before = time.process_time()
    thread = at_pace(spans)
    provider.force_flush()
    process = time.process_time() - process_before
    ends = []
    for attributes in calls_made(ENDS):
        span = tracer.start_span("chat gpt-4o-mini", attributes=attributes)
        at = time.perf_counter()
        span.end()
        ends.append(time.perf_counter() - at)
    if variant != AWAY:
        provider.force_flush()
        until_sent(Path(spool))
    provider.shutdown()
    on_disk = 0 if processor is None else processor.counts.spooled - processor.counts.drained
    return {
        "on_disk": on_disk,
        "start": start * 1e3,
        "thread": thread / count * 1e6,
        "process": process / count * 1e6,
        "end_p99": statistics.quantiles(ends, n=100)[98] * 1e6,
    }


def until_sent(spool: Path) -> None:
    """Wait for what went to disk because the machine had no time for it, but not for long."""
    end = time.monotonic() + 20
    while list(spool.rglob("*.spool")) and time.monotonic() < end:
        time.sleep(0.1)


def add_processor(
    add: Callable[[SpanProcessor], None], variant: str, endpoint: str, database: str, spool: str
) -> ReliableSpanProcessor | None:
    """Add what *variant* says, and import nothing else; return it if it is ours."""
    if variant == BARE:
        return None
    if variant == STOCK:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

        add(BatchSpanProcessor(OTLPSpanExporter(endpoint), schedule_delay_millis=1000))
        return None
    from otel_obs.processor import ReliableSpanProcessor  # noqa: PLC0415

    if variant == MIXED:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

        ours = ReliableSpanProcessor(OTLPSpanExporter(endpoint), spool=spool)
    elif variant == OURS:
        from otel_obs.processor import otlp  # noqa: PLC0415

        ours = ReliableSpanProcessor(otlp.OTLPSpanExporter(endpoint), spool=spool)
    else:
        from otel_obs.exporter import PostgresSpanExporter  # noqa: PLC0415

        nowhere = "postgresql://nobody@127.0.0.1:1/none"
        ours = ReliableSpanProcessor(PostgresSpanExporter(nowhere if variant == AWAY else database), spool=spool)
    add(ours)
    return ours


def measure_calls(variant: str, calls: int, endpoint: str, spool: str) -> dict[str, float]:
    """Return what a call costs its thread in microseconds, without the time of the function itself."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

    from otel_obs.processor import ReliableSpanProcessor  # noqa: PLC0415

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(ReliableSpanProcessor(OTLPSpanExporter(endpoint), spool=spool))
    trace.set_tracer_provider(provider)
    work, plain = wrapped(variant)

    def timed(function: Callable[[str], object]) -> float:
        before = time.thread_time()
        for _ in range(BURST):
            function("what happened?")
        return time.thread_time() - before

    timed(work)
    time.sleep(1.5)
    thread = 0.0
    began = time.monotonic()
    for number in range(calls // BURST):
        thread += timed(work) - timed(plain)
        time.sleep(max(0.0, began + (number + 1) * BURST / SPANS_A_SECOND - time.monotonic()))
    provider.shutdown()
    return {"thread": thread / calls * 1e6}


def wrapped(variant: str) -> tuple[Callable[[str], object], Callable[[str], object]]:
    """Return a function that is reported, and the same one that is not."""
    from otel_obs.instrumentation import agent, llm, tool, workflow  # noqa: PLC0415

    answer = ChatCompletion.model_validate(ANSWER)

    def plain(question: str) -> object:
        return answer if variant == LLM else question

    tracer = trace.get_tracer("benchmark")

    def by_hand(question: str) -> object:
        with tracer.start_as_current_span("execute_tool plain") as span:
            span.set_attributes({"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "plain"})
            return plain(question)

    found: dict[str, Callable[[str], object]] = {
        BY_HAND: by_hand,
        TOOL: tool(plain),
        AGENT: agent(plain),
        WORKFLOW: workflow(plain),
        LLM: llm(plain),
    }
    return found[variant], plain


@contextmanager
def sink() -> Iterator[str]:
    """Give the address of a server, in a process of its own, that counts spans."""
    server = subprocess.Popen([sys.executable, "-c", SINK], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None  # noqa: S101  # it is a pipe
        yield f"http://127.0.0.1:{int(server.stdout.readline())}/v1/traces"
    finally:
        server.terminate()
        server.communicate()


def arrived(variant: str, endpoint: str, database: str) -> int:
    """Return how many spans there are so far."""
    if variant == POSTGRES:
        import psycopg  # noqa: PLC0415

        with psycopg.connect(database) as connection:
            row = connection.execute("SELECT count(*) FROM event_logs").fetchone()
            return 0 if row is None else int(row[0])
    return int(requests.get(endpoint, timeout=10).text)


def round_of(variant: str, count: int, endpoint: str, database: str) -> dict[str, float]:
    """Measure *variant* once, in a process of its own."""
    with tempfile.TemporaryDirectory() as spool:
        before = arrived(variant, endpoint, database)
        done = subprocess.run(
            [sys.executable, __file__, "--one", variant, str(count), endpoint, database, spool],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        found: dict[str, float] = json.loads(done.stdout)
        if variant in {STOCK, MIXED, OURS, POSTGRES}:
            made = BURST + WARM_UP + count + ENDS
            found["lost"] = made - (arrived(variant, endpoint, database) - before) - found["on_disk"]
        return found


Rounds = dict[str, list[dict[str, float]]]


def spread(rounds: Sequence[dict[str, float]], name: str) -> str:
    """Return the median, and the smallest and largest value."""
    values = [each[name] for each in rounds]
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def ratio(rounds: Rounds, variant: str, to: str, name: str) -> str:
    """Return the median of what *variant* costs in each round as a part of what *to* does."""
    return f"{statistics.median(a[name] / b[name] for a, b in zip(rounds[variant], rounds[to], strict=True)):.2f}"


def table_of_spans(rounds: Rounds) -> str:
    """Return the results as Markdown."""
    lines = [
        "| | thread, us a span | of stock | process, us a span | of stock | once, ms | p99 of `end()`, us | lost |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for variant, found in rounds.items():
        cells = [
            spread(found, "thread"),
            ratio(rounds, variant, STOCK, "thread"),
            spread(found, "process"),
            ratio(rounds, variant, STOCK, "process"),
            f"{statistics.median(each['start'] for each in found):.0f}",
            f"{statistics.median(each['end_p99'] for each in found):.0f}",
            f"{sum(each['lost'] for each in found):.0f}" if "lost" in found[0] else "",
        ]
        lines.append(f"| {variant} | {' | '.join(cells)} |")
    return "\n".join(lines)


def table_of_calls(rounds: Rounds) -> str:
    """Return the results as Markdown."""
    lines = ["| | thread, us a call | of a span by hand |", "|---|---|---|"]
    for variant, found in rounds.items():
        lines.append(f"| {variant} | {spread(found, 'thread')} | {ratio(rounds, variant, BY_HAND, 'thread')} |")
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> None:
    """Run the benchmark and print its tables."""
    if arguments[:1] == ["--one"]:
        asked, number, endpoint, database, spool = arguments[1:]
        if asked in CALLS:
            print(json.dumps(measure_calls(asked, int(number), endpoint, spool)))
        else:
            print(json.dumps(measure(asked, int(number), endpoint, database, spool)))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="2 rounds of 1,000 spans rather than 5 of 5,000")
    quick = parser.parse_args(arguments).quick
    rounds, count = (2, 1000) if quick else (5, 5000)

    from otel_obs.cli.built import how_built  # noqa: PLC0415
    from otel_obs.postgres import schema  # noqa: PLC0415
    from otel_obs.postgres.embedded import EmbeddedPostgres  # noqa: PLC0415
    from otel_obs.postgres.locks import FileLock  # noqa: PLC0415

    loads = [os.getloadavg()[0]]
    results: Rounds = {variant: [] for variant in (*VARIANTS, *CALLS)}
    with tempfile.TemporaryDirectory(prefix="oo", dir="/tmp") as folder:  # a socket's path is short
        Path(folder).chmod(0o711)
        with EmbeddedPostgres(Path(folder), durable=False) as database, sink() as endpoint:
            schema.migrate(database)
            for _ in range(rounds):
                for variant, found in results.items():
                    found.append(round_of(variant, count, endpoint, database))
                    loads.append(os.getloadavg()[0])
        with FileLock(Path(folder) / "supervisor.lock") as supervisor:
            supervisor.exclusive(60)
    print(
        f"{time.strftime('%d %B %Y')}, {os.cpu_count()} cores, Python {sys.version.split()[0]},"
        f" opentelemetry-sdk {version('opentelemetry-sdk')}, otel_obs {how_built()}: {rounds} rounds of {count:,}"
        f" spans, {SPANS_A_SECOND:,} a second; median (smallest to largest); load of the machine {min(loads):.1f} to"
        f" {max(loads):.1f}\n"
    )
    print(table_of_spans({variant: results[variant] for variant in VARIANTS}), end="\n\n")
    print(table_of_calls({variant: results[variant] for variant in CALLS}))


if __name__ == "__main__":
    main(sys.argv[1:])
