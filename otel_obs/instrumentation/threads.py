"""How does the context get into threads and pools that the application starts? It is handed over with the work.

The same as ``opentelemetry-instrumentation-threading`` does for threads, and for process pools too.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing.pool import Pool
from typing import Any

import wrapt
from opentelemetry.context import Context, attach, detach, get_current

from otel_obs.instrumentation.context import run_in
from otel_obs.instrumentation.propagation import propagate

_RUN = "_otel_obs_run"

_POOLED = ("apply_async", "map", "map_async", "starmap", "starmap_async", "imap", "imap_unordered")
"""What hands work to a pool of ``multiprocessing``; ``apply`` goes through ``apply_async``."""


def hand_over() -> Callable[[], None]:
    """Let every thread, and all work given to a pool, run in the context that it was started in; return the undoing."""
    originals = [
        (ThreadPoolExecutor, "submit", _submitted),
        (ProcessPoolExecutor, "submit", _submitted),
        (threading.Thread, "start", _starting),
        *((Pool, name, _submitted) for name in _POOLED),
    ]
    undo = []
    for owner, name, wrapper in originals:
        held = vars(owner)[name]
        wrapped = wrapt.FunctionWrapper(held, wrapper)
        setattr(owner, name, wrapped)
        undo.append((owner, name, held, wrapped))

    def back() -> None:
        for owner, name, held, wrapped in undo:
            if vars(owner).get(name) is wrapped:
                setattr(owner, name, held)

    return back


def _submitted(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    del instance
    work = args[0] if args else kwargs.get("func")
    if work is None or run_in() is None:
        return wrapped(*args, **kwargs)
    work = propagate(work)
    # The pool may start a thread or fork a process for this, which serves other runs later: it takes nothing along.
    token = attach(Context())
    try:
        if args:
            return wrapped(work, *args[1:], **kwargs)
        return wrapped(**{**kwargs, "func": work})
    finally:
        detach(token)


def _starting(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if run_in() is not None and _RUN not in vars(instance):
        vars(instance)[_RUN] = instance.run
        # On the instance, for subclasses have a ``run`` of their own.
        instance.run = _Running(instance, get_current())
    return wrapped(*args, **kwargs)


class _Running:
    """What a thread runs: its own ``run``, in the context that it was started in."""

    def __init__(self, thread: threading.Thread, context: Context) -> None:
        self._thread = thread
        self._context = context

    def __call__(self) -> None:
        run = vars(self._thread).pop(_RUN)
        vars(self._thread).pop("run", None)
        token = attach(self._context)
        try:
            run()
        finally:
            detach(token)
