"""Through which providers is everything reported? OpenTelemetry's global ones, unless a host hands in its own."""

from __future__ import annotations

from functools import cache

from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import Tracer, TracerProvider, get_tracer
from opentelemetry.util.genai.handler import TelemetryHandler

from otel_obs import __version__

SCOPE = "otel_obs.instrumentation"


class _Host:
    tracer_provider: TracerProvider | None = None
    meter_provider: MeterProvider | None = None


def use(*, tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None) -> None:
    """Report through these from now on; None: through the global one, also if it is set later.

    How much content is captured (``OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT``) is read anew.
    """
    _Host.tracer_provider, _Host.meter_provider = tracer_provider, meter_provider
    handler.cache_clear()
    tracer.cache_clear()


@cache
def handler() -> TelemetryHandler:
    """Return the maker of spans in the GenAI conventions."""
    return TelemetryHandler(
        tracer_provider=_Host.tracer_provider,
        meter_provider=_Host.meter_provider,
        instrumentation_scope_name=SCOPE,
        instrumentation_scope_version=__version__,
    )


@cache
def tracer() -> Tracer:
    """Return the maker of spans that the conventions have no invocation for."""
    return get_tracer(SCOPE, __version__, _Host.tracer_provider)
