"""``python -m otel_obs.instrumentation``, the same as ``otel-obs instrumentation``."""

from __future__ import annotations

from otel_obs.instrumentation.command import instrumentation

if __name__ == "__main__":
    instrumentation(prog_name="python -m otel_obs.instrumentation")
