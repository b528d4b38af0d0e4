"""Rows as bytes, and back: for what may not be kept as it was sent, because the operator drops content.

JSON of one object for each row, by column, so that a newer program still reads what an older one wrote. Which columns
are times and which are money is told by their types, since a context may hold any text.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar

from otel_obs.pipeline.ingest import Received
from otel_obs.rows.batch import Quarantined
from otel_obs.rows.build import RecordRows, SentBy
from otel_obs.rows.tables import AgentRunRow, CallRow, CheckRow, ContentRow, EventRow

_Row = TypeVar("_Row", EventRow, CallRow, AgentRunRow, CheckRow, ContentRow)


def to_bytes(received: Received) -> bytes:
    """Return *received* as bytes."""
    found = {
        "records": [_record(record) for record in received.records],
        "quarantined": [{**asdict(item), "payload": b64encode(item.payload).decode()} for item in received.quarantined],
    }
    return json.dumps(found, ensure_ascii=False, separators=(",", ":"), default=_text).encode(errors="surrogatepass")


def from_bytes(data: bytes) -> Received:
    """Return what ``to_bytes`` was given.

    Raises:
        ValueError, KeyError, TypeError: it was not.
    """
    found = json.loads(data.decode(errors="surrogatepass"), parse_float=float)
    return Received(
        records=[_rows(record) for record in found["records"]],
        quarantined=[
            Quarantined(
                **{
                    **item,
                    "payload": b64decode(item["payload"]),
                    "received_at": datetime.fromisoformat(item["received_at"]),
                }
            )
            for item in found["quarantined"]
        ],
    )


def _record(record: RecordRows) -> dict[str, Any]:
    return {
        "event": record.event._asdict(),
        "call": None if record.call is None else record.call._asdict(),
        "run": None if record.run is None else record.run._asdict(),
        "check": None if record.check is None else record.check._asdict(),
        "contents": [{**row._asdict(), "body_encrypted": None} for row in record.contents],
        "extra_events": [row._asdict() for row in record.extra_events],
        "is_log": record.is_log,
        "sent_by": None if record.sent_by is None else asdict(record.sent_by),
    }


def _rows(found: dict[str, Any]) -> RecordRows:
    return RecordRows(
        event=_row(EventRow, found["event"]),
        call=None if found["call"] is None else _row(CallRow, found["call"]),
        run=None if found["run"] is None else _row(AgentRunRow, found["run"]),
        check=None if found["check"] is None else _row(CheckRow, found["check"]),
        contents=tuple(_row(ContentRow, row) for row in found["contents"]),
        extra_events=tuple(_row(EventRow, row) for row in found["extra_events"]),
        is_log=found["is_log"],
        sent_by=None if found["sent_by"] is None else SentBy(**found["sent_by"]),
    )


def _row(kind: type[_Row], found: dict[str, Any]) -> _Row:
    values: dict[str, Any] = {}
    for name, annotation in kind.__annotations__.items():
        value = found.get(name)
        if value is not None and "datetime" in str(annotation):
            value = datetime.fromisoformat(value)
        elif value is not None and "Decimal" in str(annotation):
            value = Decimal(value)
        values[name] = value
    return kind(**values)


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not in rows")
