"""A span processor that does not lose spans: to the destination, else to disk, and ``force_flush`` says which is true.

It carries any ``SpanExporter``: ours, or one of OpenTelemetry's for OTLP.
"""

from __future__ import annotations

from otel_obs.processor.counts import Counts, FlushResult
from otel_obs.processor.limits import Limits
from otel_obs.processor.reliable import ReliableSpanProcessor

__all__ = ["Counts", "FlushResult", "Limits", "ReliableSpanProcessor"]
