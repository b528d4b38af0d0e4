"""What does a provider's answer say of itself? OpenAI, Anthropic, Google, LiteLLM and LangChain, whole or in chunks.

An answer is known by its shape, as object or dict, so no library of a provider is needed:
https://platform.openai.com/docs/api-reference (chat completions and responses),
https://docs.anthropic.com/en/api/messages-streaming, https://ai.google.dev/api/generate-content,
https://docs.litellm.ai/docs/completion/output, https://reference.langchain.com/python/langchain_core/messages/.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

from otel_obs.frozen import dataclass
from otel_obs.instrumentation.paths import get
from otel_obs.instrumentation.usage import NOTHING, Tokens, tokens_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What is known of an answer; None where nobody said."""

    model: str | None = None
    response_id: str | None = None
    finish_reason: str | None = None
    service_tier: str | None = None
    tokens: Tokens = NOTHING
    text: str | None = None
    """What was said, as far as it is text."""
    provider: str | None = None
    """As ``gen_ai.provider.name`` has it, where the answer's class shows it."""

    def over(self, other: Response) -> Response:
        """Return this, its gaps filled from *other*."""
        if self is UNKNOWN or other is UNKNOWN:
            return other if self is UNKNOWN else self
        values = {name: _either(getattr(self, name), getattr(other, name)) for name in _TEXTS}
        return Response(tokens=self.tokens.over(other.tokens), **values)


_TEXTS = tuple(found.name for found in fields(Response) if found.name != "tokens")
UNKNOWN = Response()

MAX_TEXT = 4 * 1024 * 1024
"""Characters of a streamed answer that are kept; what is stored is cut there anyway."""

_PROVIDERS = {"openai": "openai", "anthropic": "anthropic", "google": "gcp.gemini"}
_PLAIN = (str, bytes, int, float, bool, type(None))


def response_of(result: Any) -> Response:
    """Return what *result* says if it is a provider's answer, or one of a framework's; else UNKNOWN."""
    if isinstance(result, _PLAIN):
        return UNKNOWN
    found = _langchain(result) or _generations(result) or _provider(result)
    if found is None:
        return UNKNOWN
    provider = _PROVIDERS.get(type(result).__module__.partition(".")[0])
    return found if provider is None else replace(found, provider=provider)


def _provider(answer: Any) -> Response | None:
    """Read OpenAI's, LiteLLM's, Anthropic's and Google's answers, and chunks of them."""
    tokens = tokens_of(_first(answer, "usage", "usage_metadata", "usageMetadata"))
    model = _text(answer, "model") or _text(answer, "model_version") or _text(answer, "modelVersion")
    response_id = _text(answer, "id") or _text(answer, "response_id") or _text(answer, "responseId")
    if not tokens.known and model is None:
        return None
    return Response(
        model=model,
        response_id=response_id,
        finish_reason=_finish(answer),
        service_tier=_text(answer, "service_tier") or _text(get(answer, "usage"), "service_tier"),
        tokens=tokens,
        text=said(answer),
    )


def _langchain(message: Any) -> Response | None:
    """Read LangChain's ``AIMessage`` and ``AIMessageChunk``."""
    about = get(message, "response_metadata")
    if about is None or get(message, "content") is None:
        return None
    tokens = tokens_of(get(message, "usage_metadata"))
    if not tokens.known:
        tokens = tokens_of(_first(about, "token_usage", "usage"))
    return Response(
        model=_text(about, "model_name") or _text(about, "model"),
        response_id=_text(about, "id") or _not_langchains(_text(message, "id")),
        finish_reason=_text(about, "finish_reason") or _text(about, "stop_reason"),
        service_tier=_text(about, "service_tier"),
        tokens=tokens,
        text=_content_text(get(message, "content")),
    )


def _not_langchains(response_id: str | None) -> str | None:
    """Return a provider's id; LangChain makes its own where it has none (``run-...``, ``lc_run-...``)."""
    return None if response_id is None or response_id.startswith(("run-", "lc_")) else response_id


def _generations(result: Any) -> Response | None:
    """Read LangChain's ``LLMResult``: one prompt's first answer, with the usage of the whole request."""
    generations = get(result, "generations")
    if not isinstance(generations, Sequence) or not generations:
        return None
    message = get(generations, "0", "0", "message")
    inner = (_langchain(message) if message is not None else None) or UNKNOWN
    about = get(result, "llm_output")
    outer = Response(
        model=_text(about, "model_name") or _text(about, "model"),
        response_id=_text(about, "id"),
        tokens=tokens_of(_first(about, "token_usage", "usage")),
        text=_text(get(generations, "0", "0"), "text"),
    )
    return inner.over(outer) if len(generations) == 1 else outer.over(replace(inner, tokens=NOTHING))


