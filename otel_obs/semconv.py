"""Names that otel_obs writes and reads as its own, with their source.

GenAI names are those of https://github.com/open-telemetry/semantic-conventions-genai.
"""

from __future__ import annotations

ORGANIZATION_ID = "otel_obs.organization.id"
WORKSPACE_ID = "otel_obs.workspace.id"
WORKFLOW_ID = "otel_obs.workflow.id"
RUN_ID = "otel_obs.workflow.run.id"
NODE_ID = "otel_obs.node.id"
NODE_NAME = "otel_obs.node.name"
USER_ID = "user.id"
"""https://opentelemetry.io/docs/specs/semconv/registry/attributes/user/"""
SESSION_ID = "session.id"
"""The conversation, on spans that are not about GenAI
(https://opentelemetry.io/docs/specs/semconv/general/session/); on others it is ``gen_ai.conversation.id``."""
GUARDRAIL_NAME = "otel_obs.guardrail.name"
GUARDRAIL_SIMILARITY_SCORE = "otel_obs.guardrail.similarity_score"
GUARDRAIL_FLAGGED_REFERENCE = "otel_obs.guardrail.flagged_reference"
GUARDRAIL_ACTION_TAKEN = "otel_obs.guardrail.action_taken"
USAGE_COST = "gen_ai.usage.cost"
"""US dollars; no cost attribute is standard yet, this one is what the field uses."""

USAGE_SOURCE = "otel_obs.usage.source"
"""How tokens became known: ``reported`` by the provider (also without this attribute), or ``split`` in half
because only their total is known."""

WORKSPACE_HEADER = "x-otel-obs-workspace"
"""Request header that names the workspace of spans which do not."""
