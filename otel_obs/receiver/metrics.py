"""What the gateway counts: each record received is stored, a duplicate, rejected, dropped, or refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from otel_obs.errors import ObsError, RateLimitedError
from otel_obs.rows.batch import Quarantined, Written


class _Counts(Collector):
    """Counters that are kept elsewhere."""

    def __init__(self, name: str, help: str, values: Mapping[str, Callable[[], float]]) -> None:  # noqa: A002
        self._name, self._help, self._values = name, help, values

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Return what they are now."""
        family = CounterMetricFamily(self._name, self._help, labels=["kind"])
        for kind, value in self._values.items():
            family.add_metric([kind], value())
        yield family


class GatewayMetrics:
    """Counters in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.received = Counter(
            "otel_obs_records_received", "Spans and log records that were decoded.", ["signal"], registry=self.registry
        )
        self.stored = Counter("otel_obs_records_stored", "Records that are new rows.", registry=self.registry)
        self.duplicates = Counter(
            "otel_obs_records_duplicate", "Records that were stored before.", registry=self.registry
        )
        self.replaced = Counter(
            "otel_obs_records_replaced", "Unfinished spans that a finished one replaced.", registry=self.registry
        )
        self.conflicts = Counter(
            "otel_obs_records_conflicting",
            "Duplicates that say something else than what is stored, which stays.",
            registry=self.registry,
        )
        self.accepted = Counter(
            "otel_obs_records_accepted",
            "Records whose senders were told that they are stored, on disk, or in quarantine.",
            registry=self.registry,
        )
        self.spooled = Counter(
            "otel_obs_records_spooled", "Records that were accepted on disk.", registry=self.registry
        )
        self.rejected = Counter(
            "otel_obs_records_rejected", "Records in quarantine, by reason.", ["reason"], registry=self.registry
        )
        self.dropped = Counter(
            "otel_obs_records_dropped",
            "Records left out by configuration, by reason.",
            ["reason"],
            registry=self.registry,
        )
        self.refused = Counter(
            "otel_obs_requests_refused",
            "Requests of which nothing was stored, by error.",
            ["error"],
            registry=self.registry,
        )
        self.limited = Counter(
            "otel_obs_requests_limited",
            "Requests of organizations that sent too fast, by what there was too much of.",
            ["reason"],
            registry=self.registry,
        )
        self.commit_seconds = Histogram(
            "otel_obs_commit_seconds", "From rows to their commit, for those that were committed.",
            registry=self.registry,
        )  # fmt: skip
        self.settled = Counter(
            "otel_obs_traces_settled", "Traces brought into their final form.", registry=self.registry
        )
        self.request_seconds = Histogram(
            "otel_obs_request_seconds",
            "From a decoded request to its commit, or until it is on disk.",
            registry=self.registry,
        )

    def watch_queue(self, size_bytes: Callable[[], int]) -> None:
        """Report how much waits to be written."""
        Gauge("otel_obs_queue_bytes", "Rows that wait to be written.", registry=self.registry).set_function(size_bytes)

    def watch(self, name: str, help: str, value: Callable[[], float]) -> None:  # noqa: A002  # Prometheus' word
        """Report a value as it is when somebody asks."""
        Gauge(name, help, registry=self.registry).set_function(value)

    def watch_total(self, name: str, help: str, values: Mapping[str, Callable[[], float]]) -> None:  # noqa: A002
        """Report counts that somebody else keeps, by ``kind``."""
        self.registry.register(_Counts(name, help, values))

    def committed(self, written: Written, noted: Sequence[Quarantined], took_s: float) -> None:
        """Count what became of a batch."""
        self.commit_seconds.observe(took_s)
        for item in noted:
            self.rejected.labels(item.reason).inc()
        self.stored.inc(written.stored)
        self.duplicates.inc(written.duplicates)
        self.replaced.inc(written.replaced)
        self.conflicts.inc(written.conflicts)
        for reason in written.refused.values():
            self.rejected.labels(reason).inc()

    def failed(self, error: ObsError) -> None:
        """Count a request of which nothing was stored."""
        self.refused.labels(type(error).__name__.removesuffix("Error")).inc()
        if isinstance(error, RateLimitedError):
            self.limited.labels(error.reason).inc()

    def families(self) -> list[Metric]:
        """Return all of them as they are now."""
        return list(self.registry.collect())

    def exposition(self) -> bytes:
        """Return all of them in Prometheus' text format."""
        return generate_latest(self.registry)
