"""Who serves a model: the values of ``gen_ai.provider.name``, whatever an emitter calls them.

https://github.com/open-telemetry/semantic-conventions-genai/blob/main/docs/registry/attributes/gen-ai.md
"""

from __future__ import annotations

import re

_OLD_NAMES = {
    "az.ai.inference": "azure.ai.inference",
    "az.ai.openai": "azure.ai.openai",
    "azure": "azure.ai.openai",
    "azure_openai": "azure.ai.openai",
    "azure_open_ai": "azure.ai.openai",
    "amazon_bedrock": "aws.bedrock",
    "aws": "aws.bedrock",
    "aws_bedrock": "aws.bedrock",
    "bedrock": "aws.bedrock",
    "bedrock_converse": "aws.bedrock",
    "gemini": "gcp.gemini",
    "google": "gcp.gemini",
    "google_genai": "gcp.gemini",
    "google_generative_ai": "gcp.gemini",
    "google_ai_studio": "gcp.gemini",
    "googleai": "gcp.gemini",
    "googleaistudio": "gcp.gemini",
    "googlegeminiai": "gcp.gemini",
    "google_gla": "gcp.gemini",
    "google_ai_gemini": "gcp.gemini",
    "google_vertex": "gcp.vertex_ai",
    "google_vertexai": "gcp.vertex_ai",
    "google_vertex_ai_anthropic": "gcp.vertex_ai",
    "google_vertex_ai_gemini": "gcp.vertex_ai",
    "vertex_ai": "gcp.vertex_ai",
    "vertexai": "gcp.vertex_ai",
    "vertex": "gcp.vertex_ai",
    "mistral": "mistral_ai",
    "mistralai": "mistral_ai",
    "moonshot": "moonshot_ai",
    "moonshotai": "moonshot_ai",
    "xai": "x_ai",
    "claude": "anthropic",
    "open_ai": "openai",
    "grok": "x_ai",
    "watsonx": "ibm.watsonx.ai",
    "fireworks": "fireworks_ai",
    "together": "together_ai",
    "togetherai": "together_ai",
    "firstparty": "anthropic",
    "microsoft.foundry": "azure.ai.inference",
    "microsoft_foundry": "azure.ai.inference",
    "ollama_chat": "ollama",
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
        "_other", "beeai", "browser_use", "camel", "controlflow", "dspy", "dynamiq", "guardrails", "instructor",
        "julep", "letta", "mcp", "mem0", "phidata", "portkey", "eino", "other", "trpc.go.agent",
    }
)  # fmt: skip
"""What frameworks put there for want of a provider: nobody who could send a bill."""

_APIS = frozenset({"chat", "chat-completions", "completions", "embeddings", "messages", "responses"})
"""What may stand behind a provider's name and a hyphen, and is one of its APIs."""
_HOST = re.compile(r"^api\.|:\d+$|^\d+(?:\.\d+){3}$|^localhost$|\.(?:com|net|org|local|internal)$")
_HOSTS = {
    "anthropic.com": "anthropic", "cerebras.ai": "cerebras", "cohere.ai": "cohere",
    "cohere.com": "cohere", "deepseek.com": "deepseek", "fireworks.ai": "fireworks_ai",
    "aiplatform.googleapis.com": "gcp.vertex_ai", "googleapis.com": "gcp.gemini", "groq.com": "groq",
    "mistral.ai": "mistral_ai", "moonshot.ai": "moonshot_ai", "moonshot.cn": "moonshot_ai", "openai.com": "openai",
    "openai.azure.com": "azure.ai.openai", "services.ai.azure.com": "azure.ai.inference", "openrouter.ai": "openrouter",
    "perplexity.ai": "perplexity", "together.ai": "together_ai", "together.xyz": "together_ai", "x.ai": "x_ai",
}  # fmt: skip
"""Where providers are asked. Clients of OpenAI's API that know no provider tell the host, as LiveKit's does."""


def _provider_at(host: str) -> str | None:
    """Return who is asked at *host*; a host that nobody is known to have is nobody who sends a bill."""
    host = host.partition(":")[0]
    if host.endswith(".amazonaws.com"):
        # Of all that stands there only this is asked for models of others.
        return "aws.bedrock" if host.startswith("bedrock") else None
    return next((_HOSTS[end] for end in _HOSTS if host == end or host.endswith((f".{end}", f"-{end}"))), None)


_KNOWN = frozenset(
    {"openai", "anthropic", "cohere", "deepseek", "groq", "perplexity", "ollama", "openrouter", "cerebras"}
) | _CONVENTIONAL | frozenset(_OLD_NAMES.values())  # fmt: skip


def is_known(name: str) -> bool:
    """Tell whether *name* is that of a provider, and of nothing else that may stand in its place."""
    return provider_name(name) in _KNOWN


def provider_name(name: str | None) -> str | None:
    """Return the conventional name of the provider *name*; None where it names none."""
    if not name:
        return None
    found = name.strip().lower()
    if found in _FRAMEWORKS:
        return None
    if found in _CONVENTIONAL:
        return found
    if "." in found or ":" in found or found == "localhost":
        at = _provider_at(found)
        if at is not None or _HOST.search(found):
            return at
    if found not in _OLD_NAMES and "." in found and not found.startswith(("aws.", "azure.", "gcp.", "ibm.")):
        # The AI SDK names provider and API: openai.chat, anthropic.messages.
        found = found.partition(".")[0]
    return _old_name(found) or _of_api(found) or found


