"""Without a line of code: ``OTEL_PYTHON_CONFIGURATOR=otel_obs`` puts every exporter of spans behind our processor.

https://opentelemetry.io/docs/languages/python/distro/
"""

from __future__ import annotations

import inspect
import logging
import os
from typing import Any

from opentelemetry.sdk._configuration import _initialize_components, _OTelSDKConfigurator

from otel_obs.processor.reliable import ReliableSpanProcessor

_log = logging.getLogger("otel_obs.processor")


class Configurator(_OTelSDKConfigurator):
    """Configures the SDK as its own configurator does, but for the processor.

    It changes nothing where another configurator was asked for, or none: without the variable,
    ``opentelemetry-instrument`` takes the first one that is installed.
    """

    def _configure(self, **kwargs: Any) -> None:
        if os.environ.get("OTEL_PYTHON_CONFIGURATOR") == "otel_obs":
            if "export_span_processor" in inspect.signature(_initialize_components).parameters:
                kwargs.setdefault("export_span_processor", ReliableSpanProcessor)
            else:
                _log.warning("this version of opentelemetry-sdk cannot be told which span processor to use")
        super()._configure(**kwargs)  # type: ignore[no-untyped-call]
