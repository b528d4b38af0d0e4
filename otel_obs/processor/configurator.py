"""Without a line of code: ``OTEL_PYTHON_CONFIGURATOR=otel_obs`` puts every exporter of spans behind our processor.

https://opentelemetry.io/docs/languages/python/distro/
"""

from __future__ import annotations

import importlib
import inspect
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry.sdk._configuration import _initialize_components, _OTelSDKConfigurator
from opentelemetry.sdk.trace.export import SpanExporter

from otel_obs.processor.limits import Limits
from otel_obs.processor.reliable import ReliableSpanProcessor

_log = logging.getLogger("otel_obs.processor")


class Configurator(_OTelSDKConfigurator):
    """Configures the SDK as its own configurator does, but for the processor.

    It changes nothing where another configurator was asked for, or none: without the variable,
    ``opentelemetry-instrument`` takes the first one that is installed.
    """

    def _configure(self, **kwargs: Any) -> None:
        if os.environ.get("OTEL_PYTHON_CONFIGURATOR") != "otel_obs":
            super()._configure(**kwargs)  # type: ignore[no-untyped-call]
        elif os.environ.get("OTEL_CONFIG_FILE"):
            with _batch_of_a_file_is_ours():
                super()._configure(**kwargs)  # type: ignore[no-untyped-call]
        else:
            if "export_span_processor" in inspect.signature(_initialize_components).parameters:
                kwargs.setdefault("export_span_processor", ReliableSpanProcessor)
            else:
                _log.warning("this version of opentelemetry-sdk cannot be told which span processor to use")
            super()._configure(**kwargs)  # type: ignore[no-untyped-call]


@contextmanager
def _batch_of_a_file_is_ours() -> Iterator[None]:
    """Let ``batch`` of a declarative configuration mean our processor, for which it has no name of its own."""
    try:
        reader: Any = importlib.import_module("opentelemetry.configuration._tracer_provider")
    except ImportError:
        yield  # the SDK says itself what is missing
        return
    stock = reader.BatchSpanProcessor
    reader.BatchSpanProcessor = _of_a_file
    try:
        yield
    finally:
        reader.BatchSpanProcessor = stock


def _of_a_file(
    exporter: SpanExporter,
    max_queue_size: int | None = None,
    schedule_delay_millis: float | None = None,
    max_export_batch_size: int | None = None,
    export_timeout_millis: float | None = None,
) -> ReliableSpanProcessor:
    """Return our processor with what a file says of a ``batch``; the timeout is the exporter's own."""
    del export_timeout_millis
    limits = Limits()
    return ReliableSpanProcessor(
        exporter,
        limits=Limits(
            max_queue_spans=max_queue_size or limits.max_queue_spans,
            max_batch_spans=max_export_batch_size or limits.max_batch_spans,
            schedule_delay_s=(schedule_delay_millis or limits.schedule_delay_s * 1000) / 1000,
        ),
    )
