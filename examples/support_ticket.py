"""A small agent workflow worth looking at: a support ticket is triaged, researched, answered and checked.

The models are asked through the real ``openai`` and ``anthropic`` libraries, whose OpenTelemetry
instrumentations report each request; the workflow, its agents and its tools are reported with
``opentelemetry-util-genai``, in the names of the GenAI conventions.

    python -m examples.support_ticket

runs it against a stand-in of the providers and sends its spans where the standard ``OTEL_EXPORTER_OTLP_*``
variables say (http://localhost:4318 without them). Prompts and answers are sent only with
``OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=span_only``.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from contextlib import suppress
from difflib import SequenceMatcher
from typing import Any

import anthropic
import openai
from opentelemetry import trace
from opentelemetry.util.genai.handler import TelemetryHandler
from opentelemetry.util.genai.types import InputMessage, OutputMessage, TextPart

RESOURCE = {
    "service.name": "support",
    "service.version": "1.0.0",
    "otel_obs.organization.id": "acme",
    "otel_obs.workspace.id": "support",
}
"""Whose program this is: every span of it belongs to them."""

TICKET = "I was charged twice for order A-1042! I want the second payment back. Dana"

_SCOPE = "examples.support_ticket"
_LEAKED = {"incident-2093": "Hello Dana Scully, we refunded $249.00 to your card 4242 4242 4242 4242, expiring 11/27."}
"""Answers of the past that gave away what they should not, by the incident that they became."""
_CARD_OR_EMAIL = re.compile(r"\b(?:\d[ -]?){13,16}\b|\b\S+@\S+\.\w+")
_HANDBOOK = " The handbook: be careful with money, check the invoices, and say what you do not know." * 40


def instrument() -> None:
    """Let the client libraries report their requests.

    ``anthropic`` 2.x also reports each by itself: two reports of one call, which is to be counted once.
    """
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
    telemetry = TelemetryHandler(instrumentation_scope_name=_SCOPE, instrumentation_scope_version="1.0.0")
    with (
        openai.OpenAI(api_key="none", base_url=openai_base_url) as gpt,
        anthropic.Anthropic(api_key="none", base_url=anthropic_base_url) as claude,
        telemetry.workflow("support_ticket", conversation_id="ticket-1042") as workflow,
    ):
        workflow.attributes.update(
            {
                "user.id": "dana",
                "session.id": "ticket-1042",
                "otel_obs.workflow.id": "support_ticket",
                "otel_obs.workflow.run.id": f"run-{uuid.uuid4().hex[:8]}",
            }
        )
        workflow.input_messages = [_from_user(TICKET)]
        ticket = triage(telemetry, gpt, TICKET)
        findings = research(telemetry, claude, gpt, ticket["summary"])
        answer = check(write(telemetry, gpt, ticket["summary"], findings))
        workflow.output_messages = [_from_assistant(answer)]
        return answer


def triage(telemetry: TelemetryHandler, gpt: openai.OpenAI, text: str) -> dict[str, str]:
    """Return the category, priority and summary of a ticket."""
    with telemetry.invoke_local_agent(agent_name="triage") as agent:
        agent.input_messages = [_from_user(text)]
        answer = gpt.chat.completions.create(
            model="gpt-5-mini",
            response_format=_TICKET_SCHEMA,
            messages=[
                {"role": "system", "content": "You are the triage agent. Say what kind of ticket this is."},
                {"role": "user", "content": text},
            ],
        )
        said = answer.choices[0].message.content or "{}"
        agent.output_messages = [_from_assistant(said)]
        ticket: dict[str, str] = json.loads(said)
        return ticket


def research(telemetry: TelemetryHandler, claude: anthropic.Anthropic, gpt: openai.OpenAI, summary: str) -> str:
    """Return what the knowledge base and the order system have to say; the model decides what to ask."""
    with telemetry.invoke_local_agent(agent_name="researcher") as agent:
        agent.input_messages = [_from_user(summary)]
        messages: list[Any] = [{"role": "user", "content": summary}]
        while (answer := _ask(claude, messages)).stop_reason == "tool_use":
            results = [
                {"type": "tool_result", "tool_use_id": block.id, "content": _use_tool(telemetry, gpt, block)}
                for block in answer.content
                if block.type == "tool_use"
            ]
            messages += [{"role": "assistant", "content": answer.content}, {"role": "user", "content": results}]
        findings = "".join(block.text for block in answer.content if block.type == "text")
        agent.output_messages = [_from_assistant(findings)]
        return findings


def write(telemetry: TelemetryHandler, gpt: openai.OpenAI, summary: str, findings: str) -> str:
    """Return a draft of the answer, as it was streamed."""
    with telemetry.invoke_local_agent(agent_name="writer") as agent:
        agent.input_messages = [_from_user(findings)]
        draft = "".join(_stream(gpt, f"{summary}\n{findings}")).strip()
        agent.output_messages = [_from_assistant(draft)]
        return draft


def check(draft: str) -> str:
    """Return *draft* unless it has personal data in it, or is much like an answer that once leaked some."""
    tracer = trace.get_tracer(_SCOPE, "1.0.0")
    with tracer.start_as_current_span("apply_guardrail pii_and_similarity") as span:
        scores = {name: SequenceMatcher(None, draft, leaked).ratio() for name, leaked in _LEAKED.items()}
        nearest = max(scores, key=scores.__getitem__)
        blocked = scores[nearest] > 0.8 or _CARD_OR_EMAIL.search(draft) is not None
        span.set_attributes(
            {
                "gen_ai.operation.name": "apply_guardrail",
                "otel_obs.guardrail.name": "pii_and_similarity",
                "otel_obs.guardrail.similarity_score": round(scores[nearest], 4),
                "otel_obs.guardrail.flagged_reference": nearest,
                "otel_obs.guardrail.action_taken": "block" if blocked else "allow",
            }
        )
        return "Thank you for your message. A colleague will answer you." if blocked else draft


def _ask(claude: anthropic.Anthropic, messages: list[Any]) -> anthropic.types.Message:
    instructions = "You are the research agent of a support team. Find out what happened." + _HANDBOOK
    return claude.messages.create(
        model="claude-haiku-4-5",
        max_tokens=1024,
        system=[{"type": "text", "text": instructions, "cache_control": {"type": "ephemeral"}}],
        tools=_TOOLS,
        messages=messages,
    )


def _stream(gpt: openai.OpenAI, asked: str) -> Iterator[str]:
    instructions = "You are the writer. Be short and kind; promise nothing that is not found." + _HANDBOOK
    chunks = gpt.chat.completions.create(
        model="gpt-5",
        stream=True,
        stream_options={"include_usage": True},
        messages=[{"role": "developer", "content": instructions}, {"role": "user", "content": asked}],
    )
    for chunk in chunks:
        if chunk.choices:
            yield chunk.choices[0].delta.content or ""


def _use_tool(telemetry: TelemetryHandler, gpt: openai.OpenAI, block: anthropic.types.ToolUseBlock) -> str:
    """Return what a tool says; one that fails is used once more."""
    arguments: dict[str, Any] = dict(block.input)
    for attempt in (1, 2):
        with suppress(TimeoutError), telemetry.tool(block.name, tool_type="function", agent_name="researcher") as tool:
            tool.tool_call_id, tool.arguments = block.id, arguments
            said = _look_up_order(attempt) if block.name == "look_up_order" else _search(gpt, arguments["query"])
            tool.tool_result = said
            return said
    return "The tool does not answer."


def _search(gpt: openai.OpenAI, query: str) -> str:
    gpt.embeddings.create(model="text-embedding-3-small", input=query, encoding_format="float")
    return "KB-17: duplicate charges are refunded in full within 5 business days, without approval below $500."


def _look_up_order(attempt: int) -> str:
    if attempt == 1:
        raise TimeoutError("the order system did not answer within 2 s")
    return json.dumps({"order": "A-1042", "charges": [249.0, 249.0], "invoices": 1})


def _from_user(text: str) -> InputMessage:
    return InputMessage(role="user", parts=[TextPart(text)])


def _from_assistant(text: str) -> OutputMessage:
    return OutputMessage(role="assistant", parts=[TextPart(text)])


_TICKET_SCHEMA: Any = {
    "type": "json_schema",
    "json_schema": {
        "name": "ticket",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {name: {"type": "string"} for name in ("category", "priority", "summary")},
            "required": ["category", "priority", "summary"],
            "additionalProperties": False,
        },
    },
}
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

    tracing = TracerProvider(resource=Resource.create(RESOURCE))
    tracing.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(tracing)
    instrument()
    with StandIn() as models:
        print(run(models.openai_base_url, models.anthropic_base_url))
    tracing.shutdown()


if __name__ == "__main__":
    main()
