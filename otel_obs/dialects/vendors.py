"""Spans that say what they are in a word of their vendor's: ``langwatch.span.type``, ``agentops.span.kind`` ...

Vendors' SDKs agree on little but on this: one attribute names the kind of a span, and the others stand beside it
under the vendor's name. So do Laminar (https://docs.lmnr.ai), LangWatch (https://docs.langwatch.ai), AgentOps
(https://docs.agentops.ai), HoneyHive (https://docs.honeyhive.ai), Braintrust
(https://www.braintrust.dev/docs/integrations/sdk-integrations/opentelemetry), traceAI
(https://docs.futureagi.com), DeepEval (https://www.confident-ai.com/docs/integrations/opentelemetry), Promptflow
(https://microsoft.github.io/promptflow/reference/trace-span-spec-reference.html) and Datadog
(https://docs.datadoghq.com/llm_observability). What such a span says by the
GenAI convention is believed first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

from otel_obs.dialects.answer import NOTHING, answer_of
from otel_obs.dialects.call import named_plainly
from otel_obs.dialects.content import Contents
from otel_obs.dialects.facts import Facts, mapping_of, parse, text_of
from otel_obs.dialects.gen_ai import agent_of, asked_for, read_call, read_role, role_of, with_role
from otel_obs.dialects.names import KIND, OF_MODELS, VENDORS, Names
from otel_obs.dialects.provider import is_known, provider_name
from otel_obs.dialects.usage import merged, usage_of
from otel_obs.model import EventType, Reading, Span, Usage
from otel_obs.remembering import remembered

_REQUESTS = {
    "llm": "chat", "generation": "chat", "model": "chat", "chat": "chat", "chat_model": "chat", "inference": "chat",
    "llm_call": "chat", "llm_request": "chat", "chatmodel": "chat", "completion": "text_completion",
    "embedding": "embeddings", "embeddings": "embeddings", "rerank": "rerank", "reranker": "rerank",
}  # fmt: skip
_ROLES: dict[str, EventType] = {
    "agent": "agent", "tool": "tool", "function": "tool", "workflow": "workflow", "session": "workflow",
    "pipeline": "workflow", "flow": "workflow", "retriever": "retrieval", "retrieval": "retrieval", "rag": "retrieval",
    "guardrail": "guardrail", "evaluation": "evaluation", "evaluator": "evaluation", "score": "evaluation",
}  # fmt: skip
_STEPS = frozenset({"chain", "task", "span", "default", "step", "component", "module", "operation", "eval", "graph"})
"""Kinds that say nothing but that somebody wanted to see them; the outermost of a trace is its workflow."""

_OF_ANYBODY = _STEPS | {"flow", "function", "tool", "session", "pipeline", "workflow", "model", "score", "evaluation"}
"""Kinds that other programs have as well: a job, a page, a car."""

_COMPONENT = "runinfo.component"
"""What Eino (https://www.cloudwego.io/docs/eino) runs: the kind of a trace's outermost span is always a workflow."""

_USERS = ("user_id", "user.id", "customer_identifier", "customer_id")
_CONVERSATIONS = ("session_id", "session.id", "thread_id", "thread.id", "thread_identifier", "conversation_id")
_USAGE = ("metrics", "usage", "usage_details", "token_usage", "usage.metadata")
_PARAMETERS = ("params", "parameters", "model_parameters", "config", "metadata")
_CHUNK = ".chunk"
"""How OpenAI calls a piece of a stream: ``chat.completion.chunk``."""
_TOKENS = re.compile(
    r"\.((?:prompt|completion|(?:non_cached_)?input|output|total|cache\w*|reasoning\w*)_token)(?:s|_count)$"
)
_UNCACHED = "non_cached_input_tokens"
"""What Judgment (https://docs.judgmentlabs.ai) says of the input: the part that was not cached."""
_CALL_OF = re.compile(r"^([A-Z]+)_API_CALL$")
"""How it calls a request: ``OPENAI_API_CALL``."""
_UPDATES = "judgment.update_id"


class Kind(NamedTuple):
    """The attribute that tells the kind of a span, and whose it is."""

    name: str
    vendor: str
    own: tuple[str, ...]
    """All names that begin with the vendor's."""


@remembered(2048)
def _kind_of(names: tuple[str, ...]) -> Kind | None:
    told = [name for name in names if KIND.search(name)]
    if not told:
        return None
    # A kind says more than a type: of Datadog's ``span.type`` every request to a model is ``llm``.
    name = next((name for name in told if name.endswith("kind")), told[0])
    vendor = "gen_ai" if name.startswith("gen_ai.") else re.split("(?<=[^._])[._]", name, maxsplit=1)[0]
    return Kind(name, vendor, tuple(own for own in names if own.startswith((f"{vendor}.", f"{vendor}_"))))


def concerns(scope: str, names: Names) -> bool:
    """Tell whether a span may say its kind so."""
    del scope
    return _kind_of(names.in_order) is not None


def read(span: Span, facts: Facts, contents: Contents) -> Reading | None:
    """Return what *span* means by the kind that it says; None if it says none that is known."""
    found = _kind_of(facts.names.in_order)
    kind = None if found is None else _said(facts, found.name)
    if found is None or kind is None:
        return None
    if kind not in _REQUESTS and kind not in _ROLES and kind not in _STEPS:
        return None
    if kind in _OF_ANYBODY and not _speaks_of_models(facts.names, found, contents):
        return None
    operation = facts.text("gen_ai.operation.name") or ""
    request = asked_for(operation) or (None if role_of(operation) is not None else _REQUESTS.get(kind))
    if request is not None:
        reading = _call(span, facts, contents, found, request)
    elif (role := role_of(operation)) is not None:
        reading = read_role(span, facts, role, dialect="vendors")
    else:
        reading = _role(span, facts, found, kind)
    metadata = facts.mapping("metadata", f"{found.vendor}.metadata")
    return replace(
        reading,
        user_id=_own_text(facts, found, _USERS) or _text(metadata, _USERS),
        conversation_id=_own_text(facts, found, _CONVERSATIONS) or _text(metadata, _CONVERSATIONS),
    )


def _speaks_of_models(names: Names, kind: Kind, contents: Contents) -> bool:
    """Tell whether a span is one of a program that asks models, and not of any that has kinds of its own."""
    return kind.vendor in VENDORS or not OF_MODELS.isdisjoint(names.namespaces) or bool(contents.keys)


def _said(facts: Facts, name: str) -> str | None:
    """Return the kind in small letters; an enumeration's member goes by its last word."""
    kind = facts.text(name)
    if kind is not None and name.endswith("span_attributes"):
        kind = text_of(mapping_of(parse(kind)).get("type"))
    component = (facts.text(_COMPONENT) or "").lower()
    if component in _REQUESTS:
        return component
    return None if kind is None else kind.rpartition(".")[2].lower()


def _role(span: Span, facts: Facts, own: Kind, kind: str) -> Reading:
    reading = Reading(dialect="vendors", is_rollup=facts.has_any("gen_ai.usage.", "llm.usage."))
    agent_id, agent_name = agent_of(facts)
    role = _ROLES.get(kind, "span")
    if span.parent_span_id is None and (role == "span" or kind == "function"):
        role = "workflow"
    if role == "tool" and span.name.startswith("tool_call."):
        # The model's wish, not the tool's run.
        role = "span"
    if role != "workflow":
        reading = replace(reading, agent_id=agent_id, agent_name=agent_name)
    return with_role(reading, role, _name(span, facts, role, own, kind), facts)


def _name(span: Span, facts: Facts, role: EventType, own: Kind, kind: str) -> str:
    told = {"tool": ("tool.name", "gen_ai.tool.name"), "agent": ("agent.name", "gen_ai.agent.name")}.get(role, ())
    named = _own_text(facts, own, (f"{role}.name",)) if told and own.vendor != "gen_ai" else None
    operation = facts.text("gen_ai.operation.name") or kind
    called = span.name.removesuffix(f".{kind}").removeprefix(f"{operation} ")
    return facts.text(*told, "operation.name") or named or called


def _call(span: Span, facts: Facts, contents: Contents, kind: Kind, operation: str) -> Reading:
    answer = _answer(contents)
    answered = answer_of(answer, facts) if answer else NOTHING
    parameters = _own_mapping(facts, kind, _PARAMETERS)
    reading = read_call(span, facts, contents, operation, found=_usage(facts, kind), dialect="vendors")
    if reading.call is None:
        return reading
    call = reading.call
    request = mapping_of(parse(contents.of("input")))
    asked = text_of(parameters.get("model")) or _of_client(facts, ".request.model") or text_of(request.get("model"))
    told = _own_text(facts, kind, ("model", "model_name")) if kind.vendor != "gen_ai" else None
    provider = _own_text(facts, kind, ("span.provider",)) if kind.vendor != "gen_ai" else None
    stream = parameters.get("stream", request.get("stream"))
    told_better = replace(
        call,
        provider=call.provider
        or provider_name(_of_client(facts, ".request.provider") or provider)
        or _called(span)
        or _library(facts),
        request_model=asked or call.request_model or told,
        response_model=call.response_model or answered.model or (call.request_model if asked else None),
        response_id=call.response_id or answered.response_id,
        usage=merged(answered.usage, call.usage) if answered.usage.known else call.usage,
        usage_source=call.usage_source or ("reported" if answered.usage.known else None),
        finish_reason=call.finish_reason or answered.finish_reason,
        service_tier=call.service_tier or answered.service_tier,
        is_stream=stream if call.is_stream is None and isinstance(stream, bool) else call.is_stream,
    )
    return replace(reading, call=named_plainly(told_better))


def _called(span: Span) -> str | None:
    """Return the provider that the span's name says was called."""
    found = _CALL_OF.match(span.name)
    return None if found is None else provider_name(found[1])


def _of_client(facts: Facts, ending: str) -> str | None:
    """Return what stands under the name of the client library: ``openai.request.model``."""
    names = (name for name in facts.names.in_order if name.endswith(ending) and not name.startswith("gen_ai."))
    return next((found for name in names if (found := text_of(facts.attributes[name]))), None)


def _library(facts: Facts) -> str | None:
    """Return the provider whose library has the function that was called: ``openai.resources.chat...create``."""
    library, dot, _ = (facts.text("function") or "").partition(".")
    return provider_name(library) if dot and is_known(library) else None


def _answer(contents: Contents) -> Mapping[str, object]:
    """Return the provider's whole answer where the span has it: then its figures are the provider's own.

    That of a stream is a list of its pieces, each of which tells a part.
    """
    said = parse(contents.of("output"))
    if isinstance(said, list):
        pieces = [piece for piece in said if isinstance(piece, Mapping)]
        answer = {name: value for piece in pieces for name, value in piece.items() if value}
        return answer if "usage" in answer or _CHUNK in str(answer.get("object")) else {}
    answer = dict(mapping_of(said))
    return answer if isinstance(answer.get("usage"), Mapping) else {}


def _usage(facts: Facts, kind: Kind) -> Usage:
    """Return the usage that stands under the vendor's name: as one object, or each count for itself."""
    raw: Mapping[str, object] = _own_mapping(facts, kind, _USAGE)
    if not raw and kind.vendor != "gen_ai":
        raw = {f"{found[1]}s": facts.attributes[name] for name in kind.own if (found := _TOKENS.search(name))}
    if _UNCACHED in raw:
        return usage_of({**raw, "input_tokens": raw[_UNCACHED]}, facts, apart=True)
    return usage_of(raw, facts) if raw else Usage()


def is_update(span: Span) -> bool:
    """Tell whether *span* is what Judgment sends of one that still runs: it ends as it starts, and comes again."""
    return span.end_time_unix_nano == span.start_time_unix_nano and _UPDATES in span.attributes


def _own_mapping(facts: Facts, kind: Kind, endings: Iterable[str]) -> Mapping[str, object]:
    """Return the first JSON object that the vendor's attributes hold under a name that ends so."""
    for ending in endings:
        for name in kind.own:
            if name.endswith((f".{ending}", f"_{ending}")) and (found := mapping_of(parse(facts.attributes[name]))):
                return found
    return {}


def _own_text(facts: Facts, kind: Kind, endings: Iterable[str]) -> str | None:
    for ending in endings:
        for name in kind.own:
            if name.endswith((f".{ending}", f"_{ending}")) and (found := text_of(facts.attributes[name])):
                return found
    return None


def _text(said: Mapping[str, object], names: Iterable[str]) -> str | None:
    return next((found for name in names if (found := text_of(said.get(name)))), None)
