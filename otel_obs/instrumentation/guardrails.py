"""What did a guardrail find? Its span, and its verdict in whatever shape the guardrail returns it.

No convention for guardrails is released yet
(https://github.com/open-telemetry/semantic-conventions-genai/pull/427), so the names are ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import Span, Status, StatusCode, set_span_in_context
from opentelemetry.util.genai.types import ContentCapturingMode, Error
from opentelemetry.util.genai.utils import get_content_capturing_mode
from opentelemetry.util.types import AttributeValue

from otel_obs.instrumentation.paths import get
from otel_obs.instrumentation.telemetry import tracer
from otel_obs.instrumentation.values import text_of
from otel_obs.semconv import (
    GUARDRAIL_ACTION_TAKEN,
    GUARDRAIL_FLAGGED_REFERENCE,
    GUARDRAIL_NAME,
    GUARDRAIL_SIMILARITY_SCORE,
)

OPERATION = "apply_guardrail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a guardrail found; None where it does not say."""

    score: float | None = None
    """Similarity, 0 to 1 (or as the guardrail counts it)."""
    reference: str | None = None
    """What the prompt is like: the name or the text of a reference."""
    action: str | None = None
    """What was done: ``allow``, ``block``, ``redact`` ..., as the guardrail words it."""

    def over(self, other: Verdict) -> Verdict:
        """Return this, its gaps filled from *other*."""
        return Verdict(
            score=other.score if self.score is None else self.score,
            reference=other.reference if self.reference is None else self.reference,
            action=other.action if self.action is None else self.action,
        )

    def attributes(self) -> dict[str, AttributeValue]:
        """Return what is known as attributes of a span."""
        named: dict[str, AttributeValue | None] = {
            GUARDRAIL_SIMILARITY_SCORE: self.score,
            GUARDRAIL_FLAGGED_REFERENCE: self.reference,
            GUARDRAIL_ACTION_TAKEN: self.action,
        }
        return {name: value for name, value in named.items() if value is not None}


NOTHING_FOUND = Verdict()


def verdict(*, score: Any = None, reference: Any = None, action: Any = None) -> Verdict:
    """Return what *score*, *reference* and *action* say; what cannot be one is left out."""
    return Verdict(
        score=_number(score),
        reference=None if reference is None else text_of(reference) or None,
        action=None if action is None else text_of(action) or None,
    )


def _number(score: Any) -> float | None:
    """Return *score* as a number; NumPy's and Decimal are numbers too."""
    if isinstance(score, bool | str | bytes) or not hasattr(score, "__float__"):
        return None
    number = float(score)
    return number if math.isfinite(number) else None


def verdict_of(result: Any) -> Verdict:
    """Return the verdict that *result* is, by the names of its attributes or keys.

    A mere true or false is none: it says neither what was done nor what is meant by it.
    """
    if isinstance(result, str | bytes | int | float | bool | None):
        return Verdict()
    return verdict(
        score=_first(result, "similarity_score", "score"),
        reference=_first(result, "flagged_reference", "reference"),
        action=_first(result, "action_taken", "action"),
    )


def _first(value: Any, *names: str) -> Any:
    return next((found for name in names if (found := get(value, name)) is not None), None)


class GuardrailInvocation:
    """A guardrail at work: its span, with the same interface as the invocations of ``util.genai``."""

    def __init__(self, name: str, context: Context) -> None:
        self.span: Span = tracer().start_span(
            f"{OPERATION} {name}",
            context=context,
            attributes={"gen_ai.operation.name": OPERATION, GUARDRAIL_NAME: name},
        )
        self.context = set_span_in_context(self.span, context)
        self.attributes: dict[str, AttributeValue] = {}
        self.should_capture_content = get_content_capturing_mode() in (
            ContentCapturingMode.SPAN_ONLY,
            ContentCapturingMode.SPAN_AND_EVENT,
        )

    def suspend(self) -> None:
        """Do nothing: the span was never made the current one."""

    def stop(self) -> None:
        """End the span."""
        self.span.set_attributes(self.attributes)
        self.span.end()

    def fail(self, error: Error) -> None:
        """End the span: the guardrail itself failed, which says nothing of what it looked at."""
        self.span.set_status(Status(StatusCode.ERROR, error.message or None))
        self.attributes["error.type"] = error.type
        self.stop()
