"""The OpenAI Agents SDK: an agent that uses tools, then hands over to a second one.

    python -m examples.with_openai_agents

Its own instrumentation reports agents and tools, that of the OpenAI SDK the requests: each is counted once.
"""

from __future__ import annotations

from agents import Agent, ModelSettings, Runner, function_tool
from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor
from opentelemetry.instrumentation.genai.openai_agents import OpenAIAgentsInstrumentor

from .stage import QUESTION, RESEARCHER, look_up_order, models, report, search_knowledge_base


def main() -> None:
    """Ask, and print the draft."""
    tracing = report("with-openai-agents")
    OpenAIInstrumentor().instrument()
    OpenAIAgentsInstrumentor().instrument(disable_openai_trace_export=True)
    researcher = Agent(
        name="researcher",
        model="gpt-5",
        instructions=RESEARCHER,
        tools=[function_tool(search_knowledge_base), function_tool(look_up_order)],
        model_settings=ModelSettings(parallel_tool_calls=True),
    )
    writer = Agent(name="writer", model="gpt-5-mini", instructions="You are the writer. Be kind.")
    with models():
        findings = Runner.run_sync(researcher, QUESTION)
        print(Runner.run_sync(writer, findings.final_output).final_output)
    tracing.shutdown()


if __name__ == "__main__":
    main()
