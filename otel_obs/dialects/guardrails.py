"""Guardrails AI (https://guardrailsai.com/docs/concepts/logging): a guard, its steps, and in each a request and checks.

Its own telemetry, and OpenInference's beside it, calls all of them guardrails; ``type`` tells them apart.
"""

from __future__ import annotations

from dataclasses import replace

from otel_obs.dialects import openinference
from otel_obs.dialects.content import Contents, Part
from otel_obs.dialects.facts import Facts, text_of
from otel_obs.dialects.gen_ai import with_role
from otel_obs.dialects.names import Names
from otel_obs.model import Reading, Span

SCOPE = "guardrails-ai"
CONTENT: dict[str, Part | None] = {
    "input": "input",
    "output": "output",
    "validator.validate.input.value": None,
    "validator.validate.output.value_override": None,
    "validator.validate.output.error_message": None,
}
"""Names that hold content on its spans only."""
_TYPE = "guardrails/guard"


def concerns(scope: str, names: Names) -> bool:
    """Tell whether a span may be one of Guardrails AI's."""
    del names
    return scope == SCOPE


def read(span: Span, facts: Facts, contents: Contents) -> Reading | None:
    """Return what *span* means to Guardrails AI; None if it is not one of its spans."""
    kind = facts.text("type") or ""
    if span.scope.name != SCOPE or not kind.startswith(_TYPE):
        return None
    if kind.endswith("/call"):
        return openinference.read_request(span, facts, contents)
    reading = Reading(dialect="guardrails")
    if not kind.endswith("/validator"):
        return reading
    name = facts.text("validator.name") or span.name.partition(".")[0]
    reading = with_role(reading, "guardrail", name, facts)
    outcome = text_of(facts.mapping("output.value").get("outcome"))
    check = (
        None if reading.check is None else replace(reading.check, action_taken=reading.check.action_taken or outcome)
    )
    return replace(reading, check=check)
