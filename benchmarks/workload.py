# ruff: noqa: INP001, S311 -- a program; what is random here is no secret
"""What do agents send? Requests of made-up traces, the same for a seed, and what a correct receiver stores of them.

A trace has 12 spans: a workflow, two agents below it, five calls of models and four of tools below these. Spans leave
in the order in which they end, several traces of a process are under way at once, and a request is cut at so many spans
without regard for traces, as a batch processor does it: children come before their parents, and traces in pieces.
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

SPANS_OF_TRACE = 12
FIRST_START_NS = 1_780_000_000_000_000_000
SPREAD_NS = 24 * 3600 * 10**9
"""Traces are spread over a day."""
SERVICES = 8
UNDER_WAY = 6
"""Traces that a process has under way at once."""

WORDS = (  # noqa: SIM905  # a list of words would be long
    "the of and to in is that for it as was with be by on not he his but at are this have from or had an they "
    "which one you were all her she there would their we him been has when who will no more if out so said "
    "what up its about than into them can only other time new some could these two may first then do any like "
    "my now over such our man me even most made after also did many off before must well back through years "
    "much where your way down should because long each just state those people too mr how little good world "
    "make very year still see own work men day get here between both life being under three never know same "
    "last another while us might great go come since against right came take used himself few house use place "
    "around however home invoice customer payment contract retrieval vector embedding latency token model "
    "agent tool schema index summary report quarter revenue forecast policy claim ticket order shipment "
    "warehouse inventory supplier"
).split()
MODELS = (
    ("gpt-4o", "openai", 2.5, 10.0),
    ("gpt-4o-mini", "openai", 0.15, 0.6),
    ("gpt-4.1-mini", "openai", 0.4, 1.6),
    ("claude-sonnet-4-5-20250929", "anthropic", 3.0, 15.0),
    ("claude-haiku-4-5-20251001", "anthropic", 1.0, 5.0),
    ("gemini-2.5-flash", "gcp.gemini", 0.3, 2.5),
)
"""Model, provider, USD for a million input and output tokens: models that are in everybody's list of prices."""
AGENTS = ("planner", "researcher", "coder", "reviewer", "support-triage", "sql-analyst", "summarizer", "router")
TOOLS = ("web_search", "sql_query", "read_file", "send_email", "calculator", "vector_lookup")
WORKFLOWS = ("support_ticket", "invoice_audit", "weekly_report", "code_review", "lead_enrichment")
STEPS = (("llm", "tool", "llm", "tool", "llm"), ("llm", "tool", "tool", "llm"))
"""What the two agents of a trace do."""
SCOPES = {
    "workflow": ("otel_obs.workflow", "1.0.0"),
    "agent": ("otel_obs.agent", "1.0.0"),
    "llm": ("opentelemetry.instrumentation.openai", "0.55.0"),
    "tool": ("opentelemetry.instrumentation.tools", "0.55.0"),
    "noise": ("opentelemetry.instrumentation.httpx", "0.66b2"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """One request as it goes over the wire."""

    data: bytes
    spans: int
    service: int
    """Which process sends it."""


@dataclass(slots=True, kw_only=True)
class Expected:
    """What a correct receiver has stored in the end."""

    spans: int = 0
    calls: int = 0
    cost_usd: float = 0.0
    trace_ids: list[str] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How the workload looks; the defaults are the usual one."""

    spans: int
    batch: int = 512
    seed: int = 7
    noise: float = 0.0
    """Spans of HTTP requests for each span about GenAI."""
    prompt_bytes: int = 2048
    traces: int = 0
    """Traces that all spans belong to; 0: as many as spans make."""


@dataclass(frozen=True, slots=True)
class _Made:
    end_ns: int
    kind: str
    span: Span


def requests_of(shape: Shape) -> tuple[list[ExportTraceServiceRequest], Expected]:
    """Return the requests of a workload, in the order in which they leave, and what they amount to."""
    random, expected = Random(shape.seed), Expected()
    count = max(1, shape.spans // SPANS_OF_TRACE)
    under_way: list[list[_Made]] = [[] for _ in range(SERVICES)]
    waiting: list[list[_Made]] = [[] for _ in range(SERVICES)]
    requests: list[ExportTraceServiceRequest] = []
    one_of = [random.randbytes(16) for _ in range(shape.traces)]
    for number in range(count):
        service = number % SERVICES
        trace_id = one_of[number % len(one_of)] if one_of else random.randbytes(16)
        under_way[service] += _trace(random, shape, trace_id, number / count, number, expected)
        if len(under_way[service]) >= UNDER_WAY * SPANS_OF_TRACE:
            _end_some(under_way[service], waiting[service], len(under_way[service]) // 2)
            requests += _full(waiting[service], shape.batch, service)
    for service in range(SERVICES):
        _end_some(under_way[service], waiting[service], len(under_way[service]))
        requests += _full(waiting[service], shape.batch, service)
        if waiting[service]:
            requests.append(_request(waiting[service], service))
    expected.spans = sum(expected.kinds.values())
    expected.calls = expected.kinds["llm"]
    return requests, expected


def protobuf(request: ExportTraceServiceRequest) -> Body:
    """Return *request* as OTLP's protobuf."""
    return Body(data=request.SerializeToString(), spans=_spans_in(request), service=_service_of(request))


def otlp_json(request: ExportTraceServiceRequest) -> Body:
    """Return *request* as OTLP's JSON: ids in hex, enums as numbers."""
    found = MessageToDict(request, use_integers_for_enums=True)
    for resource in found["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                span.update({key: base64.b64decode(span[key]).hex() for key in _IDS if key in span})
    data = json.dumps(found, separators=(",", ":")).encode()
    return Body(data=data, spans=_spans_in(request), service=_service_of(request))


_IDS = ("traceId", "spanId", "parentSpanId")


def _spans_in(request: ExportTraceServiceRequest) -> int:
    return sum(len(scope.spans) for resource in request.resource_spans for scope in resource.scope_spans)


def _service_of(request: ExportTraceServiceRequest) -> int:
    names = (item.value.string_value for item in request.resource_spans[0].resource.attributes)
    return int(next(names).rpartition("-")[2])


def _end_some(under_way: list[_Made], waiting: list[_Made], count: int) -> None:
    under_way.sort(key=lambda made: made.end_ns)
    waiting += under_way[:count]
    del under_way[:count]


def _full(waiting: list[_Made], batch: int, service: int) -> Iterator[ExportTraceServiceRequest]:
    while len(waiting) >= batch:
        yield _request(waiting[:batch], service)
        del waiting[:batch]


def _request(spans: Sequence[_Made], service: int) -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    found = request.resource_spans.add()
    _put(
        found.resource.attributes,
        {
            "service.name": f"agents-{service}",
            "service.version": "2.4.1",
            "service.instance.id": f"pod-{service * 37:04}",
            "deployment.environment.name": "prod",
            "telemetry.sdk.language": "python",
            "telemetry.sdk.name": "opentelemetry",
            "telemetry.sdk.version": "1.45.2",
            "host.name": f"ip-10-0-0-{service}",
            "process.pid": 4000 + service,
            "k8s.namespace.name": "agents",
        },
    )
    scopes: dict[str, Any] = {}
    for made in spans:
        if made.kind not in scopes:
            scopes[made.kind] = found.scope_spans.add()
            scopes[made.kind].scope.name, scopes[made.kind].scope.version = SCOPES[made.kind]
        scopes[made.kind].spans.append(made.span)
    return request


def _trace(
    random: Random, shape: Shape, trace_id: bytes, part_of_day: float, number: int, expected: Expected
) -> list[_Made]:
    """Return the spans of one trace, each after what is below it."""
    start = FIRST_START_NS + int(SPREAD_NS * part_of_day)
    tracer = _Tracer(random, trace_id, shape, expected)
    common = {
        "workspace.id": f"ws-{int(200 * random.random() ** 2):03}",
        "user.id": f"user-{random.randrange(5000):04}",
        # Three traces, of one service.
        "session.id": f"sess-{number // (3 * SERVICES) * SERVICES + number % SERVICES:06}",
    }
    run_id = f"run-{random.randbytes(8).hex()}"
    root, now, workflow = random.randbytes(8), start + 2_000_000, random.choice(WORKFLOWS)
    for steps in STEPS:
        now = tracer.agent(root, now, steps, common, run_id)
    tracer.end(
        "workflow",
        f"invoke_workflow {workflow}",
        span_id=root,
        times=(start, now),
        kind_of_span=Span.SPAN_KIND_SERVER,
        attributes={
            "gen_ai.operation.name": "invoke_workflow",
            "gen_ai.workflow.name": workflow,
            "otel_obs.workflow.version": "3",
            "otel_obs.run.id": run_id,
            "deployment.environment.name": "prod",
            "http.route": "/v1/run",
            **common,
        },
    )
    expected.trace_ids.append(trace_id.hex())
    return tracer.made


class _Tracer:
    """Makes the spans of one trace."""

    def __init__(self, random: Random, trace_id: bytes, shape: Shape, expected: Expected) -> None:
        self._random = random
        self._trace_id = trace_id
        self._shape = shape
        self._expected = expected
        self.made: list[_Made] = []

    def agent(self, parent: bytes, start: int, steps: Sequence[str], common: dict[str, str], run_id: str) -> int:
        """Make an agent's span and all below it; return when the next begins."""
        random = self._random
        name = random.choice(AGENTS)
        who = {"gen_ai.agent.id": f"agent-{name}-{random.randrange(50)}", "gen_ai.agent.name": name, **common}
        span_id, now, tokens = random.randbytes(8), start + 1_000_000, [0, 0]
        for step in steps:
            took = self._call(span_id, now, who, tokens) if step == "llm" else self._tool(span_id, now, who)
            now += took + 3_000_000
        self.end(
            "agent",
            f"invoke_agent {name}",
            span_id=span_id,
            parent=parent,
            times=(start, now),
            attributes={
                "gen_ai.operation.name": "invoke_agent",
                "gen_ai.provider.name": "openai",
                "gen_ai.agent.description": _text(random, 80),
                "gen_ai.request.model": "gpt-4o",
                "gen_ai.usage.input_tokens": tokens[0],
                "gen_ai.usage.output_tokens": tokens[1],
                "gen_ai.conversation.id": common["session.id"],
                "otel_obs.run.id": run_id,
                **who,
            },
        )
        return now + 1_000_000

    def _call(self, parent: bytes, start: int, who: dict[str, str], tokens: list[int]) -> int:
        random = self._random
        model, provider, input_price, output_price = random.choice(MODELS)
        took = int(random.lognormvariate(0, 0.6) * 900_000_000)
        asked, answered = int(random.lognormvariate(6.5, 0.7)), int(random.lognormvariate(5, 0.7))
        tokens[0] += asked
        tokens[1] += answered
        self._expected.cost_usd += (asked * input_price + answered * output_price) / 1e6
        prompt = [{"role": "user", "parts": [_part(random, self._shape.prompt_bytes)]}]
        answer = [{"role": "assistant", "parts": [_part(random, 1024)], "finish_reason": "stop"}]
        self.end(
            "llm",
            f"chat {model}",
            span_id=random.randbytes(8),
            parent=parent,
            times=(start, start + took),
            kind_of_span=Span.SPAN_KIND_CLIENT,
            error=f"429 rate limit exceeded for {model}" if random.random() < 0.02 else None,
            attributes={
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": provider,
                "gen_ai.system": provider,
                "gen_ai.request.model": model,
                "gen_ai.response.model": model,
                "gen_ai.request.temperature": round(random.random(), 2),
                "gen_ai.request.max_tokens": 4096,
                "gen_ai.request.top_p": 1.0,
                "gen_ai.response.id": f"chatcmpl-{random.randbytes(12).hex()}",
                "gen_ai.response.finish_reasons": ["stop"],
                "gen_ai.usage.input_tokens": asked,
                "gen_ai.usage.output_tokens": answered,
                "gen_ai.conversation.id": who["session.id"],
                "gen_ai.input.messages": json.dumps(prompt),
                "gen_ai.output.messages": json.dumps(answer),
                "server.address": f"api.{provider}.com",
                "server.port": 443,
                **who,
            },
        )
        self._maybe_noise(self.made[-1].span)
        return took

    def _tool(self, parent: bytes, start: int, who: dict[str, str]) -> int:
        random = self._random
        name = random.choice(TOOLS)
        took = int(random.lognormvariate(0, 0.8) * 80_000_000)
        self.end(
            "tool",
            f"execute_tool {name}",
            span_id=random.randbytes(8),
            parent=parent,
            times=(start, start + took),
            error=f"tool {name} failed: timeout" if random.random() < 0.03 else None,
            attributes={
                "gen_ai.operation.name": "execute_tool",
                "gen_ai.tool.name": name,
                "gen_ai.tool.type": "function",
                "gen_ai.tool.call.id": f"call_{random.randbytes(12).hex()}",
                "gen_ai.tool.call.arguments": json.dumps({"query": _text(random, 80), "limit": 10}),
                "gen_ai.tool.call.result": _text(random, 200),
                **who,
            },
        )
        return took

    def _maybe_noise(self, beside: Span) -> None:
        often = self._shape.noise * SPANS_OF_TRACE / 5
        while often > 0 and self._random.random() < often:
            often -= 1
            self.end(
                "noise",
                "POST",
                span_id=self._random.randbytes(8),
                parent=beside.span_id,
                times=(beside.start_time_unix_nano + 1000, beside.end_time_unix_nano - 1000),
                kind_of_span=Span.SPAN_KIND_CLIENT,
                attributes={
                    "http.request.method": "POST",
                    "url.full": "https://api.openai.com/v1/chat/completions",
                    "server.address": "api.openai.com",
                    "server.port": 443,
                    "http.response.status_code": 200,
                    "network.protocol.version": "1.1",
                },
            )

    def end(
        self,
        kind: str,
        name: str,
        *,
        span_id: bytes,
        times: tuple[int, int],
        attributes: dict[str, Any],
        parent: bytes = b"",
        kind_of_span: Span.SpanKind = Span.SPAN_KIND_INTERNAL,
        error: str | None = None,
    ) -> None:
        """Make a span."""
        span = Span(
            trace_id=self._trace_id,
            span_id=span_id,
            parent_span_id=parent,
            name=name,
            kind=kind_of_span,
            start_time_unix_nano=times[0],
            end_time_unix_nano=times[1],
            flags=0x101,
            status=Status(
                code=Status.STATUS_CODE_OK if error is None else Status.STATUS_CODE_ERROR, message=error or ""
            ),
        )
        _put(span.attributes, attributes)
        if error is not None:
            event = span.events.add(name="exception", time_unix_nano=times[1])
            stack = 'Traceback (most recent call last):\n  File "/app/run.py", line 42\n'
            _put(
                event.attributes,
                {
                    "exception.type": "RateLimitError" if kind == "llm" else "ToolError",
                    "exception.message": error,
                    "exception.stacktrace": stack + _text(self._random, 400),
                },
            )
        self._expected.kinds[kind] += 1
        self.made.append(_Made(times[1], kind, span))


def _part(random: Random, size: int) -> dict[str, str]:
    return {"type": "text", "content": _text(random, size)}


def _text(random: Random, size: int) -> str:
    """Return so many characters that read, and compress, like prose."""
    words = " ".join(random.choices(WORDS, k=size // 5))
    return (words if len(words) >= size else f"{words} {words}")[:size]


def _put(attributes: Any, values: dict[str, Any]) -> None:
    for key, value in values.items():
        attributes.append(_key_value(key, value))


def _key_value(key: str, value: Any) -> KeyValue:
    found = KeyValue(key=key)
    if isinstance(value, int):
        found.value.int_value = value
    elif isinstance(value, float):
        found.value.double_value = value
    elif isinstance(value, str):
        found.value.string_value = value
    else:
        for item in value:
            found.value.array_value.values.add(string_value=item)
    return found
