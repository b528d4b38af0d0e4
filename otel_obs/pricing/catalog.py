"""Which price holds for a call?

Prices are those of genai-prices (https://github.com/pydantic/genai-prices), with their history, tiers by
context length, service tiers, batches and hours; nothing is fetched.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from decimal import Decimal
from functools import cache
from importlib.metadata import version
from typing import Protocol

from genai_prices.data_snapshot import DataSnapshot, get_snapshot
from genai_prices.types import (
    ClauseAnd,
    ClauseContains,
    ClauseEndsWith,
    ClauseEquals,
    ClauseOr,
    ClauseRegex,
    ClauseStartsWith,
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    PriceVariant,
    Provider,
    StartDateConstraint,
    TieredPrices,
    TimeOfDateConstraint,
)

from otel_obs.model import Call
from otel_obs.pricing.models import candidates, is_fine_tune, names_it, provider_id
from otel_obs.pricing.rows import PriceRow, UnitPrice, price_row

_VENDORS = ("openai", "anthropic", "google", "mistral", "cohere", "deepseek", "x-ai", "voyageai", "perplexity")
"""Who makes models and sells them under their own names; asked where nobody says who served."""

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Catalog(Protocol):
    """Knows prices."""

    def find(self, call: Call, at: datetime, organization_id: str) -> PriceRow | None:
        """Return the price that held for *call* at *at*; None if nobody knows one."""
        ...

    def row(self, price_id: str) -> PriceRow | None:
        """Return a price that was found before."""
        ...


class GenaiPricesCatalog:
    """The prices that come with the installed genai-prices."""

    def __init__(self, snapshot: DataSnapshot | None = None) -> None:
        self._snapshot = snapshot or get_snapshot()
        self._source = f"genai-prices {version('genai-prices')}"
        self._providers = {provider.id: provider for provider in self._snapshot.providers}
        self._models: dict[tuple[str | None, str | None, str | None], tuple[Provider, ModelInfo] | None] = {}
        self._rows: dict[tuple[object, ...], PriceRow] = {}
        self._by_id: dict[str, PriceRow] = {}

    def find(self, call: Call, at: datetime, organization_id: str) -> PriceRow | None:
        """Return the price that held for *call* at *at*; None if nobody knows one."""
        del organization_id
        names = (call.provider, call.response_model, call.request_model)
        if names not in self._models:
            if len(self._models) > 10_000:
                self._models.clear()
            self._models[names] = self._resolve(*names)
        found = self._models[names]
        return None if found is None else self._row(*found, _context(call), at)

    def row(self, price_id: str) -> PriceRow | None:
        """Return a price that was found before."""
        return self._by_id.get(price_id)

    def _resolve(self, provider: str | None, *models: str | None) -> tuple[Provider, ModelInfo] | None:
        for model in models:
            if model:
                for vendor, name in candidates(model):
                    found = self._lookup(provider, vendor, name)
                    if found is not None:
                        return found
        return None

    def _lookup(self, provider: str | None, vendor: str | None, name: str) -> tuple[Provider, ModelInfo] | None:
        for served_by in _served_by(provider, vendor, self._providers):
            try:
                found, model = self._snapshot.find_provider_model(name, None, served_by, None)
            except LookupError:
                continue
            if _is(name, model):
                return found, model
        return None

    def _row(self, provider: Provider, model: ModelInfo, context: Mapping[str, str], at: datetime) -> PriceRow:
        conditions = [] if isinstance(model.prices, ModelPrice) else model.prices
        variants = _variants(provider, model, context)
        constraints = [*(item.constraint for item in conditions), *(item.constraint for item in variants)]
        active = tuple(constraint is None or constraint.active(at) for constraint in constraints)
        key = (provider.id, model.id, active, *(tuple(variant.when.items()) for variant in variants))
        if key not in self._rows:
            valid_from, valid_to = _validity([item.constraint for item in conditions], at)
            prices = model.get_prices(_when_listed(model, variants, at), context if variants else None)
            self._rows[key] = row = price_row(
                provider=provider.id,
                model_name=model.id,
                valid_from=valid_from,
                valid_to=valid_to,
                source=self._source,
                unit_prices={name: _unit_price(value) for name, value in vars(prices).items() if value is not None},
                conditions={
                    **_hours(conditions, at),
                    **{k: v for variant in variants for k, v in variant.when.items()},
                },
            )
            self._by_id[row.id] = row
        return self._rows[key]


def _served_by(provider: str | None, vendor: str | None, known: Mapping[str, Provider]) -> Iterable[str | None]:
    """Yield whose prices may hold: the provider's, those of the vendor in the name, any for want of both.

    A provider that nobody has prices of (a server of one's own) has none.
    """
    served_by = provider_id(provider)
    if served_by is not None:
        if served_by in known:
            yield served_by
    elif vendor is None:
        yield None
        yield from _VENDORS
    named = provider_id(vendor)
    if named is not None and named in known and named != served_by:
        yield named


def _is(name: str, model: ModelInfo) -> bool:
    """Tell whether *name* is *model*, and not a neighbour that its loose pattern covers as well."""
    return is_fine_tune(name) or names_it(name, model.id.lower()) or _by_clause(name, model.match)


def _by_clause(name: str, clause: object) -> bool:
    match clause:
        case ClauseEquals(equals=text):
            return name == text.lower()
        case ClauseStartsWith(starts_with=text) | ClauseContains(contains=text) | ClauseEndsWith(ends_with=text):
            return names_it(name, text.lower())
        case ClauseRegex():
            return clause.is_match(name)
        case ClauseOr(or_=clauses):
            return any(_by_clause(name, inner) for inner in clauses)
        case ClauseAnd(and_=clauses):
            return all(inner.is_match(name) for inner in clauses)
        case _:
            return False


def _context(call: Call) -> dict[str, str]:
    found = {}
    if call.service_tier:
        found["service_tier"] = call.service_tier.lower()
    if call.is_batch:
        found["processing"] = "batch"
    return found


def _unit_price(value: Decimal | TieredPrices) -> UnitPrice:
    if isinstance(value, TieredPrices):
        return UnitPrice(value.base, tuple((tier.start, tier.price) for tier in value.tiers))
    return UnitPrice(value)


def _variants(provider: Provider, model: ModelInfo, context: Mapping[str, str]) -> list[PriceVariant]:
    """Return the variants of the price that a request of this kind gets; others' models have none."""
    if not context or not any(model is own for own in provider.models):
        return []
    return [
        variant
        for variant in model.price_variants or ()
        if all(context.get(key) == value for key, value in variant.when.items())
    ]


def _when_listed(model: ModelInfo, variants: Sequence[PriceVariant], at: datetime) -> datetime:
    """Return *at*, or the later day since when the library lists these variants of a price that is the same still.

    Batches were half the price long before the list had them.
    """
    starts = [
        datetime.combine(variant.constraint.start_date, datetime.min.time(), timezone.utc)
        for variant in variants
        if isinstance(variant.constraint, StartDateConstraint)
    ]
    later = max(starts, default=at)
    return later if later > at and model.get_prices(later) == model.get_prices(at) else at


def _hours(conditions: Sequence[ConditionalPrice], at: datetime) -> dict[str, str]:
    for item in reversed(conditions):
        if item.constraint is None or item.constraint.active(at):
            if isinstance(item.constraint, TimeOfDateConstraint):
                return {"hours": f"{item.constraint.start_time}-{item.constraint.end_time}"}
            return {}
    return {}


def _validity(constraints: Sequence[object], at: datetime) -> tuple[datetime, datetime | None]:
    """Return between which changes of price *at* lies."""
    starts = sorted(
        datetime.combine(item.start_date, datetime.min.time(), timezone.utc)
        for item in constraints
        if isinstance(item, StartDateConstraint)
    )
    before = [start for start in starts if start <= at]
    after = [start for start in starts if start > at]
    return (before[-1] if before else EPOCH), (after[0] if after else None)


@cache
def default_catalog() -> GenaiPricesCatalog:
    """Return the catalog of this process."""
    return GenaiPricesCatalog()
