"""otel_obs: what AI workflows did and what they cost. OpenTelemetry in, PostgreSQL out."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from otel_obs.client import Client

__version__ = "0.1.0"


def connect(
    database_url: str | None = None,
    *,
    organization_id: str = "default",
    workspace_id: str | None = None,
    record_evaluations: bool = False,
) -> Client:
    """Return the platform's verbs for a program: executions, events, flags. It connects when it is first used."""
    from otel_obs.client import Client  # noqa: PLC0415  # importing otel_obs stays cheap

    return Client(
        database_url,
        organization_id=organization_id,
        workspace_id=workspace_id,
        record_evaluations=record_evaluations,
    )
