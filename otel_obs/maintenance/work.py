"""What a job of ``otel-obs maintain`` is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

import psycopg
from psycopg_pool import ConnectionPool

from otel_obs.postgres.budgets import Budget
from otel_obs.postgres.vault import Vault
from otel_obs.pricing.book import PriceBook


@dataclass(frozen=True, slots=True, kw_only=True)
class Actions:
    """What alerts of budgets may do outside their own tables."""

    set_flag: Callable[[psycopg.Connection, Budget, str], None] | None = None
    """Sets the flag of a budget, in the transaction of its alert; the text says why. None: flags stay as they are."""
    private_webhooks: bool = False
    """Whether addresses inside private networks may be called."""


Fence = Callable[[psycopg.Connection], None]
"""Called first in each transaction of a job: raises if somebody else may run jobs by now."""


def no_fence(_: psycopg.Connection) -> None:
    """Let everything through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a job needs."""

    pool: ConnectionPool
    book: PriceBook
    now: datetime
    """The moment that ages are counted from."""
    now_is_given: bool = False
    """Somebody named it: no clock is asked."""
    dry_run: bool = False
    grace: timedelta = timedelta(days=7)
    """How long more days than the plan says still count after it said so."""
    rollup_days: int | None = None
    """Days that roll-ups are kept at least; None: as long as rows."""
    fence: Fence = no_fence
    vault: Vault | None = None
    """Seals what settling writes; None: content rests readable."""
    actions: Actions = field(default_factory=Actions)
    """What alerts of budgets may do."""
    progress: Callable[[str, int, int], None] = field(default=lambda *_: None)
    """Told what is done: of which job, how much, of how much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What became of a job."""

    job: str
    status: Literal["done", "skipped", "failed"]
    duration_ms: float
    result: Mapping[str, Any] | None = None
    error: str | None = None


class Skipped(Exception):  # noqa: N818  # not an error
    """There is nothing to do; the message says why."""
