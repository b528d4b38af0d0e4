"""LangGraph: a graph of two agents, a researcher with tools and a writer.

    python -m examples.with_langgraph

LangChain's instrumentation reports the graph, its agents and tools; that of the OpenAI SDK the requests.
"""

from __future__ import annotations

from typing import Any

from langchain.agents import create_agent
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, MessagesState, StateGraph
from opentelemetry.instrumentation.genai.langchain import LangChainInstrumentor
from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor

from .stage import QUESTION, RESEARCHER, look_up_order, models, report, search_knowledge_base

TOOLS: list[Any] = [search_knowledge_base, look_up_order]


def graph() -> Any:
    """Return the graph: the researcher, then the writer."""
    building = StateGraph(MessagesState)
    building.add_node(
        "researcher", create_agent(ChatOpenAI(model="gpt-5"), TOOLS, system_prompt=RESEARCHER, name="researcher")
    )
    building.add_node(
        "writer",
        create_agent(ChatOpenAI(model="gpt-5-mini"), system_prompt="You are the writer. Be kind.", name="writer"),
    )
    building.add_edge(START, "researcher")
    building.add_edge("researcher", "writer")
    building.add_edge("writer", END)
    return building.compile(name="support")


def main() -> None:
    """Ask, and print the draft."""
    tracing = report("with-langgraph")
    OpenAIInstrumentor().instrument()
    LangChainInstrumentor().instrument()
    with models():
        done = graph().invoke({"messages": [{"role": "user", "content": QUESTION}]})
        print(done["messages"][-1].content)
    tracing.shutdown()


if __name__ == "__main__":
    main()
