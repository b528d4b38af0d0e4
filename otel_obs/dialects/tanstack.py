"""TanStack AI (https://tanstack.com/ai): a loop of requests is a span, and each of its rounds is one below it.

The loop says no operation and has the sum of its rounds.
"""

from __future__ import annotations

from otel_obs.dialects.content import Contents
from otel_obs.dialects.facts import Facts
from otel_obs.dialects.gen_ai import OPERATIONS, provider_of, read_call, read_role
from otel_obs.dialects.names import Names
from otel_obs.model import Reading, Span

_LOOP = "tanstack.ai.iterations"


def concerns(scope: str, names: Names) -> bool:
    """Tell whether a span may be one of TanStack's."""
    del scope
    return "tanstack" in names.namespaces


def read(span: Span, facts: Facts, contents: Contents) -> Reading | None:
    """Return what a loop or a request means to TanStack; None for its other spans: they follow the convention."""
    if "tanstack" not in facts.names.namespaces:
        return None
    if facts.sent(_LOOP):
        return read_role(span, facts, "span", dialect="tanstack")
    operation = OPERATIONS.get(facts.text("gen_ai.operation.name") or "")
    if operation is None:
        return None
    # Input tokens are the provider's own count; to Google's output its thoughts have been added.
    apart = not (provider_of(facts) or "").startswith("gcp.")
    return read_call(span, facts, contents, operation, apart=apart, dialect="tanstack")
