"""OpenLIT (https://docs.openlit.io): the GenAI convention with figures as the provider counts them."""

from __future__ import annotations

from dataclasses import replace

from otel_obs.dialects.call import ESTIMATED_USAGE
from otel_obs.dialects.content import Contents
from otel_obs.dialects.facts import Facts
from otel_obs.dialects.gen_ai import OPERATIONS, read_call
from otel_obs.dialects.names import Names
from otel_obs.model import Attributes, Reading, Span, Usage

_TOLD_BY_PROVIDERS = ("gen_ai.usage.cache_", "gen_ai.usage.reasoning")
_STREAM_BEFORE_1_40 = "gen_ai.request.is_stream"
_GUESSED_BEFORE_1_40 = frozenset(
    {"openai", "azure.ai.openai", "ai21", "ollama", "premai", "gpt4all", "vllm", "huggingface"}
)
"""Whose streams older versions always guess; of other providers they hand on what they are told."""


def is_openlit(scope: str) -> bool:
    """Tell whether OpenLIT made a span or record of *scope*."""
    return scope == "openlit" or scope.startswith(("openlit.", "@openlit/"))


def concerns(scope: str, names: Names) -> bool:
    """Tell whether a span may be one of OpenLIT's."""
    del names
    return is_openlit(scope)


def read(span: Span, facts: Facts, contents: Contents) -> Reading | None:
    """Return what a request means that OpenLIT tells; None for its other spans: they follow the convention."""
    operation = facts.text("gen_ai.operation.name")
    if not is_openlit(span.scope.name) or operation not in OPERATIONS:
        return None
    reading = read_call(span, facts, contents, OPERATIONS[operation], apart=True, dialect="openlit")
    return without_estimate(reading, span.attributes, facts)


def without_estimate(reading: Reading, attributes: Attributes, facts: Facts) -> Reading:
    """Return *reading* without usage that OpenLIT guessed with a tokenizer.

    It does so for a stream whose usage it did not see, and such a guess was off by 100 times. Figures of a
    provider come with those of its cache or its reasoning, a guess never does.
    """
    call = reading.call
    if call is None or call.operation == "embeddings" or not call.usage.known:
        return reading
    if not call.is_stream or any(key.startswith(_TOLD_BY_PROVIDERS) for key in attributes):
        return reading
    if _STREAM_BEFORE_1_40 in attributes and call.provider not in _GUESSED_BEFORE_1_40:
        return reading
    facts.flag(ESTIMATED_USAGE)
    return replace(reading, call=replace(call, usage=Usage(), usage_source=None, reported_cost_usd=None))
