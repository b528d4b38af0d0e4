"""The dashboard: pages that are drawn on the server, and what a browser needs beside them."""

from __future__ import annotations

from otel_obs.web.dashboard import agents, audit, budgets, costs, flags, overview, signing, traces, upkeep

routers = [
    overview.router,
    costs.router,
    budgets.router,
    traces.router,
    agents.router,
    flags.router,
    upkeep.router,
    audit.router,
    signing.router,
]
"""All pages; whoever adds some adds their router, and navigation shows them."""


def paths() -> frozenset[str]:
    """Return the paths of all pages."""
    return frozenset(str(getattr(route, "path", "")) for router in routers for route in router.routes)


__all__ = ["paths", "routers"]
