"""MLflow Tracing exported by OTLP (https://mlflow.org/docs/latest/genai/tracing/): values are JSON, quotes and all."""

from __future__ import annotations

from dataclasses import replace

from otel_obs.dialects.answer import answer_of
from otel_obs.dialects.call import call_reading
from otel_obs.dialects.content import Contents
from otel_obs.dialects.facts import Facts, text_of
from otel_obs.dialects.gen_ai import with_role
from otel_obs.dialects.names import Names
from otel_obs.dialects.provider import provider_name
from otel_obs.dialects.usage import merged, usage_of
from otel_obs.model import Call, EventType, Reading, Span, Usage

_KIND = "mlflow.spanType"
_REQUESTS = {"CHAT_MODEL": "chat", "LLM": "chat", "EMBEDDING": "embeddings", "RERANKER": "rerank"}
_ROLES: dict[str, EventType] = {
    "AGENT": "agent",
    "TOOL": "tool",
    "RETRIEVER": "retrieval",
    "GUARDRAIL": "guardrail",
    "WORKFLOW": "workflow",
    "EVALUATOR": "evaluation",
}


def concerns(scope: str, names: Names) -> bool:
    """Tell whether a span may be one of MLflow's."""
    del scope
    return _KIND in names.all


def read(span: Span, facts: Facts, contents: Contents) -> Reading | None:
    """Return what *span* means to MLflow; None if it is not one of its spans."""
    kind = _said(facts, _KIND)
    if kind is None:
        return None
    reading = Reading(dialect="mlflow")
    if kind in _REQUESTS:
        reading = _call(span, facts, contents, _REQUESTS[kind])
    elif kind in _ROLES or _is_langchain_agent(span, facts):
        kind = kind if kind in _ROLES else "AGENT"
        if kind == "AGENT":
            reading = replace(reading, agent_id=span.name, agent_name=span.name)
        reading = with_role(reading, _ROLES[kind], span.name, facts)
    elif kind == "CHAIN" and span.parent_span_id is None:
        reading = with_role(reading, "workflow", span.name, facts)
    metadata = facts.mapping("metadata")
    return replace(
        reading,
        conversation_id=_said(facts, "mlflow.trace.session") or text_of(metadata.get("thread_id")),
        user_id=_said(facts, "mlflow.trace.user") or text_of(metadata.get("user_id")),
    )


def _is_langchain_agent(span: Span, facts: Facts) -> bool:
    """Tell whether LangChain ran the graph of an agent here: it is called as its steps say their agent is."""
    return text_of(facts.mapping("metadata").get("lc_agent_name")) == span.name


def _call(span: Span, facts: Facts, contents: Contents, operation: str) -> Reading:
    answer = answer_of(facts.parsed("mlflow.spanOutputs"), facts)
    request = facts.mapping("mlflow.spanInputs")
    provider = provider_name(_said(facts, "mlflow.llm.provider") or _said(facts, "mlflow.message.format"))
    model = answer.model or _said(facts, "mlflow.llm.model")
    reported = facts.mapping("mlflow.chat.tokenUsage")
    # Until 3.10 the figures of Anthropic were handed on as they came, since then they are whole: only the answer
    # itself tells which.
    usage = usage_of(reported, facts, apart=False) if reported else Usage()
    call = Call(
        operation=operation,
        provider=provider,
        request_model=_said(facts, "model") or text_of(request.get("model")),
        response_model=model,
        response_id=answer.response_id,
        usage=merged(answer.usage, usage),
        failed=span.status_code == 2,
        service_tier=answer.service_tier,
        is_stream=True if _said(facts, "stream") == "true" else None,
        finish_reason=answer.finish_reason,
    )
    return call_reading(
        call,
        facts,
        dialect="mlflow",
        has_output=contents.of("output") not in (None, "null", '""'),
        said_usage=bool(reported),
    )


def _said(facts: Facts, name: str) -> str | None:
    """Return the text that *name* holds as JSON."""
    value = facts.text(name)
    if value is None:
        return None
    parsed = facts.parsed(name)
    return text_of(parsed) if isinstance(parsed, str) else value
