"""The Anthropic SDK: messages with tools and a prompt cache, then one streamed.

    python -m examples.with_anthropic

``anthropic`` 2.x reports each request by itself, its instrumentation does too: each is counted once.
"""

from __future__ import annotations

from typing import Any

import anthropic
from opentelemetry.instrumentation.genai.anthropic import AnthropicInstrumentor

from otel_obs.instrumentation import agent, tool

from .stage import QUESTION, RESEARCHER, look_up_order, models, report, search_knowledge_base

TOOLS = {"search_knowledge_base": search_knowledge_base, "look_up_order": look_up_order}
SCHEMAS: list[Any] = [
    {
        "name": name,
        "description": function.__doc__,
        "input_schema": {"type": "object", "properties": {argument: {"type": "string"}}, "required": [argument]},
    }
    for (name, function), argument in zip(TOOLS.items(), ("query", "order_id"), strict=True)
]


@agent("researcher")
def research(client: anthropic.Anthropic, question: str) -> str:
    """Return what the tools have to say."""
    messages: list[Any] = [{"role": "user", "content": question}]
    while True:
        answer = client.messages.create(
            model="claude-sonnet-4-5",
            max_tokens=1024,
            system=[{"type": "text", "text": RESEARCHER, "cache_control": {"type": "ephemeral"}}],
            tools=SCHEMAS,
            messages=messages,
        )
        uses = [block for block in answer.content if block.type == "tool_use"]
        if not uses:
            return "".join(block.text for block in answer.content if block.type == "text")
        results = []
        for use in uses:
            arguments: dict[str, Any] = dict(use.input)
            with tool(use.name):
                found = TOOLS[use.name](**arguments)
            results.append({"type": "tool_result", "tool_use_id": use.id, "content": found})
        messages += [{"role": "assistant", "content": answer.content}, {"role": "user", "content": results}]


@agent("writer")
def write(client: anthropic.Anthropic, findings: str) -> str:
    """Return a draft, as it is streamed."""
    with client.messages.stream(
        model="claude-haiku-4-5",
        max_tokens=1024,
        system="You are the writer. Be kind.",
        messages=[{"role": "user", "content": findings}],
    ) as events:
        return "".join(events.text_stream)


def main() -> None:
    """Ask, and print the draft."""
    tracing = report("with-anthropic")
    AnthropicInstrumentor().instrument()
    with models(), anthropic.Anthropic() as client:
        print(write(client, research(client, QUESTION)))
    tracing.shutdown()


if __name__ == "__main__":
    main()
