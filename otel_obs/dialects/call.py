"""When is a span one request that a provider served, and what is true of every such span?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Literal

from otel_obs.dialects.facts import Facts, parse
from otel_obs.dialects.provider import is_provider, provider_name, routed_to, serves
from otel_obs.model import Call, Reading, Span, Usage
from otel_obs.semconv import USAGE_SOURCE

EMBEDDING = "embeddings"
_UNKNOWN = "unknown"
"""What instrumentations call a model whose name they have not been told."""
ZERO_USAGE = "zero_usage"
ESTIMATED_USAGE = "estimated_usage"

_COSTS = (
    "gen_ai.usage.cost", "gen_ai.usage.total_cost", "gen_ai.usage.cost.amount", "gen_ai.cost.total_cost",
    "gen_ai.usage.cost.total", "gen_ai.usage.cost_usd", "gen_ai.client.estimated_cost", "operation.cost",
    "llm.cost.total", "cost_usd",
)  # fmt: skip
"""No cost attribute is standard; these are in the field, all in US dollars."""
_NOT_COUNTED_IN_TOKENS = frozenset({"image", "speech", "transcription", "moderation", "video", "rerank"})


def call_reading(
    call: Call,
    facts: Facts,
    *,
    dialect: str,
    total_tokens: int | None = None,
    has_output: bool,
    said_usage: bool,
    agent: tuple[str | None, str | None] = (None, None),
) -> Reading:
    """Return the reading of the request *call*, or that of a mere span if nothing proves a request.

    Proof is usage, an output, a response id, why or when the answer came, or a failure. *said_usage*: usage
    attributes were sent, even if they are zeros, which is what some emitters send for a stream without usage.
    """
    usage, source = _usage(call, total_tokens, facts)
    named = named_plainly(call)
    asked = Call(
        operation=call.operation,
        provider=named.provider,
        request_model=named.request_model,
        response_model=named.response_model,
        response_id=call.response_id,
        usage=usage,
        usage_source=source,
        failed=call.failed,
        service_tier=call.service_tier,
        is_batch=call.is_batch or call.service_tier == "batch",
        is_stream=call.is_stream,
        attempts=call.attempts,
        endpoint=call.endpoint,
        finish_reason=_google_reason(named),
        time_to_first_token_ms=call.time_to_first_token_ms,
        reported_cost_usd=call.reported_cost_usd or facts.money(*_COSTS),
        prompt_name=call.prompt_name,
        prompt_version=call.prompt_version,
    )
    answered = call.response_id or call.finish_reason or call.time_to_first_token_ms or _dated(call)
    proven = usage.known or has_output or said_usage or answered is not None or call.failed
    return Reading(
        event_type="embedding" if call.operation == EMBEDDING else "llm",
        dialect=dialect,
        call=asked if proven else None,
        agent_id=agent[0],
        agent_name=agent[1],
    )


def _dated(call: Call) -> str | None:
    """Return the model that answered where it is called otherwise than what was asked for: only an answer tells so."""
    asked, told = call.request_model, call.response_model
    return told if asked is not None and told is not None and told not in (asked, _plain(asked)) else None


_VERTEX = re.compile(r"^(?://[\w.-]+/)?projects/[^/]+/locations/[^/]+/(?:publishers/[^/]+/)?models/([^/]+)$")
"""https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.publishers.models"""


def named_plainly(call: Call) -> Call:
    """Return *call* with the provider that a router put before a model's name, and models without it."""
    provider = serves(call.request_model, call.provider) or routed_to(call.request_model)
    provider = provider or routed_to(call.response_model)
    if _VERTEX.match(call.request_model or ""):
        provider = "gcp.vertex_ai"
    request_model, response_model = (
        _unprefixed(call.request_model, provider),
        _unprefixed(call.response_model, provider),
    )
    if (provider, request_model, response_model) == (call.provider, call.request_model, call.response_model):
        return call
    return replace(call, provider=provider, request_model=request_model, response_model=response_model)


def _unprefixed(model: str | None, provider: str | None) -> str | None:
    """Return gpt-4o for openai/gpt-4o of OpenAI: routers put their provider before a model's name.

    A model that is called as a provider is none: the emitter did not know it.
    """
    if model is None or model == _UNKNOWN or is_provider(model, provider):
        return None
    if "/" not in model:
        return model
    model = _plain(model)
    prefix, slash, name = model.partition("/")
    return name if slash and name and provider is not None and provider_name(prefix) == provider else model


