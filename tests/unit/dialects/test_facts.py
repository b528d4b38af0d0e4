"""Values are read with the type that is needed, whatever an emitter sent."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from otel_obs.dialects.facts import BAD_COST, BAD_USAGE, Facts


@pytest.mark.parametrize(
    ("sent", "count", "flags"),
    [
        (-5, None, [BAD_USAGE]),
        (2**31, 2**31, []),
        (2**63, None, [BAD_USAGE]),
        ("123", 123, []),
        ("12abc", None, [BAD_USAGE]),
        (12.0, 12, []),
        (12.5, None, [BAD_USAGE]),
        (1e30, None, [BAD_USAGE]),
        (float("nan"), None, [BAD_USAGE]),
        (True, None, [BAD_USAGE]),
        ([1], None, [BAD_USAGE]),
        ("9" * 5000, None, [BAD_USAGE]),
        ("", None, []),
        (None, None, []),
        (0, 0, []),
    ],
    ids=repr,
)
def test_a_count_of_tokens_is_a_whole_number_or_unknown(sent: Any, count: int | None, flags: list[str]) -> None:
    facts = Facts({"n": sent})

    assert (facts.tokens("n"), facts.flags) == (count, flags)


@pytest.mark.parametrize(
    ("sent", "amount", "flags"),
    [
        (0.01, Decimal("0.01"), []),
        ("0.01", Decimal("0.01"), []),
        (0, None, []),
        (0.0, None, []),
        (float("nan"), None, [BAD_COST]),
        (float("inf"), None, [BAD_COST]),
        (-1, None, [BAD_COST]),
        (1e12, None, [BAD_COST]),
        ("free", None, [BAD_COST]),
        (True, None, [BAD_COST]),
    ],
    ids=repr,
)
def test_a_cost_is_an_amount_above_nothing_or_unknown(sent: Any, amount: Decimal | None, flags: list[str]) -> None:
    facts = Facts({"n": sent})

    assert (facts.money("n"), facts.flags) == (amount, flags)


@pytest.mark.parametrize(
    ("sent", "parsed"),
    [
        ('{"a": 1}', {"a": 1}),
        ("{'a': None, 'b': True}", {"a": None, "b": True}),
        ({"a": 1}, {"a": 1}),
        ("[1]", {}),
        ("null", {}),
        ("nonsense", {}),
        ("{" * 100_000, {}),
        ("__import__('os')", {}),
        (5, {}),
    ],
    ids=["json", "a python literal", "a map", "a list", "null", "text", "deep", "code", "a number"],
)
def test_an_object_is_read_from_json_or_from_pythons_way_of_printing_it(sent: Any, parsed: dict[str, Any]) -> None:
    assert Facts({"n": sent}).mapping("n") == parsed
