"""Whose spans are those of others? Every span that starts in a run is told whose it is."""

from __future__ import annotations

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

from otel_obs.instrumentation.faults import Guarded
from otel_obs.instrumentation.propagation import current_run


class TenantSpanProcessor(SpanProcessor):
    """Writes organization, workspace, user, workflow, run and conversation onto every span, whoever starts it.

    What a span says itself when it starts is left as it is. Ids that came in as baggage are written only if they
    are believed (``propagation.configure``).
    """

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Tell *span* whose it is."""
        with Guarded("telling a span whose it is"):
            attributes = current_run(parent_context).attributes()
            if attributes:
                said = span.attributes or {}
                span.set_attributes({name: value for name, value in attributes.items() if name not in said})

    def on_end(self, span: ReadableSpan) -> None:
        """Do nothing."""

    def shutdown(self) -> None:
        """Do nothing."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Do nothing, successfully."""
        del timeout_millis
        return True
