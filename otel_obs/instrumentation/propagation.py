"""How do the ids of a run get into other threads, other processes and other services?

Inside a process they travel with the context: asyncio does it by itself, for threads and process pools wrap
the function in ``propagate``. Between services they travel as baggage (https://www.w3.org/TR/baggage/), which
anybody can write: what comes in is believed only for the names that were configured.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from multiprocessing.util import Finalize
from typing import Any, Generic, TypeVar

from opentelemetry import baggage
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.trace import get_tracer_provider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from typing_extensions import ParamSpec

from otel_obs.errors import ConfigurationError
from otel_obs.instrumentation.context import ATTRIBUTES, FIELDS, NOBODY, RunContext, context_of, id_of, run_in
from otel_obs.instrumentation.faults import Guarded

P = ParamSpec("P")
R = TypeVar("R")

FLUSH_MILLIS = 5_000
"""How long the process of a pool may wait for its spans to be sent before it ends."""

_TRACE = TraceContextTextMapPropagator()
_BAGGAGE = W3CBaggagePropagator()


class _Rules:
    """Which of our ids go into the baggage, and which are believed when they come in."""

    def __init__(self) -> None:
        self.sent = frozenset(FIELDS)
        self.believed: frozenset[str] = frozenset()


_rules = _Rules()


def configure(*, sent: Iterable[str] | None = None, believed: Iterable[str] | None = None) -> None:
    """Decide which ids are *sent* in the baggage, and which are *believed* when they come in.

    Both name attributes, such as ``otel_obs.workspace.id``; by default all are sent and none is believed.
    Baggage goes with every request of an instrumented HTTP client, whoever is asked.

    Raises:
        ConfigurationError: a name is none of ours.
    """
    if sent is not None:
        _rules.sent = _fields(sent)
    if believed is not None:
        _rules.believed = _fields(believed)


def _fields(names: Iterable[str]) -> frozenset[str]:
    known = {attribute: field for field, attribute in ATTRIBUTES.items()}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigurationError(f"{unknown[0]!r} is not one of {', '.join(known)}")
    return frozenset(known[name] for name in names)


def current_run(context: Context | None = None) -> RunContext:
    """Return for whom and in which run *context* (None: the current one) works.

    What this process said comes first; what came in as baggage fills the gaps, if it may be believed.
    """
    said = run_in(context)
    if not _rules.believed:
        return said or NOBODY
    incoming = {
        field: found
        for field in _rules.believed
        if (found := id_of(baggage.get_baggage(ATTRIBUTES[field], context))) is not None
    }
    if said is None:
        return RunContext(**incoming)
    return said.with_ids({field: found for field, found in incoming.items() if getattr(said, field) is None})


def entered(run: RunContext, context: Context | None = None) -> Context:
    """Return *context* (None: the current one) as that of *run*, its baggage too.

    Baggage under our names that nobody believed here is not passed on under ours.
    """
    context = context_of(run, context)
    before = baggage.get_all(context)
    if run is NOBODY and not before:
        return context
    for field, name in ATTRIBUTES.items():
        found = getattr(run, field) if field in _rules.sent else None
        if found is not None:
            context = baggage.set_baggage(name, found, context)
        elif before.get(name) is not None:
            context = baggage.remove_baggage(name, context)
    return context


def carrier() -> dict[str, Any]:
    """Return the current context as something that can be pickled: the span, the baggage, the run."""
    found: dict[str, Any] = {}
    _TRACE.inject(found)
    _BAGGAGE.inject(found)
    run = run_in()
    if run is not None:
        found["run"] = {field: getattr(run, field) for field in FIELDS}
    return found


def context_from(carried: Mapping[str, Any]) -> Context:
    """Return the context that ``carrier`` took, in a process that believes the one it was taken in."""
    context = _BAGGAGE.extract(carried, _TRACE.extract(carried, Context()))
    run = carried.get("run")
    return context if run is None else context_of(RunContext(**run), context)


def propagate(function: Callable[P, R]) -> Callable[P, R]:
    """Return *function* so that it runs in the context of here and now, in whatever thread or process.

    ``pool.submit(propagate(work), item)``; for a process pool *function* must be one that pickle can name.
    """
    return Propagated(function, get_current(), carrier())


class Propagated(Generic[P, R]):
    """A function together with the context that it is to run in."""

    def __init__(self, function: Callable[P, R], context: Context, carried: Mapping[str, Any]) -> None:
        self._function = function
        self._context = context
        self._carried = carried

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function."""
        token = attach(self._context)
        try:
            return self._function(*args, **kwargs)
        finally:
            detach(token)

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self._function, self._carried)


@cache
def _flush_at_exit(_: int) -> None:
    """Let the spans of a pool's process be sent before it ends, which it does without the ``atexit`` of others."""
    if multiprocessing.parent_process() is not None:
        Finalize(None, _flush, exitpriority=10)


def _flush() -> None:
    flush = getattr(get_tracer_provider(), "force_flush", None)
    if flush is not None:
        with Guarded("sending the spans of a process"):
            flush(FLUSH_MILLIS)


def _restored(function: Callable[P, R], carried: Mapping[str, Any]) -> Propagated[P, R]:
    _flush_at_exit(os.getpid())
    return Propagated(function, context_from(carried), carried)
