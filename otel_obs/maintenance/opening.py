"""Exported rows with their content opened: an export that only a key opens is worth nothing once the key is gone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import psycopg

from otel_obs.postgres.contents import COLUMNS
from otel_obs.postgres.vault import Vault
from otel_obs.sealing import SealedError

Record = Mapping[str, Any]
"""Column -> value."""
SEALED = frozenset(column.table for column in COLUMNS)
"""Tables that hold content."""


def opened(
    connection: psycopg.Connection, vault: Vault, organization_id: str, table: str, record: Record
) -> dict[str, Any]:
    """Return the columns of *record* that change as it is opened, JSON as text; what cannot be opened stays sealed."""
    changes: dict[str, Any] = {}
    for column in COLUMNS:
        sealed = record.get(f"{column.name}_encrypted") if column.table == table else None
        if sealed is None:
            continue
        try:
            data = vault.opened(connection, organization_id, bytes(sealed), column.place(organization_id, record))
        except SealedError:
            continue
        changes[column.name] = data if table == "quarantine" else data.decode(errors="replace")
        changes[f"{column.name}_encrypted"] = None
        if column.digest is not None and not record.get("truncated"):
            changes[column.digest] = hashlib.sha256(data).hexdigest()
    return changes


def in_line(line: str, record: Record, changes: Mapping[str, Any]) -> str:
    """Return a row's JSON with *changes*; all else of it stays as PostgreSQL spelled it, numbers to the last digit."""
    for name, value in changes.items():
        new = value if name == "input_context" else _spelled(value)
        line = line.replace(f'"{name}":{_spelled(record[name])}', f'"{name}":{new}', 1)
    return line


def _spelled(value: Any) -> str:
    """Return *value* (nothing, bytes or a text without special characters) as ``row_to_json`` spells it."""
    return json.dumps(f"\\x{value.hex()}" if isinstance(value, bytes) else value, ensure_ascii=False)
