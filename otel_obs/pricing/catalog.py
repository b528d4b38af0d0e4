"""Which price holds for a call?

Prices are those of genai-prices (https://github.com/pydantic/genai-prices), with their history, tiers by
context length, service tiers, batches and hours; nothing is fetched.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
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
    Provider,
    StartDateConstraint,
    TieredPrices,
)

from otel_obs.model import Call
from otel_obs.pricing.models import candidates, is_fine_tune, names_it, provider_id

_VENDORS = ("openai", "anthropic", "google", "mistral", "cohere", "deepseek", "x-ai", "voyageai", "perplexity")
"""Who makes models and sells them under their own names; asked where nobody says who served."""

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True, slots=True)
class UnitPrice:
    """Dollars for a unit (a million tokens, a thousand searches ...), by the length of the input."""

    base: Decimal
    tiers: tuple[tuple[int, Decimal], ...] = ()
    """(input tokens above which it holds, dollars), ascending; a tier holds for the whole call."""

    def at(self, input_tokens: int) -> Decimal:
        """Return the dollars for a unit of a call with so many input tokens."""
        found = self.base
        for start, price in self.tiers:
            if input_tokens > start:
                found = price
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceRow:
    """All unit prices of a model over one validity."""

    id: str
    """Hash of everything else."""
    provider: str
    model_name: str
    valid_from: datetime
    valid_to: datetime | None
    source: str
    unit_prices: Mapping[str, UnitPrice]
    """genai-prices' key (``input_mtok``, ``cache_read_mtok`` ...) -> price."""
    organization_id: str | None = None
    model_price: ModelPrice | None = field(default=None, compare=False, repr=False)
    """The same as the library has it, for units beyond tokens."""


class Catalog(Protocol):
    """Knows prices."""

    def find(self, call: Call, at: datetime, organization_id: str) -> PriceRow | None:
        """Return the price that held for *call* at *at*; None if nobody knows one."""
        ...


class GenaiPricesCatalog:
    """The prices that come with the installed genai-prices."""

    def __init__(self, snapshot: DataSnapshot | None = None) -> None:
        self._snapshot = snapshot or get_snapshot()
        self._source = f"genai-prices {version('genai-prices')}"
        self._providers = {provider.id: provider for provider in self._snapshot.providers}
        self._models: dict[tuple[str | None, str | None, str | None], tuple[Provider, ModelInfo] | None] = {}
        self._rows: dict[tuple[object, ...], PriceRow] = {}

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
        variants = model.price_variants or []
        constraints = [*(item.constraint for item in conditions), *(item.constraint for item in variants)]
        active = tuple(constraint is None or constraint.active(at) for constraint in constraints)
        key = (provider.id, model.id, active, tuple(sorted(context.items())))
        if key not in self._rows:
            prices = model.get_prices(at, context if any(model is own for own in provider.models) else None)
            self._rows[key] = self._make_row(provider, model, prices, _validity(conditions, at))
        return self._rows[key]

    def _make_row(
        self, provider: Provider, model: ModelInfo, prices: ModelPrice, validity: tuple[datetime, datetime | None]
    ) -> PriceRow:
        units = {key: _unit_price(value) for key, value in sorted(vars(prices).items()) if value is not None}
        spelled = {
            key: [str(unit.base), [[start, str(price)] for start, price in unit.tiers]] for key, unit in units.items()
        }
        since, until = (None if at is None else at.isoformat() for at in validity)
        content = json.dumps([provider.id, model.id, self._source, since, until, spelled])
        return PriceRow(
            id=hashlib.sha256(content.encode()).hexdigest()[:32],
            provider=provider.id,
            model_name=model.id,
            valid_from=validity[0],
            valid_to=validity[1],
            source=self._source,
            unit_prices=units,
            model_price=prices,
        )


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


def _validity(conditions: list[ConditionalPrice], at: datetime) -> tuple[datetime, datetime | None]:
    starts = sorted(
        datetime.combine(item.constraint.start_date, datetime.min.time(), timezone.utc)
        for item in conditions
        if isinstance(item.constraint, StartDateConstraint)
    )
    before = [start for start in starts if start <= at]
    after = [start for start in starts if start > at]
    return (before[-1] if before else EPOCH), (after[0] if after else None)


@cache
def default_catalog() -> Catalog:
    """Return the catalog of this process."""
    return GenaiPricesCatalog()
