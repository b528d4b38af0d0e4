"""What is known of an executor before it is called: what kind of node it is, and where its facts are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

from otel_obs.errors import ConfigurationError
from otel_obs.instrumentation.context import FIELDS
from otel_obs.instrumentation.paths import ROOTS, Path, Source, source

Kind: TypeAlias = Literal["workflow", "agent", "llm", "embedding", "retrieval", "tool", "guardrail"]
KINDS: tuple[Kind, ...] = get_args(Kind)

BEFORE: Mapping[str, str] = {
    "name": "the node's name; for a model call the model is the name of the span",
    "id": "the node's id; for a workflow the workflow's",
    **{name: f"the {name.removesuffix('_id').replace('_', ' ')}'s id" for name in FIELDS},
    "description": "what the agent or the tool is for",
    "model": "the model asked for",
    "provider": "who serves it, as gen_ai.provider.name has it",
    "operation": "chat (without it), text_completion, generate_content ...",
    "tool_call_id": "the id under which the model asked for the tool",
    "input": "the prompt, the messages, the arguments; stored only if content is captured",
}
"""What is looked for when the node starts."""

AFTER: Mapping[str, str] = {
    "response": "the provider's response, where the result is not it",
    "usage": "the tokens: a usage object of any provider",
    "response_model": "the model that answered",
    "response_id": "the provider's id of the answer",
    "finish_reason": "why the model stopped",
    "output": "the answer; stored only if content is captured",
    "score": "a guardrail's similarity, 0 to 1",
    "reference": "what the guardrail found it to be like",
    "action": "what the guardrail did: allow, block, redact ...",
}
"""What is looked for when the node ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """How to report the calls of one executor."""

    kind: Kind
    fields: Mapping[str, tuple[Source, ...]] = field(default_factory=dict)
    """What is known, or where to find it; the first place that has something counts."""
    pass_workspace: bool = False
    """An argument ``workspace_id`` that is None is given the run's workspace."""

    of_result: tuple[tuple[str, tuple[Source, ...]], ...] = ()
    """The fields that are looked for in the result, which may come in chunks."""

    def where(self, name: str) -> tuple[Source, ...]:
        """Return where to look for *name*."""
        return self.fields.get(name, ())


def spec(kind: str, fields: Mapping[str, str | Sequence[str] | None], *, pass_workspace: bool = False) -> Spec:
    """Return how to report calls of an executor of *kind*; *fields* hold texts, paths, or lists of them.

    Raises:
        ConfigurationError: the kind or a field is unknown, or a path cannot be one.
    """
    if kind not in KINDS:
        raise ConfigurationError(f"kind = {kind!r}: one of {', '.join(KINDS)} is expected")
    found: dict[str, tuple[Source, ...]] = {}
    for name, value in fields.items():
        if name not in BEFORE and name not in AFTER:
            raise ConfigurationError(f"{name!r} is nothing that an executor has: {', '.join((*BEFORE, *AFTER))}")
        if value is None:
            continue
        texts: list[Any] = list(value) if isinstance(value, list | tuple) else [value]
        if not all(isinstance(text, str) for text in texts):
            raise ConfigurationError(f"{name} = {value!r}: a text, or a list of texts, is expected")
        places = tuple(source(text) for text in texts)
        if name in BEFORE and any(isinstance(place, Path) and place.root == "result" for place in places):
            raise ConfigurationError(f"{name} = {value!r}: there is no result yet when the node starts; {ROOTS[:2]}")
        found[name] = places
    of_result = tuple(
        (name, in_result)
        for name, places in found.items()
        if (in_result := tuple(place for place in places if isinstance(place, Path) and place.root == "result"))
    )
    return Spec(kind=kind, fields=found, pass_workspace=pass_workspace, of_result=of_result)
