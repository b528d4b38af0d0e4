"""What a call costs, exactly: Decimal throughout, never rounded."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

from genai_prices import Usage as PricedUsage
from genai_prices.types import ModelPrice, Tier, TieredPrices

from otel_obs.model import Call, Cost, Usage
from otel_obs.pricing.catalog import Catalog
from otel_obs.pricing.rows import OPERATOR, PriceRow, UnitPrice

_MILLION = Decimal(1_000_000)
_HUNDRED = Decimal(100)
_THOUSAND = Decimal(1000)

_UNITS = {
    "input_audio_tokens": ("input_audio_tokens", "input_audio_mtok"),
    "output_audio_tokens": ("output_audio_tokens", "output_audio_mtok"),
    "cache_audio_read_tokens": ("cache_audio_read_tokens", "cache_audio_read_mtok"),
    "input_image_tokens": ("input_image_tokens", "input_image_mtok"),
    "output_image_tokens": ("output_image_tokens", "output_image_mtok"),
    "input_video_tokens": ("input_video_tokens", "input_video_mtok"),
    "characters": ("input_characters", "input_mchars"),
    "seconds": ("audio_seconds", "audio_hours"),
    "web_searches": ("web_searches", "web_searches_kcount"),
    "searches": ("rerank_searches", "rerank_searches_kcount"),
}
"""Our name of a billed unit -> the library's name, and the key of its price."""
_AUDIO = frozenset({"input_audio_tokens", "output_audio_tokens", "cache_audio_read_tokens"})
_AUDIO_AS_TEXT = frozenset({"google"})
"""Whose list names audio only where it costs something else than text."""


def price(call: Call, at: datetime, catalog: Catalog, organization_id: str) -> Cost:
    """Return what *call*, made at *at*, costs.

    Where no price is known a cost that the emitter reports is taken; a call without usage, and an unknown
    model, cost nobody knows how much.
    """
    if not call.usage.known and not call.usage.billed_units:
        return _reported(call) or Cost(reason="no_usage")
    row = catalog.find(call, at, organization_id)
    if row is None:
        return _reported(call) or Cost(reason="unknown_model")
    dollars = None if _audio_is_missing(row, call.usage) else dollars_by(row.unit_prices, call.usage)
    if dollars is None:
        return _reported(call) or Cost(reason="unknown_unit")
    cents = dollars * _HUNDRED
    return Cost(
        cents=cents,
        rate_per_1k=_rate(cents, call.usage),
        source="estimated" if call.usage_source == "estimated" else "computed",
        price_id=row.id,
    )


def _audio_is_missing(row: PriceRow, usage: Usage) -> bool:
    """Tell whether audio was billed that *row* says no price of: it is never as cheap as text."""
    return (
        row.provider not in _AUDIO_AS_TEXT
        and row.source != OPERATOR
        and any(usage.billed_units.get(unit) for unit in _AUDIO)
        and not any("audio" in key for key in row.unit_prices)
    )


def _reported(call: Call) -> Cost | None:
    if not call.reported_cost_usd:
        return None
    cents = call.reported_cost_usd * _HUNDRED
    return Cost(cents=cents, rate_per_1k=_rate(cents, call.usage), source="reported")


def _rate(cents: Decimal, usage: Usage) -> Decimal | None:
    tokens = (usage.input_tokens or 0) + (usage.output_tokens or 0)
    return cents * _THOUSAND / tokens if tokens else None


def dollars_by(prices: Mapping[str, UnitPrice], usage: Usage) -> Decimal | None:
    """Return the dollars for *usage*; None where something was billed in a unit that has no price.

    Nothing else decides: who has the row of a call and that of its price can compute its cost again.
    """
    beyond = {name: count for name, count in usage.billed_units.items() if count}
    if beyond:
        return _by_library(usage, beyond, prices)
    if not usage.known:
        return None
    text = text_dollars(usage, prices)
    request = prices.get("requests_kcount")
    return text if text is None or request is None else text + request.at(usage.input_tokens or 0) / _THOUSAND


def text_dollars(usage: Usage, prices: Mapping[str, UnitPrice]) -> Decimal | None:
    """Return the dollars for text tokens; None without a price for what there is.

    Cached tokens are part of the input, and cost as much as the rest where they have no price of their own. What was
    written for an hour costs more than what was written for five minutes: the latter's price does not stand for it.
    """
    total = usage.input_tokens or 0
    output = usage.output_tokens or 0
    read = min(usage.cache_read_tokens or 0, total)
    write = min(usage.cache_write_tokens or 0, total - read)
    lasting = min(usage.cache_write_1h_tokens or 0, write)
    reasoning = min(usage.reasoning_tokens or 0, output)
    input_price = _at(prices, total, "input_mtok", "input_text_mtok")
    output_price = _at(prices, total, "output_mtok", "output_text_mtok")
    if (total and input_price is None) or (output and output_price is None) or _hour_is_missing(prices, lasting):
        return None
    input_price = input_price or Decimal(0)
    output_price = output_price or Decimal(0)
    read_price = _or(_at(prices, total, "cache_read_mtok"), input_price)
    write_price = _or(_at(prices, total, "cache_write_5m_mtok", "cache_write_mtok"), input_price)
    lasting_price = _or(_at(prices, total, "cache_write_1h_mtok"), write_price)
    reasoning_price = _or(_at(prices, total, "output_reasoning_mtok"), output_price)
    return (
        (total - read - write) * input_price
        + read * read_price
        + (write - lasting) * write_price
        + lasting * lasting_price
        + (output - reasoning) * output_price
        + reasoning * reasoning_price
    ) / _MILLION


def _hour_is_missing(prices: Mapping[str, UnitPrice], lasting: int) -> bool:
    sold = "cache_write_mtok" in prices or "cache_write_5m_mtok" in prices
    return bool(lasting) and sold and "cache_write_1h_mtok" not in prices


def _at(prices: Mapping[str, UnitPrice], input_tokens: int, *keys: str) -> Decimal | None:
    for key in keys:
        found = prices.get(key)
        if found is not None:
            return found.at(input_tokens)
    return None


def _or(price: Decimal | None, other: Decimal) -> Decimal:
    return other if price is None else price


def _by_library(usage: Usage, beyond: Mapping[str, int], prices: Mapping[str, UnitPrice]) -> Decimal | None:
    """Return the dollars for audio, images, searches ... as genai-prices computes them."""
    if _hour_is_missing(prices, usage.cache_write_1h_tokens or 0):
        return None
    counts: dict[str, int | None] = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "cache_write_1h_tokens": usage.cache_write_1h_tokens if "cache_write_1h_mtok" in prices else None,
        "output_reasoning_tokens": usage.reasoning_tokens if "output_reasoning_mtok" in prices else None,
    }
    for name, count in beyond.items():
        library_name, key = _UNITS.get(name, (None, None))
        is_part = name.endswith("_tokens")
        if key is None or (key not in prices and not is_part):
            return None
        if key in prices and library_name is not None:
            counts[library_name] = count
    priced = {name: count for name, count in counts.items() if count}
    if not priced:
        return None
    try:
        total: Decimal = _model_price(prices).calc_price(PricedUsage(**priced))["total_price"]
    except ValueError:
        return None
    return total


def _model_price(prices: Mapping[str, UnitPrice]) -> ModelPrice:
    return ModelPrice(
        **{
            key: TieredPrices(unit.base, [Tier(start, price) for start, price in unit.tiers])
            if unit.tiers
            else unit.base
            for key, unit in prices.items()
        }
    )
