"""What the examples of client libraries and frameworks have in common: whom they ask, and where their spans go.

Spans go where the standard ``OTEL_EXPORTER_OTLP_*`` variables say, http://localhost:4318 without them. Models are a
stand-in on this machine, unless ``OPENAI_BASE_URL`` or ``ANTHROPIC_BASE_URL`` name somebody.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from otel_obs.instrumentation import TenantSpanProcessor
from otel_obs.processor import ReliableSpanProcessor

from .provider import StandIn

QUESTION = "Why was order A-1042 charged twice?"
RESEARCHER = "You are the research agent of a support team. Find out what happened."


def search_knowledge_base(query: str) -> str:
    """Search the articles of the support team."""
    return f"KB-17, found by {query!r}: duplicate charges are refunded in full within 5 business days."


def look_up_order(order_id: str) -> str:
    """Return an order's charges."""
    return f"order {order_id}: charged twice, 249.00 USD each, one invoice"


def report(service: str) -> TracerProvider:
    """Let spans of this program be sent, and not be lost while nobody takes them."""
    tracing = TracerProvider(resource=Resource.create({"service.name": service}))
    tracing.add_span_processor(TenantSpanProcessor())
    tracing.add_span_processor(ReliableSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(tracing)
    return tracing


@contextmanager
def models() -> Iterator[None]:
    """Name the stand-in in the variables that the client libraries read, where they name nobody yet."""
    with StandIn() as provider:
        os.environ.setdefault("OPENAI_BASE_URL", provider.openai_base_url)
        os.environ.setdefault("OPENAI_API_KEY", "none")
        os.environ.setdefault("ANTHROPIC_BASE_URL", provider.anthropic_base_url)
        os.environ.setdefault("ANTHROPIC_API_KEY", "none")
        yield
