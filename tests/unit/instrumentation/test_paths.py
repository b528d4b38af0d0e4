"""What a path leads to is what the language leads to, whatever kind of value it goes through."""

from __future__ import annotations

from collections import UserDict
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, PrivateAttr, computed_field

from otel_obs.instrumentation.paths import MISSING, held, member


class Answer(BaseModel):
    model_config = ConfigDict(extra="allow")

    tokens: int = 5
    kind: str = "answer"
    _secret: int = PrivateAttr(7)

    @computed_field  # type: ignore[prop-decorator]  # mypy does not know it
    @property
    def doubled(self) -> int:
        return 2 * self.tokens

    @property
    def broken(self) -> int:
        raise RuntimeError


class Silent(BaseModel):
    tokens: int | None = None


class Lazy:
    def __getattr__(self, name: str) -> str:
        if name.startswith("_"):
            raise AttributeError
        return name


NAMES = ("tokens", "kind", "beside", "doubled", "broken", "model_dump", "_secret", "absent", "0")
VALUES: dict[str, Any] = {
    "a model": Answer(),
    "a model with more beside its fields": Answer.model_validate({"tokens": 6, "beside": 3}),
    "a model made without being checked": Answer.model_construct(tokens="six"),
    "a model that takes nothing else": Silent(),
    "a value that makes its attributes": Lazy(),
    "a plain object": object(),
}


def attribute(value: Any, name: str) -> Any:
    try:
        return getattr(value, name, MISSING)
    except Exception:  # noqa: BLE001  # a property may raise what it likes
        return MISSING


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
@pytest.mark.parametrize("name", NAMES)
def test_a_name_leads_to_the_attribute(value: Any, name: str) -> None:
    assert member(value, name) == attribute(value, name)


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
@pytest.mark.parametrize("name", NAMES[:-2])
def test_what_is_held_of_a_value_leads_where_the_value_does(value: Any, name: str) -> None:
    assert member(held(value, frozenset(NAMES)), name) == attribute(value, name)


@pytest.mark.parametrize("value", [{"a": 1}, UserDict(a=1)], ids=["a dict", "a mapping"])
def test_a_name_leads_to_the_value_of_a_key(value: Any) -> None:
    assert (member(value, "a"), member(value, "keys")) == (1, MISSING)


@pytest.mark.parametrize("value", [["a", "b"], ("a", "b"), "ab"], ids=["a list", "a tuple", "a text"])
def test_a_number_leads_to_an_item(value: Any) -> None:
    assert (member(value, "1"), member(value, "2")) == ("b", MISSING)


def test_nothing_leads_nowhere() -> None:
    assert (member(None, "a"), member(MISSING, "a")) == (MISSING, MISSING)
