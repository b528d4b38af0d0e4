"""Which workspace does a workflow belong to? Asked of the host, else of the table ``workflows``; both are remembered.

The host's resolver is called where the workflow starts. The table is read by a thread of its own, and a workflow
waits for it ``WAIT_S`` at most: telemetry holds nobody up.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from importlib.metadata import entry_points

from otel_obs.instrumentation.context import id_of
from otel_obs.instrumentation.faults import Guarded

Resolver = Callable[[str], "str | None"]
"""Workflow id -> workspace id, or None if nobody knows."""

Bindings = Mapping[tuple[str, str], str]
"""(organization id, workflow id) -> workspace id; the organization is '' where nobody names one."""

ENTRY_POINT = "otel_obs_workflows"
"""Group of entry points; the first is a function that reads all bindings, None where there is no database."""

MAX_KNOWN = 10_000
"""Workflows that are remembered; beyond that the oldest is forgotten."""
REMEMBERED_S = 60.0
WAIT_S = 0.25


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
            told: object = self._resolver(workflow_id)
            if isinstance(told, Coroutine):
                told.close()
                raise TypeError("the workspace resolver is a coroutine function, and nobody may wait for it here")
            found = id_of(told)
        with self._lock:
            self._known.pop(workflow_id, None)
            if found is not None:
                self._known[workflow_id] = found, now + self._remembered_s
                if len(self._known) > MAX_KNOWN:
                    del self._known[next(iter(self._known))]
        return found


class Table:
    """The table ``workflows``, read by a thread that ends when it has read it."""

    def __init__(self, read: Callable[[], Bindings | None], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._clock = clock
        self._lock = threading.Lock()
        self._begin()
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        self._bindings: Bindings | None = {}
        self._read_at: float | None = None
        self._missing: dict[tuple[str, str], float] = {}
        self._reading: threading.Event | None = None
        self._lock = threading.Lock()

    def of(self, organization_id: str | None, workflow_id: str) -> str | None:
        """Return the workspace that a workflow is bound to; None if it is not, or that is not known in time."""
        key = (organization_id or "", workflow_id)
        now = self._clock()
        is_old = self._read_at is None or now - self._read_at > REMEMBERED_S
        known = (self._bindings or {}).get(key)
        if known is not None and not is_old:
            return known
        if not is_old and (self._bindings is None or now - self._missing.get(key, -REMEMBERED_S) < REMEMBERED_S):
            return None
        if known is None and self._read_at is not None:
            self._miss(key, now)
        reading = self._read_soon()
        if known is None and reading.wait(WAIT_S):
            return (self._bindings or {}).get(key)
        return known

    def _miss(self, key: tuple[str, str], now: float) -> None:
        if len(self._missing) >= MAX_KNOWN:
            self._missing.clear()
        self._missing[key] = now

    def _read_soon(self) -> threading.Event:
        """Return what is set when the table is read again."""
        with self._lock:
            reading = self._reading
            if reading is None:
                self._reading = reading = threading.Event()
                threading.Thread(target=self._read_now, args=(reading,), daemon=True, name="otel_obs").start()
            return reading

    def _read_now(self, done: threading.Event) -> None:
        found: Bindings | None = None
        with Guarded("reading the workspaces of workflows"):
            found = self._read()
        # While the database is away what was known holds.
        self._bindings = found if found is not None else self._bindings or None
        self._read_at = self._clock()
        self._reading = None
        done.set()


class _Host:
    """What the host has told us."""

    workspaces: Workspaces | None = None
    table: Table | None = None


def set_workspace_resolver(resolver: Resolver | None, *, remembered_s: float = REMEMBERED_S) -> None:
    """Let *resolver* say to which workspace a workflow belongs, where the call does not.

    It is called with the workflow's id, in the thread (and the event loop) that starts the workflow, at most
    once in *remembered_s* seconds for each workflow that it knows. None: only the table ``workflows`` is asked.
    """
    _Host.workspaces = None if resolver is None else Workspaces(resolver, remembered_s=remembered_s)


def workspace_of(workflow_id: str, organization_id: str | None = None) -> str | None:
    """Return the workspace of a workflow as the host knows it, else as the table ``workflows`` has it."""
    with Guarded("the workspace of a workflow"):
        if _Host.workspaces is not None:
            found = _Host.workspaces.of(workflow_id)
            if found is not None:
                return found
        if _Host.table is None:
            _Host.table = Table(_installed)
        return _Host.table.of(organization_id, workflow_id)
    return None


def _installed() -> Bindings | None:
    """Read the bindings as an installed package does; None if none can."""
    for found in entry_points(group=ENTRY_POINT):
        read: Callable[[], Bindings | None] = found.load()
        return read()
    return None
