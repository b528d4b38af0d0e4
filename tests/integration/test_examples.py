"""The examples do what they say: real client libraries, real instrumentations, a stand-in of the providers.

Run as a program, this file runs the workflow and prints its spans: OpenTelemetry's tracer provider can be set
once in a process, and ``anthropic`` reports to that one only.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from genai_prices import Usage, calc_price
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from examples import support_ticket
from examples.provider import Served, StandIn

ROOT = Path(__file__).resolve().parents[2]
RESEARCH = "You are the research agent."
TOOLS = ["search_knowledge_base", "look_up_order"]


@pytest.fixture
def models() -> Iterator[StandIn]:
    with StandIn() as provider:
        yield provider


@pytest.fixture
def gpt(models: StandIn) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key="none", base_url=models.openai_base_url, max_retries=0) as client:
        yield client


@pytest.fixture
def claude(models: StandIn) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(api_key="none", base_url=models.anthropic_base_url, max_retries=0) as client:
        yield client


def openai_usage(usage: Any) -> tuple[int, int, int, int]:
    read, reasoning = usage.prompt_tokens_details.cached_tokens, usage.completion_tokens_details.reasoning_tokens
    return usage.prompt_tokens, read, usage.completion_tokens, reasoning


def served_usage(served: Served) -> tuple[int, int, int, int]:
    return served.input_tokens, served.cache_read_tokens, served.output_tokens, served.reasoning_tokens


def anthropic_usage(usage: Any) -> tuple[int, int, int, int]:
    read, written = usage.cache_read_input_tokens, usage.cache_creation_input_tokens
    return usage.input_tokens + read + written, read, written, usage.output_tokens


def served_anthropic_usage(served: Served) -> tuple[int, int, int, int]:
    return served.input_tokens, served.cache_read_tokens, served.cache_write_tokens, served.output_tokens


@pytest.mark.parametrize(
    "role", ["You are the triage agent.", "You are the writer.", ""], ids=["triage", "writer", "-"]
)
def test_openai_is_told_the_usage_that_was_served(models: StandIn, gpt: openai.OpenAI, role: str) -> None:
    answer = gpt.chat.completions.create(
        model="gpt-5-mini", messages=[{"role": "system", "content": role}, {"role": "user", "content": "?"}]
    )

    (served,) = models.served
    assert openai_usage(answer.usage) == served_usage(served)
    assert (answer.id, answer.model) == (served.response_id, served.model)
    assert served.model == "gpt-5-mini-2025-08-07"
    assert answer.service_tier == "default"
    assert not served.stream


def test_an_openai_stream_ends_with_the_usage_that_was_served(models: StandIn, gpt: openai.OpenAI) -> None:
    chunks = list(
        gpt.chat.completions.create(
            model="gpt-5",
            stream=True,
            stream_options={"include_usage": True},
            messages=[{"role": "developer", "content": "You are the writer."}, {"role": "user", "content": "?"}],
        )
    )

    (served,) = models.served
    assert [chunk.usage is not None for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert openai_usage(chunks[-1].usage) == served_usage(served)
    assert {chunk.id for chunk in chunks} == {served.response_id}
    assert served.stream
    assert "refunded" in "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def test_an_openai_stream_that_is_not_asked_for_usage_tells_none(models: StandIn, gpt: openai.OpenAI) -> None:
    chunks = list(
        gpt.chat.completions.create(model="gpt-5", stream=True, messages=[{"role": "user", "content": "Hello"}])
    )

    assert all(chunk.usage is None for chunk in chunks)
    assert len(models.served) == 1


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_openai_asks_for_tools_until_it_has_their_results(gpt: openai.OpenAI, stream: bool) -> None:
    def ask(*messages: Any) -> Any:
        prompt: list[Any] = [{"role": "system", "content": RESEARCH}, {"role": "user", "content": "?"}, *messages]
        if not stream:
            return gpt.chat.completions.create(model="gpt-5", messages=prompt).choices[0]
        with gpt.chat.completions.stream(model="gpt-5", messages=prompt) as events:
            return events.get_final_completion().choices[0]

    asked = ask()
    calls = asked.message.tool_calls
    results = [{"role": "tool", "tool_call_id": call.id, "content": "found"} for call in calls]
    answered = ask(
        {"role": "assistant", "content": None, "tool_calls": [call.model_dump() for call in calls]}, *results
    )

    assert asked.finish_reason == "tool_calls"
    assert [call.function.name for call in calls] == TOOLS
    assert json.loads(calls[1].function.arguments) == {"order_id": "A-1042"}
    assert len({call.id for call in calls}) == 2
    assert (answered.finish_reason, answered.message.tool_calls) == ("stop", None)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_response_tells_the_usage_that_was_served_and_asks_for_tools_until_it_has_their_results(
    models: StandIn, gpt: openai.OpenAI, stream: bool
) -> None:
    def ask(*items: Any) -> Any:
        given: Any = {"model": "gpt-5", "instructions": RESEARCH, "input": [{"role": "user", "content": "?"}, *items]}
        if not stream:
            return gpt.responses.create(**given)
        with gpt.responses.stream(**given) as events:
            return events.get_final_response()

    asked = ask()
    calls = [item for item in asked.output if item.type == "function_call"]
    results = [{"type": "function_call_output", "call_id": call.call_id, "output": "found"} for call in calls]
    answered = ask(*[call.model_dump() for call in calls], *results)

    assert [call.name for call in calls] == TOOLS
    assert json.loads(calls[1].arguments) == {"order_id": "A-1042"}
    assert [item.type for item in answered.output] == ["message"]
    assert [
        (each.id, each.model, each.usage.input_tokens, each.usage.output_tokens, stream) for each in (asked, answered)
    ] == [(each.response_id, each.model, each.input_tokens, each.output_tokens, each.stream) for each in models.served]


@pytest.mark.parametrize("encoding", ["float", "base64", None], ids=["float", "base64", "the client's default"])
def test_embeddings_are_a_vector_for_each_text(models: StandIn, gpt: openai.OpenAI, encoding: Any) -> None:
    given = {} if encoding is None else {"encoding_format": encoding}

    answer = gpt.embeddings.create(model="text-embedding-3-small", input=["one text", "another text"], **given)

    (served,) = models.served
    assert len(answer.data) == 2
    if encoding != "base64":
        assert answer.data[1].embedding == pytest.approx([0.1, -0.2, 0.3])
    assert served == Served(
        operation="embeddings",
        model="text-embedding-3-small",
        response_id="",
        input_tokens=answer.usage.prompt_tokens,
    )


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_anthropic_writes_its_cache_then_reads_it_and_counts_both_beside_the_input(
    models: StandIn, claude: anthropic.Anthropic, stream: bool
) -> None:
    def ask(*messages: Any) -> Any:
        request: Any = {"model": "claude-haiku-4-5", "max_tokens": 100, "system": RESEARCH}
        request["messages"] = [{"role": "user", "content": "?"}, *messages]
        if not stream:
            return claude.messages.create(**request)
        with claude.messages.stream(**request) as events:
            return events.get_final_message()

    asked = ask()
    calls = [block for block in asked.content if block.type == "tool_use"]
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": "found"} for call in calls]
    answered = ask({"role": "assistant", "content": asked.content}, {"role": "user", "content": results})

    assert asked.stop_reason == "tool_use"
    assert [(call.name, call.input) for call in calls][1] == ("look_up_order", {"order_id": "A-1042"})
    assert answered.stop_reason == "end_turn"
    assert [anthropic_usage(answer.usage) for answer in (asked, answered)] == [
        served_anthropic_usage(served) for served in models.served
    ]
    assert [(served.response_id, served.stream) for served in models.served] == [
        (asked.id, stream),
        (answered.id, stream),
    ]
    assert models.served[0].cache_write_tokens == models.served[1].cache_read_tokens > 0


@pytest.mark.parametrize(("ttl", "five_minutes", "hour"), [("5m", 1904, 0), ("1h", 0, 1904)], ids=["5m", "1h"])
def test_anthropic_counts_what_it_wrote_to_its_cache_by_time_to_live(
    claude: anthropic.Anthropic, ttl: Any, five_minutes: int, hour: int
) -> None:
    answer = claude.messages.create(
        model="claude-haiku-4-5",
        max_tokens=100,
        system=[{"type": "text", "text": RESEARCH, "cache_control": {"type": "ephemeral", "ttl": ttl}}],
        messages=[{"role": "user", "content": "?"}],
    )

    created = answer.usage.cache_creation
    assert created is not None
    assert (created.ephemeral_5m_input_tokens, created.ephemeral_1h_input_tokens) == (five_minutes, hour)
    assert answer.usage.cache_creation_input_tokens == five_minutes + hour


def test_a_path_that_no_provider_has_is_an_error_and_no_call(models: StandIn, gpt: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="no such path: /v1/moderations"):
        gpt.moderations.create(input="?")

    assert models.served == []


def test_a_stream_that_is_broken_off_was_served_all_the_same(models: StandIn, gpt: openai.OpenAI) -> None:
    messages: Any = [{"role": "system", "content": "You are the writer."}]
    with gpt.chat.completions.create(model="gpt-5", stream=True, messages=messages) as chunks:
        next(iter(chunks))

    assert [served.output_tokens for served in models.served] == [486]


def test_a_draft_without_personal_data_is_allowed_as_it_is() -> None:
    assert support_ticket.check("We have refunded you.") == "We have refunded you."


@pytest.mark.parametrize(
    "draft",
    ["Your card 4242 4242 4242 4242 is refunded.", "I wrote to dana@example.com.", *support_ticket._LEAKED.values()],
    ids=["card number", "e-mail address", "a leaked answer"],
)
def test_a_draft_that_gives_personal_data_away_is_blocked(draft: str) -> None:
    assert "colleague" in support_ticket.check(draft)


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    """What the workflow told, in a process of its own: ``answer``, ``served``, ``spans``."""
    given = {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "span_only"}
    told: dict[str, Any] = json.loads(run_program("-W", "error", __file__, **given))
    return told


def run_program(*arguments: str, **environ: str) -> str:
    """Run Python in the repository; return what it printed, and fail if it said anything else."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "OPENAI_"))}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**clean, "PYTHONPATH": str(ROOT), **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


