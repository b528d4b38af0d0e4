"""Answers that are remembered, of short questions only: senders ask them, and a cache counts entries, not bytes."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import lru_cache, wraps
from typing import TypeVar, cast

_F = TypeVar("_F", bound=Callable[..., object])

LONGEST = 256
"""Characters of a text, and texts of a tuple, that are remembered."""


def remembered(most: int) -> Callable[[_F], _F]:
    """Remember up to *most* answers of a function of texts and tuples of texts; long ones are not kept."""

    def remember(function: _F) -> _F:
        quick = lru_cache(maxsize=most)(function)

        @wraps(function)
        def answer(*asked: Hashable) -> object:
            for part in asked:
                if len(part) > LONGEST or (type(part) is tuple and part and max(map(len, part)) > LONGEST):  # type: ignore[arg-type]
                    return function(*asked)
            return quick(*asked)

        answer.cache_clear = quick.cache_clear  # type: ignore[attr-defined]  # as with lru_cache
        return cast("_F", answer)

    return remember
