"""A thousand calls priced here and by genai-prices' own ``calc_price``: the same list, two ways to multiply."""

from __future__ import annotations

import random
from collections import Counter
from datetime import datetime, timedelta, timezone
from decimal import Decimal

import genai_prices
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelInfo, ModelPrice, Provider

from otel_obs.model import Call, Usage
from otel_obs.pricing.catalog import default_catalog
from otel_obs.pricing.price import price

CALLS = 1_000
LISTED_ALL = datetime(2026, 10, 20, tzinfo=timezone.utc)
"""Since then the list has all its variants; before, ours carries those back (a batch was half the price earlier)."""
CONTEXTS: tuple[tuple[str | None, bool], ...] = (
    (None, False), (None, True), ("flex", False), ("priority", False), ("default", False), ("unheard-of", False),
)  # fmt: skip


def tokens(chance: random.Random) -> int:
    """Return a count, now and then on either side of a limit."""
    return chance.choice(
        [0, 1, chance.randrange(10_000), chance.randrange(1_000_000), 128_000, 200_000, 200_001, 272_001]
    )


def usage_for(chance: random.Random, prices: ModelPrice) -> Usage:
    total, output = tokens(chance), tokens(chance)
    if prices.output_mtok is None:
        output = 0
    read = chance.choice([None, chance.randint(0, total)])
    write = chance.choice([None, chance.randint(0, total - (read or 0))])
    hour = (
        None if write is None or prices.cache_write_1h_mtok is None else chance.choice([None, chance.randint(0, write)])
    )
    units = {}
    if prices.web_searches_kcount is not None and chance.random() < 0.3:
        units["web_searches"] = chance.randint(1, 9)
    if prices.input_audio_mtok is not None and chance.random() < 0.5:
        read = write = hour = None
        units["input_audio_tokens"] = chance.randint(0, total)
    return Usage(
        input_tokens=total,
        output_tokens=output,
        cache_read_tokens=read,
        cache_write_tokens=write,
        cache_write_1h_tokens=hour,
        reasoning_tokens=chance.choice([None, chance.randint(0, output)]),
        billed_units=units,
    )


def theirs(usage: Usage, provider: Provider, model: ModelInfo, at: datetime, context: dict[str, str]) -> Decimal | None:
    """Return the dollars by genai-prices; None where its patterns take another model than the one that is meant."""
    counts = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "cache_write_1h_tokens": usage.cache_write_1h_tokens,
        "output_reasoning_tokens": usage.reasoning_tokens,
        **usage.billed_units,
    }
    found = genai_prices.calc_price(
        genai_prices.Usage(**counts),
        model.id,
        provider_id=provider.id,
        genai_request_timestamp=at,
        price_context=context or None,
    )
    return found.total_price if found.model is model else None


def test_a_thousand_calls_cost_what_genai_prices_says_they_do() -> None:
    chance = random.Random(20261125)
    sold = [(provider, model) for provider in get_snapshot().providers for model in provider.models]
    catalog = default_catalog()
    compared: Counter[str] = Counter()
    while compared.total() < CALLS:
        provider, model = chance.choice(sold)
        tier, is_batch = chance.choice(CONTEXTS)
        at = LISTED_ALL + timedelta(seconds=chance.randrange(90 * 86_400))
        if tier is None and not is_batch:
            at = datetime(2024, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=chance.randrange(4 * 365 * 86_400))
        prices = model.get_prices(at)
        if prices.input_mtok is None:
            continue
        usage = usage_for(chance, prices)
        context = {**({"service_tier": tier} if tier else {}), **({"processing": "batch"} if is_batch else {})}
        try:
            dollars = theirs(usage, provider, model, at, context)
        except LookupError:
            continue  # the list knows the model by another name only
        if dollars is None:
            continue
        call = Call(
            operation="chat", provider=provider.id, response_model=model.id, usage=usage, service_tier=tier,
            is_batch=is_batch,
        )  # fmt: skip

        found = price(call, at, catalog, "acme")

        assert found.cents == dollars * 100, (provider.id, model.id, usage, at, context)
        compared[provider.id] += 1
    assert len(compared) > 25