CLAUDE_TWICE = ("anthropic.messages.create", "chat claude-haiku-4-5")


def test_the_workflow_is_a_tree_of_agents_tools_calls_and_a_check(told: dict[str, Any]) -> None:
    spans = told["spans"]
    names = {span["span_id"]: span["name"] for span in spans}
    workflow = "invoke_workflow support_ticket"
    research = "invoke_agent researcher"

    edges = Counter((names.get(span["parent_id"]), span["name"]) for span in spans if span["name"] not in CLAUDE_TWICE)

    assert edges == {
        (None, workflow): 1,
        (workflow, "invoke_agent triage"): 1,
        ("invoke_agent triage", "chat gpt-5-mini"): 1,
        (workflow, research): 1,
        (research, "execute_tool search_knowledge_base"): 1,
        ("execute_tool search_knowledge_base", "embeddings text-embedding-3-small"): 1,
        (research, "execute_tool look_up_order"): 2,
        (workflow, "invoke_agent writer"): 1,
        ("invoke_agent writer", "chat gpt-5"): 1,
        (workflow, "apply_guardrail pii_and_similarity"): 1,
    }
    assert len({span["trace_id"] for span in spans}) == 1


def test_each_claude_call_is_told_twice_inside_the_researcher(told: dict[str, Any]) -> None:
    spans = {span["span_id"]: span for span in told["spans"]}
    twice = [span for span in spans.values() if span["name"] in CLAUDE_TWICE]

    assert Counter(span["name"] for span in twice) == dict.fromkeys(CLAUDE_TWICE, 2)
    for span in twice:
        above = spans[span["parent_id"]]
        while above["name"] in CLAUDE_TWICE:
            above = spans[above["parent_id"]]
        assert above["name"] == "invoke_agent researcher"


