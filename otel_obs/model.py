"""The values that travel through the pipeline: what was received, and what it means.

A **span** (or log record) is what OTLP carried; a **reading** is what a dialect
understood of it: a **call** (one request to a model provider), a **run** (workflow or
agent), a **step** (tool, retrieval) or a **check** (guardrail).
Names follow OTLP (https://github.com/open-telemetry/opentelemetry-proto) and the GenAI
conventions (https://github.com/open-telemetry/semantic-conventions-genai).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from decimal import Decimal
from typing import Literal, TypeAlias

from otel_obs.frozen import dataclass

AttributeValue: TypeAlias = (
    "bool | int | float | str | bytes | Sequence[AttributeValue] | Mapping[str, AttributeValue] | None"
)
"""An OTLP AnyValue as Python has it; text holds no NUL and no lone surrogate."""

Attributes: TypeAlias = Mapping[str, AttributeValue]


@dataclass(frozen=True, slots=True)
class Resource:
    """Who sent it (OTLP ``Resource``)."""

    attributes: Attributes = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Scope:
    """Which instrumentation library made it (OTLP ``InstrumentationScope``)."""

    name: str = ""
    version: str = ""
    attributes: Attributes = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SpanEvent:
    """Something that happened during a span."""

    name: str
    time_unix_nano: int = 0
    attributes: Attributes = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Link:
    """A span that this one refers to."""

    trace_id: str
    span_id: str
    attributes: Attributes = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One span as it was sent, its text made storable."""

    trace_id: str
    """32 lower-case hex digits, not all zero."""
    span_id: str
    """16 lower-case hex digits, not all zero."""
    parent_span_id: str | None = None
    """None for a root; a span that names itself as its parent is a root, flagged ``self_parent``."""
    name: str = ""
    kind: int = 0
    """OTLP SpanKind as sent, unknown numbers included."""
    start_time_unix_nano: int = 0
    end_time_unix_nano: int = 0
    """0 while the span is unfinished."""
    attributes: Attributes = field(default_factory=dict)
    events: Sequence[SpanEvent] = ()
    links: Sequence[Link] = ()
    status_code: int = 0
    """0 unset, 1 ok, 2 error."""
    status_message: str = ""
    trace_state: str = ""
    """W3C ``tracestate`` as sent, such as ``ot=th:c``."""
    dropped_attributes_count: int = 0
    """Attributes, events and links that were left out because they were too many: by the sender, or on reading."""
    dropped_events_count: int = 0
    dropped_links_count: int = 0
    scope: Scope = field(default_factory=Scope)
    resource: Resource = field(default_factory=Resource)
    flags: tuple[str, ...] = ()
    """What had to be mended on the way in: ``sanitized``, ``duplicate_attribute``, ``truncated`` ..."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRecord:
    """One log record as it was sent, its text made storable."""

    time_unix_nano: int = 0
    """Event time; 0 where only ``observed_time_unix_nano`` is known."""
    observed_time_unix_nano: int = 0
    severity_number: int = 0
    severity_text: str = ""
    event_name: str = ""
    body: AttributeValue = None
    attributes: Attributes = field(default_factory=dict)
    trace_id: str = ""
    """32 hex digits, or '' where the record belongs to no trace."""
    span_id: str = ""
    """16 hex digits, or ''."""
    scope: Scope = field(default_factory=Scope)
    resource: Resource = field(default_factory=Resource)
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rejected:
    """One span or log record that is refused, kept in quarantine with its reason."""

    reason: str
    """A short code: ``trace_id:absent``, ``span_id:wrong_length``, ``span_too_large`` ..."""
    signal: Literal["traces", "logs"] = "traces"
    payload: bytes = b""
    """What was refused (OTLP protobuf of the one span or record, cut at 64 KiB)."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """What one OTLP request carried."""

    spans: Sequence[Span] = ()
    logs: Sequence[LogRecord] = ()
    rejected: Sequence[Rejected] = ()
    warning: str = ""
    """Told to the sender in ``partial_success`` even if nothing was rejected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What the provider billed for one call; None where the emitter does not say, 0 where it says 0."""

    input_tokens: int | None = None
    """Every prompt token, cached ones included (semconv ``gen_ai.usage.input_tokens``)."""
    cache_read_tokens: int | None = None
    """The part of ``input_tokens`` read from the provider's cache."""
    cache_write_tokens: int | None = None
    """The part of ``input_tokens`` written to the provider's cache."""
    cache_write_1h_tokens: int | None = None
    """The part of ``cache_write_tokens`` written for an hour."""
    output_tokens: int | None = None
    """Every generated token, reasoning included."""
    reasoning_tokens: int | None = None
    """The part of ``output_tokens`` that is reasoning."""
    billed_units: Mapping[str, int] = field(default_factory=dict)
    """Other things billed: ``input_audio_tokens``, ``output_audio_tokens``, ``input_image_tokens``,
    ``cache_audio_read_tokens``, ``images``, ``characters``, ``seconds``, ``web_searches``, ``requests``."""

    @property
    def known(self) -> bool:
        """True if the call counts as a *call with usage*: input or output tokens are known."""
        return self.input_tokens is not None or self.output_tokens is not None

    @property
    def parts(self) -> int:
        """How many parts are known; the report that knows most is believed."""
        return (
            (self.input_tokens is not None)
            + (self.cache_read_tokens is not None)
            + (self.cache_write_tokens is not None)
            + (self.cache_write_1h_tokens is not None)
            + (self.output_tokens is not None)
            + (self.reasoning_tokens is not None)
            + len(self.billed_units)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request that a model provider served, or tried to."""

    operation: str
    """``chat``, ``text_completion``, ``generate_content``, ``embeddings``, ``rerank``, ``image``,
    ``speech``, ``transcription``, ``moderation`` or ``video``."""
    provider: str | None = None
    """semconv ``gen_ai.provider.name`` value: ``openai``, ``anthropic``, ``aws.bedrock``, ``gcp.gemini`` ..."""
    request_model: str | None = None
    response_model: str | None = None
    response_id: str | None = None
    usage: Usage = field(default_factory=Usage)
    usage_source: Literal["reported", "split", "estimated"] | None = None
    """None where there is no usage; ``split`` where only a total is known; ``estimated`` where the
    emitter itself says that it guessed."""
    failed: bool = False
    """The provider refused or the request broke off before an answer."""
    service_tier: str | None = None
    is_batch: bool = False
    is_stream: bool | None = None
    attempts: int | None = None
    endpoint: str | None = None
    """``server.address``[:port] of the request."""
    finish_reason: str | None = None
    time_to_first_token_ms: float | None = None
    reported_cost_usd: Decimal | None = None
    """What the emitter believes it cost; finite, not negative; None when it says nothing or 0."""
    prompt_name: str | None = None
    prompt_version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A workflow or an agent at work."""

    kind: Literal["workflow", "agent"]
    name: str | None = None
    """The agent's or the workflow's name."""
    agent_id: str | None = None
    """Stable id of the agent, else its name; None for a workflow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A tool call or a retrieval."""

    kind: Literal["tool", "retrieval"]
    name: str | None = None
    call_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A guardrail's verdict on something."""

    guardrail_name: str | None = None
    similarity_score: float | None = None
    flagged_reference: str | None = None
    action_taken: str | None = None


@dataclass(frozen=True, slots=True)
class Content:
    """A part of what was said: it goes to ``span_contents`` and nowhere else."""

    part: Literal["input", "output", "system", "tools", "tool_arguments", "tool_result", "reference"]
    body: str
    """Text, or JSON text."""


EventType: TypeAlias = Literal[
    "workflow", "agent", "llm", "embedding", "tool", "retrieval", "guardrail",
    "evaluation", "feature_flag", "span", "log",
]  # fmt: skip


TOLD_AGAIN = "agent_unless_nested"
"""Flag of a span that is an agent's run only where no other span tells the same run."""
RUNNING_TOTAL = "running_total"
"""``running_total(INPUT,OUTPUT)``: what the span reports is the sum over the rounds of an answer up to its own."""
ROUNDS_BELOW = "rounds_below"
"""Flag of a span whose requests right below it are the rounds of one answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a dialect understood of one span or log record. At most one of call, run, step, check."""

    event_type: EventType = "span"
    dialect: str = ""
    """Which dialect was recognised: ``gen_ai``, ``openinference`` ...; '' for a span of none."""
    name: str | None = None
    """A better name than the span's own (a template, say); None to keep it."""
    call: Call | None = None
    run: Run | None = None
    step: Step | None = None
    check: Check | None = None
    is_rollup: bool = False
    """It carries usage that repeats what other spans report: ``cost_state`` is ``rollup``."""
    failed: bool = False
    """The dialect proves failure although the span's status does not say so."""
    error_type: str | None = None
    agent_id: str | None = None
    """The agent this span says it belongs to (for an agent run: itself)."""
    agent_name: str | None = None
    flow_id: str | None = None
    """The workflow this span says it belongs to."""
    run_id: str | None = None
    conversation_id: str | None = None
    user_id: str | None = None
    contents: tuple[Content, ...] = ()
    content_keys: frozenset[str] = frozenset()
    """Names of span attributes that hold content and so must not be in ``context``."""
    content_event_keys: frozenset[str] = frozenset()
    """Names of attributes *of span events* that hold content."""
    body_is_content: bool = False
    """For a log record: its body is content."""
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a call costs."""

    cents: Decimal | None = None
    """US cents, never rounded; None where it is not known."""
    rate_per_1k: Decimal | None = None
    """Cents per 1,000 tokens over the call."""
    source: Literal["computed", "reported", "estimated", "unpriced"] = "unpriced"
    reason: str | None = None
    """Why there is no cost: ``unknown_model``, ``no_usage``, ``unknown_unit``."""
    price_id: str | None = None
