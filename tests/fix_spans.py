"""Spans of the instrumentation, kept in memory."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_obs.instrumentation import (
    costs,
    faults,
    propagation,
    set_workspace_resolver,
    telemetry,
    workspaces,
)
from otel_obs.instrumentation.context import ATTRIBUTES
from otel_obs.instrumentation.processor import TenantSpanProcessor

CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"


@dataclass(frozen=True)
class Spans:
    """What was reported, in the order in which it ended."""

    provider: TracerProvider
    memory: InMemorySpanExporter

    @property
    def all(self) -> list[ReadableSpan]:
        return list(self.memory.get_finished_spans())

    @property
    def names(self) -> list[str]:
        return [span.name for span in self.all]

    def one(self, name: str) -> ReadableSpan:
        (found,) = [span for span in self.all if span.name == name]
        return found

    def attributes(self, name: str) -> dict[str, Any]:
        return dict(self.one(name).attributes or {})

    def parent(self, name: str) -> str | None:
        above = self.one(name).parent
        if above is None:
            return None
        return next(span.name for span in self.all if span.context and span.context.span_id == above.span_id)


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[Spans]:
    """Report into memory, with nothing left of other tests; a failure of ours that was swallowed fails the test."""
    monkeypatch.delenv(CAPTURE, raising=False)
    memory = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(TenantSpanProcessor())
    provider.add_span_processor(SimpleSpanProcessor(memory))
    telemetry.use(tracer_provider=provider)
    faults.forget()
    monkeypatch.setattr(workspaces._Host, "table", workspaces.Table(dict))
    yield Spans(provider, memory)
    telemetry.use()
    set_workspace_resolver(None)
    propagation.configure(sent=ATTRIBUTES.values(), believed=())
    costs.forget()
    provider.shutdown()


@pytest.fixture
def captured(spans: Spans, monkeypatch: pytest.MonkeyPatch) -> Spans:
    """Report with content."""
    monkeypatch.setenv(CAPTURE, "span_only")
    telemetry.use(tracer_provider=spans.provider)
    return spans


@pytest.fixture
def no_faults(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail a test in which the instrumentation swallowed a fault of its own."""
    caplog.set_level(logging.WARNING)
    yield
    said = [record.getMessage() for record in caplog.records if record.name.startswith(("otel_obs", "opentelemetry"))]
    assert said == []
