"""What would be reported here? The configuration, each executor, and the span of a sample call of it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.util.genai.utils import get_content_capturing_mode

from otel_obs.instrumentation import costs, telemetry
from otel_obs.instrumentation.closing import close
from otel_obs.instrumentation.configuration import Configuration, Executor
from otel_obs.instrumentation.context import ATTRIBUTES
from otel_obs.instrumentation.faults import Guarded
from otel_obs.instrumentation.node import open_node
from otel_obs.instrumentation.patching import Patch, modules_of
from otel_obs.instrumentation.paths import first
from otel_obs.instrumentation.sample import arguments_of, owner_of, result_of
from otel_obs.instrumentation.values import value_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Where a fact is looked for, and what a sample call has there; None: nothing."""

    field: str
    places: list[str]
    value: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """The span of a sample call."""

    name: str
    attributes: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorReport:
    """One executor."""

    target: str
    kind: str
    state: str
    """``wrapped`` or ``wrong``."""
    found: str
    """Where it is, with its signature; or why it is not."""
    fields: list[Found] = field(default_factory=list)
    span: Sampled | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that is to be known of an instrumentation before it runs."""

    configuration: str | None
    problems: list[str]
    content: str
    """How much of prompts and answers is captured: ``no_content``, ``span_only`` ..."""
    threads: bool
    send_baggage: list[str]
    believe_baggage: list[str]
    workspace_resolver: str | None
    price: str | None
    executors: list[ExecutorReport]

    @property
    def is_right(self) -> bool:
        """True if all that is configured was found."""
        return not self.problems and all(executor.state == "wrapped" for executor in self.executors)

    def as_object(self) -> dict[str, Any]:
        """Return it as scripts get it."""
        return asdict(self)


def report(found: Configuration, *, only: str | None = None, call: Mapping[str, Any] | None = None) -> Report:
    """Return what *found* would report, of one executor or of all; *call* (``args self result``) is the sample."""
    named = [executor for executor in found.executors if only in (None, executor.target)]
    problems = list(found.problems)
    if only is not None and not named:
        problems.append(f"{only!r} is not configured")
    with _in_memory() as memory:
        executors = [_executor(executor, call or {}, memory) for executor in named]
        price = found.price or ("installed" if costs.is_priced() else None)
    return Report(
        configuration=None if found.path is None else str(found.path),
        problems=problems,
        content=get_content_capturing_mode().name.lower(),
        threads=found.threads,
        send_baggage=list(ATTRIBUTES.values() if found.send_baggage is None else found.send_baggage),
        believe_baggage=list(found.believe_baggage),
        workspace_resolver=found.workspace_resolver,
        price=price,
        executors=executors,
    )


@contextmanager
def _in_memory() -> Iterator[InMemorySpanExporter]:
    memory, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    telemetry.use(tracer_provider=provider)
    try:
        yield memory
    finally:
        telemetry.use()
        provider.shutdown()


def _executor(executor: Executor, call: Mapping[str, Any], memory: InMemorySpanExporter) -> ExecutorReport:
    patch = Patch(executor, is_quiet=True)
    why = _import(executor.target)
    patch.apply()
    function = patch.function
    patch.remove()
    if function is None:
        return ExecutorReport(target=executor.target, kind=executor.spec.kind, state="wrong", found=why or patch.found)
    sample = {
        "args": {**arguments_of(function), **call.get("args", {})},
        "self": call.get("self", owner_of(function)),
    }
    whole = {**sample, "result": call.get("result", result_of(function))}
    memory.clear()
    with Guarded(f"sampling {executor.target}"):
        close(open_node(executor.spec, function.__qualname__, sample), result=whole["result"])
    fields = [
        Found(field=name, places=[str(place) for place in places], value=value_of(first(places, whole)))
        for name, places in executor.spec.fields.items()
    ]
    spans = [
        Sampled(name=span.name, attributes={key: value_of(value) for key, value in (span.attributes or {}).items()})
        for span in memory.get_finished_spans()
    ]
    return ExecutorReport(
        target=executor.target,
        kind=executor.spec.kind,
        state="wrapped",
        found=patch.found,
        fields=fields,
        span=spans[0] if spans else None,
    )


def _import(target: str) -> str | None:
    """Import the modules of *target*; return why one cannot be imported, if it is there."""
    for name in modules_of(target):
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:  # noqa: PERF203  # the first that fails is the last
            if error.name is None or not name.startswith(error.name):
                return f"importing {name} failed: {error!r}"
            return None
        except (Exception, SystemExit) as error:  # noqa: BLE001  # code of strangers runs
            sys.modules.pop(name, None)
            return f"importing {name} failed: {error!r}"
    return None