def test_operations_are_those_of_the_conventions(told: dict[str, Any]) -> None:
    operations = {span["name"]: span["attributes"].get("gen_ai.operation.name") for span in told["spans"]}

    for name, operation in operations.items():
        assert operation == ("chat" if name == "anthropic.messages.create" else name.split(" ")[0])


def test_the_workflow_says_whose_it_is(told: dict[str, Any]) -> None:
    (workflow,) = [span for span in told["spans"] if span["parent_id"] is None]
    attributes = workflow["attributes"]

    assert attributes["gen_ai.workflow.name"] == attributes["otel_obs.workflow.id"] == "support_ticket"
    assert attributes["session.id"] == attributes["gen_ai.conversation.id"] == "ticket-1042"
    assert attributes["user.id"] == "dana"
    assert attributes["otel_obs.workflow.run.id"].startswith("run-")
    assert workflow["resource"].items() >= support_ticket.RESOURCE.items()
    assert told["answer"] in json.loads(attributes["gen_ai.output.messages"])[0]["parts"][0]["content"]


def test_every_served_call_is_told_by_a_span_with_the_same_usage(told: dict[str, Any]) -> None:
    reported = {usage_of(span["attributes"]) for span in told["spans"]}
    served = [Served(**call) for call in told["served"]]

    assert [call.operation for call in served] == ["chat", "chat", "embeddings", "chat", "chat"]
    assert len({call.response_id for call in served}) == 5
    for call in served:
        assert (call.response_id, call.model, call.input_tokens, call.output_tokens) in reported


