"""OpenLIT (https://docs.openlit.io): the GenAI convention with figures as the provider counts them."""

from __future__ import annotations

import re
from dataclasses import replace

from otel_obs.dialects.call import ESTIMATED_USAGE
from otel_obs.dialects.content import Contents, Part
from otel_obs.dialects.facts import Facts
from otel_obs.dialects.gen_ai import OPERATIONS, read_call, read_role
from otel_obs.dialects.gen_ai_usage import said_usage
from otel_obs.dialects.names import Names
from otel_obs.dialects.openllmetry import AGENT_NODES
from otel_obs.dialects.provider import provider_name
from otel_obs.model import Attributes, Reading, Span, Usage

CONTENT: dict[str, Part | None] = {"gen_ai.agent.description": "system"}
"""Names that hold content on its spans only: it describes an agent by its instructions."""

_TOLD_BY_PROVIDERS = ("gen_ai.usage.cache_", "gen_ai.usage.reasoning")
_STEP = re.compile(r" step_\d+$")
_ERROR = 2
"""OTLP's ``STATUS_CODE_ERROR``."""
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
    if not is_openlit(span.scope.name):
        return None
    operation = facts.text("gen_ai.operation.name")
    if operation is None and span.status_code == _ERROR and not span.attributes:
        # A request that failed bears nothing but its name.
        operation = span.name.partition(" ")[0]
    if operation in OPERATIONS and _is_component(facts):
        return read_role(span, facts, "span", dialect="openlit")
    if operation in OPERATIONS:
        apart = counts_as_the_provider(span.scope.name)
        reading = read_call(span, facts, contents, OPERATIONS[operation], apart=apart, dialect="openlit")
        return without_estimate(reading, span.attributes, facts)
    if operation == "execute_task" and span.name.startswith("invoke_agent "):
        return read_role(span, facts, "agent", dialect="openlit")
    if _is_no_run(span, facts, operation):
        return read_role(span, facts, "span", dialect="openlit")
    return None


def _is_component(facts: Facts) -> bool:
    """Tell whether a framework's component asks a model of which nothing is known: the client's own span tells more."""
    said = facts.text("gen_ai.provider.name", "gen_ai.system")
    if said is None or provider_name(said) is not None or said_usage(facts):
        return False
    return not facts.has("gen_ai.request.model", "gen_ai.response.model")


def counts_as_the_provider(scope: str) -> bool:
    """Tell whether figures of *scope* are those of a provider's own client.

    Frameworks such as LiteLLM and LangChain have brought theirs into one form before, with all inside the input.
    """
    framework = scope.rpartition(".")[2]
    return framework == "openlit" or provider_name(framework) is not None


def _is_no_run(span: Span, facts: Facts, operation: str | None) -> bool:
    """Tell whether *span* is a turn, a handoff, a step or a method of a flow, told as an agent's or a tool's run."""
    if operation == "execute_tool":
        return not facts.has("gen_ai.tool.name") and facts.has("gen_ai.request.model")
    if operation != "invoke_agent":
        return False
    name = facts.text("gen_ai.agent.name")
    if name is None:
        return not facts.has("gen_ai.agent.id")
    is_node = span.scope.name.endswith(".langgraph") and name in AGENT_NODES
    return is_node or facts.has("gen_ai.agent.source") or _STEP.search(span.name) is not None


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
