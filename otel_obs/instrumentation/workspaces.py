"""Which workspace does a workflow belong to? Asked of the host, and remembered for a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from otel_obs.instrumentation.context import id_of
from otel_obs.instrumentation.faults import Guarded

Resolver = Callable[[str], "str | None"]
"""Workflow id -> workspace id, or None if nobody knows."""

MAX_KNOWN = 10_000
"""Workflows that are remembered; beyond that the oldest is forgotten."""


class Workspaces:
    """The host's answers, each remembered for *remembered_s* seconds; None is not remembered."""

    def __init__(self, resolver: Resolver, *, remembered_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._resolver = resolver
        self._remembered_s = remembered_s
        self._clock = clock
        self._known: dict[str, tuple[str, float]] = {}
        self._lock = threading.Lock()

    def of(self, workflow_id: str) -> str | None:
        """Return the workspace of a workflow; None if the host does not know it, or fails."""
        now = self._clock()
        with self._lock:
            known = self._known.get(workflow_id)
        if known is not None and now < known[1]:
            return known[0]
        found = None
        with Guarded("the workspace resolver"):
            found = id_of(self._resolver(workflow_id))
        with self._lock:
            self._known.pop(workflow_id, None)
            if found is not None:
                self._known[workflow_id] = found, now + self._remembered_s
                if len(self._known) > MAX_KNOWN:
                    del self._known[next(iter(self._known))]
        return found


class _Host:
    """What the host has told us."""

    workspaces: Workspaces | None = None


def set_workspace_resolver(resolver: Resolver | None, *, remembered_s: float = 60.0) -> None:
    """Let *resolver* say to which workspace a workflow belongs, where the call does not.

    It is called with the workflow's id, in the thread (and the event loop) that starts the workflow, at most
    once in *remembered_s* seconds for each workflow that it knows. None: nobody is asked.
    """
    _Host.workspaces = None if resolver is None else Workspaces(resolver, remembered_s=remembered_s)


def workspace_of(workflow_id: str) -> str | None:
    """Return the workspace of a workflow as the host knows it."""
    return None if _Host.workspaces is None else _Host.workspaces.of(workflow_id)
