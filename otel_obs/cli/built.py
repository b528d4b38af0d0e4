"""Is what a span goes through compiled, or read as Python? ``hatch_build.py`` compiles it."""

from __future__ import annotations

from importlib.util import find_spec


def how_built() -> str:
    """Return what runs when spans are decoded."""
    # Nothing is imported for it: a command that only says its version starts quickly.
    found = find_spec("otel_obs.model")
    return "pure Python" if found is None or found.origin is None or found.origin.endswith(".py") else "compiled"
