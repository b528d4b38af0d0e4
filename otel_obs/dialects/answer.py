"""What a provider's answer says of itself, inside the JSON that frameworks put on their spans."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from otel_obs.dialects.facts import Facts, mapping_of, text_of
from otel_obs.dialects.provider import provider_name
from otel_obs.dialects.usage import is_billed, merged, usage_of
from otel_obs.model import Usage

_ANSWER_KEYS = frozenset(
    {"choices", "output", "content", "usage", "usage_metadata", "usageMetadata", "object", "candidates", "data",
     "stop_reason"}
)  # fmt: skip
_IDS = ("id", "response_id", "responseId")
_MODELS = ("model", "model_version", "modelVersion")
_REASONS = ("finish_reason", "finishReason", "stop_reason", "stopReason")
_WRAPPERS = ("raw", "data")
"""Where frameworks put the provider's answer inside their own."""
_CHUNKS = frozenset({"GenerationChunk", "ChatGenerationChunk"})
"""What LangChain's generations are that were put together from a stream."""

_RESPONSE_IDS = ("chatcmpl-", "resp_")
"""With these only answers of OpenAI begin: LangChain.js gives its message the id of the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A provider's answer; None where the JSON does not say."""

    response_id: str | None = None
    model: str | None = None
    usage: Usage = field(default_factory=Usage)
    finish_reason: str | None = None
    service_tier: str | None = None
    says_billed: bool = False
    """What is billed is told beside what was counted, and is what ``usage`` holds."""
    is_stream: bool | None = None
    """True where the answer shows that it came in pieces; that it did not is not to be seen."""
    provider: str | None = None


NOTHING = Answer()


def answer_of(value: object, facts: Facts) -> Answer:
    """Return what *value* (JSON of OpenAI, Anthropic, LangChain, Haystack ...) says of the answer."""
    if not isinstance(value, Mapping):
        return NOTHING
    found = [_one(answer, facts) for answer in _answers(value)]
    answer = next((answer for answer in found if answer != NOTHING), NOTHING)
    in_pieces = any(generation.get("type") in _CHUNKS for generation in _flat(value.get("generations")))
    return replace(answer, is_stream=True) if in_pieces else answer


def _answers(value: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    """Yield the objects inside *value* that may be an answer, the most telling first."""
    for message in _messages(value):
        yield from _framework_message(message)
    if not _ANSWER_KEYS.isdisjoint(value):
        yield value
    for name in _WRAPPERS:
        inner = value.get(name)
        if isinstance(inner, Mapping):
            yield inner


def _messages(value: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    """Yield LangChain's generations and Haystack's replies."""
    for generation in _flat(value.get("generations")):
        message = mapping_of(generation.get("message"))
        yield mapping_of(message.get("kwargs")) or mapping_of(message.get("data")) or message
    yield from _flat(value.get("replies"))
    if "response_metadata" in value:
        yield value
    for meta in _flat(value.get("meta")):
        yield {"meta": meta}


def _framework_message(message: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    metadata = dict(mapping_of(message.get("response_metadata")) or mapping_of(message.get("meta")))
    usage = mapping_of(message.get("usage_metadata")) or mapping_of(metadata.get("token_usage"))
    metadata.setdefault("model", metadata.get("model_name"))
    more = mapping_of(message.get("additional_kwargs"))
    if more.get("type") == "message":
        # LangChain.js keeps the head of Anthropic's answer there.
        metadata.update({name: more.get(name) for name in ("id", "model", "stop_reason") if not metadata.get(name)})
    if not metadata.get("id") and str(message.get("id")).startswith(_RESPONSE_IDS):
        metadata["id"] = message["id"]
    if usage:
        metadata["usage"] = usage
    if metadata.get("usage") or metadata.get("id") or metadata.get("model"):
        yield metadata


def _flat(value: object) -> Iterator[Mapping[str, object]]:
    if isinstance(value, Mapping):
        yield value
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for item in value:
            yield from _flat(item)


def _one(answer: Mapping[str, object], facts: Facts) -> Answer:
    usage = Usage()
    for name in ("usage", "usage_metadata", "usageMetadata"):
        raw = answer.get(name)
        if isinstance(raw, Mapping):
            usage = merged(usage, usage_of(raw, facts, apart=False if name == "usage_metadata" else None))
    response_id = _first_text(answer, _IDS)
    return Answer(
        response_id=response_id if response_id and is_response_id(response_id) else None,
        model=_first_text(answer, _MODELS),
        usage=usage,
        says_billed=is_billed(mapping_of(answer.get("usage"))),
        finish_reason=_first_text(answer, _REASONS) or _choice_reason(answer),
        service_tier=text_of(answer.get("service_tier")),
        provider=provider_name(text_of(answer.get("model_provider"))),
        is_stream=True if answer.get("streaming") is True else None,
    )


def _choice_reason(answer: Mapping[str, object]) -> str | None:
    for choice in (*_flat(answer.get("choices")), *_flat(answer.get("candidates"))):
        reason = _first_text(choice, _REASONS)
        if reason:
            return reason
    return None


def _first_text(value: Mapping[str, object], names: tuple[str, ...]) -> str | None:
    for name in names:
        found = text_of(value.get(name))
        if found is not None:
            return found
    return None


def is_response_id(text: str) -> bool:
    """Tell whether *text* may be a provider's id, not one that a framework gave its own run."""
    return not text.startswith(("run-", "run--", "lc_run-", "lc_run--"))
