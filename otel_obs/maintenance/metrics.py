"""Is maintenance done? When each job last ended well, wherever it ran: what an alarm looks at."""

from __future__ import annotations

import time
from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from psycopg_pool import ConnectionPool

from otel_obs.errors import ObsError
from otel_obs.postgres.pool import translated
from otel_obs.postgres.queries import load

_MAINTENANCE = load("maintenance")
FRESH_S = 5.0
"""How long the database is not asked again, however often metrics are read."""


class MaintenanceMetrics(Collector):
    """Gauges of the jobs; none while the database is away, which is an alarm too."""

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool
        self._rows: list[tuple[object, ...]] = []
        self._asked_at = -FRESH_S

    def describe(self) -> list[GaugeMetricFamily]:
        """Return no names: registering asks no database."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges."""
        success = GaugeMetricFamily(
            "otel_obs_maintenance_last_success_timestamp_seconds", "When a job last ended well.", labels=["job"]
        )
        ran = GaugeMetricFamily(
            "otel_obs_maintenance_last_run_timestamp_seconds", "When a job last ended, well or not.", labels=["job"]
        )
        failing = GaugeMetricFamily(
            "otel_obs_maintenance_failing", "1: the last run of the job failed.", labels=["job"]
        )
        for job, last_run_at, last_success_at, last_error in self._found():
            ran.add_metric([str(job)], last_run_at.timestamp())  # type: ignore[attr-defined]
            failing.add_metric([str(job)], 0 if last_error is None else 1)
            if last_success_at is not None:
                success.add_metric([str(job)], last_success_at.timestamp())  # type: ignore[attr-defined]
        yield from (success, ran, failing)

    def _found(self) -> list[tuple[object, ...]]:
        if time.monotonic() - self._asked_at >= FRESH_S:
            try:
                with translated(), self._pool.connection(timeout=1.0) as connection:
                    self._rows = connection.execute(_MAINTENANCE["jobs"]).fetchall()
            except ObsError:
                self._rows = []
            self._asked_at = time.monotonic()
        return self._rows
