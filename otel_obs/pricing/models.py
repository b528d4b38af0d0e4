"""Model names as they are met in the field, and what of them decides the price.

Dated names, region and vendor prefixes, Bedrock's and Vertex's ids, Azure's spellings, fine-tunes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from otel_obs.remembering import remembered

_PROVIDERS = {
    "azure.ai.openai": "azure",
    "azure.ai.inference": "azure",
    "azure_ai": "azure",
    "aws.bedrock": "aws",
    "bedrock": "aws",
    "bedrock_converse": "aws",
    "sagemaker": "aws",
    "amazon": "aws",
    "gcp.gemini": "google",
    "gcp.gen_ai": "google",
    "gcp.vertex_ai": "google",
    "gemini": "google",
    "vertex_ai": "google",
    "vertex_ai_beta": "google",
    "mistral_ai": "mistral",
    "mistralai": "mistral",
    "codestral": "mistral",
    "x_ai": "x-ai",
    "xai": "x-ai",
    "moonshot_ai": "moonshotai",
    "moonshot": "moonshotai",
    "fireworks_ai": "fireworks",
    "together_ai": "together",
    "cohere_chat": "cohere",
    "voyage": "voyageai",
    "meta-llama": "meta",
    "text-completion-openai": "openai",
}
"""semconv ``gen_ai.provider.name``, or a vendor prefix (LiteLLM's, OpenRouter's) -> id in genai-prices."""

_PATHS = re.compile(r"^(?:.*/)?(?:publishers/[^/]+/)?models/")
_ARN = re.compile(r"^arn:aws[\w-]*:bedrock:[^/]+/")
_BEDROCK = re.compile(
    r"^(?:(?:us-gov|us|eu|apac|ap|jp|au|ca|sa|in|global)\.)?"
    r"(?:ai21|amazon|anthropic|cohere|deepseek|google|luma|meta|minimax|mistral|moonshotai|nvidia|openai|qwen|stability"
    r"|twelvelabs|writer|zai)\.[\w.:-]+$"
)
"""Bedrock's ids, with the region that a cross-region profile begins with."""
_BEDROCK_WITHOUT_MAKER = re.compile(r"^([a-z]+)[\w.-]*-v\d+:\d+$")
"""What is left of Bedrock's ids where an instrumentation takes their maker off: ``nova-lite-v1:0``."""
_MAKERS = {
    "nova": "amazon", "titan": "amazon", "claude": "anthropic", "llama": "meta", "mistral": "mistral",
    "mixtral": "mistral", "pixtral": "mistral", "command": "cohere", "embed": "cohere", "rerank": "cohere",
    "jamba": "ai21", "deepseek": "deepseek", "qwen": "qwen",
}  # fmt: skip
_PROXIES = frozenset({"litellm", "litellm_proxy"})
_FINE_TUNE = re.compile(r"^ft:[^:]+:|\.ft-")
_AZURE_SPELLING = re.compile(r"\bgpt-35\b")
_DATE = r"(?:\d{4}-?\d{2}-?\d{2}|\d{2}-\d{2}(?:-\d{4})?|\d{3,4}|latest|v\d+(?::\d+)?)"
_DATE_AT_END = re.compile(rf"[-@:_]{_DATE}$")
_VERSION = rf"(?:{_DATE}|preview|exp)"
VERSIONS = re.compile(rf"^(?:[-@:_]{_VERSION})*$")
"""What may follow a model's name in a list's own pattern without making it another model."""
_BEFORE = re.compile(r"^(?!(?:.*/)?(?:us|eu)/$)(?:.*[/:.])?$")
"""What may stand before a model's name; but a data zone (``azure/eu/gpt-4o``) costs more than the world."""


class Candidate(NamedTuple):
    """What a model may be called in a price list."""

    vendor: str | None
    """Whose list it may be in, as the name's prefix says; None: the prefix says nothing."""
    name: str
    dropped: str = ""
    """Date or version that was cut off at the end."""


