"""What does the application itself say of the node that it is in?"""

from __future__ import annotations

from typing import Any

from otel_obs.instrumentation.closing import close
from otel_obs.instrumentation.faults import Guarded, warn_once
from otel_obs.instrumentation.guardrails import verdict
from otel_obs.instrumentation.node import current_node, nearest, open_node
from otel_obs.instrumentation.response import Response
from otel_obs.instrumentation.spec import Spec
from otel_obs.instrumentation.usage import Tokens, tokens_of


def set_usage(
    usage: Any = None,
    *,
    input_tokens: int | None = None,
    output_tokens: int | None = None,
    total_tokens: int | None = None,
    cache_read_tokens: int | None = None,
    cache_write_tokens: int | None = None,
    reasoning_tokens: int | None = None,
    model: str | None = None,
    response_id: str | None = None,
    finish_reason: str | None = None,
    cost_usd: float | None = None,
) -> None:
    """Say what the model call around this code used: a *usage* object of any provider, or counts.

    Cached tokens are inside ``input_tokens``, reasoning inside ``output_tokens``. A total alone is split in half,
    and marked so. What is said here counts before what the answer shows.
    """
    node = nearest("llm", "embedding")
    if node is None:
        warn_once("set_usage", "otel_obs.set_usage() was called outside of a model call: it is left out")
        return
    with Guarded("set_usage"):
        said = Tokens(
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            total_tokens=total_tokens,
            cache_read_tokens=cache_read_tokens,
            cache_write_tokens=cache_write_tokens,
            reasoning_tokens=reasoning_tokens,
        )
        given = Response(
            model=model, response_id=response_id, finish_reason=finish_reason, tokens=said.over(tokens_of(usage))
        )
        node.given = given.over(node.given)
        if cost_usd is not None:
            node.cost_usd = cost_usd


def set_output(output: Any) -> None:
    """Say what the node around this code answers; it is stored only if content is captured."""
    node = current_node()
    if node is None:
        warn_once("set_output", "otel_obs.set_output() was called outside of a node: it is left out")
    else:
        node.output = output


def record_guardrail(name: str | None = None, *, score: Any = None, reference: Any = None, action: Any = None) -> None:
    """Say what a guardrail found: in a guardrail node its verdict, elsewhere one of a guardrail called *name*.

    *score* is the similarity (0 to 1), *reference* what the prompt is like, *action* what was done about it
    (``allow``, ``block``, ``redact`` ...).
    """
    with Guarded("record_guardrail"):
        node = current_node()
        if node is not None and node.kind == "guardrail" and name in (None, node.name):
            found = verdict(score=score, reference=reference, action=action)
            node.verdict = found.over(node.verdict)
            return
        alone = open_node(Spec(kind="guardrail"), name or "guardrail", {"args": {}})
        alone.verdict = verdict(score=score, reference=reference, action=action)
        close(alone)