def _old_name(name: str) -> str | None:
    """Return the conventional name for *name*, whichever sign joins its words."""
    return _OLD_NAMES.get(name.replace("-", "_").replace(" ", "_"))


def _of_api(name: str) -> str | None:
    """Return openai for openai-chat: who serves an API is called by its name in some adapters."""
    maker, _, api = name.partition("-")
    if api not in _APIS:
        return None
    return _old_name(maker) or (maker if maker in _KNOWN else None)


_ROUTED = frozenset(
    {
        "anthropic", "azure", "bedrock", "cerebras", "cohere", "deepseek", "fireworks_ai", "gemini", "groq", "mistral",
        "moonshot", "ollama", "openai", "openrouter", "perplexity", "sambanova", "together_ai", "vertex_ai", "watsonx",
        "xai",
    }
)  # fmt: skip
"""What routers put before a model's name. Who published open weights (``meta-llama/``) says nothing of who serves."""
_OPEN_WEIGHTS = "openai/gpt-oss"


def is_provider(model: str, provider: str | None) -> bool:
    """Tell whether *model* is the name of the provider itself; Ollama's ``mistral`` is a model."""
    if model not in _ROUTED and model not in _CONVENTIONAL:
        return False
    return model != "mistral" if provider is None else provider_name(model) == provider


def routed_to(model: str | None) -> str | None:
    """Return the provider that the name of a model tells: ``anthropic/claude-sonnet-4-5`` where it is a router's."""
    if is_of_bedrock(model):
        return "aws.bedrock"
    prefix, slash, name = (model or "").partition("/")
    if not slash or not name or prefix not in _ROUTED or (model or "").startswith(_OPEN_WEIGHTS):
        return None
    return provider_name(prefix)


_BEDROCK_ID = re.compile(
    r"^(?:arn:aws[\w-]*:bedrock:|(?:(?:us|eu|ap|apac|jp|au|ca|sa|us-gov|global)\.)?"
    r"(?:ai21|amazon|anthropic|cohere|deepseek|luma|meta|mistral|openai|qwen|stability|twelvelabs|writer)\.[a-z])"
)
"""https://docs.aws.amazon.com/bedrock/latest/userguide/models-supported.html"""


_MAKERS = frozenset({"amazon", "anthropic", "cohere", "deepseek", "meta", "mistral_ai", "openai", "qwen"})
"""Who made models that Bedrock serves."""


def serves(model: str | None, provider: str | None) -> str | None:
    """Return who serves *model*: *provider*, or Bedrock where only the maker of one of its models was named."""
    return "aws.bedrock" if provider in _MAKERS and is_of_bedrock(model) else provider


_CLIENT = re.compile(
    r"^(?:Async)?(?:Chat)?(\w+?)(?:Chat)?(?:Completion)?(?:Responses|Converse|Server)?"
    r"(?:Model|LLM|Generator|Client|(?:Text|Document)?Embedd(?:ing|ings|er))?$"
)
_CLIENTS = {
    "amazonbedrock": "aws.bedrock", "anthropic": "anthropic", "azureopenai": "azure.ai.openai",
    "bedrock": "aws.bedrock", "claude": "anthropic", "cohere": "cohere", "deepseek": "deepseek",
    "gemini": "gcp.gemini", "googlegenai": "gcp.gemini", "googlegenerativeai": "gcp.gemini", "groq": "groq",
    "mistral": "mistral_ai", "mistralai": "mistral_ai", "ollama": "ollama", "openai": "openai",
    "vertexai": "gcp.vertex_ai", "xai": "x_ai",
}  # fmt: skip


def served_by(client: str) -> str | None:
    """Return the provider for which frameworks have a class *client*: ``ChatOpenAI``, ``AnthropicChatGenerator``."""
    found = _CLIENT.match(client)
    return _CLIENTS.get(found[1].lower()) if found is not None else None


def is_of_bedrock(model: str | None) -> bool:
    """Tell whether *model* is an id that only Bedrock knows a model by: ``us.anthropic.claude-sonnet-4-...-v1:0``."""
    return _BEDROCK_ID.match(model or "") is not None


def counts_thoughts_apart(provider: str | None, model: str | None) -> bool:
    """Tell whether the provider's own figures leave reasoning out of the output tokens.

    Google does (https://ai.google.dev/api/generate-content#UsageMetadata).
    """
    return (provider or "").startswith("gcp.") and "claude" not in (model or "").lower()


def bills_cache_apart(provider: str | None, model: str | None) -> bool:
    """Tell whether the provider's own figures leave cached tokens out of the input tokens.

    Anthropic does (https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching), also where others
    serve its models, and so does Bedrock whatever the model
    (https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html); OpenAI and Google
    include them.
    """
    return provider in {"anthropic", "aws.bedrock"} or "claude" in (model or "").lower()
