"""What a span's attributes say, in types that can be trusted.

Emitters send numbers as text, JSON as text, Python's ``repr`` as text, and nothing as an empty string,
so each value is read with the type that is needed; what cannot be read is None and leaves a flag.
"""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation

from otel_obs.dialects.names import Names, names_of
from otel_obs.model import Attributes, AttributeValue

MAX_TOKENS = 2**63 - 1
MAX_JSON_CHARACTERS = 8 * 1024 * 1024
MAX_LITERAL_CHARACTERS = 64 * 1024
"""Longer Python literals are not parsed: they are usage objects, which are short."""
MAX_COST_USD = Decimal(1_000_000)
"""A single call above this is a slip of the emitter."""

BAD_USAGE = "bad_usage"
BAD_COST = "bad_cost"
BAD_SCORE = "bad_score"

_NOTHING = frozenset({"", "null", "None", "none"})


class Facts:
    """The attributes of one span or log record; ``flags`` collects what could not be read."""

    __slots__ = ("_sent", "attributes", "flags", "names")

    def __init__(self, attributes: Attributes, names: Names | None = None) -> None:
        self.attributes = attributes
        self.flags: list[str] = []
        self.names = names or names_of(tuple(attributes))
        self._sent = self.names.sent

    def flag(self, name: str) -> None:
        """Remember *name* once."""
        if name not in self.flags:
            self.flags.append(name)

    def sent(self, *names: str) -> tuple[str, ...]:
        """Return those of *names* that were sent, whatever their value."""
        return self._sent[names]

    def has(self, *names: str) -> bool:
        """Tell whether any of *names* was sent with a value."""
        return self._has(self._sent[names])

    def has_any(self, *beginnings: str) -> bool:
        """Tell whether anything whose name begins so was sent with a value."""
        return self._has(self.names.starting[beginnings])

    def _has(self, names: tuple[str, ...]) -> bool:
        for name in names:
            value = self.attributes[name]
            if value is not None and value != "":
                return True
        return False

    def text(self, *names: str) -> str | None:
        """Return the first of *names* that holds a text with something in it."""
        for name in self._sent[names]:
            value = self.attributes[name]
            if isinstance(value, str) and value not in _NOTHING:
                return value
        return None

    def tokens(self, *names: str) -> int | None:
        """Return the first of *names* that was sent, as a count of tokens."""
        for name in self._sent[names]:
            value = self.attributes[name]
            if type(value) is int and 0 <= value <= MAX_TOKENS:
                return value
            if value is not None and value != "":
                return self.count(value)
        return None

    def count(self, value: object) -> int | None:
        """Return *value* as a count: a whole number from 0 to 2^63-1, also as text; else None, flagged."""
        number = whole(value)
        if number is None and value not in (None, ""):
            self.flag(BAD_USAGE)
        return number

    def number(self, *names: str) -> float | None:
        """Return the first of *names* that holds a finite number."""
        for name in self._sent[names]:
            value = finite(self.attributes[name])
            if value is not None:
                return value
        return None

    def truth(self, *names: str) -> bool | None:
        """Return the first of *names* that holds true or false, also as text."""
        for name in self._sent[names]:
            value = self.attributes[name]
            if isinstance(value, bool):
                return value
            if isinstance(value, str) and value.lower() in {"true", "false"}:
                return value.lower() == "true"
        return None

    def money(self, *names: str) -> Decimal | None:
        """Return the first of *names* that holds US dollars above 0.

        An emitter that cannot find a price says 0, so 0 says nothing.
        """
        for name in self._sent[names]:
            value = self.attributes[name]
            if value is None or value == "":
                continue
            amount = dollars(value)
            if amount is None:
                self.flag(BAD_COST)
            elif amount:
                return amount
        return None

    def parsed(self, *names: str) -> object:
        """Return what the first of *names* that holds JSON (or a Python literal) says; None without one."""
        for name in self._sent[names]:
            value = parse(self.attributes[name])
            if value is not None:
                return value
        return None

    def mapping(self, *names: str) -> Mapping[str, object]:
        """Return the first of *names* that holds a JSON object (or a Python dict); else an empty one."""
        for name in self._sent[names]:
            value = parse(self.attributes[name])
            if isinstance(value, Mapping):
                return value
        return {}


def whole(value: object) -> int | None:
    """Return *value* as a whole number from 0 to 2^63-1, or None."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, str):
        text = value.strip()
        if not text.isdecimal() or len(text) > 19:
            return None
        value = int(text)
    if isinstance(value, float):
        if not value.is_integer():
            return None
        value = int(value)
    return value if isinstance(value, int) and 0 <= value <= MAX_TOKENS else None


def finite(value: object) -> float | None:
    """Return *value* as a finite number, or None."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, int | float):
        try:
            number = float(value)
        except OverflowError:
            return None
        return number if math.isfinite(number) else None
    return None


def dollars(value: object) -> Decimal | None:
    """Return *value* as an amount of US dollars, exact as it was written; None if it is none."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        amount = Decimal(str(value).removesuffix("USD"))
    except InvalidOperation:
        return None
    return amount if amount.is_finite() and 0 <= amount <= MAX_COST_USD else None


def parse(value: AttributeValue) -> object:
    """Return what a text says as JSON or, if it is short, as a Python literal; None if it is neither."""
    if not isinstance(value, str):
        return value if isinstance(value, Mapping) else None
    text = value.strip()
    if text[:1] not in {"{", "[", '"'} or len(text) > MAX_JSON_CHARACTERS:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _literal(text)


def _literal(text: str) -> object:
    if len(text) > MAX_LITERAL_CHARACTERS:
        return None
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return None


def mapping_of(value: object) -> Mapping[str, object]:
    """Return *value* if it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def text_of(value: object) -> str | None:
    """Return *value* if it is a text with something in it."""
    return value if isinstance(value, str) and value not in _NOTHING else None
