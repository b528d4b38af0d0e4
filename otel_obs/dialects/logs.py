"""What log records mean: messages, inference details, evaluations, guardrails, flags.

https://github.com/open-telemetry/semantic-conventions-genai/blob/main/docs/gen-ai/gen-ai-events.md and
https://opentelemetry.io/docs/specs/semconv/feature-flags/feature-flags-events/
"""

from __future__ import annotations

from dataclasses import replace

from otel_obs.dialects import gen_ai, google_adk, openlit
from otel_obs.dialects.content import Contents
from otel_obs.dialects.facts import Facts
from otel_obs.dialects.guardrail import check_of
from otel_obs.model import EventType, LogRecord, Reading, Span

DETAILS = "gen_ai.client.inference.operation.details"
_KINDS: dict[str, EventType] = {
    "gen_ai.evaluation.result": "evaluation",
    "gen_ai.guardrail.result": "guardrail",
    "gen_ai.security.finding": "guardrail",
    "feature_flag.evaluation": "feature_flag",
    "feature_flag": "feature_flag",
}


def read_log(record: LogRecord, name: str, facts: Facts, contents: Contents) -> Reading:
    """Return what *record*, an event called *name*, means; a record of no convention is a log."""
    if name == DETAILS:
        return _details(record, facts, contents)
    kind = _KINDS.get(name, "log")
    dialect = "" if kind == "log" and not name.startswith("gen_ai.") else name.partition(".")[0]
    reading = Reading(event_type=kind, dialect=dialect, error_type=facts.text("error.type"))
    if kind == "guardrail":
        return replace(reading, check=check_of(facts))
    if kind == "feature_flag":
        return replace(reading, name=facts.text("feature_flag.key"))
    if kind == "evaluation":
        return replace(reading, name=facts.text("gen_ai.evaluation.name"))
    return reading


def _details(record: LogRecord, facts: Facts, contents: Contents) -> Reading:
    """Read the attributes of an inference span, told once more as an event; Google's ADK leaves the operation out."""
    operation = facts.text("gen_ai.operation.name") or "chat"
    failed = facts.has("error.type")
    span = Span(
        trace_id=record.trace_id,
        span_id=record.span_id,
        attributes=record.attributes,
        scope=record.scope,
        status_code=2 if failed else 0,
    )
    if operation not in gen_ai.OPERATIONS:
        return Reading(event_type="log", dialect="gen_ai", failed=failed)
    is_openlit = openlit.is_openlit(record.scope.name)
    apart = is_openlit and openlit.counts_as_the_provider(record.scope.name)
    reading = gen_ai.read_call(span, facts, contents, gen_ai.OPERATIONS[operation], apart=apart)
    if record.scope.name == google_adk.SCOPE:
        reading = google_adk.told_once(reading)
    if is_openlit:
        reading = openlit.without_estimate(reading, record.attributes, facts)
    return replace(reading, event_type="log", failed=failed)
