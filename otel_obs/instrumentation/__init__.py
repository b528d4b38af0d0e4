"""Executors report themselves: one line in their code, or none.

``@workflow``, ``@agent``, ``@llm``, ``@tool`` and ``@guardrail`` report functions (sync, async, generators of both
kinds, methods), and ``with agent("name"):`` blocks; ``ExecutorInstrumentor`` does it from configuration. Spans are
those of the GenAI conventions, through ``opentelemetry-util-genai``; only OpenTelemetry's API is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otel_obs.instrumentation.context import RunContext
from otel_obs.instrumentation.costs import set_price
from otel_obs.instrumentation.decorators import agent, embedding, guardrail, llm, retrieval, tool, workflow
from otel_obs.instrumentation.guardrails import Verdict
from otel_obs.instrumentation.propagation import current_run, propagate
from otel_obs.instrumentation.said import record_guardrail, set_output, set_usage
from otel_obs.instrumentation.workspaces import set_workspace_resolver

if TYPE_CHECKING:
    from otel_obs.instrumentation.instrumentor import ExecutorInstrumentor
    from otel_obs.instrumentation.processor import TenantSpanProcessor

__all__ = [
    "ExecutorInstrumentor",
    "RunContext",
    "TenantSpanProcessor",
    "Verdict",
    "agent",
    "current_run",
    "embedding",
    "guardrail",
    "llm",
    "propagate",
    "record_guardrail",
    "retrieval",
    "set_output",
    "set_price",
    "set_usage",
    "set_workspace_resolver",
    "tool",
    "workflow",
]


def __getattr__(name: str) -> Any:
    """Import what needs more than OpenTelemetry's API only when it is asked for."""
    if name == "TenantSpanProcessor":
        from otel_obs.instrumentation.processor import TenantSpanProcessor  # noqa: PLC0415

        return TenantSpanProcessor
    if name == "ExecutorInstrumentor":
        from otel_obs.instrumentation.instrumentor import ExecutorInstrumentor  # noqa: PLC0415

        return ExecutorInstrumentor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
