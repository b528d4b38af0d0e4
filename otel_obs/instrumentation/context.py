"""For whom and in which run does this code work? Ids that travel with the OpenTelemetry context.

They are believed because code of this process put them there; what came in over the network is baggage, see
``propagation``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from uuid import UUID

from opentelemetry.context import Context, create_key, get_value, set_value

from otel_obs.semconv import ORGANIZATION_ID, RUN_ID, SESSION_ID, USER_ID, WORKFLOW_ID, WORKSPACE_ID
from otel_obs.settings import is_identifier


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """Whose work it is, and which run it belongs to; None where nobody said."""

    organization_id: str | None = None
    workspace_id: str | None = None
    user_id: str | None = None
    workflow_id: str | None = None
    run_id: str | None = None
    conversation_id: str | None = None

    def attributes(self) -> dict[str, str]:
        """Return what is known as attributes of a span."""
        return {name: value for name, value in self._named() if value is not None}

    def _named(self) -> tuple[tuple[str, str | None], ...]:
        return (
            (ORGANIZATION_ID, self.organization_id),
            (WORKSPACE_ID, self.workspace_id),
            (USER_ID, self.user_id),
            (WORKFLOW_ID, self.workflow_id),
            (RUN_ID, self.run_id),
            (SESSION_ID, self.conversation_id),
        )

    def with_ids(self, ids: Mapping[str, str]) -> RunContext:
        """Return this with *ids* (field -> id) in place of what was there."""
        if not ids:
            return self
        return RunContext(**{name: ids.get(name) or getattr(self, name) for name in FIELDS})


ATTRIBUTES: dict[str, str] = {
    "organization_id": ORGANIZATION_ID,
    "workspace_id": WORKSPACE_ID,
    "user_id": USER_ID,
    "workflow_id": WORKFLOW_ID,
    "run_id": RUN_ID,
    "conversation_id": SESSION_ID,
}
"""Field of ``RunContext`` -> attribute of a span, and key of the baggage."""

FIELDS = tuple(field.name for field in fields(RunContext))
NOBODY = RunContext()

_KEY = create_key("otel_obs-run")


def run_in(context: Context | None = None) -> RunContext | None:
    """Return what this process said of *context* (None: the current one)."""
    found = get_value(_KEY, context)
    return found if isinstance(found, RunContext) else None


def context_of(run: RunContext, context: Context | None = None) -> Context:
    """Return *context* (None: the current one) as that of *run*."""
    return set_value(_KEY, run, context)


def id_of(value: object) -> str | None:
    """Return *value* as an id: a text, a whole number or a UUID that may be stored as one; else None."""
    if isinstance(value, int | UUID) and not isinstance(value, bool):
        value = str(value)
    return value if isinstance(value, str) and is_identifier(value) else None
