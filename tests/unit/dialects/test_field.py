"""What instrumentations were seen to put on a span, one line of the field each, and what it means in tokens billed.

The call is always the same: 983 tokens in, 317 of them read from a cache and 113 written to it, 61 out, 13 of them
reasoning. Emitters say so in their own ways.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import pytest

from otel_obs.dialects.reading import read, read_log
from otel_obs.model import Call, Reading, Scope, SpanEvent
from tests.builders import make_log, make_span

ANTHROPIC = {
    "input_tokens": 553, "cache_read_input_tokens": 317, "cache_creation_input_tokens": 113, "output_tokens": 61,
}  # fmt: skip
OPENAI = {
    "prompt_tokens": 983, "completion_tokens": 61, "total_tokens": 1044,
    "prompt_tokens_details": {"cached_tokens": 317}, "completion_tokens_details": {"reasoning_tokens": 13},
}  # fmt: skip
CHAT = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}
CACHE = {"gen_ai.usage.cache_read.input_tokens": 317, "gen_ai.usage.cache_creation.input_tokens": 113}
INCLUSIVE = {"gen_ai.usage.input_tokens": 983, "gen_ai.usage.output_tokens": 61}
EXCLUSIVE = {"gen_ai.usage.input_tokens": 553, "gen_ai.usage.output_tokens": 61}

WHOLE = (983, 317, 113, 61, None)
"""Input, cache read, cache written, output, reasoning."""
THOUGHT = (983, 317, None, 61, 13)
BLIND = (983, None, None, 61, None)
NOBODY_SAYS = (None, None, None, None, None)


@dataclass(frozen=True)
class Seen:
    """A span of the field."""

    id: str
    attributes: dict[str, Any]
    tokens: tuple[int | None, ...]
    scope: str = "test"
    version: str = ""
    name: str = "a span"
    provider: str | None = None
    response_id: str | None = None
    model: str | None = "m"
    operation: str = "chat"
    flags: tuple[str, ...] = field(default=())


def as_json(value: object) -> str:
    return json.dumps(value)


OI = {"openinference.span.kind": "LLM", "llm.model_name": "m", "output.value": "hello"}
OI_CACHE = {"llm.token_count.prompt_details.cache_read": 317, "llm.token_count.prompt_details.cache_write": 113}

FIELD = (
    Seen(
        "Microsoft Agent 365: the answer stands whole beside what it says", {
            "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.response.model": "m",
            **INCLUSIVE, "gen_ai.usage.cache_read.input_tokens": 317,
            "llm_token_count_completion_details_reasoning": 13,
            "gen_ai.execution.payload": as_json({"id": "resp_1", "output": [{"content": "hello"}]}),
        },
        THOUGHT, scope="microsoft_agents_a365.observability.core.config", provider="openai", response_id="resp_1",
    ),
    Seen(
        "OpenTelemetry's instrumentation of Bedrock hands on what Bedrock counts", {
            **CHAT, **EXCLUSIVE, "gen_ai.provider.name": "aws.bedrock", "gen_ai.usage.cache_read.input_tokens": 317,
            "gen_ai.usage.cache_write.input_tokens": 113,
        },
        WHOLE, scope="opentelemetry.instrumentation.genai.bedrock", provider="aws.bedrock",
    ),
    Seen(
        "OpenLIT's own sum has reasoning twice", {
            **CHAT, **INCLUSIVE, "gen_ai.provider.name": "azure.ai.inference", "gen_ai.usage.reasoning_tokens": 13,
            "gen_ai.client.token.usage": 1057, "gen_ai.usage.cache_read.input_tokens": 317,
        },
        THOUGHT, scope="openlit.instrumentation.azure_ai_inference", provider="azure.ai.inference",
    ),
    Seen(
        "OpenInference on Vertex AI: a path for a name, thoughts in the total and in the answer", {
            "openinference.span.kind": "LLM", "llm.provider": "google", "llm.system": "vertexai",
            "llm.model_name": "projects/p/locations/us-central1/publishers/google/models/gemini-2.5-flash",
            "llm.token_count.prompt": 983, "llm.token_count.completion": 48, "llm.token_count.total": 1044,
            "output.value": as_json({"usage_metadata": {
                "prompt_token_count": 983, "candidates_token_count": 48, "total_token_count": 1044,
                "cached_content_token_count": 317, "thoughts_token_count": 13,
            }, "response_id": "r"}),
        },
        THOUGHT, scope="openinference.instrumentation.vertexai", provider="gcp.vertex_ai", response_id="r",
        model="gemini-2.5-flash",
    ),
    Seen(
        "OpenLLMetry on SageMaker: only the model's own answer tells", {
            "gen_ai.request.model": "m", "traceloop.entity.input": "{}", "traceloop.entity.output": as_json({
                "choices": [{"message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
                "usage": OPENAI,
            }),
        },
        THOUGHT, scope="opentelemetry.instrumentation.sagemaker", name="sagemaker.completion",
    ),
    Seen(
        "OpenInference on AutoGen: the client's class is the provider's", {
            **OI, "llm.token_count.prompt": 983, "llm.token_count.completion": 61,
        },
        BLIND, scope="openinference.instrumentation.autogen_agentchat", name="OpenAIChatCompletionClient.create",
        provider="openai",
    ),
    Seen(
        "the Traceloop SDK marks the spans of others: Mistral's own client, without an operation", {
            "traceloop.workflow.name": "w", "traceloop.association.properties.user_id": "u",
            "gen_ai.request.model": "m-embed", "gen_ai.provider.name": "mistral_ai",
            "gen_ai.usage.prompt_tokens": 983, "gen_ai.usage.output_tokens": 61,
        },
        BLIND, scope="mistralai_sdk_tracer", provider="mistral_ai", model="m-embed", operation="embeddings",
    ),
    Seen(
        "OpenLLMetry on Gemini: thoughts are in the total only", {
            **CHAT, "gen_ai.provider.name": "gcp.gen_ai", "gen_ai.usage.input_tokens": 983,
            "gen_ai.usage.output_tokens": 48, "gen_ai.usage.total_tokens": 1044,
            "gen_ai.usage.cache_read.input_tokens": 317,
        },
        THOUGHT, scope="opentelemetry.instrumentation.google_generativeai", provider="gcp.gen_ai",
    ),
    Seen(
        "Langtrace: the method that was called is the operation", {
            **INCLUSIVE, "gen_ai.operation.name": "openai.responses.create", "gen_ai.system": "openai",
            "gen_ai.request.model": "m", "gen_ai.response_id": "resp_1",
        },
        BLIND, scope="langtrace_python_sdk.instrumentation.openai.instrumentation", provider="openai",
        response_id="resp_1",
    ),
    Seen(
        "AgentOps: a type of request of its own", {
            "gen_ai.request.type": "embedding", "gen_ai.system": "OpenAI", "gen_ai.request.model": "m",
            "gen_ai.usage.prompt_tokens": 983, "gen_ai.usage.completion_tokens": 61,
        },
        BLIND, scope="openai", provider="openai", operation="embeddings",
    ),
    Seen(
        "LiteLLM's proxy answers with the name that it gives the model", {
            **CHAT, **INCLUSIVE, "litellm.call_id": "c", "litellm.provider.model": "anthropic/claude-haiku-4-5",
            "litellm.model_group": "fast", "gen_ai.response.model": "fast", "gen_ai.system": "anthropic",
        },
        BLIND, scope="litellm", name="litellm_request", provider="anthropic", model="claude-haiku-4-5",
    ),
    Seen(
        "Langfuse's handler for LangChain takes the details out of the sums", {
            "langfuse.observation.type": "generation", "langfuse.observation.model.name": "m",
            "langfuse.observation.metadata.ls_provider": "openai", "langfuse.observation.usage_details": as_json({
                "input": 666, "output": 48, "total": 1044, "input_audio": 0, "input_cache_read": 317, "output_audio": 0,
                "output_reasoning": 13,
            }),
        },
        THOUGHT, provider="openai",
    ),
    Seen(
        "Langfuse's handler, Anthropic: what was written by the time that it is kept", {
            "langfuse.observation.type": "generation", "langfuse.observation.model.name": "m",
            "langfuse.observation.metadata.ls_provider": "anthropic", "langfuse.observation.usage_details": as_json({
                "input": 553, "output": 61, "total": 1044, "input_cache_read": 317, "input_cache_creation": 0,
                "input_ephemeral_5m_input_tokens": 113, "input_ephemeral_1h_input_tokens": 0,
            }),
        },
        WHOLE, provider="anthropic",
    ),
    Seen(
        "GenAI convention, cache_write", {
            **CHAT, **INCLUSIVE, "gen_ai.provider.name": "anthropic", "gen_ai.usage.cache_read.input_tokens": 317,
            "gen_ai.usage.cache_write.input_tokens": 113, "gen_ai.response.id": "msg_1",
        },
        WHOLE, provider="anthropic", response_id="msg_1",
    ),
    Seen(
        "GenAI convention, reasoning", {
            **CHAT, **INCLUSIVE, "gen_ai.provider.name": "openai", "gen_ai.usage.cache_read.input_tokens": 317,
            "gen_ai.usage.reasoning.output_tokens": 13,
        },
        THOUGHT, provider="openai",
    ),
    Seen(
        "openai-v2, default mode", {**CHAT, **INCLUSIVE, "gen_ai.system": "openai", "gen_ai.response.id": "c-1"},
        BLIND, scope="opentelemetry.instrumentation.openai_v2", provider="openai", response_id="c-1",
    ),
    Seen(
        "OpenLLMetry 0.40", {
            "llm.request.type": "chat", "gen_ai.system": "Anthropic", "gen_ai.request.model": "m",
            "gen_ai.usage.prompt_tokens": 983, "gen_ai.usage.completion_tokens": 61, "llm.usage.total_tokens": 1044,
            "gen_ai.usage.cache_read_input_tokens": 317, "gen_ai.usage.cache_creation_input_tokens": 113,
        },
        WHOLE, scope="opentelemetry.instrumentation.anthropic", provider="anthropic",
    ),
    Seen(
        "OpenLLMetry 0.62, reasoning", {
            **CHAT, **INCLUSIVE, "gen_ai.provider.name": "openai", "gen_ai.usage.total_tokens": 1044,
            "gen_ai.usage.cache_read.input_tokens": 317, "gen_ai.usage.reasoning_tokens": 13,
        },
        THOUGHT, scope="opentelemetry.instrumentation.openai.v1", provider="openai",
    ),
    Seen(
        "OpenLLMetry on Bedrock: a count of Bedrock's own, and a total that adds nothing", {
            **CHAT, **EXCLUSIVE, **CACHE, "gen_ai.provider.name": "aws.bedrock", "gen_ai.usage.total_tokens": 614,
        },
        WHOLE, scope="opentelemetry.instrumentation.bedrock", provider="aws.bedrock",
    ),
    Seen(
        "botocore, any model of Bedrock", {
            **CHAT, **CACHE, "gen_ai.system": "aws.bedrock", "gen_ai.usage.input_tokens": 553,
            "gen_ai.usage.output_tokens": 61,
        },
        WHOLE, scope="opentelemetry.instrumentation.botocore.bedrock-runtime", provider="aws.bedrock",
    ),
    Seen(
        "OpenInference", {
            **OI, **OI_CACHE, "llm.provider": "anthropic", "llm.token_count.prompt": 983,
            "llm.token_count.completion": 61, "llm.token_count.total": 1044,
        },
        WHOLE, scope="openinference.instrumentation.anthropic", version="3.1.0", provider="anthropic",
    ),
    Seen(
        "OpenInference 0.1 of Anthropic, a stream", {
            **OI, **OI_CACHE, "llm.provider": "anthropic", "llm.token_count.prompt": 553,
            "llm.token_count.completion": 61,
        },
        WHOLE, scope="openinference.instrumentation.anthropic", version="0.1.18", provider="anthropic",
    ),
    Seen(
        "OpenInference of agno: what agno was given", {
            **OI, **OI_CACHE, "llm.provider": "Anthropic", "llm.token_count.prompt": 553,
            "llm.token_count.completion": 61,
        },
        WHOLE, scope="openinference.instrumentation.agno", version="1.0.15", provider="anthropic",
    ),
    Seen(
        "a total that holds the cache on top", {
            **OI, **OI_CACHE, "llm.token_count.prompt": 553, "llm.token_count.completion": 61,
            "llm.token_count.total": 1044,
        },
        WHOLE, scope="somebody's",
    ),
    Seen(
        "a total that holds the reasoning on top", {
            **CHAT, "gen_ai.usage.input_tokens": 983, "gen_ai.usage.output_tokens": 48,
            "gen_ai.usage.total_tokens": 1044, "gen_ai.usage.cache_read.input_tokens": 317,
            "gen_ai.usage.reasoning.output_tokens": 13,
        },
        THOUGHT,
    ),
    Seen(
        "Pydantic AI 1.0", {
            **CHAT, **INCLUSIVE, "gen_ai.system": "anthropic",
            "gen_ai.usage.details.cache_read_input_tokens": 317,
            "gen_ai.usage.details.cache_creation_input_tokens": 113, "gen_ai.usage.details.input_tokens": 553,
            "gen_ai.usage.details.output_tokens": 61,
        },
        WHOLE, scope="pydantic-ai", provider="anthropic",
    ),
    Seen(
        "Logfire, the provider's own JSON", {
            **CHAT, **INCLUSIVE, "gen_ai.system": "openai", "gen_ai.usage.raw": as_json(OPENAI),
        },
        THOUGHT, scope="logfire.openai", name="Chat Completion with {request_data[model]!r}", provider="openai",
    ),
    Seen(
        "Logfire's OpenAI Agents", {
            "gen_ai.system": "openai", "gen_ai.request.model": "m", "response_id": "resp_1", **INCLUSIVE,
            "usage": as_json({
                "input_tokens": 983, "output_tokens": 61, "input_tokens_details": {"cached_tokens": 317},
                "output_tokens_details": {"reasoning_tokens": 13},
            }),
        },
        THOUGHT, scope="logfire.openai_agents", name="Responses API with {gen_ai.request.model!r}",
        provider="openai", response_id="resp_1",
    ),
    Seen(
        "Strands, every count under two names", {
            **CHAT, **INCLUSIVE, "gen_ai.system": "strands-agents", "gen_ai.usage.prompt_tokens": 983,
            "gen_ai.usage.completion_tokens": 61, "gen_ai.usage.cache_read_input_tokens": 317,
            "gen_ai.usage.cache_read.input_tokens": 317, "gen_ai.usage.cache_write_input_tokens": 113,
        },
        WHOLE, scope="strands.telemetry.tracer", name="chat",
    ),
    Seen(
        "Agent Development Kit 1, thoughts and cache in the answer", {
            "gen_ai.system": "gcp.vertex.agent", "gen_ai.request.model": "gemini-2.5-flash",
            "gen_ai.usage.input_tokens": 983, "gen_ai.usage.output_tokens": 48,
            "gcp.vertex.agent.llm_response": as_json({"usage_metadata": {
                "prompt_token_count": 983, "candidates_token_count": 48, "thoughts_token_count": 13,
                "cached_content_token_count": 317, "total_token_count": 1044,
            }}),
        },
        THOUGHT, scope="gcp.vertex.agent", name="call_llm", provider="gcp.gemini", model="gemini-2.5-flash",
        operation="generate_content",
    ),
    Seen(
        "Semantic Kernel", {**CHAT, **INCLUSIVE, "gen_ai.system": "openai", "gen_ai.response.id": "c-1"},
        BLIND, scope="semantic_kernel.utils.telemetry.model_diagnostics.decorators", provider="openai",
        response_id="c-1",
    ),
    Seen(
        "LiteLLM, usage as Python writes it", {
            **CHAT, **INCLUSIVE, "litellm.provider.model": "openai/m", "litellm.call_id": "id-of-its-own",
            "gen_ai.response.id": "c-1", "metadata.usage_object": str({**OPENAI, "cost": None}),
        },
        THOUGHT, scope="litellm", provider="openai", response_id="c-1",
    ),
    Seen(
        "LiteLLM, a stream whose tokens it counted itself", {
            **CHAT, "litellm.provider.model": "m", "litellm.call_id": "x", "gen_ai.request.stream": True,
            "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 7, "gen_ai.cost.total_cost": 0.01,
            "metadata.usage_object": str({
                "prompt_tokens": 10, "completion_tokens": 7, "prompt_tokens_details": None,
                "completion_tokens_details": {"text_tokens": 7, "reasoning_tokens": 0},
            }),
        },
        NOBODY_SAYS, scope="litellm", flags=("estimated_usage",),
    ),
    Seen(
        "OpenLIT 1.45 of Anthropic", {**CHAT, **EXCLUSIVE, **CACHE, "gen_ai.provider.name": "anthropic"},
        WHOLE, scope="openlit.instrumentation.anthropic", provider="anthropic",
    ),
    Seen(
        "OpenLIT 1.34 of OpenAI, a stream that it guesses", {
            **CHAT, "gen_ai.system": "openai", "gen_ai.request.is_stream": True, "gen_ai.usage.input_tokens": 12,
            "gen_ai.usage.output_tokens": 11, "gen_ai.usage.cost": 0,
        },
        NOBODY_SAYS, scope="openlit.otel.tracing", provider="openai", flags=("estimated_usage",),
    ),
    Seen(
        "OpenLIT 1.34 of Anthropic, a stream that it was told", {
            **CHAT, **INCLUSIVE, "gen_ai.system": "anthropic", "gen_ai.request.is_stream": True,
        },
        BLIND, scope="openlit.otel.tracing", provider="anthropic",
    ),
    Seen(
        "LangSmith", {
            "langsmith.span.kind": "llm", **CHAT, **INCLUSIVE, "gen_ai.system": "openai",
            "langsmith.metadata.usage_metadata": as_json({
                "input_tokens": 983, "output_tokens": 61, "input_token_details": {"cache_read": 317},
                "output_token_details": {"reasoning": 13},
            }),
        },
        THOUGHT, scope="langsmith", provider="openai",
    ),
    Seen(
        "MLflow since 3.12, whole figures beside Anthropic's own", {
            "mlflow.spanType": '"CHAT_MODEL"', "mlflow.llm.provider": '"anthropic"', "mlflow.llm.model": '"m"',
            "mlflow.chat.tokenUsage": as_json({**ANTHROPIC, "input_tokens": 983, "total_tokens": 1044}),
            "mlflow.spanOutputs": as_json({"id": "msg_1", "model": "m", "usage": ANTHROPIC, "content": []}),
        },
        WHOLE, provider="anthropic", response_id="msg_1",
    ),
    Seen(
        "MLflow before, Anthropic's own figures twice", {
            "mlflow.spanType": '"CHAT_MODEL"', "mlflow.llm.provider": '"anthropic"', "mlflow.llm.model": '"m"',
            "mlflow.chat.tokenUsage": as_json({**ANTHROPIC, "total_tokens": 614}),
            "mlflow.spanOutputs": as_json({"id": "msg_1", "model": "m", "usage": ANTHROPIC, "content": []}),
        },
        WHOLE, provider="anthropic", response_id="msg_1",
    ),
    Seen(
        "Haystack", {
            "haystack.component.type": "OpenAIChatGenerator",
            "haystack.component.output": as_json({"replies": [{"meta": {"model": "m", "usage": OPENAI}}]}),
        },
        THOUGHT, name="haystack.component.run", provider="openai",
    ),
    Seen(
        "Haystack, figures of Anthropic under the names of OpenAI", {
            "haystack.component.type": "AnthropicChatGenerator",
            "haystack.component.output": as_json({"replies": [{"meta": {"model": "m", "usage": {
                "prompt_tokens": 983, "completion_tokens": 61, "cache_read_input_tokens": 317,
                "cache_creation_input_tokens": 113,
            }}}]}),
        },
        WHOLE, name="haystack.component.run", provider="anthropic",
    ),
    Seen(
        "OpenInference, Google's own answer", {
            **OI, "llm.provider": "google", "llm.token_count.prompt": 983, "llm.token_count.completion": 61,
            "output.value": as_json({
                "response_id": "g-1", "model_version": "m", "candidates": [{"finish_reason": "STOP"}],
                "usage_metadata": {
                    "prompt_token_count": 983, "candidates_token_count": 48, "thoughts_token_count": 13,
                    "cached_content_token_count": 317, "total_token_count": 1044,
                },
            }),
        },
        THOUGHT, provider="gcp.gemini", response_id="g-1",
    ),
    Seen(
        "OpenInference, a total with thoughts on top", {
            **OI, "llm.model_name": "gemini-2.5-flash", "llm.token_count.prompt": 983,
            "llm.token_count.completion": 48, "llm.token_count.total": 1044,
        },
        (983, None, None, 61, 13), name="GoogleGenAI.complete", model="gemini-2.5-flash", provider="gcp.gemini",
    ),
    Seen(
        "OpenInference, an answer that is wrapped", {
            **OI, "output.value": as_json({"data": {"id": "c-1", "model": "m", "usage": OPENAI, "choices": []}}),
        },
        THOUGHT, response_id="c-1",
    ),
    Seen(
        "OpenInference of Google's kit, a model of others", {
            **OI, "llm.model_name": "anthropic/m", "llm.provider": "google", "llm.token_count.prompt": 983,
            "llm.token_count.completion": 61,
        },
        BLIND, scope="openinference.instrumentation.google_adk", provider="anthropic",
    ),
    Seen(
        "a model that only Bedrock calls so", {
            **CHAT, **INCLUSIVE, "gen_ai.request.model": "us.anthropic.claude-sonnet-4-20250514-v1:0",
            "gen_ai.provider.name": "strands-agents",
        },
        BLIND, provider="aws.bedrock", model="us.anthropic.claude-sonnet-4-20250514-v1:0",
    ),
    Seen(
        "a model that is called as its provider is not known", {
            **CHAT, **INCLUSIVE, "gen_ai.request.model": "anthropic", "gen_ai.provider.name": "anthropic",
        },
        BLIND, provider="anthropic", model=None,
    ),
    Seen(
        "a model that is called as another's provider", {
            **CHAT, **INCLUSIVE, "gen_ai.request.model": "mistral", "gen_ai.provider.name": "ollama",
        },
        BLIND, provider="ollama", model="mistral",
    ),
    Seen(
        "a router's name of the model where nobody else says who serves it", {
            **CHAT, **INCLUSIVE, "gen_ai.provider.name": "litellm", "gen_ai.request.model": "anthropic/m",
        },
        BLIND, provider="anthropic",
    ),
    Seen(
        "OpenLIT, Google's figures", {
            **CHAT, "gen_ai.provider.name": "gemini", "gen_ai.usage.input_tokens": 983,
            "gen_ai.usage.output_tokens": 48, "gen_ai.client.token.usage": 1031, "gen_ai.usage.reasoning_tokens": 13,
            "gen_ai.usage.cache_read.input_tokens": 317,
        },
        THOUGHT, scope="openlit.instrumentation.google_ai_studio", provider="gcp.gemini",
    ),
    Seen(
        "OpenLIT, figures of Anthropic that LiteLLM made whole", {
            **CHAT, **INCLUSIVE, **CACHE, "gen_ai.provider.name": "litellm", "gen_ai.request.model": "anthropic/m",
        },
        WHOLE, scope="openlit.instrumentation.litellm", provider="anthropic",
    ),
    Seen(
        "Agent Development Kit 2, a model of others whose reasoning is told twice", {
            **CHAT, "gen_ai.operation.name": "generate_content", "gen_ai.provider.name": "openai",
            "gen_ai.usage.input_tokens": 983, "gen_ai.usage.output_tokens": 74,
            "gen_ai.usage.reasoning.output_tokens": 13, "gen_ai.usage.cache_read.input_tokens": 317,
        },
        THOUGHT, scope="gcp.vertex.agent", provider="openai", operation="generate_content",
    ),
    Seen(
        "OpenInference, names added to a span whose own say more", {
            **CHAT, **INCLUSIVE, **OI, "gen_ai.provider.name": "openai", "gen_ai.response.id": "c-1",
            "gen_ai.usage.cache_read.input_tokens": 317, "gen_ai.usage.details.reasoning_tokens": 13,
            "llm.token_count.prompt": 983, "llm.token_count.completion": 61,
        },
        THOUGHT, scope="pydantic-ai", provider="openai", response_id="c-1",
    ),
    Seen(
        "OpenInference, Cohere's bill beside its count", {
            **OI, "llm.provider": "cohere", "llm.token_count.prompt": 1483, "llm.token_count.completion": 64,
            "output.value": as_json({"id": "c-1", "usage": {
                "billed_units": {"input_tokens": 983.0, "output_tokens": 61.0},
                "tokens": {"input_tokens": 1483.0, "output_tokens": 64.0},
            }}),
        },
        BLIND, provider="cohere", response_id="c-1",
    ),
    Seen(
        "Guardrails AI, a request that is called a guardrail", {
            "openinference.span.kind": "GUARDRAIL", "type": "guardrails/guard/step/call", "llm.token_count.prompt": 983,
            "llm.token_count.completion": 61, "llm.invocation_parameters": "{'temperature': 0, 'model': 'm'}",
        },
        BLIND, scope="guardrails-ai", name="call",
    ),
    Seen(
        "AG2, figures of Anthropic", {
            **CHAT, **EXCLUSIVE, "ag2.span.type": "llm", "gen_ai.provider.name": "anthropic",
            "gen_ai.usage.cache_read_input_tokens": 317, "gen_ai.usage.cache_creation_input_tokens": 113,
        },
        WHOLE, scope="opentelemetry.instrumentation.ag2", provider="anthropic",
    ),
    Seen(
        "AG2, what a compaction cost", {
            **EXCLUSIVE, "ag2.span.type": "usage", "ag2.usage.kind": "compaction", "gen_ai.response.model": "m",
            "gen_ai.provider.name": "anthropic", "gen_ai.usage.cache_read_input_tokens": 317,
            "gen_ai.usage.cache_creation_input_tokens": 113,
        },
        WHOLE, scope="opentelemetry.instrumentation.ag2", provider="anthropic",
    ),
    Seen(
        "AI SDK 5, figures of Anthropic in what the provider said", {
            "ai.operationId": "ai.generateText.doGenerate", "gen_ai.system": "anthropic.messages",
            "gen_ai.request.model": "m", "ai.usage.promptTokens": 553, "ai.usage.completionTokens": 61,
            "ai.response.providerMetadata": as_json({"anthropic": {"usage": ANTHROPIC}}),
        },
        WHOLE, scope="ai", provider="anthropic",
    ),
    Seen(
        "AI SDK 7 with legacy attributes", {
            "ai.operationId": "ai.streamText.doStream", "gen_ai.system": "openai.chat", "gen_ai.request.model": "m",
            "ai.usage.inputTokens": 983, "ai.usage.outputTokens": 61,
            "ai.usage.inputTokenDetails.cacheReadTokens": 317, "ai.usage.outputTokenDetails.reasoningTokens": 13,
        },
        THOUGHT, scope="ai", provider="openai",
    ),
    Seen(
        "Claude Code", {
            "span.type": "llm_request", "gen_ai.request.model": "m", "input_tokens": 553, "output_tokens": 61,
            "cache_read_tokens": 317, "cache_creation_tokens": 113,
        },
        WHOLE, scope="com.anthropic.claude_code.tracing", name="claude_code.llm_request", provider="anthropic",
    ),
    Seen(
        "AI SDK 4, Anthropic's cache in what the provider said", {
            "ai.operationId": "ai.generateText.doGenerate", "gen_ai.system": "anthropic.messages",
            "gen_ai.request.model": "m", **EXCLUSIVE,
            "ai.response.providerMetadata": as_json(
                {"anthropic": {"cacheCreationInputTokens": 113, "cacheReadInputTokens": 317}}
            ),
        },
        WHOLE, scope="ai", provider="anthropic",
    ),
    Seen(
        "AI SDK 4, OpenAI's details in what the provider said", {
            "ai.operationId": "ai.streamText.doStream", "gen_ai.system": "openai.chat", "gen_ai.request.model": "m",
            **INCLUSIVE, "ai.response.providerMetadata": as_json(
                {"openai": {"cachedPromptTokens": 317, "reasoningTokens": 13}}
            ),
        },
        THOUGHT, scope="ai", provider="openai",
    ),
    Seen(
        "AI SDK 6, an object of Anthropic: no details, cached tokens inside", {
            "ai.operationId": "ai.streamObject.doStream", "gen_ai.system": "anthropic.messages",
            "gen_ai.request.model": "m", **INCLUSIVE, "ai.usage.cachedInputTokens": 317,
            "ai.response.providerMetadata": as_json({"anthropic": {"usage": ANTHROPIC}}),
        },
        WHOLE, scope="ai", provider="anthropic",
    ),
    Seen(
        "AI SDK 6, an object of Claude by Bedrock, which says no input", {
            "ai.operationId": "ai.generateObject.doGenerate", "gen_ai.system": "amazon-bedrock",
            "gen_ai.request.model": "claude", **INCLUSIVE, "ai.request.headers.user-agent": "ai/6.0.1 runtime/node.js",
            "ai.response.providerMetadata": as_json({"bedrock": {"usage": {"cacheWriteInputTokens": 113}}}),
        },
        (983, None, 113, 61, None), scope="ai", provider="aws.bedrock", model="claude",
    ),
    Seen(
        "AI SDK 5, an object of Google: thoughts beside the output", {
            "ai.operationId": "ai.generateObject.doGenerate", "gen_ai.system": "google.generative-ai",
            "gen_ai.request.model": "m", "gen_ai.usage.input_tokens": 983, "gen_ai.usage.output_tokens": 48,
            "ai.response.providerMetadata": as_json({"google": {"usageMetadata": {
                "promptTokenCount": 983, "candidatesTokenCount": 48, "thoughtsTokenCount": 13,
                "cachedContentTokenCount": 317, "totalTokenCount": 1044,
            }}}),
        },
        THOUGHT, scope="ai", provider="gcp.gemini",
    ),
    Seen(
        "AI SDK, an id that it made for an answer without one", {
            "ai.operationId": "ai.generateText.doGenerate", "gen_ai.system": "gateway", "gen_ai.request.model": "m",
            **INCLUSIVE, "gen_ai.response.id": "aitxt-XqaSYPqzFCJRv6xRwAjccAoR",
        },
        BLIND, scope="ai", provider="gateway",
    ),
    Seen(
        "AI SDK renamed by OpenLLMetry", {
            "ai.operationId": "ai.generateText.doGenerate", "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "m", **INCLUSIVE, "ai.usage.inputTokenDetails.cacheReadTokens": 317,
            "ai.usage.outputTokenDetails.reasoningTokens": 13, "traceloop.association.properties.userId": "u",
        },
        THOUGHT, scope="ai", provider="openai",
    ),
    Seen(
        "OpenLLMetry for JavaScript counts as Anthropic does", {
            **CHAT, **EXCLUSIVE, **CACHE, "gen_ai.provider.name": "anthropic", "gen_ai.usage.total_tokens": 614,
        },
        WHOLE, scope="@traceloop/instrumentation-anthropic", provider="anthropic",
    ),
    Seen(
        "OpenLLMetry for JavaScript counts the words of a stream", {
            **CHAT, "gen_ai.provider.name": "openai", "gen_ai.usage.input_tokens": 8, "gen_ai.usage.output_tokens": 10,
            "gen_ai.response.id": "chatcmpl-1", "gen_ai.input.messages": as_json(
                [{"role": "user", "parts": [{"type": "text", "content": "What is the weather in Paris?"}]}]
            ),
        },
        NOBODY_SAYS, scope="@traceloop/instrumentation-openai", provider="openai", response_id="chatcmpl-1",
        flags=("estimated_usage",),
    ),
    Seen(
        "OpenLLMetry for JavaScript, the least that OpenAI counts for six words", {
            **CHAT, "gen_ai.provider.name": "openai", "gen_ai.usage.input_tokens": 13, "gen_ai.usage.output_tokens": 1,
            "gen_ai.input.messages": as_json(
                [{"role": "user", "parts": [{"type": "text", "content": "What is the weather in Paris?"}]}]
            ),
        },
        (13, None, None, 1, None), scope="@traceloop/instrumentation-openai", provider="openai",
    ),
    Seen(
        "OpenLIT for JavaScript counts as Anthropic does", {
            **CHAT, **EXCLUSIVE, **CACHE, "gen_ai.provider.name": "anthropic", "gen_ai.request.is_stream": True,
        },
        WHOLE, scope="@openlit/instrumentation-anthropic", provider="anthropic",
    ),
    Seen(
        "OpenInference for JavaScript, Claude by Bedrock: the vendor stands for the model", {
            **OI, "llm.provider": "aws", "llm.system": "anthropic", "llm.model_name": "anthropic",
            "llm.token_count.prompt": 553, "llm.token_count.completion": 61, "llm.token_count.total": 1044,
            "input.value": as_json({"modelId": "us.anthropic.claude-x", "messages": []}),
            "output.value": as_json({"output": {}, "usage": {
                "inputTokens": 553, "outputTokens": 61, "totalTokens": 1044,
                "cacheReadInputTokens": 317, "cacheWriteInputTokens": 113,
            }}),
        },
        WHOLE, scope="@arizeai/openinference-instrumentation-bedrock", provider="aws.bedrock",
        model="us.anthropic.claude-x",
    ),
    Seen(
        "OpenInference for JavaScript, a stream of Bedrock: only the total tells of the cache", {
            **OI, "llm.provider": "aws", "llm.system": "amazon", "llm.model_name": "nova-lite-v1:0",
            "llm.token_count.prompt": 553, "llm.token_count.completion": 61, "llm.token_count.total": 1044,
        },
        BLIND, scope="@arizeai/openinference-instrumentation-bedrock", provider="aws.bedrock",
        model="amazon.nova-lite-v1:0",
    ),
    Seen(
        "OpenInference, LangChain.js: provider and id are in the message", {
            "openinference.span.kind": "LLM", "llm.model_name": "m", "llm.token_count.prompt": 983,
            "llm.token_count.completion": 61, "llm.token_count.prompt_details.cache_read": 317,
            "llm.token_count.completion_details.reasoning": 13, "metadata": as_json({"ls_provider": "openai"}),
            "output.value": as_json({"generations": [[{"message": {"kwargs": {
                "id": "chatcmpl-1", "response_metadata": {"model_name": "m", "usage": OPENAI},
            }}}]]}),
        },
        THOUGHT, scope="@arizeai/openinference-instrumentation-langchain", provider="openai", response_id="chatcmpl-1",
    ),
    Seen(
        "OpenInference, LangChain.js: the head of Anthropic's answer is in the message", {
            "openinference.span.kind": "LLM", **OI_CACHE,
            "llm.token_count.prompt": 983, "llm.token_count.completion": 61,
            "output.value": as_json({"generations": [[{"message": {"kwargs": {
                "id": "msg_1", "additional_kwargs": {"type": "message", "id": "msg_1", "model": "m"},
                "response_metadata": {"model_provider": "anthropic"},
            }}}]]}),
        },
        WHOLE, scope="@arizeai/openinference-instrumentation-langchain", provider="anthropic", response_id="msg_1",
    ),
    Seen(
        "OpenInference, OpenAI Agents: the answers are a list", {
            "openinference.span.kind": "LLM", "llm.system": "openai", "llm.model_name": "m",
            "llm.token_count.prompt": 983, "llm.token_count.completion": 61,
            "output.value": as_json([{"id": "chatcmpl-1", "model": "m", "choices": [], "usage": OPENAI}]),
        },
        THOUGHT, scope="@arizeai/openinference-instrumentation-openai-agents", provider="openai",
        response_id="chatcmpl-1",
    ),
    Seen(
        "Langfuse, LangChain.js: disjoint parts", {
            "langfuse.observation.type": "generation", "langfuse.observation.model.name": "m",
            "langfuse.observation.metadata.ls_provider": "openai", "langfuse.observation.usage_details": as_json({
                "input": 666, "output": 48, "total": 1044, "input_audio": 0, "input_cache_read": 317, "output_audio": 0,
                "output_reasoning": 13,
            }),
        },
        THOUGHT, scope="langfuse-sdk", provider="openai",
    ),
    Seen(
        "Langfuse, disjoint parts without a total", {
            "langfuse.observation.type": "generation", "langfuse.observation.model.name": "m",
            "langfuse.observation.usage_details": as_json({
                "input": 553, "output": 61, "cache_read_input_tokens": 317, "cache_creation_input_tokens": 113,
            }),
        },
        WHOLE, scope="langfuse-sdk",
    ),
    Seen(
        "Langfuse, an object of OpenAI as the application got it", {
            "langfuse.observation.type": "generation", "langfuse.observation.model.name": "m",
            "langfuse.observation.usage_details": as_json(OPENAI),
        },
        THOUGHT, scope="langfuse-sdk",
    ),
    Seen(
        "Genkit, Claude", {
            "genkit:type": "action", "genkit:metadata:subtype": "model", "genkit:name": "anthropic/m",
            "genkit:output": as_json({
                "usage": {"inputTokens": 553, "outputTokens": 61},
                "custom": {"id": "msg_1", "model": "m", "usage": ANTHROPIC},
            }),
        },
        WHOLE, scope="genkit-tracer", provider="anthropic", response_id="msg_1",
    ),
    Seen(
        "Genkit, a plugin that hands on no answer", {
            "genkit:type": "action", "genkit:metadata:subtype": "model", "genkit:name": "googleai/m",
            "genkit:output": as_json({"message": {}, "usage": {
                "inputTokens": 983, "outputTokens": 48, "thoughtsTokens": 13, "cachedContentTokens": 317,
                "totalTokens": 1044,
            }}),
        },
        THOUGHT, scope="genkit-tracer", provider="gcp.gemini",
    ),
    Seen(
        "Genkit, an embedder", {
            "genkit:type": "action", "genkit:metadata:subtype": "embedder", "genkit:name": "openai/m",
            "genkit:output": as_json({"embeddings": []}),
        },
        NOBODY_SAYS, scope="genkit-tracer", provider="openai", operation="embeddings",
    ),
    Seen(
        "Mastra, an inference", {
            **CHAT, **INCLUSIVE, "mastra.span.type": "model_inference", "gen_ai.provider.name": "openai.responses",
            "gen_ai.usage.cache_read.input_tokens": 317, "gen_ai.usage.reasoning_tokens": 13,
            "gen_ai.agent.id": "stream-text-step",
        },
        THOUGHT, scope="@mastra/otel-exporter", provider="openai",
    ),
    Seen(
        "Mastra 1.0, a round of a loop with the provider's answer", {
            "gen_ai.operation.name": "model_step", "mastra.span.type": "model_step",
            "mastra.metadata.modelMetadata": as_json({"modelId": "m", "modelProvider": "anthropic.messages"}),
            "mastra.metadata.body": as_json({"id": "msg_1", "model": "m", "content": [], "usage": ANTHROPIC}),
        },
        WHOLE, scope="@mastra/otel-exporter", provider="anthropic", response_id="msg_1",
    ),
    Seen(
        "Mastra 0, a loop of requests to Claude", {
            **CHAT, **EXCLUSIVE, "mastra.span.type": "model_generation", "gen_ai.system": "anthropic.messages",
            "gen_ai.usage.cached_input_tokens": 317,
        },
        (870, 317, None, 61, None), scope="@mastra/otel", provider="anthropic",
    ),
    Seen(
        "VoltAgent", {
            "entity.type": "agent", "entity.name": "w", "span.type": "llm", "llm.model": "m",
            "llm.usage.prompt_tokens": 983, "llm.usage.completion_tokens": 61, "llm.usage.total_tokens": 1044,
            "llm.usage.cached_tokens": 317, "llm.usage.reasoning_tokens": 13,
        },
        THOUGHT, scope="@voltagent/core",
    ),
    Seen(
        "Amazon's SDK, no operation is named", {
            "gen_ai.system": "aws.bedrock", "gen_ai.request.model": "amazon.titan-embed-text-v2:0",
            "gen_ai.usage.input_tokens": 983,
        },
        (983, None, None, None, None), scope="@opentelemetry/instrumentation-aws-sdk", provider="aws.bedrock",
        model="amazon.titan-embed-text-v2:0", operation="embeddings",
    ),
    Seen(
        "a router's name of the model", {
            **CHAT, **INCLUSIVE, "gen_ai.provider.name": "openai", "gen_ai.request.model": "openai/gpt-4o",
        },
        BLIND, provider="openai", model="gpt-4o",
    ),
    Seen(
        "odd values beside good ones", {
            **CHAT, **INCLUSIVE, "gen_ai.usage.cache_read.input_tokens": True, "gen_ai.usage.cost": "nan",
        },
        BLIND, flags=("bad_usage", "bad_cost"),
    ),
    Seen(
        "Spring AI 2: all as text, a count of Anthropic's own", {
            **CHAT, "gen_ai.system": "anthropic",
            "gen_ai.usage.input_tokens": "553", "gen_ai.usage.output_tokens": "61",
            "gen_ai.usage.cache_read.input_tokens": "317", "gen_ai.usage.cache_creation.input_tokens": "113",
            "gen_ai.usage.total_tokens": "614", "gen_ai.response.model": "none", "gen_ai.response.id": "msg_1",
        },
        WHOLE, scope="org.springframework.boot", version="4.0.7", provider="anthropic", response_id="msg_1",
    ),
    Seen(
        "Quarkus LangChain4j", {
            "gen_ai.request.model": "m", "gen_ai.usage.prompt_tokens": 983, "gen_ai.usage.completion_tokens": 61,
            "gen_ai.response.id": "c-1", "gen_ai.client.estimated_cost": "0.00020175USD",
        },
        BLIND, scope="io.quarkus.opentelemetry", response_id="c-1",
    ),
    Seen(
        "OpenLLMetry for Go", {
            "llm.vendor": "openai", "llm.request.type": "chat", "llm.request.model": "m",
            "llm.usage.prompt_tokens": 983, "llm.usage.completion_tokens": 61, "llm.usage.total_tokens": 1044,
        },
        BLIND, scope="traceloop.tracer", provider="openai",
    ),
    Seen(
        "Bifrost: no operation, the usage object of OpenAI spelled out", {
            "gen_ai.provider.name": "openai", "gen_ai.request.model": "m", "gen_ai.usage.prompt_tokens": 983,
            "gen_ai.usage.completion_tokens": 61, "gen_ai.usage.total_tokens": 1044,
            "gen_ai.usage.prompt_token_details.cached_read_tokens": 317,
            "gen_ai.usage.completion_token_details.reasoning_tokens": 13, "gen_ai.response.id": "c-1",
        },
        THOUGHT, scope="bifrost", provider="openai", response_id="c-1",
    ),
    Seen(
        "an answer of OpenAI spelled out as it is", {
            **CHAT, "gen_ai.operation.name": "call_llm", "gen_ai.usage.prompt_tokens": 983,
            "gen_ai.usage.completion_tokens": 61, "gen_ai.usage.prompt_tokens_details.cached_tokens": 317,
            "gen_ai.usage.completion_tokens_details.reasoning_tokens": 13,
        },
        THOUGHT,
    ),
    Seen(
        "Genkit for Go: its own view of OpenAI's usage", {
            "genkit:type": "action", "genkit:name": "openai/m", "genkit:path": "/{openai/m,t:action,s:model}",
            "genkit:metadata:subtype": "model", "genkit:output": as_json({
                "usage": {"inputTokens": 983, "outputTokens": 61, "totalTokens": 1044, "cachedContentTokens": 317,
                          "thoughtsTokens": 13},
                "custom": {"id": "c-1", "model": "m"}, "message": {"role": "model"},
            }),
        },
        THOUGHT, scope="genkit-tracer", provider="openai", response_id="c-1",
    ),
    Seen(
        "Genkit: Google's own answer", {
            "genkit:type": "action", "genkit:name": "googleai/m", "genkit:path": "/{googleai/m,t:action,s:model}",
            "genkit:metadata:subtype": "model", "genkit:output": as_json({
                "usage": {"inputTokens": 983, "outputTokens": 48, "cachedContentTokens": 317, "thoughtsTokens": 13},
                "custom": {"candidates": [], "usageMetadata": {
                    "promptTokenCount": 983, "cachedContentTokenCount": 317, "candidatesTokenCount": 48,
                    "thoughtsTokenCount": 13, "totalTokenCount": 1044,
                }},
            }),
        },
        THOUGHT, scope="genkit-tracer", provider="gcp.gemini",
    ),
    Seen(
        "Genkit: Anthropic's own answer", {
            "genkit:type": "action", "genkit:name": "anthropic/m", "genkit:path": "/{anthropic/m,t:action,s:model}",
            "genkit:metadata:subtype": "model", "genkit:output": as_json({
                "raw": {"id": "msg_1", "type": "message", "content": [], "usage": ANTHROPIC},
                "usage": {"inputTokens": 553, "outputTokens": 61},
            }),
        },
        WHOLE, scope="genkit-tracer", provider="anthropic", response_id="msg_1",
    ),
)  # fmt: skip


def call_of(seen: Seen) -> Call:
    found = read(make_span(seen.attributes, scope=Scope(seen.scope, seen.version), name=seen.name)).call
    assert found is not None
    return found


@pytest.mark.parametrize("seen", FIELD, ids=lambda seen: seen.id)
def test_each_emitter_s_way_of_saying_it_means_the_tokens_that_were_billed(seen: Seen) -> None:
    found = call_of(seen)
    usage = found.usage

    assert (
        usage.input_tokens, usage.cache_read_tokens, usage.cache_write_tokens, usage.output_tokens,
        usage.reasoning_tokens,
    ) == seen.tokens  # fmt: skip
    assert (found.provider, found.response_id) == (seen.provider, seen.response_id)
    assert (found.response_model or found.request_model, found.operation) == (seen.model, seen.operation)


@pytest.mark.parametrize("seen", [seen for seen in FIELD if seen.flags], ids=lambda seen: seen.id)
def test_what_cannot_be_believed_is_flagged(seen: Seen) -> None:
    flags = read(make_span(seen.attributes, scope=seen.scope, name=seen.name)).flags

    assert set(seen.flags) <= set(flags)
    assert call_of(seen).reported_cost_usd is None


@pytest.mark.parametrize(
    ("attributes", "scope", "name", "agent"),
    [
        ({}, "gcp.vertex.agent", "agent_run [weather_agent]", "weather_agent"),
        ({"openinference.span.kind": "AGENT", "session.id": "s", "input.value": "x"}, "a", "agent_run [w]", "w"),
        (
            {"mlflow.spanType": '"CHAIN"', "metadata": '{"lc_agent_name": "weather_agent"}'},
            "mlflow.tracing.provider",
            "weather_agent",
            "weather_agent",
        ),
        (
            {
                "traceloop.span.kind": "task",
                "traceloop.entity.name": "weather_agent",
                "traceloop.entity.input": '{"inputs": {}, "metadata": {"lc_agent_name": "weather_agent"}}',
            },
            "opentelemetry.instrumentation.langchain",
            "weather_agent.task",
            "weather_agent",
        ),
    ],
    ids=["Agent Development Kit 1", "OpenInference of it", "LangChain by MLflow", "LangChain by OpenLLMetry 0.40"],
)
def test_agents_are_found_where_older_emitters_name_them(
    attributes: dict[str, Any], scope: str, name: str, agent: str
) -> None:
    found = read(make_span(attributes, scope=scope, name=name, parent="a"))

    assert (found.event_type, found.agent_name) == ("agent", agent)


LANGCHAIN_JS = {"lc_agent_name": "weather_agent", "ls_integration": "langchain_create_agent"}


@pytest.mark.parametrize(
    ("attributes", "scope", "name", "event_type", "called"),
    [
        ({"mastra.span.type": "agent_run", "gen_ai.agent.id": "w"}, "@mastra/otel", "agent.w", "agent", "w"),
        ({"mastra.span.type": "workflow_run", "workflow.id": "f"}, "@mastra/otel", "workflow.f", "workflow", "f"),
        ({"genkit:type": "action", "genkit:metadata:subtype": "flow"}, "genkit-tracer", "f", "workflow", "f"),
        ({"lmnr.span.input": "{}", "lmnr.span.path": ["f"]}, "lmnr.tracer", "f", "workflow", "f"),
        ({"entity.type": "agent", "entity.name": "w", "usage.total_tokens": 1}, "@voltagent/core", "w", "agent", "w"),
        (
            {"openinference.span.kind": "CHAIN", "metadata": as_json(LANGCHAIN_JS)},
            "@arizeai/openinference-instrumentation-langchain", "weather_agent", "agent", "weather_agent",
        ),
        (
            {
                "langfuse.observation.type": "span",
                "langfuse.observation.metadata.lc_agent_name": "weather_agent",
            },
            "langfuse-sdk", "weather_agent", "agent", "weather_agent",
        ),
        (
            {"openinference.span.kind": "AGENT", "llm.system": "openai", "input.value": "[]", "output.value": "x"},
            "@arizeai/openinference-instrumentation-openai-agents", "Agent workflow", "workflow", "Agent workflow",
        ),
        (
            {"gen_ai.operation.name": "invoke_agent", "gen_ai.provider.name": "openai"},
            "opentelemetry.instrumentation.openai_agents", "Agent workflow", "workflow", "Agent workflow",
        ),
        (
            {"gen_ai.operation.name": "invoke_agent", "crewai.crew.name": "c", "crewai.crew.result": "said"},
            "opentelemetry.instrumentation.crewai.instrumentation", "crewai.workflow", "workflow", "c",
        ),
        (
            {"gen_ai.operation.name": "invoke_agent", "traceloop.span.kind": "agent", "gen_ai.agent.name": "w",
             "crewai.agent.goal": "said"},
            "opentelemetry.instrumentation.crewai.instrumentation", "w.agent", "agent", "w",
        ),
        ({"gen_ai.operation.name": "chain"}, "amazon.opentelemetry.distro.instrumentation.langchain", "chain w",
         "workflow", "w"),
        (
            {"gen_ai.operation.name": "chain", "gen_ai.span.kind": "CHAIN"},
            "opentelemetry.instrumentation.langchain.internal._tracer", "chain w", "workflow", "w",
        ),
    ],
    ids=[
        "Mastra 0, an agent", "Mastra 0, a workflow", "Genkit", "Laminar", "VoltAgent", "LangChain.js by OpenInference",
        "LangChain.js by Langfuse", "the frame around OpenAI's agents", "the same by Microsoft",
        "a crew by OpenLLMetry", "its agent", "LangChain by AWS", "LangChain by LoongSuite",
    ],
)  # fmt: skip
def test_runs_are_called_as_the_program_calls_them(
    attributes: dict[str, Any], scope: str, name: str, event_type: str, called: str
) -> None:
    found = read(make_span(attributes, scope=scope, name=name))

    assert found.run is not None
    assert (found.event_type, found.run.name) == (event_type, called)


@pytest.mark.parametrize(
    ("attributes", "scope"),
    [
        ({"ai.operationId": "ai.embed", "traceloop.association.properties.userId": "u",
          "traceloop.association.properties.sessionId": "s"}, "ai"),
        ({"traceloop.span.kind": "task", "traceloop.association.properties.userId": "u",
          "traceloop.association.properties.sessionId": "s"}, "@traceloop/node-server-sdk"),
        ({**CHAT, "lmnr.association.properties.user_id": "u", "lmnr.association.properties.session_id": "s"},
         "@traceloop/instrumentation-openai"),
        ({"mastra.span.type": "agent_run", "mastra.metadata.userId": "u", "mastra.metadata.resourceId": "r",
          "mastra.metadata.threadId": "s"}, "@mastra/otel-exporter"),
        ({"mastra.span.type": "agent_run", "resourceId": "u", "threadId": "s"}, "@mastra/otel"),
        ({"entity.type": "agent", "user.id": "u", "conversation.id": "s"}, "@voltagent/core"),
    ],
    ids=["AI SDK by OpenLLMetry", "OpenLLMetry", "Laminar", "Mastra", "Mastra 0", "VoltAgent"],
)  # fmt: skip
def test_who_asked_and_in_which_conversation_is_known(attributes: dict[str, Any], scope: str) -> None:
    found = read(make_span(attributes, scope=scope))

    assert (found.user_id, found.conversation_id) == ("u", "s")


def test_below_a_run_of_mastra_the_run_knows_the_agent() -> None:
    found = read(make_span({
        **CHAT, **INCLUSIVE, "mastra.span.type": "model_generation", "gen_ai.agent.id": "stream-text-step",
        "gen_ai.agent.name": "Weather Agent",
    }))  # fmt: skip

    assert (found.agent_id, found.agent_name) == (None, None)


@pytest.mark.parametrize("usage", [{}, INCLUSIVE], ids=["without usage", "with usage"])
def test_an_inference_of_mastra_that_ends_in_an_error_failed_unless_it_cost(usage: dict[str, Any]) -> None:
    reason = {"mastra.span.type": "model_inference", "gen_ai.response.finish_reasons": '["error"]'}

    found = read(make_span({**CHAT, **reason, **usage}, status_code=1))

    assert found.failed is (not usage)


def test_a_round_of_mastra_that_says_nothing_of_an_answer_is_no_call() -> None:
    asked = as_json({"modelId": "m", "modelProvider": "openai"})
    failed = {"id": "made-up", "modelId": "m", "modelMetadata": asked}

    for attributes in ({"mastra.metadata.modelMetadata": asked}, failed):
        assert read(make_span({"mastra.span.type": "model_step", **attributes})).call is None


def test_what_a_router_says_that_a_call_cost_is_kept() -> None:
    for said in ({"gateway": {"cost": "0.0123"}}, {"openrouter": {"usage": {"cost": 0.0123}}}):
        found = call_of(Seen("", {
            "ai.operationId": "ai.generateText.doGenerate", "gen_ai.request.model": "m", **INCLUSIVE,
            "ai.response.providerMetadata": as_json(said),
        }, BLIND))  # fmt: skip

        assert found.reported_cost_usd == Decimal("0.0123")


@pytest.mark.parametrize(
    ("attributes", "waited_ms"),
    [
        ({"mastra.span.type": "model_inference", "mastra.completion_start_time": "2026-01-01T12:00:00.250Z"}, 250),
        (
            {
                "langfuse.observation.type": "generation",
                "langfuse.observation.completion_start_time": '"2026-01-01T12:00:00.250Z"',
            },
            250,
        ),
        ({"mastra.span.type": "model_inference", "mastra.completion_start_time": "2025-01-01T12:00:00.250Z"}, None),
        ({"mastra.span.type": "model_inference", "mastra.completion_start_time": "soon"}, None),
        ({"ai.operationId": "ai.streamObject.doStream", "ai.stream.msToFirstChunk": 250.0}, 250),
        ({"gen_ai.span.kind": "LLM", "gen_ai.response.time_to_first_token": 250_000_000}, 250),
    ],
    ids=["Mastra", "Langfuse", "before it began", "no time", "AI SDK, an object", "LoongSuite"],
)
def test_the_time_to_the_first_token_is_from_the_start_of_the_span(
    attributes: dict[str, Any], waited_ms: float | None
) -> None:
    start = int(datetime(2026, 1, 1, 12, tzinfo=timezone.utc).timestamp()) * 10**9
    span = replace(make_span({**CHAT, **INCLUSIVE, "ai.model.id": "m", **attributes}), start_time_unix_nano=start)

    found = read(span).call

    assert found is not None
    assert found.time_to_first_token_ms == waited_ms


@pytest.mark.parametrize(("method", "streams"), [("ConverseStream", True), ("InvokeModel", False), ("GetObject", None)])
def test_which_operation_of_bedrock_was_called_says_whether_it_streams(method: str, streams: bool | None) -> None:
    found = read(make_span({**CHAT, **INCLUSIVE, "gen_ai.system": "aws.bedrock", "rpc.method": method})).call

    assert found is not None
    assert found.is_stream is streams


def test_that_langchain_js_was_not_set_up_to_stream_does_not_say_that_it_did_not() -> None:
    attributes = {**OI, "llm.invocation_parameters": as_json({"model": "m", "stream": False})}

    theirs = read(make_span(attributes, scope="@arizeai/openinference-instrumentation-langchain")).call
    others = read(make_span(attributes, scope="@arizeai/openinference-instrumentation-openai")).call

    assert theirs is not None
    assert others is not None
    assert (theirs.is_stream, others.is_stream) == (None, False)


@pytest.mark.parametrize(
    ("attributes", "scope", "name", "tool"),
    [
        (
            {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "Weather-get_weather"},
            "semantic_kernel.functions.kernel_function",
            "execute_tool Weather-get_weather",
            "get_weather",
        ),
        (
            {"traceloop.span.kind": "tool", "gen_ai.completion.tool.name": "get_weather"},
            "opentelemetry.instrumentation.openai_agents",
            "get_weather.tool",
            "get_weather",
        ),
        (
            {
                "haystack.component.type": "ToolInvoker",
                "haystack.component.output": as_json(
                    {"tool_messages": [{"content": [{"tool_call_result": {"origin": {"tool_name": "get_weather"}}}]}]}
                ),
            },
            "haystack",
            "haystack.component.run",
            "get_weather",
        ),
    ],
    ids=["a plugin's function", "OpenAI Agents by OpenLLMetry 0.44", "Haystack 2"],
)
def test_tools_are_called_as_the_program_calls_them(
    attributes: dict[str, Any], scope: str, name: str, tool: str
) -> None:
    found = read(make_span(attributes, scope=scope, name=name)).step

    assert found is not None
    assert (found.kind, found.name) == ("tool", tool)


@pytest.mark.parametrize(
    ("scope", "said", "provider"),
    [("weather", "weather", None), ("client", "weather", "weather"), ("openai", "openai", "openai")],
    ids=["itself", "a provider that nobody knows", "a client of a provider"],
)
def test_an_application_that_names_itself_is_no_provider(scope: str, said: str, provider: str | None) -> None:
    found = read(make_span({**CHAT, **INCLUSIVE, "gen_ai.system": said}, scope=scope)).call

    assert found is not None
    assert found.provider == provider


def test_an_event_of_inference_without_an_operation_is_a_call() -> None:
    found = read_log(make_log(INCLUSIVE, event_name="gen_ai.client.inference.operation.details")).call

    assert found is not None
    assert (found.usage.input_tokens, found.usage.output_tokens) == (983, 61)


def test_why_an_answer_ended_proves_that_there_was_one() -> None:
    found = read(make_span({**CHAT, "gen_ai.response.finish_reasons": ["stop"]})).call

    assert found is not None
    assert not found.usage.known


def test_what_litellm_tells_in_google_s_form_has_the_thoughts_among_the_candidates() -> None:
    answer = {"usage_metadata": {
        "prompt_token_count": 983, "candidates_token_count": 61, "thoughts_token_count": 13, "total_token_count": 1044,
    }}  # fmt: skip

    found = read(make_span({**OI, "output.value": as_json(answer)})).call

    assert found is not None
    assert (found.usage.output_tokens, found.usage.reasoning_tokens) == (61, 13)


def test_an_event_of_google_s_kit_tells_reasoning_once() -> None:
    attributes = {
        "gen_ai.provider.name": "openai", "gen_ai.usage.input_tokens": 983, "gen_ai.usage.output_tokens": 74,
        "gen_ai.usage.reasoning.output_tokens": 13,
    }  # fmt: skip

    found = read_log(
        make_log(attributes, event_name="gen_ai.client.inference.operation.details", scope="gcp.vertex.agent")
    ).call

    assert found is not None
    assert found.usage.output_tokens == 61


@pytest.mark.parametrize(
    ("attributes", "name"),
    [
        ({**OI, "llm.token_count.prompt": 1}, "converse_stream"),
        ({**OI, "llm.token_count.prompt": 1}, "GenerateContentStream"),
        ({**OI, "llm.token_count.prompt": 1}, "bedrock.invoke_model_with_response_stream"),
        (
            {
                **OI,
                "llm.invocation_parameters": '{"stream": false}',
                "output.value": as_json({"generations": [[{"type": "ChatGenerationChunk", "text": "hello"}]]}),
            },
            "ChatOpenAI",
        ),
        (
            {
                "langsmith.span.kind": "llm",
                "langsmith.metadata.stream": "false",
                "gen_ai.completion": as_json({"generations": [[{"type": "ChatGenerationChunk", "text": "hello"}]]}),
            },
            "ChatOpenAI",
        ),
    ],
)
def test_a_stream_is_known_by_its_method_or_by_its_pieces(attributes: dict[str, Any], name: str) -> None:
    found = read(make_span(attributes, name=name)).call

    assert found is not None
    assert found.is_stream


@pytest.mark.parametrize("name", ["ChatCompletion", "upstream", "generate"])
def test_that_something_is_no_stream_is_not_guessed(name: str) -> None:
    found = read(make_span({**OI, "llm.token_count.prompt": 1}, name=name)).call

    assert found is not None
    assert found.is_stream is None


def test_members_of_an_enumeration_are_reasons_as_others_word_them() -> None:
    found = read(make_span({**CHAT, "gen_ai.response.finish_reasons": ["FinishReason.STOP"]})).call

    assert found is not None
    assert found.finish_reason == "stop"


@pytest.mark.parametrize(
    ("attributes", "scope", "name"),
    [
        ({"gen_ai.operation.name": "invoke_agent"}, "openlit.instrumentation.openai_agents", "invoke_agent"),
        ({"gen_ai.operation.name": "invoke_agent"}, "openlit.instrumentation.crewai", "invoke_agent finalize"),
        (
            {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "a"},
            "openlit.instrumentation.smolagents",
            "invoke_agent a step_1",
        ),
        ({"openinference.span.kind": "GUARDRAIL", "type": "guardrails/guard/step"}, "guardrails-ai", "step"),
        (
            {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "a", "gen_ai.agent.source": "b"},
            "openlit.instrumentation.openai_agents",
            "invoke_agent a",
        ),
        (
            {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "model"},
            "openlit.instrumentation.langgraph",
            "invoke_agent model",
        ),
        (
            {"gen_ai.operation.name": "execute_tool", "gen_ai.request.model": "gpt-4o"},
            "openlit.instrumentation.pydantic_ai",
            "execute_tool gpt-4o",
        ),
        ({"openinference.span.kind": "AGENT", "metadata.path": "agent.requirement.final_answer"}, "a", "final_answer"),
        ({"openinference.span.kind": "LLM", "metadata.path": "backend.openai.chat.new_token"}, "a", "new_token"),
        (
            {"ag2.span.type": "usage", "ag2.usage.kind": "model_call", "gen_ai.response.model": "m", **INCLUSIVE},
            "opentelemetry.instrumentation.ag2",
            "record_usage model_call",
        ),
        ({"gen_ai.request.model": "m"}, "com.anthropic.sdk.python", "anthropic.messages.count_tokens"),
        (
            {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "haystack", "gen_ai.framework.context.count": 1},
            "openlit.instrumentation.haystack",
            "chat openai_chat_generator",
        ),
        ({"gen_ai.operation.name": "execute_tool"}, "microsoft_agents_a365.observability.core.config", "handoff to w"),
        (
            {"gen_ai.operation.name": "invoke_agent", "traceloop.span.kind": "task", "crewai.task.agent": "w"},
            "opentelemetry.instrumentation.crewai.instrumentation",
            "What is the weather?.task",
        ),
    ],
    ids=["a turn", "a method of a flow", "a step", "a step of a guard", "a handoff", "a node of a ready-made agent",
         "a tool without a name", "an agent's event", "a piece of a stream", "an account of what another span tells",
         "a question of how many tokens", "a component of which nothing is known", "a handoff of Agent 365",
         "a task of a crew"],
)  # fmt: skip
def test_what_only_looks_like_a_run_or_a_request_is_neither(attributes: dict[str, Any], scope: str, name: str) -> None:
    found = read(make_span(attributes, scope=scope, name=name))

    assert (found.event_type, found.call, found.run, found.step) == ("span", None, None, None)


def test_an_object_s_address_is_no_stable_id_of_an_agent() -> None:
    attributes = {
        "gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "triage", "gen_ai.agent.id": "140157999251920",
    }  # fmt: skip

    assert read(make_span(attributes)).agent_id == "triage"


def test_a_failed_request_of_openlit_is_known_by_its_name() -> None:
    found = read(make_span(name="chat gpt-4o", status_code=2, scope="openlit.instrumentation.openai"))

    assert found.event_type == "llm"
    assert found.call is not None
    assert found.call.failed


def llama_index(name: str, attributes: dict[str, Any], *events: SpanEvent) -> Reading:
    return read(make_span(attributes, name=name, scope="llamaindex.opentelemetry.tracer", events=events))


ASKED = SpanEvent(
    "LLMChatStartEvent", 0,
    {"class_name": "LLMChatStartEvent", "model_dict.model_name": "gpt-4o", "messages": "a secret prompt"},
)  # fmt: skip


def test_an_event_of_llama_index_spells_the_provider_s_answer() -> None:
    answered = SpanEvent("LLMChatEndEvent", 0, {
        "class_name": "LLMChatEndEvent", "response.raw.id": "chatcmpl-1", "response.raw.model": "gpt-4o-2024-08-06",
        "response.raw.usage.prompt_tokens": 983, "response.raw.usage.completion_tokens": 61,
        "response.raw.usage.prompt_tokens_details.cached_tokens": 317,
        "response.raw.usage.completion_tokens_details.reasoning_tokens": 13,
        "response.raw.choices": as_json([{"finish_reason": "stop"}]), "response.message.blocks": "a secret answer",
    })  # fmt: skip

    found = llama_index("OpenAI.chat", {}, ASKED, answered)

    assert found.call is not None
    usage = found.call.usage
    assert (usage.input_tokens, usage.cache_read_tokens, usage.output_tokens, usage.reasoning_tokens) == (
        983, 317, 61, 13,
    )  # fmt: skip
    assert (found.call.provider, found.call.request_model, found.call.response_id, found.call.finish_reason) == (
        "openai", "gpt-4o", "chatcmpl-1", "stop",
    )  # fmt: skip
    assert {content.body for content in found.contents} == {"a secret prompt", "a secret answer"}
    assert {"messages", "response.message.blocks"} <= found.content_event_keys


def test_an_exception_on_a_span_of_llama_index_is_told_as_on_any_other() -> None:
    raised = SpanEvent("exception", 0, {"exception.type": "ValueError", "exception.message": "no such model"})

    assert llama_index("OpenAI.chat", {}, ASKED, raised).content_event_keys == {"messages"}


def test_a_stream_of_llama_index_ends_without_an_event_and_was_served() -> None:
    found = llama_index("OpenAI.astream_chat", {}, ASKED).call

    assert found is not None
    assert (found.is_stream, found.usage.known) == (True, False)


def test_a_request_of_llama_index_that_does_not_end_proves_nothing() -> None:
    assert llama_index("OpenAI.chat", {}, ASKED).call is None


@pytest.mark.parametrize(
    ("name", "summary", "seen"),
    [
        ("FunctionAgent.run", "", ("agent", None)),
        ("FunctionTool.acall", "ToolCall(tool_name='get_weather', tool_kwargs={})", ("tool", None)),
        ("VectorIndexRetriever.retrieve", "", ("retrieval", None)),
        ("BaseWorkflowAgent.setup_agent", "AgentInput(input=[], current_agent_name='trip')", ("span", "trip")),
    ],
)
def test_steps_of_llama_index_say_whose_they_are(name: str, summary: str, seen: tuple[str, str | None]) -> None:
    found = llama_index(name, {"llamaindex.step.input_summary": summary})

    assert (found.event_type, found.agent_name) == seen
    assert found.step is None or found.step.name in ("get_weather", "VectorIndexRetriever")


def test_a_validator_of_guardrails_ai_is_a_check() -> None:
    attributes = {
        "openinference.span.kind": "GUARDRAIL", "type": "guardrails/guard/step/validator", "user.id": "unknown",
        "validator.name": "no-rain", "output.value": as_json({"outcome": "pass", "metadata": None}),
    }  # fmt: skip

    found = read(make_span(attributes, scope="guardrails-ai", name="no-rain.validate"))

    assert found.check is not None
    assert (found.check.guardrail_name, found.check.action_taken) == ("no-rain", "pass")
    assert found.user_id is None


@pytest.mark.parametrize(
    ("sent", "reason"),
    [(["STOP"], "stop"), ('["TOOL_CALLS"]', "tool_calls"), ("FinishReason.STOP", "stop"), ("toolUse", "toolUse")],
)
def test_enumerations_that_shout_mean_the_same_reason(sent: Any, reason: str) -> None:
    found = read(make_span({**CHAT, "gen_ai.response.finish_reasons": sent})).call

    assert found is not None
    assert found.finish_reason == reason


@pytest.mark.parametrize(("number", "reason"), [("1", "stop"), ("2", "max_tokens"), ("0", None), ("77", "77")])
def test_a_number_of_vertex_ai_s_enumeration_means_its_reason(number: str, reason: str | None) -> None:
    said = {**CHAT, **INCLUSIVE, "gen_ai.response.finish_reasons": [number]}

    theirs, others = (read(make_span({**said, "gen_ai.provider.name": name})).call for name in ("vertex_ai", "openai"))

    assert theirs is not None
    assert others is not None
    assert (theirs.finish_reason, others.finish_reason) == (reason, number)


def test_the_name_of_the_model_that_answered_proves_that_one_did() -> None:
    asked = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-5-mini"}

    dated, repeated = (
        read(make_span({**asked, "gen_ai.response.model": model})).call
        for model in ("gpt-5-mini-2025-08-07", "gpt-5-mini")
    )

    assert dated is not None
    assert not dated.usage.known
    assert repeated is None


def test_an_answer_whose_first_piece_was_timed_by_loongsuite_came_in_pieces() -> None:
    found = read(make_span({**CHAT, **INCLUSIVE, "gen_ai.response.time_to_first_token": 49_654_006})).call

    assert found is not None
    assert found.is_stream
    assert found.time_to_first_token_ms == pytest.approx(49.654006)


def test_what_logfire_tells_of_a_stream_after_its_end_is_a_stream() -> None:
    said = {**CHAT, **INCLUSIVE, "request_data": '{"model": "m"}'}

    name = "streaming response from {request_data[model]!r} took {duration:.2f}s"
    found = read(make_span(said, scope="logfire.anthropic", name=name)).call

    assert found is not None
    assert found.is_stream


def test_a_fingerprint_is_no_tier() -> None:
    tiers = [
        found.service_tier
        for tier in ("fp_1", "flex")
        if (found := read(make_span({**CHAT, **INCLUSIVE, "openai.response.service_tier": tier})).call) is not None
    ]

    assert tiers == [None, "flex"]


def test_the_agent_of_a_request_whose_id_stands_for_nobody_is_not_known_by_the_name_beside_it() -> None:
    nobody = {"gen_ai.agent.name": "OpenAI Agent", "gen_ai.agent.id": "agent"}

    request, run = (
        read(make_span({**said, **nobody}))
        for said in ({**CHAT, **INCLUSIVE}, {"gen_ai.operation.name": "invoke_agent"})
    )

    assert (request.agent_id, request.agent_name) == (None, None)
    assert run.agent_id == "OpenAI Agent"


@pytest.mark.parametrize(
    ("sent", "kind"),
    [
        ("OpenAI API call failed: Error code: 429 - {'type': 'error', 'error': {'message': 'What is said'}}", None),
        ("<class 'openai.RateLimitError'>", "<class 'openai.RateLimitError'>"),
        ("x" * 100, "x" * 100),
    ],
    ids=["a message", "a class", "a long name"],
)
def test_a_message_in_the_place_of_an_error_s_type_is_none(sent: str, kind: str | None) -> None:
    assert read(make_span({**CHAT, "error.type": sent}, status_code=2)).error_type == kind


def test_an_answer_that_stands_whole_on_a_span_is_content() -> None:
    said = {**CHAT, **INCLUSIVE, "gen_ai.execution.payload": '{"id": "r"}', "gen_ai.choice.0.tool_json_schema": "{}"}

    assert {"gen_ai.execution.payload", "gen_ai.choice.0.tool_json_schema"} <= read(make_span(said)).content_keys


def test_a_task_of_a_crew_is_not_called_by_what_it_says() -> None:
    said = {"gen_ai.operation.name": "invoke_agent", "traceloop.span.kind": "task", "crewai.task.agent": "w",
            "crewai.task.description": "What is the weather?"}  # fmt: skip

    found = read(make_span(said, scope="opentelemetry.instrumentation.crewai.instrumentation", name="What is.task"))

    assert found.name == "w.task"
    assert [content.part for content in found.contents] == ["input"]


def test_an_exception_in_the_place_of_an_answer_is_a_failure_and_beside_one_is_none() -> None:
    exception = [SpanEvent("exception", 0, {"exception.type": "RateLimitException"})]

    failed, answered = (read(make_span(said, events=exception)) for said in (CHAT, {**CHAT, **INCLUSIVE}))

    assert failed.failed
    assert failed.call is not None
    assert failed.call.failed
    assert not answered.failed
    assert answered.call is not None
    assert not answered.call.failed


def test_a_cost_may_name_its_currency() -> None:
    found = read(make_span({**CHAT, **INCLUSIVE, "gen_ai.client.estimated_cost": "0.00020175USD"})).call

    assert found is not None
    assert found.reported_cost_usd == Decimal("0.00020175")


SPRING_AI = {"gen_ai.operation.name": "framework", "gen_ai.system": "spring_ai"}


def test_an_advisor_of_spring_ai_is_a_mere_span_and_names_the_conversation() -> None:
    named, unnamed = (
        read(make_span({**SPRING_AI, "spring.ai.kind": "chat_client", "spring.ai.chat.client.conversation.id": name}))
        for name in ("conv-42", "default")
    )

    assert (named.event_type, named.conversation_id) == ("span", "conv-42")
    assert unnamed.conversation_id is None


def test_a_vector_store_that_is_asked_is_a_retrieval_and_one_that_is_filled_is_none() -> None:
    store = {"spring.ai.kind": "vector_store", "db.collection.name": "docs", "db.vector.query.content": "a question"}

    asked, filled = (read(make_span({**store, "db.operation.name": name})) for name in ("query", "add"))

    assert asked.step is not None
    assert (asked.step.kind, asked.step.name) == ("retrieval", "docs")
    assert [(content.part, content.body) for content in asked.contents] == [("input", "a question")]
    assert filled.step is None


def test_flows_of_genkit_are_workflows_and_helpers_repeat_what_is_below() -> None:
    said = {"genkit:path": "/{f,t:flow}", "genkit:name": "f", "genkit:output": as_json({"usage": {"inputTokens": 1}})}

    flow, helper = (read(make_span({**said, "genkit:metadata:subtype": kind})) for kind in ("flow", "util"))

    assert flow.run is not None
    assert (flow.run.kind, flow.run.name) == ("workflow", "f")
    assert helper.call is None
    assert helper.is_rollup


def test_a_step_of_genkit_fails_as_its_state_says() -> None:
    said = {"genkit:path": "/{t,t:action}", "genkit:metadata:subtype": "tool.v2", "genkit:sessionId": "s-1"}

    found = read(make_span({**said, "genkit:state": "error"}))

    assert (found.event_type, found.failed, found.conversation_id) == ("tool", True, "s-1")


def test_vectors_are_no_content() -> None:
    said = {
        "genkit:path": "/{e,t:action}",
        "genkit:metadata:subtype": "embedder",
        "genkit:input": as_json({"input": 1}),
    }

    found = read(make_span({**said, "genkit:output": as_json({"embeddings": [[0.1]]})}))

    assert [content.part for content in found.contents] == ["input"]
    assert "genkit:output" in found.content_keys


def test_tools_that_ran_beside_each_other_are_told_once_each() -> None:
    merged = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "(merged tools)"}

    assert read(make_span(merged, scope="gcp.vertex.agent")).step is None
