"""A small agent workflow worth looking at: a support ticket is triaged, researched, answered and checked.

The models are asked through the real ``openai`` and ``anthropic`` libraries, whose OpenTelemetry
instrumentations report each request; the workflow, its agents and tools are spans of its own.

    python -m examples.support_ticket

runs it against a stand-in of the providers and sends its spans where the standard ``OTEL_EXPORTER_OTLP_*``
variables say (http://localhost:4318 without them).
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import SequenceMatcher
from typing import Any

import anthropic
import openai
from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

TICKET = "I was charged twice for order A-1042! I want the second payment back. Dana"
LEAKED_ANSWER = "Hello Dana, we have refunded the second charge of $249.00 to the card ending in 4242 of Dana Scully."

_tracer = trace.get_tracer("examples.support_ticket", "1.0.0")
RESOURCE = {
    "service.name": "support",
    "service.version": "1.0.0",
    "otel_obs.organization.id": "acme",
    "otel_obs.workspace.id": "support",
}
"""Whose program this is: every span of it belongs to them."""


def instrument() -> None:
    """Let the client libraries report their requests."""
    from opentelemetry.instrumentation.genai.anthropic import AnthropicInstrumentor
    from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor

    OpenAIInstrumentor().instrument()
    AnthropicInstrumentor().instrument()


def uninstrument() -> None:
    """Undo ``instrument``."""
    from opentelemetry.instrumentation.genai.anthropic import AnthropicInstrumentor
    from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor

    OpenAIInstrumentor().uninstrument()
    AnthropicInstrumentor().uninstrument()


def run(openai_base_url: str, anthropic_base_url: str) -> str:
    """Return the answer to the ticket."""
    attributes = {
        "user.id": "dana",
        "session.id": "ticket-1042",
        "gen_ai.operation.name": "invoke_workflow",
        "gen_ai.workflow.name": "support_ticket",
        "otel_obs.workflow.id": "support_ticket",
        "otel_obs.workflow.run.id": f"run-{uuid.uuid4().hex[:8]}",
    }
    with (
        openai.OpenAI(api_key="none", base_url=openai_base_url) as gpt,
        anthropic.Anthropic(api_key="none", base_url=anthropic_base_url) as claude,
        _tracer.start_as_current_span("invoke_workflow support_ticket", attributes=attributes),
    ):
        ticket = triage(gpt, TICKET)
        findings = research(claude, gpt, ticket)
        draft = write(gpt, ticket, findings)
        return check(draft)


def triage(gpt: openai.OpenAI, ticket: str) -> dict[str, str]:
    """Return what kind of ticket it is."""
    with _agent("triage", ticket) as span:
        answer = gpt.chat.completions.create(
            model="gpt-5-mini",
            messages=[
                {
                    "role": "system",
                    "content": "You are the triage agent. Answer with JSON: category, priority, summary.",
                },
                {"role": "user", "content": ticket},
            ],
        )
        said = answer.choices[0].message.content or "{}"
        _say(span, said)
        found: dict[str, str] = json.loads(said)
        return found


def research(claude: anthropic.Anthropic, gpt: openai.OpenAI, ticket: dict[str, str]) -> str:
    """Return what the knowledge base and the order system have to say; the model decides what to ask."""
    with _agent("researcher", ticket["summary"]) as span:
        messages: list[Any] = [{"role": "user", "content": ticket["summary"]}]
        while True:
            answer = claude.messages.create(
                model="claude-sonnet-4-5",
                max_tokens=1024,
                system=[
                    {
                        "type": "text",
                        "text": "You are the research agent of a support team. Find out what happened." + _HANDBOOK,
                        "cache_control": {"type": "ephemeral"},
                    }
                ],
                tools=_TOOLS,
                messages=messages,
            )
            asked = [block for block in answer.content if block.type == "tool_use"]
            if not asked:
                text = "".join(block.text for block in answer.content if block.type == "text")
                _say(span, text)
                return text
            results = [
                {"type": "tool_result", "tool_use_id": block.id, "content": _call_tool(gpt, block)} for block in asked
            ]
            messages += [{"role": "assistant", "content": answer.content}, {"role": "user", "content": results}]


def write(gpt: openai.OpenAI, ticket: dict[str, str], findings: str) -> str:
    """Return a draft of the answer, streamed."""
    with _agent("writer", findings) as span:
        stream = gpt.chat.completions.create(
            model="gpt-5",
            stream=True,
            stream_options={"include_usage": True},
            messages=[
                {
                    "role": "system",
                    "content": "You are the writer. Be short and kind; promise nothing that is not found.",
                },
                {"role": "user", "content": f"{ticket['summary']}\n{findings}"},
            ],
        )
        text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
        _say(span, text)
        return text.strip()


def check(draft: str) -> str:
    """Return *draft* if a guardrail finds it unlike answers that leaked personal data."""
    similarity = SequenceMatcher(None, draft, LEAKED_ANSWER).ratio()
    flagged = similarity > 0.8
    attributes: dict[str, Any] = {
        "gen_ai.operation.name": "apply_guardrail",
        "otel_obs.guardrail.name": "leaked_answers",
        "otel_obs.guardrail.similarity_score": round(similarity, 4),
        "otel_obs.guardrail.flagged_reference": LEAKED_ANSWER,
        "otel_obs.guardrail.action_taken": "block" if flagged else "allow",
    }
    with _tracer.start_as_current_span("apply_guardrail leaked_answers", attributes=attributes):
        return "A colleague will answer you." if flagged else draft


@contextmanager
def _agent(name: str, asked: str) -> Iterator[Span]:
    attributes = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": name,
        "gen_ai.input.messages": _message("user", asked),
    }
    with _tracer.start_as_current_span(f"invoke_agent {name}", attributes=attributes) as span:
        yield span


def _say(span: Span, text: str) -> None:
    span.set_attribute("gen_ai.output.messages", _message("assistant", text))


def _message(role: str, text: str) -> str:
    return json.dumps([{"role": role, "parts": [{"type": "text", "content": text}]}])


def _call_tool(gpt: openai.OpenAI, block: anthropic.types.ToolUseBlock) -> str:
    """Return what the tool says; one that fails is called once more."""
    for attempt in (1, 2):
        attributes = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": block.name,
            "gen_ai.tool.call.id": block.id,
            "gen_ai.tool.call.arguments": json.dumps(block.input),
        }
        with _tracer.start_as_current_span(
            f"execute_tool {block.name}", kind=SpanKind.INTERNAL, attributes=attributes, record_exception=False
        ) as span:
            try:
                result = _look_up_order(attempt) if block.name == "look_up_order" else _search(gpt, dict(block.input))
            except TimeoutError as error:
                span.set_attribute("error.type", "TimeoutError")
                span.set_status(Status(StatusCode.ERROR, str(error)))
                continue
            span.set_attribute("gen_ai.tool.call.result", result)
            return result
    return "the order system does not answer"


def _look_up_order(attempt: int) -> str:
    if attempt == 1:
        raise TimeoutError("the order system did not answer within 2 s")
    return json.dumps({"order": "A-1042", "charges": [249.0, 249.0], "invoices": 1})


def _search(gpt: openai.OpenAI, asked: dict[str, Any]) -> str:
    gpt.embeddings.create(model="text-embedding-3-small", input=str(asked["query"]), encoding_format="float")
    return "KB-17: duplicate charges are refunded in full within 5 business days, without approval below $500."


_HANDBOOK = " The handbook: be careful with money, check the invoices, and say what you do not know." * 40
_TOOLS: list[Any] = [
    {
        "name": "search_knowledge_base",
        "description": "Search the articles of the support team.",
        "input_schema": {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]},
    },
    {
        "name": "look_up_order",
        "description": "Return an order's charges and invoices.",
        "input_schema": {"type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]},
    },
]


def main() -> None:
    """Run the workflow once, and send its spans by OTLP."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    from .provider import StandIn

    provider = TracerProvider(resource=Resource.create(RESOURCE))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    instrument()
    with StandIn() as models:
        print(run(models.openai_base_url, models.anthropic_base_url))
    provider.shutdown()


if __name__ == "__main__":
    main()
