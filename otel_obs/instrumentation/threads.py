"""How does the context get into threads and pools that the application starts? It is handed over with the work.

The same as ``opentelemetry-instrumentation-threading`` does for threads, and for process pools too.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import wrapt
from opentelemetry.context import attach, detach, get_current

from otel_obs.instrumentation.context import run_in
from otel_obs.instrumentation.propagation import propagate

_CONTEXT = "_otel_obs_context"


def hand_over() -> Callable[[], None]:
    """Let every thread, and all work given to a pool, run in the context that it was started in; return the undoing."""
    originals = (
        (ThreadPoolExecutor, "submit", _submitted),
        (ProcessPoolExecutor, "submit", _submitted),
        (threading.Thread, "start", _starting),
        (threading.Thread, "run", _running),
    )
    undo = []
    for owner, name, wrapper in originals:
        held = vars(owner)[name]
        setattr(owner, name, wrapt.FunctionWrapper(held, wrapper))
        undo.append((owner, name, held))

    def back() -> None:
        for owner, name, held in undo:
            setattr(owner, name, held)

    return back


def _submitted(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    del instance
    if not args or run_in() is None:
        return wrapped(*args, **kwargs)
    return wrapped(propagate(args[0]), *args[1:], **kwargs)


def _starting(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if run_in() is not None:
        setattr(instance, _CONTEXT, get_current())
    return wrapped(*args, **kwargs)


def _running(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    context = getattr(instance, _CONTEXT, None)
    if context is None:
        return wrapped(*args, **kwargs)
    token = attach(context)
    try:
        return wrapped(*args, **kwargs)
    finally:
        detach(token)
