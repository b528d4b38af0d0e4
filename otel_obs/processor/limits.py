"""How much may wait, how often is it sent, how long may the end of a process take?"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, fields

from typing_extensions import Self

from otel_obs.pipeline.spool import MAX_BYTES

_log = logging.getLogger("otel_obs.processor")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a processor may use."""

    max_queue_spans: int = 16_384
    max_queue_bytes: int = 64 * 1024 * 1024
    max_batch_spans: int = 512
    max_batch_bytes: int = 2 * 1024 * 1024
    """Below the 4 MiB that a gRPC server takes unless it is told otherwise."""
    schedule_delay_s: float = 1.0
    """How long a span waits for its batch to be full; what is lost by ``kill -9`` is not older."""
    slow_call_s: float = 2.0
    """A call of the exporter that takes longer no longer holds up what is in memory: it goes to disk."""
    shutdown_timeout_s: float = 10.0
    """How long the end of the process may wait for a slow destination, before what is left goes to disk."""
    max_spool_bytes: int = MAX_BYTES

    def __post_init__(self) -> None:
        for each in fields(self):
            if getattr(self, each.name) <= 0:
                raise ValueError(f"{each.name}={getattr(self, each.name)!r}: a positive number is expected")

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """Return the defaults, changed by OpenTelemetry's variables; one that cannot be used changes nothing.

        https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/#batch-span-processor
        """
        spans = _number(environ, "OTEL_BSP_MAX_QUEUE_SIZE", cls(), "max_queue_spans")
        batch = _number(environ, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", cls(), "max_batch_spans")
        delay = _number(environ, "OTEL_BSP_SCHEDULE_DELAY", cls(), "schedule_delay_s", 1000)
        return cls(max_queue_spans=int(spans), max_batch_spans=int(batch), schedule_delay_s=delay)


def _number(environ: Mapping[str, str], variable: str, default: Limits, name: str, divisor: int = 1) -> float:
    value = environ.get(variable, "").strip()
    if value.isdecimal() and int(value) > 0:
        return int(value) / divisor
    if value:
        _log.warning("%s=%r: a positive number is expected", variable, value)
    return float(getattr(default, name))
