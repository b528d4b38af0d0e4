"""What share was kept where something sampled, and what is missing? As spans and their ``tracestate`` say it.

https://opentelemetry.io/docs/specs/otel/trace/tracestate-probability-sampling
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import psycopg

from otel_obs.analytics.filters import Filters
from otel_obs.postgres.queries import load

_TRACES = load("traces")
_UNDER_WAY = timedelta(minutes=15)
"""The span that a trace begins with comes last, when it ends."""
_THRESHOLD = re.compile(r"(?:^|[,\s])ot=(?:[^,]*;)?th:([0-9a-f]{1,14})(?=[;,\s]|$)")
_DIGITS = 14
_ALL = 16**_DIGITS


def kept_share(trace_state: str | None) -> float | None:
    """Return which share of spans like this one its sampler kept, above 0 and up to 1; None where nothing says so.

    The threshold is how many of 2**56 are refused, in hexadecimal digits without zeros at the end.
    """
    found = None if trace_state is None else _THRESHOLD.search(trace_state)
    return None if found is None else (_ALL - int(found[1].ljust(_DIGITS, "0"), 16)) / _ALL


@dataclass(frozen=True, slots=True)
class Completeness:
    """How many of the newest thousand traces came without their beginning, and for how many others they stand."""

    traces: int
    incomplete: int
    """Without the span that they began with: sampled away, or lost on the way."""
    sampled: int
    """Those of which something kept a share, and says so."""
    began: float
    """As many traces as there were before that, by what those say."""

    @property
    def kept_share(self) -> float:
        """Return the share that was kept of all; 1 where nothing says anything else."""
        return self.traces / self.began if self.began else 1.0


def completeness(connection: psycopg.Connection, filters: Filters, now: datetime) -> Completeness:
    """Return how complete the newest traces are, but for those that may still be under way at *now*."""
    until = max(min(filters.until, now - _UNDER_WAY), filters.since)
    asked = replace(filters, until=until).parameters
    found = [
        (traces, incomplete, kept_share(trace_state) or 1.0)
        for traces, incomplete, trace_state in connection.execute(_TRACES["incomplete_traces"], asked).fetchall()
    ]
    return Completeness(
        traces=sum(traces for traces, _, _ in found),
        incomplete=sum(incomplete for _, incomplete, _ in found),
        sampled=sum(traces for traces, _, share in found if share < 1),
        began=sum(traces / share for traces, _, share in found),
    )
