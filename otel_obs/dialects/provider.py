"""Who serves a model: the values of ``gen_ai.provider.name``, whatever an emitter calls them.

https://github.com/open-telemetry/semantic-conventions-genai/blob/main/docs/registry/attributes/gen-ai.md
"""

from __future__ import annotations

_OLD_NAMES = {
    "az.ai.inference": "azure.ai.inference",
    "az.ai.openai": "azure.ai.openai",
    "azure": "azure.ai.openai",
    "azure_openai": "azure.ai.openai",
    "azure-openai": "azure.ai.openai",
    "amazon-bedrock": "aws.bedrock",
    "amazon_bedrock": "aws.bedrock",
    "aws": "aws.bedrock",
    "aws_bedrock": "aws.bedrock",
    "bedrock": "aws.bedrock",
    "bedrock_converse": "aws.bedrock",
    "gemini": "gcp.gemini",
    "google": "gcp.gemini",
    "google_genai": "gcp.gemini",
    "google_generative_ai": "gcp.gemini",
    "googleai": "gcp.gemini",
    "googleaistudio": "gcp.gemini",
    "google-gla": "gcp.gemini",
    "google-vertex": "gcp.vertex_ai",
    "google_vertexai": "gcp.vertex_ai",
    "vertex_ai": "gcp.vertex_ai",
    "vertexai": "gcp.vertex_ai",
    "vertex": "gcp.vertex_ai",
    "mistral": "mistral_ai",
    "mistralai": "mistral_ai",
    "moonshot": "moonshot_ai",
    "moonshotai": "moonshot_ai",
    "xai": "x_ai",
    "x-ai": "x_ai",
    "grok": "x_ai",
    "watsonx": "ibm.watsonx.ai",
    "fireworks": "fireworks_ai",
    "together": "together_ai",
    "togetherai": "together_ai",
    "firstparty": "anthropic",
}

_CONVENTIONAL = frozenset(
    {
        "aws.bedrock", "azure.ai.inference", "azure.ai.openai", "gcp.gemini", "gcp.gen_ai", "gcp.vertex_ai",
        "ibm.watsonx.ai", "azure.ai.content_safety",
    }
)  # fmt: skip
"""Names with a dot in them that is not the beginning of an API's name."""

_FRAMEWORKS = frozenset(
    {
        "agno", "ag2", "autogen", "crewai", "gcp.vertex.agent", "haystack", "langchain", "langgraph", "litellm",
        "llama_index", "llamaindex", "microsoft.agent_framework", "openai_agents", "pydantic-ai", "pydantic_ai",
        "semantic_kernel", "smolagents", "spring_ai", "strands", "strands-agents", "traceloop", "vercel", "unknown",
        "_other",
    }
)  # fmt: skip
"""What frameworks put there for want of a provider: nobody who could send a bill."""


def provider_name(name: str | None) -> str | None:
    """Return the conventional name of the provider *name*; None where it names none."""
    if not name:
        return None
    found = name.strip().lower()
    if found in _FRAMEWORKS:
        return None
    if found in _CONVENTIONAL:
        return found
    if found not in _OLD_NAMES and "." in found and not found.startswith(("aws.", "azure.", "gcp.", "ibm.")):
        # The AI SDK names provider and API: openai.chat, anthropic.messages.
        found = found.partition(".")[0]
    return _OLD_NAMES.get(found, found)


def bills_cache_apart(provider: str | None, model: str | None) -> bool:
    """Tell whether the provider's own figures leave cached tokens out of the input tokens.

    Anthropic does (https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching), also where others
    serve its models, and so does Bedrock whatever the model
    (https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html); OpenAI and Google
    include them.
    """
    return provider in {"anthropic", "aws.bedrock"} or "claude" in (model or "").lower()
