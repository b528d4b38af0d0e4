"""The engine of ``platform_engine.py`` for asyncio: nodes at once, tools in threads, an answer that is streamed.

It knows as little of telemetry, and is reported by the same ``platform_engine.toml``:

    OTEL_OBS_EXECUTORS=examples/platform_engine.toml opentelemetry-instrument python -m examples.platform_engine_async
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import openai

from .platform_engine import (
    SUPPORT,
    TICKET,
    Completion,
    Execution,
    GuardrailNodeExecutor,
    NodeDefinition,
    ToolNodeExecutor,
    WorkflowDefinition,
    workspace_of,
)
from .provider import StandIn


@dataclass(frozen=True, slots=True)
class Piece:
    """A bit of a streamed answer; the last one says what was consumed."""

    text: str
    model_used: str
    request_id: str
    consumed: Any = None


class AsyncLLMNodeExecutor:
    """Asks a model."""

    def __init__(self, client: openai.AsyncOpenAI) -> None:
        self._client = client

    async def complete(self, node: NodeDefinition, messages: list[Any]) -> Completion:
        """Return what the model of *node* answers."""
        answer = await self._client.chat.completions.create(
            model=node.settings["model"], messages=[{"role": "system", "content": node.settings["role"]}, *messages]
        )
        message = answer.choices[0].message
        return Completion(message.content or "", message.tool_calls or (), answer.model, answer.id, answer.usage)

    async def stream(self, node: NodeDefinition, text: str) -> AsyncIterator[Piece]:
        """Yield what the model of *node* answers, bit by bit."""
        chunks = await self._client.chat.completions.create(
            model=node.settings["model"],
            messages=[{"role": "system", "content": node.settings["role"]}, {"role": "user", "content": text}],
            stream=True,
            stream_options={"include_usage": True},
        )
        async for chunk in chunks:
            said = chunk.choices[0].delta.content if chunk.choices else None
            yield Piece(said or "", chunk.model, chunk.id, chunk.usage)


class AsyncAgentNodeExecutor:
    """Lets a model work with tools until it has an answer."""

    def __init__(self, models: AsyncLLMNodeExecutor, tools: ToolNodeExecutor) -> None:
        self._models = models
        self._tools = tools

    async def execute(self, node: NodeDefinition, text: str) -> str:
        """Return the agent's answer to *text*; its tools work at once."""
        messages: list[Any] = [{"role": "user", "content": text}]
        while (said := await self._models.complete(node, messages)).tool_calls:
            calls = [call.model_dump() for call in said.tool_calls]
            messages.append({"role": "assistant", "content": said.text, "tool_calls": calls})
            found = await asyncio.gather(*(self._run(call) for call in calls))
            messages.extend(
                {"role": "tool", "tool_call_id": call["id"], "content": each}
                for call, each in zip(calls, found, strict=True)
            )
        return said.text

    async def _run(self, call: dict[str, Any]) -> str:
        name, arguments = call["function"]["name"], json.loads(call["function"]["arguments"])
        return await asyncio.to_thread(self._tools.invoke, name, call["id"], arguments)


class AsyncWorkflowEngine:
    """Runs workflows: a guardrail first, then all other nodes but the last at once, then the last one."""

    def __init__(self, client: openai.AsyncOpenAI) -> None:
        self._models = AsyncLLMNodeExecutor(client)
        self._agents = AsyncAgentNodeExecutor(self._models, ToolNodeExecutor())
        self._guardrails = GuardrailNodeExecutor()

    async def execute_workflow(
        self, workflow: WorkflowDefinition, text: str, user_id: str | None = None, workspace_id: str | None = None
    ) -> Execution:
        """Return the execution of *workflow* on *text*, once it is done."""
        execution = Execution(uuid.uuid4().hex, workflow, workspace_id or workspace_of(workflow.id), user_id)
        screen, *nodes, last = workflow.nodes
        safe = self._guardrails.execute(screen, text)
        found = await asyncio.gather(*(self._execute(node, safe) for node in nodes))
        async for piece in self._models.stream(last, "\n".join(found)):
            execution.text += piece.text
        execution.status = "completed"
        return execution

    async def _execute(self, node: NodeDefinition, text: str) -> str:
        if node.kind == "agent":
            return await self._agents.execute(node, text)
        return (await self._models.complete(node, [{"role": "user", "content": text}])).text


async def main() -> None:
    """Run the workflow once, and print what came out."""
    with StandIn() as models:
        async with openai.AsyncOpenAI(api_key="none", base_url=models.openai_base_url) as client:
            execution = await AsyncWorkflowEngine(client).execute_workflow(SUPPORT, TICKET, user_id="dana")
    print(execution.text)
    print(f"{len(models.served)} requests to models, workspace {execution.workspace_id}")


if __name__ == "__main__":
    # Under its own name, for executors are found by the name of their module.
    from examples.platform_engine_async import main as run

    asyncio.run(run())
