"""Which price holds, if operators have prices of their own?

An organization's own price comes before the operator's for everybody, and that before genai-prices. Among an
owner's prices the one that names the provider comes before one for any, one for a kind of request (a batch, a service
tier) before one for all kinds, the one whose validity began last before older ones, and of two that say the same the
one that was set last.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cache

from otel_obs.model import Call, Cost
from otel_obs.pricing.catalog import Catalog, context_of, default_catalog
from otel_obs.pricing.models import candidates, provider_id
from otel_obs.pricing.price import price
from otel_obs.pricing.rows import PriceRow

_ByModel = Mapping[tuple[str | None, str], tuple[PriceRow, ...]]
"""(organization, model) -> prices, the ones set last first"""


class PriceBook:
    """Operators' prices over a catalog's; those may be replaced while others look something up."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._own: _ByModel = {}
        self._rows: dict[str, PriceRow] = {}

    def set_own(self, rows: Iterable[PriceRow]) -> None:
        """Let *rows*, in the order in which they were set, be the operators' prices."""
        found: dict[tuple[str | None, str], list[PriceRow]] = {}
        ids = {}
        for row in rows:
            found.setdefault((row.organization_id, row.model_name), []).append(row)
            ids[row.id] = row
        self._rows = ids
        self._own = {key: tuple(reversed(own)) for key, own in found.items()}

    @property
    def own_ids(self) -> frozenset[str]:
        """Return the ids of the operators' prices."""
        return frozenset(self._rows)

    def find(self, call: Call, at: datetime, organization_id: str) -> PriceRow | None:
        """Return the price that held for *call* at *at*; None if nobody knows one."""
        own = self._own
        if own:
            for owner in (organization_id, None):
                row = _own_price(own, owner, call, at)
                if row is not None and row.unit_prices:
                    return row
        return self._catalog.find(call, at, organization_id)

    def row(self, price_id: str) -> PriceRow | None:
        """Return a price that was found before."""
        return self._rows.get(price_id) or self._catalog.row(price_id)


def _own_price(own: _ByModel, owner: str | None, call: Call, at: datetime) -> PriceRow | None:
    """Return the owner's price; it has no unit prices where he withdrew it."""
    served_by = provider_id(call.provider) or ""
    kind = context_of(call).items()
    for model in (call.response_model, call.request_model):
        for vendor, name, _ in candidates(model) if model else ():
            rows = own.get((owner, name), ())
            for provider in (served_by, provider_id(vendor) or ""):
                valid = [
                    row
                    for row in rows
                    if _holds(row, at) and row.provider in {provider, ""} and row.conditions.items() <= kind
                ]
                if valid:
                    return max(valid, key=lambda row: (bool(row.provider), len(row.conditions), row.valid_from))
    return None


def _holds(row: PriceRow, at: datetime) -> bool:
    return row.valid_from <= at and (row.valid_to is None or at < row.valid_to)


def price_by_default(call: Call, at: datetime, organization_id: str) -> Cost:
    """Return what *call*, made at *at*, costs by the installed genai-prices."""
    return price(call, at, default_book(), organization_id)


@cache
def default_book() -> PriceBook:
    """Return a book over the prices that come with the installed genai-prices."""
    return PriceBook(default_catalog())
