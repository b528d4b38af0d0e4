"""Rows as one array for each column, as ``unnest`` takes them, or as one JSON array."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

import orjson
from psycopg.types.json import Jsonb


def arrays(names: Sequence[str], rows: Iterable[Sequence[object]]) -> dict[str, list[object]]:
    """Return *rows* as parameters: for each name the values of that position."""
    columns: list[list[object]] = [[] for _ in names]
    for row in rows:
        for column, value in zip(columns, row, strict=True):
            column.append(value)
    return dict(zip(names, columns, strict=True))


def recordset(rows: Iterable[NamedTuple], *, without: Sequence[str] = ()) -> Jsonb:
    """Return *rows* for ``jsonb_populate_recordset``, to which what is missing is NULL; numbers stay exact."""
    records = [
        {name: value for name, value in zip(row._fields, row, strict=True) if value is not None and name not in without}
        for row in rows
    ]
    return Jsonb(records, dumps=_dumps)


def dumps(value: Any) -> bytes:
    """Return *value* as JSON: what orjson refuses, numbers above 64 bits for one, by the standard library."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value).encode()


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=_text)


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, bytes):
        return f"\\x{value.hex()}"
    raise TypeError(f"{type(value).__name__} is not JSON")
