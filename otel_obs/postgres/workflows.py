"""Which workspaces do workflows belong to?"""

from __future__ import annotations

import psycopg

from otel_obs.postgres.queries import load

_WORKFLOWS = load("workflows")

MAX_BINDINGS = 10_000
"""The ones set last are read; a platform with more has a resolver of its own."""


def bindings(connection: psycopg.Connection) -> dict[tuple[str, str], str]:
    """Return (organization id, workflow id) -> workspace id."""
    rows = connection.execute(_WORKFLOWS["bindings"], {"most": MAX_BINDINGS})
    return {(organization_id, workflow_id): workspace_id for organization_id, workflow_id, workspace_id in rows}
