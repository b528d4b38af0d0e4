"""What is asked for: a period, whose rows, and which page of them."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, Generic, TypeVar

from otel_obs.errors import InvalidQueryError

MAX_LIMIT = 500
MAX_PERIOD = timedelta(days=3660)
EARLIEST = datetime(1970, 1, 1, tzinfo=timezone.utc)
LATEST = datetime(3000, 1, 1, tzinfo=timezone.utc)

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which rows of an organization: from *since* to before *until*, and of whom; None: whoever."""

    organization_id: str
    since: datetime
    until: datetime
    workspace_id: str | None = None
    user_id: str | None = None
    environment: str | None = None
    agent_id: str | None = None
    flow_id: str | None = None
    run_id: str | None = None
    conversation_id: str | None = None
    model: str | None = None
    provider: str | None = None
    status: str | None = None
    event_type: str | None = None
    error_type: str | None = None
    text: str | None = None
    """Words in the name of a span, or in what was said."""
    min_cost_cents: float | None = None
    min_latency_ms: float | None = None

    def __post_init__(self) -> None:
        if self.since < EARLIEST or self.until > LATEST:
            raise InvalidQueryError("since and until: times from 1970 to 2999 are expected")
        if self.since > self.until:
            raise InvalidQueryError("since is after until")
        if self.until - self.since > MAX_PERIOD:
            raise InvalidQueryError(f"since and until are more than {MAX_PERIOD.days} days apart")

    @property
    def parameters(self) -> dict[str, Any]:
        """Return it for a query."""
        found: dict[str, Any] = {name: getattr(self, name) for name in Filters.__dataclass_fields__}
        found["pattern"] = None if self.text is None else f"%{_literal(self.text)}%"
        return found

    @property
    def before(self) -> Filters:
        """Return the same for the period of the same length that ends where this one begins."""
        fields = {name: getattr(self, name) for name in Filters.__dataclass_fields__}
        return Filters(**{**fields, "since": self.since - (self.until - self.since), "until": self.since})


def _literal(text: str) -> str:
    """Return *text* so that ILIKE takes it word for word."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


@dataclass(frozen=True, slots=True)
class Page(Generic[_T]):
    """Some rows, and where the next ones are."""

    items: Sequence[_T]
    next_cursor: str | None = None


def cursor(*values: Any) -> str:
    """Return the place after a row that is ordered by *values*; opaque to whoever gets it."""
    said = [value.isoformat() if isinstance(value, datetime) else value for value in values]
    return base64.urlsafe_b64encode(json.dumps(said, separators=(",", ":")).encode()).decode().rstrip("=")


def place(text: str | None, *types: Callable[[Any], Any]) -> tuple[Any, ...]:
    """Return the values of the cursor *text*; Nones where there is none.

    Raises:
        InvalidQueryError: no cursor of ours says that.
    """
    if text is None:
        return (None,) * len(types)
    try:
        values = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
        if not isinstance(values, list) or len(values) != len(types):
            raise InvalidQueryError("cursor: not one of ours")
        return tuple(None if value is None else read(value) for read, value in zip(types, values, strict=True))
    except (ValueError, TypeError, binascii.Error, RecursionError) as error:
        raise InvalidQueryError("cursor: not one of ours") from error


def moment(value: Any) -> datetime:
    """Read a time of a cursor."""
    found = datetime.fromisoformat(word(value))
    if found.tzinfo is None:
        raise ValueError(value)
    return found


def word(value: Any) -> str:
    """Read a text of a cursor, such as a database can hold."""
    if not isinstance(value, str) or "\x00" in value:
        raise ValueError(value)
    value.encode()
    return value


def count(value: Any) -> int:
    """Read a whole number of a cursor."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**62:
        raise TypeError(value)
    return value


def page_of(rows: Sequence[_T], limit: int, place_of: Callable[[_T], Sequence[Any]]) -> Page[_T]:
    """Return the first *limit* of *rows*, which are one more if there is a next page."""
    if len(rows) <= limit:
        return Page(rows)
    return Page(rows[:limit], cursor(*place_of(rows[limit - 1])))


def checked_limit(limit: int) -> int:
    """Return *limit*.

    Raises:
        InvalidQueryError: it is below 1 or above 500.
    """
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidQueryError(f"limit: a whole number from 1 to {MAX_LIMIT} is expected")
    return limit
