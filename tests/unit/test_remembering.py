from __future__ import annotations

from otel_obs.dialects.reading import kind_of
from otel_obs.pricing.models import candidates
from otel_obs.remembering import LONGEST, remembered


def test_short_questions_are_answered_once_and_long_ones_are_not_kept() -> None:
    asked = []

    @remembered(10)
    def answer(scope: str, names: tuple[str, ...]) -> int:
        asked.append(scope)
        return len(names)

    short: list[tuple[str, tuple[str, ...]]] = [
        ("a", ("x",)),
        ("a" * LONGEST, ("x",)),
        ("b", ()),
        ("a", ("x" * LONGEST,)),
    ]
    long: list[tuple[str, tuple[str, ...]]] = [
        ("a" * (LONGEST + 1), ()),
        ("c", ("x" * (LONGEST + 1),)),
        ("d", ("x",) * (LONGEST + 1)),
    ]
    for scope, names in short:
        assert answer(scope, names) == answer(scope, names) == len(names)
    assert len(asked) == 4
    for scope, names in long:
        assert answer(scope, names) == answer(scope, names) == len(names)
    assert len(asked) == 4 + 2 * 3


def test_what_a_sender_makes_long_is_understood_all_the_same() -> None:
    long = "x" * 100_000

    assert kind_of("openai", ("gen_ai.operation.name", long)).dialects
    assert candidates("gpt-4o-mini" + " " * 1000)[0].name == "gpt-4o-mini"