def said(answer: Any) -> str | None:
    """Return the text of an answer: its first choice, its text blocks, its first candidate."""
    choice = get(answer, "choices", "0")
    if choice is not None:
        return _content_text(get(choice, "message", "content") or get(choice, "delta", "content")) or _text(
            choice, "text"
        )
    candidate = get(answer, "candidates", "0")
    if candidate is not None:
        return _content_text(get(candidate, "content", "parts"))
    output = get(answer, "output")
    if isinstance(output, list):
        return "".join(filter(None, (_content_text(get(item, "content")) for item in output))) or None
    return _content_text(get(answer, "content"))


def _content_text(content: Any) -> str | None:
    if isinstance(content, str):
        return content or None
    if isinstance(content, list):
        texts = (part if isinstance(part, str) else _text(part, "text") for part in content)
        return "".join(filter(None, texts)) or None
    return None


def _finish(answer: Any) -> str | None:
    found = (
        get(answer, "choices", "0", "finish_reason")
        or get(answer, "stop_reason")
        or get(answer, "candidates", "0", "finish_reason")
        or get(answer, "candidates", "0", "finishReason")
        or get(answer, "incomplete_details", "reason")
    )
    name = get(found, "name") if not isinstance(found, str) else found
    return name.lower() if isinstance(name, str) and name else None


def _first(value: Any, *names: str) -> Any:
    return next((found for name in names if (found := get(value, name)) is not None), None)


def _text(value: Any, name: str) -> str | None:
    found = get(value, name)
    return found if isinstance(found, str) and found else None


def _either(one: Any, other: Any) -> Any:
    return other if one is None else one


class Stream:
    """An answer that comes in chunks; ask for ``response`` at any time.

    OpenAI tells its usage in the last chunk, Google a running count in each, Anthropic the input at the start and
    the output at the end, LangChain a share in each.
    """

    __slots__ = ("_length", "_pieces", "_response", "_with_text")

    def __init__(self, *, with_text: bool) -> None:
        self._response = UNKNOWN
        self._pieces: list[str] = []
        self._length = 0
        self._with_text = with_text

    def add(self, chunk: Any) -> None:
        """Take note of *chunk*."""
        if isinstance(chunk, str):
            self._say(chunk)
            return
        kind = _text(chunk, "type")
        if kind is not None and (event := self._event(kind, chunk)) is not None:
            self._response = event
            return
        found = response_of(chunk)
        if found is UNKNOWN:
            return
        if get(chunk, "response_metadata") is not None:
            tokens = self._response.tokens.plus(found.tokens)
        else:
            tokens = found.tokens.over(self._response.tokens)
        self._say(found.text)
        self._response = replace(found.over(self._response), tokens=tokens, text=None)

    def _event(self, kind: str, chunk: Any) -> Response | None:
        """Return what is known after an event of Anthropic's or of OpenAI's responses; None if it is no such."""
        if kind == "message_start":
            return response_of(get(chunk, "message")).over(self._response)
        if kind == "message_delta":
            late = tokens_of(get(chunk, "usage"))
            # The start told the input; the end tells what was generated, and repeats some of the input.
            early = self._response.tokens
            tokens = replace(
                early, output_tokens=late.output_tokens, billed_units={**early.billed_units, **late.billed_units}
            )
            if early.input_tokens is None:
                tokens = late.over(tokens)
            reason = _text(get(chunk, "delta"), "stop_reason") or self._response.finish_reason
            return replace(self._response, tokens=tokens, finish_reason=reason)
        if kind == "chunk":
            # A helper of OpenAI's client hands its chunks on inside events.
            self.add(get(chunk, "chunk"))
            return self._response
        if kind in {"content_block_delta", "response.output_text.delta"}:
            delta = get(chunk, "delta")
            self._say(delta if isinstance(delta, str) else _text(delta, "text"))
            return self._response
        if kind.startswith("response."):
            answer = get(chunk, "response")
            return self._response if answer is None else replace(response_of(answer).over(self._response), text=None)
        return self._response if kind in _SILENT else None

    def _say(self, text: str | None) -> None:
        if self._with_text and text and self._length < MAX_TEXT:
            self._pieces.append(text)
            self._length += len(text)

    @property
    def response(self) -> Response:
        """Return what is known so far."""
        return replace(self._response, text="".join(self._pieces) or None)


_SILENT = frozenset({"ping", "content_block_start", "content_block_stop", "message_stop"})
