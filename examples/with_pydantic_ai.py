"""Pydantic AI, which reports its agents, tools and requests by itself.

python -m examples.with_pydantic_ai
"""

from __future__ import annotations

from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel

from .stage import QUESTION, RESEARCHER, look_up_order, models, report, search_knowledge_base


def main() -> None:
    """Ask, and print the draft."""
    tracing = report("with-pydantic-ai")
    Agent.instrument_all()
    with models():
        researcher = Agent(
            OpenAIResponsesModel("gpt-5"),
            name="researcher",
            instructions=RESEARCHER,
            tools=[search_knowledge_base, look_up_order],
        )
        writer = Agent(OpenAIChatModel("gpt-5-mini"), name="writer", instructions="You are the writer. Be kind.")
        findings = researcher.run_sync(QUESTION).output
        print(writer.run_sync(findings).output)
    tracing.shutdown()


if __name__ == "__main__":
    main()
