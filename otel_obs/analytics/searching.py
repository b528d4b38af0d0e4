"""How far is looked in one answer? Rows are looked for from the newest back, and while there is time.

What many rows are like is soon found, and so is what an index knows. What is rare would be looked for in each row of
months: such a search goes back piece by piece, and its answer says how far it came.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg.errors import QueryCanceled

from otel_obs.analytics.filters import Page, cursor, page_of
from otel_obs.errors import SearchTooLongError
from otel_obs.postgres.partitions import WEEK, week_of
from otel_obs.postgres.reading import rows, within

if TYPE_CHECKING:
    from typing_extensions import LiteralString

_T = TypeVar("_T")
_Asked = Mapping[str, Any]

_OUTRIGHT_S = 1.0
"""For all of the period in one statement, before it is cut into pieces."""
_PIECE_S = 0.5
"""What a piece is to take: pieces grow and shrink to it."""
_FIRST = 50
"""Rows that the first piece looks at."""
_CHANGE = 8
"""Pieces grow and shrink by that much at most."""
_INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long an answer may take."""

    seconds: float
    """Rows are looked for so long; what was begun is ended."""
    piece_s: float = 2.0
    """A piece that takes longer is given up, and a smaller one is looked at."""
    is_whole: bool = False
    """Part of a page is no answer."""


FOR_A_PAGE = Patience(2.5)
FOR_A_FILE = Patience(60, is_whole=True)


@dataclass(frozen=True, slots=True)
class Found(Page[_T]):
    """A page of a search; it may hold few rows, or none, and there may be more all the same."""

    searched_to: datetime | None = None
    """All rows since then were looked at, and no earlier ones: ``next_cursor`` goes on there. None: the page is full,
    or all of the period was looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What is looked for, in a list that is ordered by time and ids, the newest first.

    Its statement takes ``since until limit after_time`` and whatever else is in ``after``; the statement ``steps``
    tells when the row began that comes ``size`` rows before ``until``, whether it is looked for or not.
    """

    statement: LiteralString
    steps: LiteralString
    asked: _Asked
    after: Sequence[str]
    """Names of the parameters that say after which row: ``after_time``, and those of its ids."""
    limit: int
    newest_first: bool = False
    """The newest weeks are asked for alone first. Most lists are full then, and to plan a statement for each week of a
    period takes longer than to read it; not so where it asks all weeks in any case."""


def search(
    connection: psycopg.Connection,
    sought: Search,
    kind: type[_T],
    place_of: Callable[[_T], Sequence[Any]],
    patience: Patience = FOR_A_PAGE,
) -> Found[_T]:
    """Return a page of the rows that are *sought*, each as *kind*; *place_of* tells where one stands.

    Raises:
        SearchTooLongError: the page was to be whole, and cannot be in that time.
        psycopg.errors.QueryCanceled: not even one row can be looked at in that time.
    """
    began = time.monotonic()
    outright_s = min(_OUTRIGHT_S, patience.seconds)
    found: list[_T] = []
    asked: dict[str, Any] = dict(sought.asked)
    if outright_s > 0 and not any(asked[name] == "" for name in sought.after):
        try:
            with within(connection, outright_s):
                for since in _back(sought):
                    piece = {**asked, "since": since, "limit": sought.limit - len(found)}
                    found += _ask(connection, sought, piece, kind)
                    if len(found) > sought.limit or since == asked["since"]:
                        return Found(*_fields(page_of(found, sought.limit, place_of)))
                    asked = {**asked, "until": since, **_after(sought, since)}
                    if time.monotonic() >= began + outright_s:
                        break
        except QueryCanceled:
            pass
    return _walk(connection, replace(sought, asked=asked), found, kind, place_of, patience, began + patience.seconds)


def _back(sought: Search) -> Iterator[datetime]:
    """Yield where to look from: the newest week, or two where that has hardly begun, and all of the period."""
    since: datetime = sought.asked["since"]
    newest = week_of(_until(sought.asked) - WEEK / 2)
    if sought.newest_first and newest > since:
        yield newest
    yield since


def _walk(
    connection: psycopg.Connection,
    sought: Search,
    found: list[_T],
    kind: type[_T],
    place_of: Callable[[_T], Sequence[Any]],
    patience: Patience,
    ends: float,
) -> Found[_T]:
    """Return a page that begins with what is *found* already."""
    asked: dict[str, Any] = dict(sought.asked)
    searched_to: datetime | None = None
    size = _FIRST
    while searched_to is None or patience.is_whole or time.monotonic() < ends:
        if patience.is_whole and time.monotonic() >= ends:
            raise SearchTooLongError
        began = time.monotonic()
        try:
            with within(connection, patience.piece_s):
                reaches = _reach(connection, sought, asked, size)
                piece = {**asked, "since": reaches or asked["since"], "limit": sought.limit - len(found)}
                found += _ask(connection, sought, piece, kind)
        except QueryCanceled:
            if size == 1:
                raise
            size = max(1, size // _CHANGE)
            continue
        if len(found) > sought.limit or reaches is None:
            return Found(*_fields(page_of(found, sought.limit, place_of)))
        searched_to = reaches
        asked = {**asked, "until": reaches, **_after(sought, reaches)}
        size = _next(size, time.monotonic() - began)
    return Found(found, cursor(*_after(sought, searched_to).values()), searched_to)


def _reach(connection: psycopg.Connection, sought: Search, asked: _Asked, size: int) -> datetime | None:
    """Return how far back *size* rows reach; None: to the beginning."""
    row = connection.execute(sought.steps, {**asked, "until": _until(asked), "size": size}).fetchone()
    return None if row is None else row[0]


def _until(asked: _Asked) -> datetime:
    until: datetime = asked["until"]
    return until if asked["after_time"] is None else min(until, asked["after_time"])


def _ask(connection: psycopg.Connection, sought: Search, asked: _Asked, kind: type[_T]) -> list[_T]:
    until = asked["until"] if asked["after_time"] is None else min(asked["until"], asked["after_time"] + _INSTANT)
    return rows(connection, sought.statement, {**asked, "until": until}, kind)


def _after(sought: Search, at: datetime) -> dict[str, Any]:
    """Return the parameters of the place before all rows that began at *at*."""
    return {name: at if name == "after_time" else "" for name in sought.after}


def _next(size: int, took_s: float) -> int:
    """Return how many rows to look at next, so that it takes as long as it is to."""
    change = min(max(_PIECE_S / max(took_s, 1e-6), 1 / _CHANGE), _CHANGE)
    return max(1, min(int(size * change), 2**40))


def _fields(page: Page[_T]) -> tuple[Sequence[_T], str | None]:
    return page.items, page.next_cursor
