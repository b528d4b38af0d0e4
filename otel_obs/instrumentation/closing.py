"""What is known of a node when it ends? Its answer, what was billed for it, and what that costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from opentelemetry.trace import SpanKind
from opentelemetry.util.genai.invocation import (
    EmbeddingInvocation,
    InferenceData,
    InferenceInvocation,
    LocalAgentInvocation,
    RetrievalInvocation,
    ToolInvocation,
    WorkflowInvocation,
)
from opentelemetry.util.genai.types import Error
from opentelemetry.util.types import AttributeValue

from otel_obs.instrumentation.costs import cost_usd, is_priced
from otel_obs.instrumentation.faults import Guarded
from otel_obs.instrumentation.guardrails import GuardrailInvocation, Verdict, verdict, verdict_of
from otel_obs.instrumentation.messages import answered, asked, input_of
from otel_obs.instrumentation.node import Node, provider_of
from otel_obs.instrumentation.paths import first
from otel_obs.instrumentation.requests import Told, amends, attributes_of
from otel_obs.instrumentation.response import UNKNOWN, Response, response_of
from otel_obs.instrumentation.telemetry import tracer
from otel_obs.instrumentation.usage import Tokens, tokens_of
from otel_obs.instrumentation.values import text_of, value_of
from otel_obs.model import Call, Usage
from otel_obs.semconv import USAGE_COST, USAGE_SOURCE
from otel_obs.tenancy import DEFAULT

SEVERAL_REQUESTS = "otel_obs.model_node"
"""``gen_ai.operation.name`` of a model node that made several requests: each has a span of its own below it."""


def close(node: Node, *, result: Any = None, error: BaseException | None = None, streamed: Response = UNKNOWN) -> None:
    """End the span of *node*, with what its *result*, or its *streamed* answer, says; at most once."""
    if not node.is_open:
        return
    node.is_open = False
    if node.is_recording:
        call = {**node.call, "result": result}
        with Guarded(f"telling what a {node.kind} did"):
            _fill(node, call, streamed)
        with Guarded(f"telling what was said to a {node.kind} and by it"):
            _say(node, call, streamed, failed=error is not None)
    with Guarded(f"ending the span of a {node.kind}"):
        if error is None:
            node.invocation.stop()
        else:
            node.invocation.fail(_described(error))
    # What still runs in the node's context keeps the node, but need not keep what went in and came out.
    node.call, node.noted, node.output = {}, {}, None
    if node.requests is not None and not node.is_suppressed:
        node.requests.late = partial(_late, node, node.requests.response_id or _response_id(node.invocation))


def _described(error: BaseException) -> Error:
    """Return *error* as the convention's invocations take it; not every error can say what it is."""
    try:
        return Error.from_exception(error)
    except Exception:  # noqa: BLE001  # code of strangers
        return Error(message="", type=type(error).__qualname__, exception=error)


def _response_id(invocation: Any) -> str | None:
    return invocation.data.response_id if isinstance(invocation, InferenceInvocation) else None


def _late(node: Node, response_id: str | None, told: Told) -> None:
    """Report a request that outlived *node*, which it belongs to; not the one whose *response_id* it has told."""
    with Guarded("reporting a request that outlived its node"):
        if told.was_served and (told.data.response_id is None or told.data.response_id != response_id):
            _request(node, told)


def _fill(node: Node, call: Mapping[str, Any], streamed: Response) -> None:
    """Tell what *node* did, but for what was said."""
    match node.invocation:
        case EmbeddingInvocation() as embedding:
            _embedding(node, embedding, _response(node, call, streamed))
        case InferenceInvocation() as inference:
            _inference(node, inference, _response(node, call, streamed))
        case GuardrailInvocation() as guardrail:
            guardrail.attributes.update(_verdict(node, call).attributes())


