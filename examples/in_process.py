"""The same without a gateway: the application writes its spans to PostgreSQL itself.

    python -m examples.in_process

needs ``OTEL_OBS_DATABASE_URL``, or a running ``otel-obs up``. Without a line of code it is
``OTEL_TRACES_EXPORTER=otel_obs opentelemetry-instrument python app.py``.
"""

from __future__ import annotations

import openai
from opentelemetry import trace
from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from otel_obs.exporter import PostgresSpanExporter

from .provider import StandIn


def main() -> None:
    """Write one span to PostgreSQL, and print how many were stored."""
    exporter = PostgresSpanExporter()
    tracing = TracerProvider()
    tracing.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(tracing)
    OpenAIInstrumentor().instrument()

    with StandIn() as models, openai.OpenAI(api_key="none", base_url=models.openai_base_url) as client:
        question = "Say hello to a new colleague."
        answer = client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": question}])

    tracing.shutdown()
    print(answer.choices[0].message.content)
    print(exporter.counts)


if __name__ == "__main__":
    main()
