"""What do the models of the stand-in say, and what does it cost? Scripted for ``support_ticket.py``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Prompt:
    """What decides an answer, read out of a request of either API."""

    system: str
    """System and developer messages, in lower case."""
    has_tool_results: bool


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that the model asks for."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a model says, and the tokens that it takes."""

    text: str
    tools: tuple[Tool, ...] = ()
    input_tokens: int
    """Cached ones included."""
    output_tokens: int
    """Reasoning included."""
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0


def answer_to(prompt: Prompt) -> Answer:
    """Return the answer of the role that the system prompt gives to the model; a greeting where it gives none."""
    if "triage" in prompt.system:
        return _TRIAGE
    if "research" in prompt.system:
        return _FINDINGS if prompt.has_tool_results else _RESEARCH
    if "writer" in prompt.system:
        return _DRAFT
    return _HELLO


def dated(model: str) -> str:
    """Return the name that a provider answers with for the name that was asked for."""
    return _DATED.get(model, model)


_DATED = {
    "gpt-5": "gpt-5-2025-08-07",
    "gpt-5-mini": "gpt-5-mini-2025-08-07",
    "gpt-4o-mini": "gpt-4o-mini-2024-07-18",
    "claude-sonnet-4-5": "claude-sonnet-4-5-20250929",
    "claude-haiku-4-5": "claude-haiku-4-5-20251001",
}

_TRIAGE = Answer(
    text=json.dumps(
        {
            "category": "billing",
            "priority": "high",
            "summary": "Customer was charged twice for order A-1042 and asks for a refund.",
        }
    ),
    input_tokens=412,
    output_tokens=148,
    reasoning_tokens=96,
)
_RESEARCH = Answer(
    text="I will look at the order and at our refund policy.",
    tools=(
        Tool("search_knowledge_base", {"query": "refund policy for duplicate charges"}),
        Tool("look_up_order", {"order_id": "A-1042"}),
    ),
    input_tokens=2316,
    output_tokens=138,
    cache_write_tokens=1904,
)
_FINDINGS = Answer(
    text=(
        "Order A-1042 was charged twice on 3 November (2 x $249.00). The second charge has no invoice. Policy KB-17: "
        "duplicate charges are refunded in full within 5 business days, without approval below $500."
    ),
    input_tokens=2748,
    output_tokens=104,
    cache_read_tokens=1904,
    cache_write_tokens=396,
)
_DRAFT = Answer(
    text=(
        "Hello Dana, thank you for telling us, and sorry for the trouble. You were charged twice for order A-1042. "
        "We have refunded the second charge of $249.00; it will be back on your card within five business days. "
        "You need not do anything. If it is not there by 1 December, answer this message and we will chase it."
    ),
    input_tokens=1136,
    output_tokens=486,
    # OpenAI caches prompts from 1,024 tokens on, in steps of 128.
    cache_read_tokens=1024,
    reasoning_tokens=384,
)
_HELLO = Answer(text="Hello! How can I help you today?", input_tokens=24, output_tokens=11)