def _say(node: Node, call: Mapping[str, Any], streamed: Response, *, failed: bool) -> None:
    """Tell what was said to *node* and by it, where content is captured."""
    if not node.invocation.should_capture_content:
        return
    output = node.output if node.output is not None else node.after("output", call)
    match node.invocation:
        case WorkflowInvocation() | LocalAgentInvocation() as run:
            run.input_messages = asked(_input(node))
            run.output_messages = answered(_else(output, streamed.text, call["result"]))
        case ToolInvocation() as tool:
            tool.arguments = value_of(_tool_input(node))
            tool.tool_result = value_of(_else(output, streamed.text, call["result"]))
        case RetrievalInvocation() as retrieval:
            retrieval.query_text = text_of(_input(node)) or None
        case InferenceInvocation() as inference:
            inference.input_messages = asked(_input(node))
            response = _response(node, call, streamed)
            inference.output_messages = answered(_else(output, response.text, None if failed else call["result"]))


def _input(node: Node) -> Any:
    found = first(node.spec.where("input"), node.call)
    return input_of(node.call.get("args", {})) if found is None else found


def _tool_input(node: Node) -> Any:
    found = first(node.spec.where("input"), node.call)
    arguments: Mapping[str, Any] = node.call.get("args", {})
    return {name: value for name, value in arguments.items() if name not in {"self", "cls"}} if found is None else found


