"""Ask a model once, and know what it cost. Needs ``otel-obs up`` in another terminal.

    python -m examples.quickstart

asks a stand-in of the model; with ``OPENAI_BASE_URL`` and ``OPENAI_API_KEY`` it asks whom they name. Spans go
where the standard ``OTEL_EXPORTER_OTLP_*`` variables say, http://localhost:4318 without them.
"""

from __future__ import annotations

import os

import openai
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from .provider import StandIn


def main() -> None:
    """Send one span, and print what it tells."""
    tracing = TracerProvider()
    tracing.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(tracing)
    OpenAIInstrumentor().instrument()

    with StandIn() as models:
        url = os.environ.get("OPENAI_BASE_URL", models.openai_base_url)
        with openai.OpenAI(base_url=url, api_key=os.environ.get("OPENAI_API_KEY", "none")) as client:
            question = "Say hello to a new colleague."
            answer = client.chat.completions.create(
                model="gpt-4o-mini", messages=[{"role": "user", "content": question}]
            )

    tracing.shutdown()
    print(answer.choices[0].message.content)
    if answer.usage:
        print(f"{answer.model}: {answer.usage.prompt_tokens} tokens in, {answer.usage.completion_tokens} out")


if __name__ == "__main__":
    main()
