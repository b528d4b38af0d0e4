"""What is a price?  All unit prices of one model over one validity, as ``model_prices`` keeps them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

OPERATOR = "operator"
"""``source`` of prices that somebody set here."""


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
    """Hash of what it says; where prices come from does not matter."""
    provider: str
    """Id in genai-prices; ``''``: whoever serves the model."""
    model_name: str
    valid_from: datetime
    valid_to: datetime | None
    source: str
    """``genai-prices`` with its version, or ``operator``."""
    unit_prices: Mapping[str, UnitPrice]
    """genai-prices' key (``input_mtok``, ``cache_read_mtok`` ...) -> price. Empty: the operator withdrew his own."""
    conditions: Mapping[str, str] = field(default_factory=dict)
    """What of the request it holds for: ``service_tier``, ``processing`` (``batch``), ``hours`` (UTC)."""
    organization_id: str | None = None
    """Whose it is; None: everybody's."""


def price_row(
    *,
    provider: str,
    model_name: str,
    valid_from: datetime,
    valid_to: datetime | None,
    source: str,
    unit_prices: Mapping[str, UnitPrice],
    conditions: Mapping[str, str] | None = None,
    organization_id: str | None = None,
    salt: str = "",
) -> PriceRow:
    """Return a price with its id; *salt* tells apart what an operator says twice."""
    conditions = dict(sorted((conditions or {}).items()))
    until = None if valid_to is None else valid_to.isoformat()
    kind = source.partition(" ")[0]
    content = json.dumps(
        [provider, model_name, kind, valid_from.isoformat(), until, as_json(unit_prices), conditions, organization_id]
        + ([salt] if salt else []),
        sort_keys=True,
    )
    return PriceRow(
        id=hashlib.sha256(content.encode()).hexdigest()[:32],
        provider=provider,
        model_name=model_name,
        valid_from=valid_from,
        valid_to=valid_to,
        source=source,
        unit_prices=unit_prices,
        conditions=conditions,
        organization_id=organization_id,
    )


def as_json(unit_prices: Mapping[str, UnitPrice]) -> dict[str, Any]:
    """Return *unit_prices* as ``model_prices.unit_prices`` has them: dollars as text, so that they stay exact."""
    return {
        key: {"base": str(unit.base), "tiers": [[start, str(price)] for start, price in unit.tiers]}
        if unit.tiers
        else str(unit.base)
        for key, unit in sorted(unit_prices.items())
    }


def from_json(value: Mapping[str, Any]) -> dict[str, UnitPrice]:
    """Return the unit prices that ``as_json`` spelled.

    Raises:
        ValueError: that is none.
    """
    return {key: _unit_price(found) for key, found in value.items()}


def _unit_price(value: Any) -> UnitPrice:
    if isinstance(value, Mapping):
        tiers = tuple((int(start), dollars(price)) for start, price in value.get("tiers", ()))
        return UnitPrice(dollars(value.get("base")), tiers)
    return UnitPrice(dollars(value))


def dollars(value: Any) -> Decimal:
    """Return an amount of money that is not negative.

    Raises:
        ValueError: it is not one.
    """
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        raise ValueError(f"{value!r} is not an amount of money") from None
    if not found.is_finite() or found < 0:
        raise ValueError(f"{value!r} is not an amount of money")
    return found
