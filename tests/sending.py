"""What the tests send, and the SDK's exporters to send it with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.util.types import AttributeValue

Told = dict[str, AttributeValue]
MODEL: Told = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o-mini"}


def spans(count: int, **attributes: str | int) -> Sequence[ReadableSpan]:
    """Return *count* calls to a model, as the SDK made them."""
    kept = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    tracer = provider.get_tracer("test")
    for _ in range(count):
        usage = {"gen_ai.usage.input_tokens": 1000, "gen_ai.usage.output_tokens": 10}
        tracer.start_span("chat gpt-4o-mini", attributes={**MODEL, **usage, **attributes}).end()
    return kept.get_finished_spans()


def ids(sent: Sequence[ReadableSpan]) -> set[str]:
    return {f"{span.context.span_id:016x}" for span in sent if span.context}


@contextmanager
def sdk(
    port: int, key: str, *, over: str, authority: Path | None = None, workspace: str | None = None
) -> Iterator[SpanExporter]:
    """Give an exporter of the SDK that sends gzip to *port*; with TLS where an authority is given."""
    headers = {"authorization": f"Bearer {key}"} | ({"x-otel-obs-workspace": workspace} if workspace else {})
    scheme = "https" if authority else "http"
    exporter: SpanExporter
    if over == "grpc":
        credentials = grpc.ssl_channel_credentials(authority.read_bytes()) if authority else None
        exporter = GrpcExporter(
            f"{scheme}://localhost:{port}", insecure=authority is None, credentials=credentials, headers=headers,
            compression=grpc.Compression.Gzip,
        )  # fmt: skip
    else:
        exporter = HttpExporter(
            f"{scheme}://localhost:{port}/v1/traces", certificate_file=str(authority) if authority else None,
            headers=headers, compression=Compression.Gzip,
        )  # fmt: skip
    try:
        yield exporter
    finally:
        exporter.shutdown()
