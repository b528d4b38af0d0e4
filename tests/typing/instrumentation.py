"""What a type checker makes of decorated functions; checked by mypy, never run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Protocol

from typing_extensions import assert_type

from otel_obs.instrumentation import (
    RunContext,
    Verdict,
    agent,
    current_run,
    guardrail,
    llm,
    propagate,
    record_guardrail,
    set_output,
    set_usage,
    tool,
    workflow,
)


@workflow
def plain(text: str, *, workspace_id: str | None = None) -> int:
    return len(text)


@workflow("support", id="args.ticket", workspace_id=["args.workspace", "args.tenant"])
async def support(ticket: str) -> bytes:
    return ticket.encode()


@llm(model="gpt-4o", provider="openai", usage="result.usage")
def stream(prompt: str) -> Iterator[str]:
    yield prompt


@tool("look up", tool_call_id="args.call_id")
async def astream(call_id: str) -> AsyncIterator[int]:
    yield 1


class Engine:
    @agent("researcher", description="finds out why")
    def run(self, text: str, depth: int = 1) -> list[str]:
        return [text] * depth

    @staticmethod
    @guardrail
    def check(text: str) -> Verdict:
        record_guardrail(score=0.5, reference="r", action="allow")
        return Verdict(score=0.5, action="allow")


class TextToNumber(Protocol):
    def __call__(self, text: str, *, workspace_id: str | None = None) -> int: ...


async def use() -> None:
    as_it_was: TextToNumber = plain
    assert_type(as_it_was("x", workspace_id="ws"), int)
    assert_type(plain("x"), int)
    assert_type(await support("t"), bytes)
    assert_type(next(stream("p")), str)
    async for each in astream("c"):
        assert_type(each, int)
    assert_type(Engine().run("x", depth=2), list[str])
    assert_type(Engine.check("x"), Verdict)
    assert_type(current_run(), RunContext)
    assert_type(propagate(plain)("x", workspace_id=None), int)
    async with agent("block"):
        set_usage(total_tokens=3)
        set_output("x")

    plain(3)  # type: ignore[arg-type]
    plain("x", colour="red")  # type: ignore[call-arg]
    Engine().run()  # type: ignore[call-arg]
    workflow("w", colour="red")  # type: ignore[call-overload]
    tool("t", model="gpt-4o")  # type: ignore[call-overload]
