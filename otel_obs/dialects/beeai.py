"""BeeAI for JavaScript, as OpenInference tells of it: each event of a run is a span below it, and says what happened.

https://github.com/Arize-ai/openinference/tree/main/js/packages/openinference-instrumentation-beeai: what runs says
only of which class it is; that a model answered, and with what usage, is an event.
"""

from __future__ import annotations

import re

from otel_obs.dialects.call import EMBEDDING, call_reading
from otel_obs.dialects.content import Contents, Part
from otel_obs.dialects.facts import Facts, mapping_of, text_of
from otel_obs.dialects.gen_ai import with_role
from otel_obs.dialects.names import Names
from otel_obs.dialects.provider import provider_name
from otel_obs.dialects.usage import usage_of
from otel_obs.model import Call, EventType, Reading, Span

_ROLES: dict[str, EventType] = {"AGENT": "agent", "TOOL": "tool"}
_ANSWERED = re.compile(r"^backend\.(\w+)\.(chat|embedding)\.success$")
"""https://framework.beeai.dev/modules/events: which backend answered."""
CONTENT: dict[str, Part | None] = {"data": "output", "thought": None}
"""Its attributes that hold content."""


def is_beeai(scope: str) -> bool:
    """Tell whether the instrumentation of *scope* is BeeAI's for JavaScript."""
    return scope == "@arizeai/openinference-instrumentation-beeai"


def concerns(scope: str, names: Names) -> bool:
    """Tell whether a span may be one of BeeAI's."""
    return is_beeai(scope) and ("source" in names.all or "target" in names.all)


def read(span: Span, facts: Facts, contents: Contents) -> Reading | None:
    """Return what *span* means to BeeAI; None if it is not one of its spans."""
    if not concerns(span.scope.name, facts.names):
        return None
    answered = _ANSWERED.match(facts.text("target") or "")
    if answered is not None:
        return _call(answered[1], answered[2], facts, contents)
    runs = facts.text("source")
    role = None if runs is None else _ROLES.get(facts.text("openinference.span.kind") or "")
    return with_role(Reading(dialect="beeai"), role or "span", runs, facts)


def _call(backend: str, asked: str, facts: Facts, contents: Contents) -> Reading:
    answer = mapping_of(facts.mapping("data").get("value"))
    said = mapping_of(answer.get("usage"))
    call = Call(
        operation=EMBEDDING if asked == "embedding" else "chat",
        provider=provider_name(backend),
        usage=usage_of(said, facts),
        finish_reason=text_of(answer.get("finishReason")),
    )
    return call_reading(
        call, facts, dialect="beeai", has_output=contents.of("output") is not None, said_usage=bool(said)
    )
