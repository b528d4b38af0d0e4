"""Whose price holds: an organization's, the operator's, or the list's?"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from otel_obs.model import Call, Usage
from otel_obs.pricing.book import PriceBook
from otel_obs.pricing.catalog import EPOCH, default_catalog
from otel_obs.pricing.price import dollars_by, price
from otel_obs.pricing.rows import OPERATOR, PriceRow, UnitPrice, as_json, from_json, price_row

AT = datetime(2026, 11, 20, 12, tzinfo=timezone.utc)
DAY = timedelta(days=1)


def own(dollars: str | None, **more: Any) -> PriceRow:
    fields = {"provider": "", "model_name": "gpt-4o", "valid_from": EPOCH, "valid_to": None, **more}
    units = {} if dollars is None else {"input_mtok": UnitPrice(Decimal(dollars)), "output_mtok": UnitPrice(Decimal(0))}
    return price_row(source=OPERATOR, unit_prices=units, **fields)


def cents(*prices: PriceRow, model: str = "gpt-4o", organization: str = "acme", at: datetime = AT) -> Decimal | None:
    book = PriceBook(default_catalog())
    book.set_own(prices)
    call = Call(operation="chat", provider="openai", response_model=model, usage=Usage(input_tokens=1_000_000))
    return price(call, at, book, organization).cents


def test_without_own_prices_the_list_holds() -> None:
    assert cents() == 250


def test_an_operators_price_comes_before_the_lists() -> None:
    assert cents(own("7")) == 700


def test_an_organizations_own_price_comes_before_the_one_for_all() -> None:
    prices = (own("7"), own("3", organization_id="acme"), own("9"))

    assert cents(*prices) == 300
    assert cents(*prices, organization="other") == 900


def test_the_price_set_last_holds_where_two_say_the_same() -> None:
    assert cents(own("7", salt="1"), own("8", salt="2")) == 800


def test_a_price_for_one_provider_comes_before_one_for_any() -> None:
    assert cents(own("7", provider="openai"), own("8")) == 700
    assert cents(own("7", provider="azure")) == 250


def test_a_price_holds_from_its_first_to_before_its_last_moment() -> None:
    prices = (own("7", valid_from=AT, valid_to=AT + DAY),)

    assert [cents(*prices, at=at) for at in (AT - DAY / 24, AT, AT + DAY - DAY / 24, AT + DAY)] == [250, 700, 700, 250]


def test_a_later_price_leaves_the_past_as_it_was() -> None:
    prices = (own("7"), own("8", valid_from=AT))

    assert [cents(*prices, at=at) for at in (AT - DAY, AT + DAY)] == [700, 800]


def test_a_withdrawn_price_lets_the_lists_hold_again() -> None:
    assert cents(own("7"), own(None, valid_from=AT)) == 250
    assert cents(own("7"), own(None, valid_from=AT), at=AT - DAY) == 700


def test_a_dated_name_has_the_price_of_its_model_and_a_neighbour_has_not() -> None:
    prices = (own("7"),)

    assert cents(*prices, model="gpt-4o-2024-08-06") == 700
    assert cents(*prices, model="openai/gpt-4o") == 700
    assert cents(*prices, model="gpt-4o-huge") is None


def test_what_is_stored_of_a_price_says_it_exactly_and_prices_alike() -> None:
    tiered = UnitPrice(Decimal("1.25"), ((200_000, Decimal("2.50")),))
    units = {"input_mtok": tiered, "output_mtok": UnitPrice(Decimal("0.1"))}
    usage = Usage(input_tokens=200_001, output_tokens=3)

    stored = from_json(as_json(units))

    assert stored == units
    # 200,001 at 2.50 and 3 at 0.10 a million
    assert dollars_by(stored, usage) == (Decimal(200_001) * Decimal("2.5") + Decimal("0.3")) / 1_000_000


@pytest.mark.parametrize("value", ["-1", "NaN", "Infinity", "three", None, True, [], {"base": "-2"}])
def test_what_is_no_amount_of_money_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="amount"):
        from_json({"input_mtok": value})


def test_equal_prices_have_equal_ids_whatever_version_of_the_list_says_them() -> None:
    def listed(source: str, dollars: str) -> str:
        units = {"input_mtok": UnitPrice(Decimal(dollars))}
        return price_row(
            provider="openai", model_name="m", valid_from=EPOCH, valid_to=None, source=source, unit_prices=units
        ).id

    assert listed("genai-prices 0.1", "2") == listed("genai-prices 0.2", "2")
    assert listed("genai-prices 0.1", "2") != listed("genai-prices 0.1", "3")


def test_each_price_that_was_found_can_be_found_again_by_its_id() -> None:
    book = PriceBook(default_catalog())
    book.set_own([own("7", organization_id="acme")])
    call = Call(operation="chat", provider="openai", response_model="gpt-4o", usage=Usage(input_tokens=10))

    for organization in ("acme", "other"):
        found = book.find(call, AT, organization)
        assert found is not None
        assert book.row(found.id) == found


def test_a_batch_is_half_the_price_also_before_the_list_says_so_of_batches() -> None:
    call = Call(
        operation="chat", provider="anthropic", response_model="claude-opus-4-5", is_batch=True,
        usage=Usage(input_tokens=1_000_000, output_tokens=1_000_000),
    )  # fmt: skip

    for at in (datetime(2026, 3, 1, tzinfo=timezone.utc), AT):
        assert price(call, at, default_catalog(), "acme").cents == 250 + 1250


def test_a_price_for_batches_or_a_tier_comes_before_one_for_all_requests_and_holds_for_no_others() -> None:
    book = PriceBook(default_catalog())
    batch, flex = {"processing": "batch"}, {"service_tier": "flex"}
    book.set_own([own("7", valid_from=AT), own("3", conditions=batch), own("9", conditions=flex)])
    usage = Usage(input_tokens=1_000_000)

    def cents_of(**more: Any) -> Decimal | None:
        call = Call(operation="chat", provider="openai", response_model="gpt-4o", usage=usage, **more)
        return price(call, AT, book, "acme").cents

    assert cents_of() == 700
    assert cents_of(is_batch=True) == 300
    assert cents_of(service_tier="FLEX") == 900
    assert cents_of(service_tier="priority") == 700


def test_operators_may_sell_audio_at_the_price_of_text() -> None:
    book = PriceBook(default_catalog())
    book.set_own([own("7", model_name="gpt-4o-audio-preview")])
    usage = Usage(input_tokens=1_000_000, billed_units={"input_audio_tokens": 1_000_000})
    call = Call(operation="chat", provider="openai", response_model="gpt-4o-audio-preview", usage=usage)

    assert price(call, AT, book, "acme").cents == 700