def usage_of(attributes: dict[str, Any]) -> tuple[str, str | None, int | None, int]:
    return (
        attributes.get("gen_ai.response.id", ""),
        attributes.get("gen_ai.response.model"),
        attributes.get("gen_ai.usage.input_tokens"),
        attributes.get("gen_ai.usage.output_tokens", 0),
    )


def test_parts_of_usage_are_told_where_they_were_served(told: dict[str, Any]) -> None:
    spans = [span["attributes"] for span in told["spans"]]
    chats = [Served(**call) for call in told["served"] if call["operation"] == "chat"]

    for call in chats:
        mine = [span for span in spans if span.get("gen_ai.response.id") == call.response_id]
        parts = {
            "gen_ai.usage.cache_read.input_tokens": call.cache_read_tokens,
            "gen_ai.usage.cache_write.input_tokens": call.cache_write_tokens,
            "gen_ai.usage.reasoning.output_tokens": call.reasoning_tokens,
        }
        for name, tokens in parts.items():
            if tokens:
                assert tokens in [span.get(name) for span in mine], name


def test_a_tool_fails_once_and_is_used_again(told: dict[str, Any]) -> None:
    failed, again = [span for span in told["spans"] if span["name"] == "execute_tool look_up_order"]

    assert (failed["status"], failed["attributes"]["error.type"]) == ("ERROR", "TimeoutError")
    assert again["status"] != "ERROR"
    assert failed["attributes"]["gen_ai.tool.call.id"] == again["attributes"]["gen_ai.tool.call.id"]
    assert json.loads(again["attributes"]["gen_ai.tool.call.arguments"]) == {"order_id": "A-1042"}
    assert json.loads(again["attributes"]["gen_ai.tool.call.result"])["invoices"] == 1


def test_the_guardrail_tells_its_verdict(told: dict[str, Any]) -> None:
    (check,) = [span["attributes"] for span in told["spans"] if span["name"].startswith("apply_guardrail")]

    assert check["otel_obs.guardrail.name"] == "pii_and_similarity"
    assert 0 < check["otel_obs.guardrail.similarity_score"] < 0.8
    assert check["otel_obs.guardrail.flagged_reference"] == "incident-2093"
    assert check["otel_obs.guardrail.action_taken"] == "allow"


def test_every_model_that_was_served_has_a_price(told: dict[str, Any]) -> None:
    for model in {call["model"] for call in told["served"]}:
        provider = "anthropic" if model.startswith("claude") else "openai"
        assert calc_price(Usage(input_tokens=1000), model_ref=model, provider_id=provider).total_price > 0


@contextmanager
def otlp_sink() -> Iterator[tuple[str, list[str]]]:
    """Give the endpoint of an OTLP receiver, and the names of the spans that reach it."""
    names: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            request = ExportTraceServiceRequest.FromString(body)
            names.extend(
                span.name for part in request.resource_spans for scope in part.scope_spans for span in scope.spans
            )
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", names
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("example", "printed", "count", "span"),
    [
        ("quickstart", "gpt-4o-mini-2024-07-18: 24 tokens in, 11 out", 1, "chat gpt-4o-mini"),
        ("support_ticket", "Hello Dana", 15, "invoke_workflow support_ticket"),
    ],
    ids=["quickstart", "support_ticket"],
)
def test_an_example_sends_its_spans_where_the_standard_variables_say(
    example: str, printed: str, count: int, span: str
) -> None:
    with otlp_sink() as (endpoint, names):
        said = run_program("-m", f"examples.{example}", OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)

    assert printed in said
    assert len(names) == count
    assert span in names


def main() -> None:
    """Run the workflow, and print what it told."""
    from opentelemetry import trace  # noqa: PLC0415  # only the process that runs the workflow sets it up
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: PLC0415
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter  # noqa: PLC0415

    memory = InMemorySpanExporter()
    tracing = TracerProvider(resource=Resource.create(support_ticket.RESOURCE))
    tracing.add_span_processor(SimpleSpanProcessor(memory))
    trace.set_tracer_provider(tracing)
    support_ticket.instrument()
    with StandIn() as models:
        answer = support_ticket.run(models.openai_base_url, models.anthropic_base_url)
    support_ticket.uninstrument()
    spans = [
        {
            "trace_id": span.context.trace_id,
            "span_id": span.context.span_id,
            "parent_id": span.parent and span.parent.span_id,
            "name": span.name,
            "status": span.status.status_code.name,
            "attributes": dict(span.attributes or {}),
            "resource": dict(span.resource.attributes),
        }
        for span in memory.get_finished_spans()
    ]
    sys.stdout.write(json.dumps({"answer": answer, "served": [asdict(call) for call in models.served], "spans": spans}))


if __name__ == "__main__":
    main()
