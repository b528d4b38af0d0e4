"""What a guardrail found.

Our own names, and both proposals for a convention
(https://github.com/open-telemetry/semantic-conventions-genai/pull/427, unreleased): values stay as the
guardrail's provider words them, and are never turned into allow or deny.
"""

from __future__ import annotations

from otel_obs.dialects.content import body_of
from otel_obs.dialects.facts import BAD_SCORE, Facts
from otel_obs.model import Check
from otel_obs.semconv import (
    GUARDRAIL_ACTION_TAKEN,
    GUARDRAIL_FLAGGED_REFERENCE,
    GUARDRAIL_NAME,
    GUARDRAIL_SIMILARITY_SCORE,
)

_NAMES = (GUARDRAIL_NAME, "gen_ai.guardrail.component.name", "gen_ai.guardrail.name", "gen_ai.guardian.name")
_SCORES = (GUARDRAIL_SIMILARITY_SCORE, "gen_ai.guardrail.risk.score", "gen_ai.security.risk.score")
_REFERENCES = (GUARDRAIL_FLAGGED_REFERENCE,)
_ACTIONS = (
    GUARDRAIL_ACTION_TAKEN,
    "gen_ai.guardrail.result.value",
    "gen_ai.guardrail.verdict.type",
    "gen_ai.security.action.type",
)


def check_of(facts: Facts, name: str | None = None) -> Check:
    """Return the verdict that a guardrail span or event tells; *name* where it has no name of its own."""
    score = facts.number(*_SCORES)
    if score is None and facts.has(*_SCORES):
        facts.flag(BAD_SCORE)
    return Check(
        guardrail_name=facts.text(*_NAMES) or name,
        similarity_score=score,
        flagged_reference=facts.text(*_REFERENCES),
        action_taken=_action(facts),
    )


def _action(facts: Facts) -> str | None:
    for name in _ACTIONS:
        value = facts.attributes.get(name)
        if value is not None and value != "":
            return body_of(value)
    return None


def is_check(facts: Facts) -> bool:
    """Tell whether a span that says nothing else of itself is a guardrail's by its attributes."""
    return facts.has(*_NAMES, GUARDRAIL_SIMILARITY_SCORE)
