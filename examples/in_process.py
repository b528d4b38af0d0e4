"""The same without a gateway: the application writes its spans to PostgreSQL itself.

Needs ``OTEL_OBS_DATABASE_URL``, or a running ``otel-obs up``. Without a line of code it is
``OTEL_TRACES_EXPORTER=otel_obs opentelemetry-instrument python app.py``.
"""

from __future__ import annotations

import openai
from opentelemetry import trace
from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from examples.provider import StandIn
from otel_obs.exporter import PostgresSpanExporter

exporter = PostgresSpanExporter()
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(exporter))
trace.set_tracer_provider(provider)
OpenAIInstrumentor().instrument()

with StandIn() as models, openai.OpenAI(api_key="none", base_url=models.openai_base_url) as client:
    answer = client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "Hello"}])
    print(answer.choices[0].message.content)

provider.shutdown()
print(exporter.counts)
