"""Ask a model once, and know what it cost.

Needs ``otel-obs up`` in another terminal. The model is a stand-in; for the real one drop ``base_url`` and set
``OPENAI_API_KEY``.
"""

from __future__ import annotations

import openai
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from examples.provider import StandIn

provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)
OpenAIInstrumentor().instrument()

with StandIn() as models, openai.OpenAI(api_key="none", base_url=models.openai_base_url) as client:
    answer = client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "Hello"}])
    print(answer.choices[0].message.content)

provider.shutdown()
