"""The OpenAI SDK: chat completions whole and streamed, a response with tools, embeddings; sync and async.

python -m examples.with_openai
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import openai
from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor

from otel_obs.instrumentation import agent, tool

from .stage import QUESTION, RESEARCHER, look_up_order, models, report, search_knowledge_base

WRITER = "You are the writer. Be kind."
TOOLS = {"search_knowledge_base": search_knowledge_base, "look_up_order": look_up_order}
SCHEMAS: list[Any] = [
    {
        "type": "function",
        "name": name,
        "description": function.__doc__,
        "parameters": {"type": "object", "properties": {argument: {"type": "string"}}, "required": [argument]},
    }
    for (name, function), argument in zip(TOOLS.items(), ("query", "order_id"), strict=True)
]


@agent("researcher")
def research(client: openai.OpenAI, question: str) -> str:
    """Return what the tools have to say, by the Responses API."""
    client.embeddings.create(model="text-embedding-3-small", input=question)
    said: list[Any] = [{"role": "user", "content": question}]
    while True:
        answer = client.responses.create(model="gpt-5", instructions=RESEARCHER, input=said, tools=SCHEMAS)
        calls = [item for item in answer.output if item.type == "function_call"]
        if not calls:
            return answer.output_text
        said += [call.model_dump() for call in calls]
        for call in calls:
            with tool(call.name):
                found = TOOLS[call.name](**json.loads(call.arguments))
            said.append({"type": "function_call_output", "call_id": call.call_id, "output": found})


@agent("writer")
async def write(client: openai.AsyncOpenAI, findings: str) -> str:
    """Return a draft, as it is streamed."""
    chunks = await client.chat.completions.create(
        model="gpt-5",
        stream=True,
        stream_options={"include_usage": True},
        messages=[{"role": "developer", "content": WRITER}, {"role": "user", "content": findings}],
    )
    return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks if chunk.choices])


@agent("triage")
def triage(client: openai.OpenAI, question: str) -> str:
    """Return what kind of ticket it is."""
    answer = client.chat.completions.create(
        model="gpt-5-mini",
        messages=[{"role": "system", "content": "You are the triage agent."}, {"role": "user", "content": question}],
    )
    return answer.choices[0].message.content or ""


async def finish(findings: str) -> str:
    """Return the draft of a client of its own."""
    async with openai.AsyncOpenAI() as client:
        return await write(client, findings)


def main() -> None:
    """Ask, and print the draft."""
    tracing = report("with-openai")
    OpenAIInstrumentor().instrument()
    with models():
        with openai.OpenAI() as client:
            triage(client, QUESTION)
            findings = research(client, QUESTION)
        print(asyncio.run(finish(findings)))
    tracing.shutdown()


if __name__ == "__main__":
    main()