def _plain(model: str) -> str:
    """Return the name of a model that Vertex AI knows by its path: ``projects/p/.../models/gemini-2.5-flash``."""
    path = _VERTEX.match(model)
    return model if path is None else path[1]


def _usage(
    call: Call, total_tokens: int | None, facts: Facts
) -> tuple[Usage, Literal["reported", "split", "estimated"] | None]:
    usage = call.usage
    if usage.known:
        if not usage.input_tokens and not usage.output_tokens and call.operation not in _NOT_COUNTED_IN_TOKENS:
            # No model answers without having read a single token: zeros stand for what was not sent.
            facts.flag(ZERO_USAGE)
            return Usage(), None
        split = facts.text(USAGE_SOURCE) == "split"
        return usage, call.usage_source or ("split" if split else "reported")
    if not total_tokens:
        return usage, None
    if call.operation == EMBEDDING:
        return replace(usage, input_tokens=total_tokens, output_tokens=0), "reported"
    half = total_tokens // 2
    return replace(usage, input_tokens=total_tokens - half, output_tokens=half), "split"


def waited_ms(span: Span, moment: str | None) -> float | None:
    """Return the milliseconds from the start of *span* to *moment*, in ISO 8601; None if it is no such time."""
    if moment is None:
        return None
    try:
        then = datetime.fromisoformat(moment.strip('"').replace("Z", "+00:00"))
    except ValueError:
        return None
    if then.tzinfo is None:
        return None
    waited = then.timestamp() * 1000 - span.start_time_unix_nano / 1e6
    return waited if waited >= 0 else None


def endpoint_of(facts: Facts) -> str | None:
    """Return host and port that was asked; some emitters put a whole URL where the host belongs."""
    address = facts.text("server.address")
    if address is None or address == "unknown":
        return None
    if "://" in address:
        return re.split("[/?#]", address.partition("://")[2], maxsplit=1)[0].rpartition("@")[2] or None
    port = facts.tokens("server.port")
    return address if port is None or address.endswith(f":{port}") else f"{address}:{port}"


def finish_reason_of(facts: Facts) -> str | None:
    """Return the first reason for which the model stopped: a list, a list as JSON text, or one word."""
    for name in facts.sent(
        "gen_ai.response.finish_reasons",
        "gen_ai.response.finish_reason",
        "llm.finish_reason",
        "gen_ai.completion.0.finish_reason",
        "anthropic.message.stop_reason",
    ):
        reason = spelled_reason(facts.attributes[name])
        if reason:
            return reason
    return None


def spelled_reason(value: object) -> str | None:
    """Return the first reason in *value*: a list, a list as JSON text, or one word."""
    if isinstance(value, str):
        reasons = parse(value)
        if not isinstance(reasons, list):
            return _spelled(value.removeprefix("FinishReason."))
        value = reasons
    if isinstance(value, Sequence) and not isinstance(value, bytes) and value and isinstance(value[0], str):
        return _spelled(value[0].removeprefix("FinishReason."))
    return None


def _spelled(reason: str) -> str | None:
    """Return *reason* in small letters: enumerations of Java, Python and Google shout."""
    return (reason.lower() if reason.isupper() else reason) or None


_GOOGLE_REASONS = (
    None, "stop", "max_tokens", "safety", "recitation", "other", "blocklist", "prohibited_content", "spii",
    "malformed_function_call",
)  # fmt: skip
"""By their numbers: https://cloud.google.com/vertex-ai/generative-ai/docs/reference/rpc/google.cloud.aiplatform.v1"""


def _google_reason(call: Call) -> str | None:
    """Return why the model stopped; of Vertex AI's enumeration some hand on the number, not the word."""
    reason = call.finish_reason or ""
    if not reason.isdecimal() or not (call.provider or "").startswith("gcp."):
        return call.finish_reason
    number = int(reason[:3])
    return _GOOGLE_REASONS[number] if number < len(_GOOGLE_REASONS) else reason


_RESPONSE_IDS = ("resp_", "chatcmpl-", "msg_")
_NO_CONVERSATION = frozenset({"unknown", "[no_session_id]"})


def is_conversation(text: str) -> bool:
    """Tell whether *text* may name a conversation: some send the previous response id, or that there is none."""
    return not text.startswith(_RESPONSE_IDS) and text not in _NO_CONVERSATION
