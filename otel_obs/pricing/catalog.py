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
from otel_obs.pricing.models import (
    VERSIONS,
    Age,
    Candidate,
    age,
    candidates,
    is_called,
    is_fine_tune,
    names_it,
    provider_id,
)
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
        self._models: dict[tuple[str | None, str | None], tuple[Provider, ModelInfo] | None] = {}
        self._always: dict[tuple[str | None, str | None], PriceRow] = {}
        """(provider, model) -> the price of an ordinary request, where it never changed."""
        self._rows: dict[tuple[object, ...], PriceRow] = {}
        self._by_id: dict[str, PriceRow] = {}

    def find(self, call: Call, at: datetime, organization_id: str) -> PriceRow | None:
        """Return the price that held for *call* at *at*; None if nobody knows one.

        The model that answered decides; the one that was asked for only where nobody says which one answered.
        """
        del organization_id
        names = (call.provider, call.response_model or call.request_model)
        is_ordinary = not call.service_tier and not call.is_batch
        if is_ordinary and names in self._always:
            return self._always[names]
        if names not in self._models:
            if len(self._models) > 10_000:
                self._models.clear()
                self._always.clear()
            self._models[names] = self._resolve(*names)
        found = self._models[names]
        if found is None:
            return None
        row = self._row(*found, context_of(call), at)
        if is_ordinary and isinstance(found[1].prices, ModelPrice):
            self._always[names] = row
        return row

    def row(self, price_id: str) -> PriceRow | None:
        """Return a price that was found before."""
        return self._by_id.get(price_id)

    def _resolve(self, provider: str | None, model: str | None) -> tuple[Provider, ModelInfo] | None:
        for candidate in candidates(model) if model else ():
            found = self._lookup(provider, candidate)
            if found is not None:
                return None if self._is_priced_apart(*found, candidate) else found
        return None

    def _lookup(self, provider: str | None, candidate: Candidate) -> tuple[Provider, ModelInfo] | None:
        for served_by in _served_by(provider, candidate.vendor, self._providers):
            found = self._loosely(candidate.name, served_by)
            if found is not None and _is(candidate.name, found[1]):
                return found
            if served_by is not None:
                # The list's patterns match loosely, and its first match may hide the right one.
                seller = self._providers[served_by]
                model = next((m for m in self._sold_by(seller) if _is(candidate.name, m)), None)
                if model is not None:
                    return seller, model
        return None

    def _loosely(self, name: str, served_by: str | None) -> tuple[Provider, ModelInfo] | None:
        try:
            return self._snapshot.find_provider_model(name, None, served_by, None)
        except LookupError:
            return None

    def _sold_by(self, provider: Provider) -> Iterable[ModelInfo]:
        yield from provider.models
        for other in provider.fallback_model_providers or ():
            if other in self._providers:
                yield from self._providers[other].models

    def _is_priced_apart(self, provider: Provider, model: ModelInfo, candidate: Candidate) -> bool:
        """Tell whether the version that was cut off may have another price than *model*.

        Where the list knows versions of that model by name, one it does not know costs what the one before it does.
        Older than all of them, or after one that costs something else, it is a model that nobody has a price of.
        """
        asked = age(candidate.dropped)
        if asked is None:
            return False
        known = [
            (found, other)
            for other in self._sold_by(provider)
            for name in _exact_names(other)
            if (found := _version_of(name, candidate.name)) is not None and found.kind == asked.kind
        ]
        before = [found for found in known if found[0] <= asked]
        if not before:
            return bool(known)
        return max(before, key=lambda found: found[0])[1].prices != model.prices

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
                unit_prices=_unit_prices(model, prices),
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
    if is_fine_tune(name):
        return any(is_fine_tune(f"{text}:") and name.startswith(text) for text in _texts(model.match, ClauseStartsWith))
    return is_called(name, model.id.lower()) or _by_clause(name, model.match)


def _by_clause(name: str, clause: object) -> bool:
    match clause:
        case ClauseEquals(equals=text):
            return name == text.lower()
        case ClauseEndsWith(ends_with=text):
            return is_called(name, text.lower())
        case ClauseStartsWith(starts_with=text) | ClauseContains(contains=text):
            return clause.is_match(name) and names_it(name, text.lower())
        case ClauseRegex():
            return clause.is_match(name)
        case ClauseOr(or_=clauses):
            return any(_by_clause(name, inner) for inner in clauses)
        case ClauseAnd(and_=clauses):
            return all(inner.is_match(name) for inner in clauses)
        case _:
            return False


def _texts(clause: object, kind: type) -> Iterable[str]:
    match clause:
        case ClauseOr(or_=clauses) | ClauseAnd(and_=clauses):
            for inner in clauses:
                yield from _texts(inner, kind)
        case ClauseEquals(equals=text) | ClauseStartsWith(starts_with=text):
            if isinstance(clause, kind):
                yield text.lower()
        case _:
            return


def _exact_names(model: ModelInfo) -> Iterable[str]:
    yield model.id.lower()
    yield from _texts(model.match, ClauseEquals)


def _version_of(name: str, model: str) -> Age | None:
    """Return the age of *name* if that is *model* and a version."""
    rest = name[len(model) :]
    return age(rest) if name.startswith(model) and rest and VERSIONS.match(rest) else None


def context_of(call: Call) -> dict[str, str]:
    """Return what of a request decides its price beside the model: service tier, batch."""
    found = {}
    if call.service_tier:
        found["service_tier"] = call.service_tier.lower()
    if call.is_batch:
        found["processing"] = "batch"
    return found


_FREE = {"input_mtok": UnitPrice(Decimal(0)), "output_mtok": UnitPrice(Decimal(0))}


def _unit_prices(model: ModelInfo, prices: ModelPrice) -> dict[str, UnitPrice]:
    """Return the prices that are said; none at all is free only where the list says so."""
    said = {name: _unit_price(value) for name, value in vars(prices).items() if value is not None}
    is_free = model.id.endswith(":free") or (model.price_comments or "").startswith("Free of charge")
    return said or (dict(_FREE) if is_free else {})


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
