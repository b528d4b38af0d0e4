"""Captures of real instrumentations, and what their providers really served."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from otel_obs.model import LogRecord, Span
from otel_obs.otlp.decode import decode_logs, decode_traces

FOLDER = Path(__file__).parent / "data" / "corpus"

COLUMNS = {
    "input_total": "input_tokens",
    "cache_read": "cache_read_tokens",
    "cache_creation": "cache_write_tokens",
    "output_total": "output_tokens",
    "reasoning": "reasoning_tokens",
}
"""The truth's name of a sum -> our column."""

NO_USAGE_ON_SPANS = {"autogen"}
"""Usage is in the JSON of messages only, told many times: nothing is costed from it."""


MORE_RUNS = {"autogen", "claude-code", "vercel-ai-v5", "vercel-ai-v7", "vercel-ai-v7-legacy"}
"""Spans rightly tell more runs than their programs wrote down: rounds of a chat, loops with a function id."""

BRIEFLY = {
    "ag2", "agent365", "agent365-openai-agents", "agentops", "agentscope", "ax", "azure-ai", "botocore-bedrock",
    "braintrust", "codex", "datadog", "effect", "fast-agent", "gemini-cli", "genai-bedrock", "genkit",
    "google-adk-1.14", "google-adk-js", "google-adk-litellm", "guardrails-ai", "haystack-2.19", "haystack-anthropic",
    "honeyhive", "judgeval", "laminar", "laminar-python", "langfuse", "langfuse-js", "langfuse-langchain", "langtrace",
    "langwatch", "litellm-otel-semconv", "litellm-proxy", "livekit-agents", "livekit-agents-1.2", "llama-index-otel",
    "loongsuite-litellm", "mastra", "mastra-1.0", "microsoft-opentelemetry-openai-agents", "mistral-native",
    "mlflow-anthropic-langchain", "monocle", "openinference-bedrock", "openinference-beeai",
    "openinference-crewai-stacked", "openinference-google-genai", "openinference-js-bedrock",
    "openinference-js-openai-agents", "openinference-langchain-anthropic-google", "openinference-mistralai",
    "openinference-strands", "openinference-vertexai", "openlit-google", "openlit-haystack", "openlit-js",
    "openlit-litellm", "openlit-openai-1.34", "openlit-openai-agents", "openlit-pydantic-ai", "openllmetry-bedrock",
    "openllmetry-crewai-stacked", "openllmetry-google", "openllmetry-js-vercel-ai", "openllmetry-mistral", "pipecat",
    "promptflow", "pydantic-ai-1.0-v3", "respan-stacked", "semantic-kernel", "sentry-js", "splunk-langchain",
    "strands-js", "tanstack", "traceai", "vercel-ai-v4", "vercel-ai-v6", "vercel-ai-v7-legacy", "voltagent",
}  # fmt: skip
"""Sent one by one in any order only: the ways in which they can go wrong are those of other captures."""


@dataclass(frozen=True)
class Body:
    """One request as it was captured."""

    signal: str
    data: bytes


@dataclass(frozen=True)
class Capture:
    """One program's telemetry, and the truth about it."""

    name: str
    bodies: tuple[Body, ...]
    expected: dict[str, Any]

    @property
    def totals(self) -> dict[str, int]:
        """Return the sums over calls with usage that some span carries."""
        if self.name in NO_USAGE_ON_SPANS:
            return dict.fromkeys(("calls", *COLUMNS), 0)
        found: dict[str, int] = self.expected["totals_derivable_from_spans"]
        return found

    @property
    def truth(self) -> dict[tuple[int, int], dict[str, int]]:
        """Return what the provider billed, by (input, output) tokens, which are distinctive."""
        return {
            (call["billed"]["input_total"], call["billed"]["output_total"]): call["billed"]
            for call in self.expected["llm_calls"]
            if call.get("billed")
        }


@cache
def capture(name: str) -> Capture:
    folder = FOLDER / name
    traces = [Body("traces", path.read_bytes()) for path in sorted(folder.glob("[0-9]*.pb"))]
    logs = [Body("logs", path.read_bytes()) for path in sorted(folder.glob("logs_*.pb"))]
    return Capture(name, (*traces, *logs), json.loads((folder / "expected.json").read_text()))


NAMES = sorted(folder.name for folder in FOLDER.iterdir() if (folder / "expected.json").exists())


def records_of(name: str) -> list[Span | LogRecord]:
    """Return the spans and log records of a capture, in order."""
    found: list[Span | LogRecord] = []
    for body in capture(name).bodies:
        decoded = decode_traces(body.data) if body.signal == "traces" else decode_logs(body.data)
        found += [*decoded.spans, *decoded.logs]
    return found
