"""``python -m otel_obs`` and the ``otel-obs`` command."""

from __future__ import annotations

from otel_obs.cli.main import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
