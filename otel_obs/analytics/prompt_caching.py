"""Would caching the beginnings of prompts have paid?  Played through with the moments at which calls really came.

A provider's cache forgets a beginning some time after it was last used, and writing costs more than not caching: what
comes back seldom loses money. So each call of the window is made once more, with a cache that lives for five minutes
and one that lives for an hour (https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from otel_obs.pricing.rows import PriceRow, UnitPrice
from otel_obs.rows.prefixes import LENGTHS

SHORT, LONG = timedelta(minutes=5), timedelta(hours=1)
AUTOMATIC = frozenset({"openai", "azure", "azure.ai.openai", "deepseek", "xai", "x_ai"})
"""Providers that cache by themselves: there is nothing to switch on."""
_CENTS_A_TOKEN = Decimal(100) / Decimal(1_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A call that used no cache."""

    timestamp: datetime
    busy_ms: float
    """Until its beginning could have been in the cache: the answer had begun."""
    provider: str | None
    model_name: str | None
    agent_id: str | None
    workspace_id: str
    input_tokens: int
    cost_cents: Decimal
    price_id: str
    prefix_hashes: Sequence[str]
    trace_id: str
    event_id: str


@dataclass(slots=True)
class Simulated:
    """What caching would have done to the calls of one model and agent."""

    provider: str | None
    model_name: str | None
    agent_id: str | None
    lasts: timedelta
    calls: int = 0
    hits: int = 0
    cost_cents: Decimal = Decimal(0)
    saving_cents: Decimal = Decimal(0)
    evidence: list[str] = field(default_factory=list)
    """The first calls that would have found their beginning."""


def simulate(arrivals: Iterable[Arrival], prices: Mapping[str, PriceRow]) -> list[Simulated]:
    """Return by model and agent what the better of both caches would have saved; those that would lose money are not.

    The beginning that is marked is the longest that another call shares; its tokens are the smallest share of the
    call's that its bytes can be.
    """
    groups: dict[tuple[str | None, str | None, str | None], list[Arrival]] = defaultdict(list)
    for arrival in arrivals:
        if (arrival.provider or "") not in AUTOMATIC:
            groups[arrival.provider, arrival.model_name, arrival.agent_id].append(arrival)
    found = []
    for key, calls in groups.items():
        played = [_play(key, calls, prices, lasts) for lasts in (SHORT, LONG)]
        best = max(played, key=lambda one: one.saving_cents)
        if best.saving_cents > 0:
            found.append(best)
    return sorted(found, key=lambda one: -one.saving_cents)


def _play(
    key: tuple[str | None, str | None, str | None],
    calls: Sequence[Arrival],
    prices: Mapping[str, PriceRow],
    lasts: timedelta,
) -> Simulated:
    result = Simulated(*key, lasts)
    for by_beginning in _by_beginning(calls).values():
        last_used: datetime | None = None
        ready_at: datetime | None = None
        for depth, call in by_beginning:
            factors = _factors(prices.get(call.price_id), call.input_tokens, lasts)
            if factors is None:
                continue
            read, write = factors
            tokens = _tokens(call, depth)
            began = call.timestamp
            hit = last_used is not None and ready_at is not None and ready_at <= began <= last_used + lasts
            result.calls += 1
            result.cost_cents += call.cost_cents
            result.saving_cents += tokens * (read if hit else write)
            if hit:
                result.hits += 1
                if len(result.evidence) < 5:
                    result.evidence.append(f"{call.trace_id}/{call.event_id}")
            else:
                ready_at = began + timedelta(milliseconds=call.busy_ms)
            last_used = began
    return result


def _by_beginning(calls: Sequence[Arrival]) -> Mapping[tuple[str, str], list[tuple[int, Arrival]]]:
    """Return calls, in the order in which they came, by the longest beginning that another call shares."""
    counts: dict[tuple[str, str], int] = defaultdict(int)
    for call in calls:
        for known in call.prefix_hashes:
            counts[call.workspace_id, known] += 1
    found: dict[tuple[str, str], list[tuple[int, Arrival]]] = defaultdict(list)
    for call in sorted(calls, key=lambda one: one.timestamp):
        for depth in range(len(call.prefix_hashes) - 1, -1, -1):
            name = (call.workspace_id, call.prefix_hashes[depth])
            if counts[name] > 1:
                found[name].append((depth, call))
                break
    return found


def _tokens(call: Arrival, depth: int) -> int:
    """Return at least how many tokens the beginning has: the prompt may be as long as the next length."""
    longest = len(call.prefix_hashes)
    whole = LENGTHS[longest] if longest < len(LENGTHS) else max(LENGTHS[-1], call.input_tokens * 4)
    return call.input_tokens * LENGTHS[depth] // whole


def _factors(price: PriceRow | None, input_tokens: int, lasts: timedelta) -> tuple[Decimal, Decimal] | None:
    """Return the cents that reading and writing a token saves; None where the provider sells no such cache."""
    if price is None:
        return None
    units = price.unit_prices
    plain, read = _at(units, input_tokens, "input_mtok"), _at(units, input_tokens, "cache_read_mtok")
    names = ("cache_write_5m_mtok", "cache_write_mtok") if lasts == SHORT else ("cache_write_1h_mtok",)
    write = _at(units, input_tokens, *names)
    if plain is None or read is None or write is None:
        return None
    return (plain - read) * _CENTS_A_TOKEN, (plain - write) * _CENTS_A_TOKEN


def _at(units: Mapping[str, UnitPrice], input_tokens: int, *names: str) -> Decimal | None:
    return next((units[name].at(input_tokens) for name in names if name in units), None)