def _else(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _verdict(node: Node, call: Mapping[str, Any]) -> Verdict:
    configured = verdict(
        score=node.after("score", call),
        reference=node.after("reference", call),
        action=node.after("action", call),
    )
    return node.verdict.over(configured).over(verdict_of(call["result"]))


_OF_ANSWERS = frozenset({"response_model", "response_id", "finish_reason", "usage"})


def _response(node: Node, call: Mapping[str, Any], streamed: Response) -> Response:
    """Return what is known of the answer: what the application said, what was configured, what the answer shows."""
    told = node.after("response", call)
    shown = streamed if streamed != UNKNOWN else response_of(call["result"] if told is None else told)
    configured = UNKNOWN
    if not _OF_ANSWERS.isdisjoint(node.spec.fields):
        configured = Response(
            model=_text(node.after("response_model", call)),
            response_id=_text(node.after("response_id", call)),
            finish_reason=_text(node.after("finish_reason", call)),
            tokens=tokens_of(node.after("usage", call)),
        )
    # Tokens of different sources are not mixed: the first that counts anything is believed.
    tokens = next((found.tokens for found in (node.given, configured) if found.tokens.known), shown.tokens)
    found = node.given.over(configured).over(shown)
    return found if found.tokens is tokens else replace(found, tokens=tokens)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _inference(node: Node, invocation: InferenceInvocation, response: Response) -> None:
    data = invocation.data
    served = node.requests.served if node.requests is not None and not node.is_suppressed else []
    if len(served) > 1:
        _several(node, invocation, served)
        return
    asked_model = data.request_model
    usage, source = response.tokens.billed()
    _set(data, response, usage)
    if len(served) == 1 and node.requests is not None:
        invocation.enrich_from_context(node.requests)
    if node.is_suppressed and node.requests is not None and len(node.requests.told) > node.told_before:
        amends(data)
    _name(node, invocation, response, asked_model)
    invocation.attributes.update(_beyond(data, response, usage))
    if source == "split":
        invocation.attributes[USAGE_SOURCE] = source
    cost = node.cost_usd if node.cost_usd is not None else _cost(data, node)
    if cost is not None:
        invocation.attributes[USAGE_COST] = cost


def _set(data: InferenceData, response: Response, usage: Usage) -> None:
    if response.model is not None:
        data.response_model = response.model
    if response.response_id is not None:
        data.response_id = response.response_id
    if response.finish_reason is not None:
        data.response_finish_reasons = [response.finish_reason]
    if usage.known:
        data.usage_input_tokens = usage.input_tokens
        data.usage_output_tokens = usage.output_tokens
        data.usage_cache_read_input_tokens = usage.cache_read_tokens
        data.usage_cache_write_input_tokens = usage.cache_write_tokens
        data.usage_reasoning_output_tokens = usage.reasoning_tokens
        data.usage_audio_input_tokens = usage.billed_units.get("input_audio_tokens")
        data.usage_audio_output_tokens = usage.billed_units.get("output_audio_tokens")


def _name(node: Node, invocation: InferenceInvocation, response: Response, asked_model: str | None) -> None:
    """Say who served, and name the span after the model, if that was not known when it began."""
    data = invocation.data
    if data.provider_name is None:
        data.provider_name = response.provider or provider_of(data.response_model)
    model = data.request_model or data.response_model
    if asked_model is None and model is not None and not node.is_suppressed:
        invocation.span.update_name(f"{data.operation_name or 'chat'} {model}")


def _beyond(data: InferenceData, response: Response, usage: Usage) -> dict[str, AttributeValue]:
    """Return what the invocation has no place for, in names that instrumentations of the providers use."""
    found: dict[str, AttributeValue | None] = {
        "gen_ai.usage.cache_creation.ephemeral_1h_input_tokens": usage.cache_write_1h_tokens or None,
        "gen_ai.usage.web_searches": usage.billed_units.get("web_searches"),
    }
    if response.service_tier is not None and data.provider_name in {"openai", "anthropic"}:
        found[f"{data.provider_name}.response.service_tier"] = response.service_tier
    return {name: value for name, value in found.items() if value is not None}


def _cost(data: InferenceData, node: Node) -> float | None:
    if not is_priced():
        return None
    attributes = data.attributes
    tier = attributes.get("openai.response.service_tier") or attributes.get("anthropic.response.service_tier")
    units = {
        "input_audio_tokens": data.usage_audio_input_tokens,
        "output_audio_tokens": data.usage_audio_output_tokens,
        "web_searches": attributes.get("gen_ai.usage.web_searches"),
    }
    lasting = attributes.get("gen_ai.usage.cache_creation.ephemeral_1h_input_tokens")
    call = Call(
        operation=data.operation_name or "chat",
        provider=data.provider_name,
        request_model=data.request_model,
        response_model=data.response_model,
        response_id=data.response_id,
        usage=Usage(
            input_tokens=data.usage_input_tokens,
            output_tokens=data.usage_output_tokens,
            cache_read_tokens=data.usage_cache_read_input_tokens,
            cache_write_tokens=data.usage_cache_write_input_tokens,
            cache_write_1h_tokens=lasting if isinstance(lasting, int) else None,
            reasoning_tokens=data.usage_reasoning_output_tokens,
            billed_units={name: count for name, count in units.items() if isinstance(count, int) and count},
        ),
        service_tier=tier if isinstance(tier, str) else None,
        is_batch=tier == "batch",
    )
    return cost_usd(call, node.run.organization_id or DEFAULT)


def _several(node: Node, invocation: InferenceInvocation, served: list[Told]) -> None:
    """Give each request a span of its own; the node itself is none, and says their sum."""
    for told in served:
        _request(node, told)
    invocation.span.update_name(f"model_node {node.name}")
    invocation.span.set_attribute("gen_ai.operation.name", SEVERAL_REQUESTS)
    invocation.data.usage_input_tokens = _sum([told.data.usage_input_tokens for told in served])
    invocation.data.usage_output_tokens = _sum([told.data.usage_output_tokens for told in served])


def _request(node: Node, told: Told) -> None:
    """Give a request that an instrumentation told *node* of a span of its own, below the node's."""
    attributes = {**attributes_of(told.data), **node.run.attributes()}
    cost = _cost(told.data, node)
    if cost is not None:
        attributes[USAGE_COST] = cost
    model = told.data.request_model or told.data.response_model or ""
    span = tracer().start_span(
        f"{told.data.operation_name or 'chat'} {model}".rstrip(),
        context=node.context,
        kind=SpanKind.CLIENT,
        attributes=attributes,
        start_time=told.began_ns,
    )
    span.end(told.ended_ns)


def _sum(counts: list[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _embedding(node: Node, invocation: EmbeddingInvocation, response: Response) -> None:
    tokens: Tokens = response.tokens
    count = tokens.input_tokens if tokens.input_tokens is not None else tokens.total_tokens
    if node.embeddings is not None and not node.is_suppressed:
        invocation.enrich_from_context(node.embeddings)
        if not node.given.tokens.known:
            count = node.embeddings.usage_input_tokens or count
    if count:
        invocation.input_tokens = count
    if response.model is not None:
        invocation.response_model_name = response.model
    if count and is_priced():
        call = Call(
            operation="embeddings",
            provider=invocation.provider,
            request_model=invocation.request_model,
            response_model=response.model,
            usage=Usage(input_tokens=count, output_tokens=0),
        )
        cost = cost_usd(call, node.run.organization_id or DEFAULT)
        if cost is not None:
            invocation.attributes[USAGE_COST] = cost
