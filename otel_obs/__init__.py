"""otel_obs: what AI workflows did and what they cost. OpenTelemetry in, PostgreSQL out."""

from __future__ import annotations

__version__ = "0.1.0"
