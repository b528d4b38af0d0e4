"""Model names as they are met in the field: each has its own price, and an unknown one has none."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from otel_obs.dialects.provider import provider_name
from otel_obs.model import Call, Usage
from otel_obs.pricing.catalog import default_catalog
from otel_obs.pricing.models import Age, age

AT = datetime(2026, 11, 20, 12, tzinfo=timezone.utc)

KNOWN = [
    # provider as it was sent, model as it was sent -> dollars for a million tokens in
    ("openai", "gpt-4o", "2.5"),
    ("openai", "gpt-4o-2024-08-06", "2.5"),
    ("openai", "gpt-4o-2024-05-13", "5"),
    ("openai", "gpt-4o-20240806", "2.5"),
    ("OpenAI", "GPT-4o", "2.5"),
    ("openai", " gpt-4o ", "2.5"),
    ("openai", "openai/gpt-4o", "2.5"),
    ("openai", "gpt-4.1-2025-04-14", "2"),
    ("openai", "gpt-4-1106-preview", "10"),
    ("openai", "gpt-4-32k-0613", "60"),
    ("openai", "gpt-5.2-20251211", "1.75"),
    ("openai", "o3-mini-2025-01-31", "1.1"),
    ("openai", "chatgpt-4o-latest", "5"),
    ("openai", "ft:gpt-4o-2024-08-06:acme::9aBcDeFg", "3.75"),
    ("openai", "ft:gpt-4o-mini-2024-07-18:acme:support:9aBcDeFg", "0.3"),
    ("openai", "ft:gpt-3.5-turbo-0125:acme::7qrs", "3"),
    ("openai", "text-embedding-3-large", "0.13"),
    ("openai", "anthropic/claude-opus-4-5", "5"),
    ("openai.responses", "gpt-5-mini-2025-08-07", "0.25"),
    ("azure", "gpt-4o", "2.5"),
    ("azure.ai.openai", "gpt-35-turbo", "0.5"),
    ("azure_openai", "gpt-35-turbo-0613", "1.5"),
    ("azure.ai.inference", "claude-opus-4-5", "5"),
    ("azure", "gpt-4o-mini-2024-07-18.ft-0e208cf33a6a466994aff31a08aba678", "0.3"),
    ("anthropic", "claude-3-5-sonnet-20241022", "3"),
    ("Anthropic", "claude-sonnet-4-5-20250929", "3"),
    ("anthropic", "claude-opus-5-20260801", "5"),
    ("anthropic", "claude-3-opus-latest", "15"),
    ("aws.bedrock", "anthropic.claude-3-haiku-20240307-v1:0", "0.25"),
    ("bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "3.3"),
    ("amazon_bedrock", "eu.anthropic.claude-sonnet-4-5-20250929-v1:0", "3.3"),
    ("aws.bedrock", "global.anthropic.claude-opus-4-5-20251101-v1:0", "5"),
    ("aws.bedrock", "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0", "0.06"),
    ("aws.bedrock",
     "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0", "3.3"),
    ("aws.bedrock", "apac.amazon.nova-micro-v1:0", "0.035"),
    ("aws.bedrock", "us.deepseek.r1-v1:0", "1.35"),
    ("aws.bedrock", "nova-lite-v1:0", "0.06"),
    ("aws.bedrock", "titan-embed-text-v2:0", "0.02"),
    ("aws.bedrock", "amazon.titan-embed-text-v1", "0.1"),
    ("aws.bedrock", "amazon.titan-embed-text-v2:0", "0.02"),
    (None, "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "3.3"),
    ("vertex_ai", "claude-sonnet-4@20250514", "3"),
    ("gcp.vertex_ai", "claude-haiku-4-5@20251001", "1"),
    ("gcp.vertex_ai", "publishers/google/models/gemini-2.5-flash", "0.3"),
    ("gcp.vertex_ai", "projects/p/locations/us-central1/publishers/google/models/gemini-2.5-pro", "1.25"),
    ("gemini", "models/gemini-2.0-flash", "0.1"),
    ("gcp.gemini", "gemini-2.0-flash-001", "0.1"),
    ("gcp.gemini", "gemini-2.5-flash-001", "0.3"),
    ("gcp.gemini", "gemini-2.5-flash-preview-04-17", "0.15"),
    ("google_genai", "gemini-2.5-pro-preview-05-06", "1.25"),
    ("mistral", "mistral-large-latest", "2"),
    ("mistral_ai", "mistral-large-2411", "2"),
    ("mistral_ai", "mistral-large-2512", "0.5"),
    ("cohere", "command-r-plus-08-2024", "2.5"),
    ("deepseek", "deepseek-reasoner", "0.55"),
    ("xai", "grok-3-mini-beta", "0.3"),
    ("x_ai", "x-ai/grok-4.3", "1.25"),
    ("groq", "openai/gpt-oss-120b", "0.15"),
    ("groq", "groq/llama-3.1-8b-instant", "0.05"),
    ("fireworks_ai", "accounts/fireworks/models/deepseek-v3p2", "0.56"),
    ("together_ai", "Qwen/Qwen3.5-9B", "0.17"),
    ("openrouter", "anthropic/claude-sonnet-4.6", "3"),
    ("openrouter", "openai/gpt-5.2-20251211", "1.75"),
    # LiteLLM says the provider in the name only
    ("litellm", "openai/gpt-4o", "2.5"),
    ("litellm", "litellm_proxy/openai/gpt-4o-mini", "0.15"),
    ("litellm", "anthropic/claude-sonnet-4-0", "3"),
    ("litellm", "azure/gpt-4o", "2.5"),
    ("litellm", "azure_ai/claude-opus-4-5", "5"),
    ("litellm", "bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0", "3.3"),
    ("litellm", "bedrock/converse/us.anthropic.claude-sonnet-4-5-20250929-v1:0", "3.3"),
    ("litellm", "vertex_ai/gemini-2.5-flash", "0.3"),
    ("litellm", "gemini/gemini-2.0-flash", "0.1"),
    ("litellm", "groq/llama-3.3-70b-versatile", "0.59"),
    ("litellm", "mistral/mistral-small-2603", "0.15"),
    ("litellm", "deepseek/deepseek-chat", "0.27"),
    ("litellm", "xai/grok-3", "3"),
    ("litellm", "cohere_chat/command-a", "2.5"),
    ("litellm", "openrouter/anthropic/claude-3.5-sonnet", "3"),
    ("litellm", "fireworks_ai/accounts/fireworks/models/deepseek-v3p2", "0.56"),
    ("litellm", "together_ai/Qwen/Qwen3.5-9B", "0.17"),
    # nobody says who served it: whoever makes it
    (None, "gpt-4o-mini-2024-07-18", "0.15"),
    (None, "claude-3-5-sonnet-latest", "3"),
    (None, "gemini-2.5-pro", "1.25"),
    ("langchain", "claude-sonnet-4-5", "3"),
]  # fmt: skip

UNKNOWN = [
    # neighbours in the list: gpt-4o, gpt-5, o3 ...
    ("openai", "gpt-4o-huge"),
    ("openai", "gpt-5-turbo"),
    ("openai", "gpt-5.9"),
    ("openai", "gpt-9"),
    ("openai", "o5"),
    ("openai", "o3-max"),
    ("openai", "my-gpt-4o"),
    ("openai", "gpt-4o.backup"),
    ("openai", "text-embedding-3-tiny"),
    # older than all dates that the list knows, or after one that has a price of its own
    ("openai", "gpt-4o-2024-04-01"),
    ("openai", "gpt-3.5-turbo-0914"),
    ("mistral_ai", "mistral-large-2402"),
    ("mistral_ai", "mistral-large-2603"),
    ("mistral_ai", "mistral-small-2409"),
    ("cohere", "command-r-03-2024"),
    ("cohere", "command-r-plus-04-2024"),
    ("moonshot_ai", "kimi-k2-0905"),
    ("aws.bedrock", "amazon.titan-embed-text-v3:0"),
    # fine-tunes of models whose fine-tunes have no price
    ("openai", "ft:gpt-4.1-2025-04-14:acme::x"),
    ("azure", "ft:o4-mini-2025-04-16:acme::x"),
    ("mistral_ai", "ft:mistral-large-latest:acme:20240101:x"),
    # deployments by a name of their own
    ("azure", "my-deployment"),
    ("azure", "gpt-4.1-prod"),
    ("azure", "my-o4-mini"),
    ("litellm", "azure/eu/gpt-4o"),
    ("aws.bedrock", "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3d4"),
    ("aws.bedrock", "arn:aws:bedrock:us-east-1:123456789012:provisioned-model/a1b2c3d4"),
    ("gcp.vertex_ai", "projects/p/locations/us-central1/endpoints/1234567890"),
    ("anthropic", "claude-haiku-4-55"),
    ("anthropic", "claude-opus-6"),
    ("anthropic", "claude-opus-4-9"),
    ("anthropic", "claude-sonnet-4-5-turbo"),
    ("aws.bedrock", "us.anthropic.claude-opus-9-20300101-v1:0"),
    ("gcp.gemini", "gemini-9-flash"),
    ("gcp.gemini", "gemini-2.5-flash-ultra"),
    ("x_ai", "grok-99"),
    ("groq", "llama-9-1b"),
    ("deepseek", "deepseek-chat-ultra"),
    ("openrouter", "openrouter/auto"),
    ("openrouter", "anthropic/claude-sonnet-4.6:nitro"),
    # servers of one's own sell nothing, whatever their models are called
    ("ollama", "gpt-4o"),
    ("vllm", "mistral-large-latest"),
    ("my-gateway", "claude-sonnet-4-5"),
    ("litellm", "ollama/llama3.2"),
    (None, "acme/gpt-4o"),
    (None, "acme/claude-haiku-4-5"),
    (None, "llama3.2"),
    (None, ""),
]


def dollars_in(provider: str | None, model: str, request_model: str | None = None) -> str | None:
    call = Call(
        operation="chat", provider=provider_name(provider), response_model=model, request_model=request_model,
        usage=Usage(input_tokens=1),
    )  # fmt: skip
    found = default_catalog().find(call, AT, "acme")
    return None if found is None else str(found.unit_prices["input_mtok"].base)


@pytest.mark.parametrize(("provider", "model", "dollars"), KNOWN)
def test_a_name_from_the_field_has_the_price_of_its_model(provider: str | None, model: str, dollars: str) -> None:
    assert dollars_in(provider, model) == dollars


@pytest.mark.parametrize(("provider", "model"), UNKNOWN)
def test_an_unknown_name_has_no_price_and_never_a_neighbours(provider: str | None, model: str) -> None:
    assert dollars_in(provider, model) is None


def test_the_model_that_answered_decides_and_not_the_one_that_was_asked_for() -> None:
    assert dollars_in("openai", "gpt-4o-mini-2024-07-18", request_model="gpt-4o") == "0.15"
    assert dollars_in("openai", "gpt-99", request_model="gpt-4o") is None
    assert dollars_in("azure", "gpt-4o-2024-08-06", request_model="my-deployment") == "2.5"


def test_the_model_that_was_asked_for_decides_where_nobody_says_which_answered() -> None:
    call = Call(operation="chat", provider="openai", request_model="gpt-4o", usage=Usage(input_tokens=1))

    found = default_catalog().find(call, AT, "acme")

    assert found is not None
    assert found.model_name == "gpt-4o"


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("-2024-08-06", Age("day", 20240806)),
        ("@20250929", Age("day", 20250929)),
        ("-08-2024", Age("month", 202408)),
        ("-2411", Age("four digits", 2411)),
        ("-05-06", Age("four digits", 506)),
        ("-0711-preview", Age("four digits", 711)),
        ("-001", Age("three digits", 1)),
        ("-v2:0", Age("v", 2)),
        ("-latest", None),
        ("", None),
    ],
)
def test_versions_that_are_written_alike_can_be_compared(version: str, expected: Age | None) -> None:
    assert age(version) == expected
