"""What did a call cost? The host knows the prices, else an installed package; else the span says nothing of money."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from importlib.metadata import entry_points

from otel_obs.instrumentation.faults import Guarded
from otel_obs.model import Call, Cost

Price = Callable[[Call, datetime, str], Cost]
"""(call, when it was made, organization id) -> what it costs, in cents; it may not block."""

ENTRY_POINT = "otel_obs_price"
"""Group of entry points; the first one that is installed is what ``load_price`` takes."""


class _Host:
    price: Price | None = None
    has_looked = False


def set_price(price: Price | None) -> None:
    """Let *price* say what a call costs (``gen_ai.usage.cost``, in US dollars); None: nobody does."""
    _Host.price, _Host.has_looked = price, True


def forget() -> None:
    """Forget what the host has said; what is installed is looked for again."""
    _Host.price, _Host.has_looked = None, False


def load_price() -> None:
    """Take the price that an installed package offers, unless the host has set one; looked for once."""
    if _Host.price is not None or _Host.has_looked:
        return
    _Host.has_looked = True
    with Guarded("loading prices"):
        for found in entry_points(group=ENTRY_POINT):
            _Host.price = found.load()
            return


def is_priced() -> bool:
    """Tell whether anybody knows prices."""
    load_price()
    return _Host.price is not None


def cost_usd(call: Call, organization_id: str) -> float | None:
    """Return what *call*, made just now, costs in US dollars; None where nobody knows."""
    if _Host.price is None or not call.usage.known:
        return None
    with Guarded("the price of a call"):
        cost = _Host.price(call, datetime.now(tz=timezone.utc), organization_id)
        return None if cost.cents is None else float(cost.cents / 100)
    return None
