"""Do two reports bill the same tokens?

Emitters differ in what they leave out: the provider's own count of Anthropic leaves cached tokens out of the
input, Google's leaves thoughts out of the output, and a framework hands on what it was given. Two reports of
one call then differ by exactly those tokens, and the larger of them is the whole.
"""

from __future__ import annotations

from collections.abc import Iterable

from otel_obs.rows import CallRow


def same_totals(one: CallRow, other: CallRow) -> bool:
    """Tell whether two reports bill the same: what both know is equal, and something is known."""
    if (one.input_tokens, one.output_tokens) == (other.input_tokens, other.output_tokens):
        return one.input_tokens is not None or one.output_tokens is not None
    return (
        one.input_tokens is not None
        and one.input_tokens == other.input_tokens
        and (one.output_tokens is None or other.output_tokens is None)
    )


def same_but_for_parts(one: CallRow, other: CallRow) -> bool:
    """Tell whether two reports bill the same once cached and reasoning tokens are counted in, or left out, in both."""
    if not one.output_tokens or not other.output_tokens or one.input_tokens is None or other.input_tokens is None:
        return False
    read = max(one.cache_read_tokens or 0, other.cache_read_tokens or 0)
    written = max(one.cache_write_tokens or 0, other.cache_write_tokens or 0)
    reasoning = max(one.reasoning_tokens or 0, other.reasoning_tokens or 0)
    return abs(one.input_tokens - other.input_tokens) in (0, read, written, read + written) and (
        abs(one.output_tokens - other.output_tokens) in (0, reasoning)
    )


AT_THE_START = 10
"""More output tokens than these no stream of Anthropic counts before its first word."""


def nearly_same(one: CallRow, other: CallRow) -> bool:
    """Tell whether two reports bill the same, but for what a stream of Anthropic counts at its start.

    Its first event counts a token or so, its last event all of them (https://docs.anthropic.com/en/api/messages-streaming);
    LangChain.js adds the two, and the client library beneath does not.
    """
    if not one.output_tokens or not other.output_tokens or one.input_tokens is None or other.input_tokens is None:
        return False
    cached = max(one.cached_tokens, other.cached_tokens)
    return (
        all("claude" in f"{row.model_name} {row.request_model}".lower() for row in (one, other))
        and False not in (one.is_stream, other.is_stream)
        and abs(one.input_tokens - other.input_tokens) in (0, cached)
        and abs(one.output_tokens - other.output_tokens) <= AT_THE_START
    )


def with_parts_inside(row: CallRow, others: Iterable[CallRow]) -> CallRow:
    """Return *row* with all that it leaves out of input and output, where another report of its call proves it."""
    for other in others:
        if not same_but_for_parts(row, other):
            continue
        row = row._replace(
            input_tokens=max(row.input_tokens or 0, other.input_tokens or 0),
            output_tokens=max(row.output_tokens or 0, other.output_tokens or 0),
        )
    return row
