"""What was a request set to? Attributes that say so as one JSON object, with prompts and tools often among it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from otel_obs.dialects.facts import parse
from otel_obs.model import AttributeValue

PARAMETERS = frozenset(
    {
        "braintrust.metadata", "embedding.invocation_parameters", "gen_ai.request.parameters",
        "langfuse.observation.model.parameters", "langwatch.params", "llm.invocation_parameters",
    }
)  # fmt: skip
"""Their names."""
_SAID = frozenset(
    {
        "api_key", "chat_history", "content", "contents", "documents", "examples", "extra_body", "extra_headers",
        "functions", "headers", "http_options", "input", "inputs", "inputtext", "instructions", "messages", "preamble",
        "prompt", "prompts", "query", "response_format", "suffix", "system", "system_instruction", "system_prompt",
        "systeminstruction", "text", "texts", "toolconfig", "tools",
    }
)  # fmt: skip
_LONGEST_WORD = 128
"""A parameter in words, such as the name of a model, is no longer."""


def without_content(value: AttributeValue) -> AttributeValue:
    """Return the parameters in *value*, a JSON object, without those that say what was said; None without any."""
    given = parse(value)
    kept = _settings(given) if isinstance(given, Mapping) else {}
    return json.dumps(kept, ensure_ascii=False) if kept else None


def _settings(given: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the numbers, switches and short words of *given*."""
    kept: dict[str, Any] = {}
    for name, value in given.items():
        if not isinstance(name, str) or name.lower() in _SAID:
            continue
        if isinstance(value, Mapping):
            if inner := _settings(value):
                kept[name] = inner
        elif len(value) <= _LONGEST_WORD if isinstance(value, str) else value is None or isinstance(value, int | float):
            kept[name] = value
    return kept