def provider_id(provider: str | None) -> str | None:
    """Return the id that genai-prices has for *provider*."""
    return _PROVIDERS.get(provider, provider) if provider else None


@remembered(4096)
def candidates(model: str) -> tuple[Candidate, ...]:
    """Return what *model* may be called in a price list, the most exact first."""
    return tuple(dict.fromkeys(_candidates(model.strip().lower())))


def _candidates(name: str) -> Iterator[Candidate]:
    if name.partition("/")[0] in _PROXIES:
        name = name.partition("/")[2]
    yield Candidate(_vendor(name), name)
    vendor = _vendor(name)
    bedrocks = _BEDROCK_WITHOUT_MAKER.match(name)
    if bedrocks is not None and bedrocks[1] in _MAKERS:
        yield Candidate("aws", f"{_MAKERS[bedrocks[1]]}.{name}")
    if "/" in name:
        yield Candidate(vendor, name.partition("/")[2])
    shorter = _ARN.sub("", _PATHS.sub("", name))
    if shorter != name:
        name, vendor = shorter, _vendor(shorter)
    elif _BEFORE.match(name[: name.rfind("/") + 1]):
        name = name.rpartition("/")[2]
    name = _AZURE_SPELLING.sub("gpt-3.5", name)
    yield Candidate(vendor, name)
    dropped = ""
    while found := _DATE_AT_END.search(name):
        name, dropped = name[: found.start()], found.group() + dropped
        yield Candidate(vendor, name, dropped)


def _vendor(name: str) -> str | None:
    if _BEDROCK.match(name):
        return "aws"
    vendor, slash, _ = name.partition("/")
    return vendor if slash else None


def pattern_of(model: str) -> str:
    """Return what matches the names of *model*, prefixed and dated ones too, in Python and in PostgreSQL."""
    return rf"^(.*[/:.])?{re.escape(model)}([-@:_]{_VERSION})*$"


def names_it(name: str, part: str) -> bool:
    """Tell whether *name* is the model called *part*: around it stand only prefixes, dates and versions.

    So ``claude-haiku-4-5-20251001`` is ``claude-haiku-4-5``, and ``gpt-4o-huge`` is not ``gpt-4o``.
    """
    start = name.find(part)
    return start >= 0 and bool(_BEFORE.match(name[:start])) and bool(VERSIONS.match(name[start + len(part) :]))


def is_called(name: str, model: str) -> bool:
    """Tell whether *name* is *model* with nothing but prefixes before it."""
    return name.endswith(model) and bool(_BEFORE.match(name[: len(name) - len(model)]))


def is_fine_tune(name: str) -> bool:
    """Tell whether *name* is a model that somebody trained further (OpenAI's ``ft:``, Azure's ``.ft-``)."""
    return bool(_FINE_TUNE.search(name))


class Age(NamedTuple):
    """When a version was made, comparable with others that are written alike."""

    kind: str
    number: int


_PREVIEW = re.compile(r"-(?:preview|exp)$")
_AGES = (
    ("day", re.compile(r"(\d{4})-?(\d{2})-?(\d{2})$")),
    ("month", re.compile(r"(?P<last>\d{2})-(?P<first>\d{4})$")),
    ("four digits", re.compile(r"\b(\d{2})-(\d{2})$|\b(\d{4})$")),
    ("three digits", re.compile(r"\b(\d{3})$")),
    ("v", re.compile(r"\bv(\d+)(?::\d+)?$")),
)


def age(version: str) -> Age | None:
    """Return how old the model is that *version* (``-2024-08-06``, ``-0613``, ``-v2:0``) says; None if it does not."""
    said = _PREVIEW.sub("", version)
    for kind, pattern in _AGES:
        found = pattern.search(said)
        if found is not None:
            parts = (found["first"], found["last"]) if kind == "month" else found.groups("")
            return Age(kind, int("".join(parts)))
    return None
