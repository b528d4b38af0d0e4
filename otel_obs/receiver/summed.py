"""What do several gateways count together?  The same names as one gateway's, whichever of them is asked.

Counters and histograms are added up, and never fall: what a process said last is kept when it ends. Without that, a
reader of counters would take the fall for a fresh start, and count what the others did once more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

GROWING = frozenset({"counter", "histogram"})
LEAST = frozenset({"otel_obs_database_up"})
GREATEST = frozenset({"otel_obs_lag_seconds"})

_Place = tuple[str, tuple[tuple[str, str], ...]]


class Summed:
    """The metrics of several processes as one."""

    def __init__(self) -> None:
        self._last: dict[int, Sequence[Metric]] = {}
        self._ended: dict[str, Metric] = {}

    def heard(self, worker: int, families: Sequence[Metric]) -> None:
        """Take what a process counts now."""
        self._last[worker] = families

    def ended(self, worker: int) -> None:
        """Keep what a process counted up to its end; what it held is gone with it."""
        last = [family for family in self._last.pop(worker, ()) if family.type in GROWING]
        self._ended = _added([list(self._ended.values()), last])

    def families(self) -> list[Metric]:
        """Return the sums; of a state that is not a number of things, the worst."""
        count = GaugeMetricFamily("otel_obs_workers", "Processes that these numbers are the sum of.", len(self._last))
        return [*_added([list(self._ended.values()), *self._last.values()]).values(), count]


def exposition(families: Sequence[Metric], beside: CollectorRegistry) -> bytes:
    """Return metrics in Prometheus' text format: *families*, and what is counted in *beside*."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Given([*families, *beside.collect()]))
    return generate_latest(registry)


class _Given(Collector):
    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._families


def _added(sources: Sequence[Sequence[Metric]]) -> dict[str, Metric]:
    found: dict[str, tuple[Metric, dict[_Place, Sample]]] = {}
    for family in (family for families in sources for family in families):
        _, samples = found.setdefault(family.name, (family, {}))
        for sample in family.samples:
            place = (sample.name, tuple(sorted(sample.labels.items())))
            known = samples.get(place)
            samples[place] = sample if known is None else known._replace(value=_together(known, sample))
    return {name: _with(family, samples) for name, (family, samples) in found.items()}


def _together(one: Sample, other: Sample) -> float:
    if one.name in LEAST or one.name.endswith("_created"):
        return min(one.value, other.value)
    return max(one.value, other.value) if one.name in GREATEST else one.value + other.value


def _with(family: Metric, samples: Mapping[_Place, Sample]) -> Metric:
    metric = Metric(family.name, family.documentation, family.type)
    metric.samples = list(samples.values())
    return metric
