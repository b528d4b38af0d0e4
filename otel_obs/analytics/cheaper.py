"""What would other models, batches or caches have cost?  By the price book, as a ratio at the call of middling size."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from otel_obs.analytics.filters import Filters
from otel_obs.analytics.groups import Group
from otel_obs.model import Call, Usage
from otel_obs.pricing.book import PriceBook
from otel_obs.pricing.price import dollars_by
from otel_obs.pricing.rows import PriceRow, UnitPrice

_CENTS_A_TOKEN = Decimal(100) / Decimal(1_000_000)
WORTH_IT = Decimal("0.7")
"""A model that costs more than this share is no cheaper one: moving costs work."""

SMALLER: Mapping[str, str] = {
    "gpt-4": "gpt-4.1-mini", "gpt-4-turbo": "gpt-4.1-mini", "gpt-4o": "gpt-4o-mini", "gpt-4.1": "gpt-4.1-mini",
    "gpt-5": "gpt-5-mini", "gpt-5.1": "gpt-5-mini", "gpt-5.2": "gpt-5-mini", "gpt-5.4": "gpt-5.4-mini",
    "claude-3-opus-latest": "claude-haiku-4-5", "claude-3-5-sonnet": "claude-haiku-4-5",
    "claude-3-7-sonnet-latest": "claude-haiku-4-5", "claude-sonnet-4-0": "claude-haiku-4-5",
    "claude-sonnet-4-5": "claude-haiku-4-5", "claude-sonnet-4-6": "claude-haiku-4-5",
    "claude-opus-4-0": "claude-haiku-4-5", "claude-opus-4-1": "claude-haiku-4-5", "claude-opus-4-5": "claude-haiku-4-5",
    "claude-opus-4-6": "claude-haiku-4-5", "claude-opus-4-7": "claude-haiku-4-5", "claude-opus-4-8": "claude-haiku-4-5",
    "claude-opus-5": "claude-haiku-5-5", "claude-opus-5-5": "claude-haiku-5-5", "claude-sonnet-5": "claude-haiku-5-5",
    "claude-sonnet-5-5": "claude-haiku-5-5", "gemini-1.5-pro": "gemini-2.5-flash", "gemini-2.5-pro": "gemini-2.5-flash",
    "gemini-3-pro-preview": "gemini-3-flash-preview", "gemini-3.1-pro-preview": "gemini-3.5-flash",
}  # fmt: skip
"""By genai-prices' ids, of the same vendor; a model that is not here has no smaller one that we would name."""


def smaller_model(
    group: Group, price: PriceRow | None, book: PriceBook, filters: Filters
) -> tuple[str, Decimal] | None:
    """Return the vendor's smaller model and the cents it would have saved; None where none is worth it."""
    name = None if price is None else SMALLER.get(price.model_name)
    if name is None or price is None:
        return None
    call = Call(operation="chat", provider=group.provider, request_model=name)
    saving = _saving(group, price, book.find(call, filters.until, filters.organization_id))
    if saving is None or not group.cost_cents or saving < group.cost_cents * (1 - WORTH_IT):
        return None
    return name, saving


def batch_saving(group: Group, price: PriceRow | None, book: PriceBook, filters: Filters) -> Decimal | None:
    """Return the cents that batches of the same model would have saved; None where the provider sells none."""
    call = Call(operation="chat", provider=group.provider, request_model=group.model_name, is_batch=True)
    saving = _saving(group, price, book.find(call, filters.until, filters.organization_id))
    return saving if saving is not None and saving > 0 else None


def _saving(group: Group, price: PriceRow | None, other: PriceRow | None) -> Decimal | None:
    if price is None or other is None or group.cost_cents is None:
        return None
    now, then = dollars_by(price.unit_prices, group.average), dollars_by(other.unit_prices, group.average)
    if not now or then is None:
        return None
    return group.cost_cents * (1 - then / now)


def cents_of_input(group: Group, price: PriceRow | None) -> Decimal | None:
    """Return what the group's input tokens cost, were they in no cache."""
    unit = _unit(price, "input_mtok")
    return None if unit is None or not group.input_tokens else group.input_tokens * unit.base * _CENTS_A_TOKEN


def cents_of_reasoning(group: Group, price: PriceRow | None) -> Decimal | None:
    """Return what the group's reasoning cost."""
    unit = _unit(price, "output_reasoning_mtok") or _unit(price, "output_mtok")
    return None if unit is None or not group.reasoning_tokens else group.reasoning_tokens * unit.base * _CENTS_A_TOKEN


def write_waste(group: Group, price: PriceRow | None) -> Decimal | None:
    """Return what writing to the cache cost more than reading from it saved; None where it paid, or costs nothing."""
    if price is None:
        return None
    written = Usage(
        input_tokens=group.cache_write_tokens,
        cache_write_tokens=group.cache_write_tokens,
        cache_write_1h_tokens=group.cache_write_1h_tokens,
    )
    read = Usage(input_tokens=group.cache_read_tokens or 0, cache_read_tokens=group.cache_read_tokens)
    premium = _cents(price, written) - _cents(price, Usage(input_tokens=group.cache_write_tokens))
    saved = _cents(price, Usage(input_tokens=group.cache_read_tokens or 0)) - _cents(price, read)
    return premium - saved if premium > saved else None


def _cents(price: PriceRow, usage: Usage) -> Decimal:
    """Return cents by the price of short inputs: a sum over calls is no long one."""
    flat = {name: UnitPrice(unit.base) for name, unit in price.unit_prices.items() if name != "requests_kcount"}
    return (dollars_by(flat, usage) or Decimal(0)) * 100


def _unit(price: PriceRow | None, name: str) -> UnitPrice | None:
    return None if price is None else price.unit_prices.get(name)
