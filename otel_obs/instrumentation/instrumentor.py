"""How does an application report its executors without a line of code?

``opentelemetry-instrument`` loads this (entry point ``opentelemetry_instrumentor``), or the application says
``ExecutorInstrumentor().instrument()``.
"""

from __future__ import annotations

import atexit
import importlib
import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from opentelemetry import trace
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]

from otel_obs.errors import ConfigurationError
from otel_obs.instrumentation import costs, propagation, telemetry, workspaces
from otel_obs.instrumentation.configuration import Configuration, configuration
from otel_obs.instrumentation.context import ATTRIBUTES
from otel_obs.instrumentation.faults import Guarded, warn_once
from otel_obs.instrumentation.patching import Patch
from otel_obs.instrumentation.threads import hand_over


class ExecutorInstrumentor(BaseInstrumentor):  # type: ignore[misc]
    """Reports the executors that are configured; see ``configuration``."""

    def __init__(self) -> None:
        super().__init__()
        if not hasattr(self, "patches"):
            self.patches: list[Patch] = []
            self._undo: list[Callable[[], None]] = []

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return nothing: what is instrumented is the application itself."""
        return ()

    def _instrument(self, **kwargs: Any) -> None:
        """Report what is configured; ``configuration``, ``tracer_provider`` and ``meter_provider`` may be handed in."""
        with Guarded("instrumenting executors"):
            given = kwargs.get("configuration")
            found = given if isinstance(given, Configuration) else configuration(os.environ, Path.cwd())
            for problem in found.problems:
                warn_once(problem, "otel_obs: %s", problem)
            provider = kwargs.get("tracer_provider")
            telemetry.use(tracer_provider=provider, meter_provider=kwargs.get("meter_provider"))
            self._undo.append(_unsettle)
            _settle(found)
            _add_processor(provider or trace.get_tracer_provider())
            self.patches = [Patch(executor) for executor in found.executors]
            for patch in self.patches:
                patch.apply()
            if found.threads and self.patches:
                self._undo.append(hand_over())
            atexit.register(self._at_exit)
            self._undo.append(lambda: atexit.unregister(self._at_exit))

    def _at_exit(self) -> None:
        for patch in self.patches:
            patch.told_at_exit()

    def _uninstrument(self, **_: Any) -> None:
        for undo in reversed(self._undo):
            with Guarded("taking instrumentation back"):
                undo()
        self._undo.clear()
        for patch in reversed(self.patches):
            patch.remove()
        self.patches = []
        telemetry.use()


_PRICED = ("llm", "embedding")


def _settle(found: Configuration) -> None:
    """Take over what *found* says beside the executors."""
    try:
        propagation.configure(sent=found.send_baggage, believed=found.believe_baggage or None)
    except ConfigurationError as error:
        warn_once("baggage", "otel_obs: %s: %s", found.path, error)
    if found.workspace_resolver is not None:
        workspaces.set_workspace_resolver(_later(found.workspace_resolver))
    if found.price is not None:
        costs.set_price(_later(found.price))
    if any(executor.spec.kind in _PRICED for executor in found.executors):
        # Importing prices takes time; better when the program starts than in its first request.
        costs.load_price()


def _unsettle() -> None:
    """Forget what a configuration has said."""
    propagation.configure(sent=ATTRIBUTES.values(), believed=())
    workspaces.set_workspace_resolver(None)
    costs.forget()


def _add_processor(provider: Any) -> None:
    """Let spans of others be told whose they are, if the SDK is there already."""
    if not hasattr(provider, "add_span_processor"):
        return
    from otel_obs.instrumentation.processor import TenantSpanProcessor  # noqa: PLC0415  # needs the SDK

    present = getattr(getattr(provider, "_active_span_processor", None), "_span_processors", ())
    if not any(isinstance(processor, TenantSpanProcessor) for processor in present):
        provider.add_span_processor(TenantSpanProcessor())


def _later(path: str) -> Callable[..., Any]:
    """Return what ``module:name`` is; it is imported when it is first called, for now may be too early."""
    module, _, names = path.partition(":")
    found: list[Callable[..., Any]] = []

    def call(*args: Any) -> Any:
        if not found:
            value: Any = importlib.import_module(module)
            for name in names.split("."):
                value = getattr(value, name)
            found.append(value)
        return found[0](*args)

    return call
