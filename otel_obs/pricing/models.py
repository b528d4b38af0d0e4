"""Model names as they are met in the field, and what of them decides the price.

Dated names, region and vendor prefixes, Bedrock's and Vertex's ids, Azure's spellings, fine-tunes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

_PROVIDERS = {
    "azure.ai.openai": "azure",
    "azure.ai.inference": "azure",
    "aws.bedrock": "aws",
    "gcp.gemini": "google",
    "gcp.gen_ai": "google",
    "gcp.vertex_ai": "google",
    "mistral_ai": "mistral",
    "x_ai": "x-ai",
    "moonshot_ai": "moonshotai",
    "fireworks_ai": "fireworks",
    "together_ai": "together",
    "vertex_ai": "google",
    "gemini": "google",
    "bedrock": "aws",
    "xai": "x-ai",
    "mistralai": "mistral",
    "meta-llama": "meta",
}
"""semconv ``gen_ai.provider.name``, or a vendor prefix -> id in genai-prices, where they differ."""

_PATHS = re.compile(r"^(?:.*/)?(?:publishers/[^/]+/)?models/")
_ARN = re.compile(r"^arn:aws[\w-]*:bedrock:[^/]+/")
_FINE_TUNE = re.compile(r"^ft:([^:]+):")
_VERSION = r"(?:\d{4}-?\d{2}-?\d{2}|\d{2}-\d{2}(?:-\d{4})?|\d{3,4}|latest|preview|exp|v\d+(?::\d+)?)"
_VERSION_AT_END = re.compile(rf"[-@:_]{_VERSION}$")
VERSIONS = re.compile(rf"^(?:[-@:_]{_VERSION})*$")
"""What may follow a model's name without making it another model: dates, versions, ``latest``."""
_BEFORE = re.compile(r"^(?:.*[/:.])?$")


def provider_id(provider: str | None) -> str | None:
    """Return the id that genai-prices has for *provider*."""
    return _PROVIDERS.get(provider, provider) if provider else None


@lru_cache(maxsize=4096)
def candidates(model: str) -> tuple[tuple[str | None, str], ...]:
    """Return what *model* may be called in a price list, the most exact first, each with its vendor prefix."""
    return tuple(dict.fromkeys(_candidates(model.strip().lower())))


def _candidates(name: str) -> Iterator[tuple[str | None, str]]:
    yield None, name
    name = _ARN.sub("", _PATHS.sub("", name))
    yield None, name
    vendor, slash, rest = name.partition("/")
    if slash:
        yield vendor, rest
        yield vendor, rest.rpartition("/")[2]
        name = rest.rpartition("/")[2]
    else:
        vendor = ""
    while True:
        shorter = _VERSION_AT_END.sub("", name)
        if shorter == name:
            return
        name = shorter
        yield vendor or None, name


def names_it(name: str, part: str) -> bool:
    """Tell whether *name* is the model called *part*: around it stand only prefixes, dates and versions.

    So ``claude-haiku-4-5-20251001`` is ``claude-haiku-4-5``, and ``gpt-4o-huge`` is not ``gpt-4o``.
    """
    start = name.find(part)
    return start >= 0 and bool(_BEFORE.match(name[:start])) and bool(VERSIONS.match(name[start + len(part) :]))


def is_fine_tune(name: str) -> bool:
    """Tell whether *name* is a model that somebody trained further."""
    return bool(_FINE_TUNE.match(name))
