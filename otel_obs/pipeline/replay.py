"""What was refused, by today's program: what are its rows, and is it still refused?

It comes under the tenant under which it was refused: a workspace that its credential might not write to it may not
write to now.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from collections.abc import Mapping as MappingOf
from dataclasses import replace
from typing import Any

from otel_obs.errors import DecodeError, RequestTooLargeError
from otel_obs.model import Decoded, Link, LogRecord, Resource, Scope, Span, SpanEvent
from otel_obs.otlp.decode import decode_logs, decode_traces
from otel_obs.otlp.decode_json import decode_logs_json, decode_traces_json
from otel_obs.otlp.values import MAX_PAYLOAD_BYTES
from otel_obs.pipeline import recorded
from otel_obs.pipeline.ingest import Mapping, Received, receive, under_rules
from otel_obs.rows.batch import Quarantined
from otel_obs.tenancy import Sender, TenantDefaults

_WRAPPED = {
    "traces": b'{"resourceSpans":[{"scopeSpans":[{"spans":[%s]}]}]}',
    "logs": b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[%s]}]}]}',
}
_DECODERS: MappingOf[tuple[str, bool], Callable[[bytes], Decoded]] = {
    ("traces", False): decode_traces,
    ("traces", True): decode_traces_json,
    ("logs", False): decode_logs,
    ("logs", True): decode_logs_json,
}


class NotReplayableError(Exception):
    """There is nothing that could be taken in."""


def replayable(item: Quarantined, mapping: Mapping) -> Received:
    """Return the rows of *item* by today's program; what is still refused is ``quarantined`` of it.

    Raises:
        NotReplayableError: its payload is not there, was cut, or cannot be read; the message says which.
    """
    if not item.payload:
        raise NotReplayableError("nothing of it was kept")
    if item.format in {"sent", "read", ""} and len(item.payload) >= MAX_PAYLOAD_BYTES:
        raise NotReplayableError("it was cut at 64 KiB")
    try:
        return _received(item, mapping)
    except (DecodeError, RequestTooLargeError, ValueError, KeyError, TypeError) as error:
        raise NotReplayableError(f"it cannot be read ({type(error).__name__})") from error


def _received(item: Quarantined, mapping: Mapping) -> Received:
    if item.format in {"rows", "request/rows"}:
        return under_rules(recorded.from_bytes(item.payload), mapping)
    bound = item.workspace_id if item.reason == "workspace_not_allowed" else None
    sender = Sender(organization_id=item.organization_id, bound_workspace_id=bound)
    defaults = TenantDefaults(organization_id=item.organization_id, workspace_id=item.workspace_id)
    return receive(_decoded(item), sender, item.received_at, replace(mapping, defaults=defaults))


def _decoded(item: Quarantined) -> Decoded:
    if item.format == "read":
        return _read(item)
    is_json = item.format == "request/json" or (not item.format.startswith("request") and item.payload[:1] == b"{")
    payload = item.payload if item.format.startswith("request") else _wrapped(item, is_json=is_json)
    return _DECODERS[item.signal, is_json](payload)


def _wrapped(item: Quarantined, *, is_json: bool) -> bytes:
    """Return a request with the one span or log record; field numbers 1 (resource), 2 (scope), 2 (span) on the wire."""
    if is_json:
        return _WRAPPED[item.signal] % item.payload
    return _field(1, _field(2, _field(2, item.payload)))


def _field(number: int, content: bytes) -> bytes:
    length, size = len(content), bytearray()
    while length > 0x7F:
        size.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes([number << 3 | 2]) + bytes(size) + bytes([length]) + content


def _read(item: Quarantined) -> Decoded:
    found: dict[str, Any] = json.loads(item.payload)
    shared: dict[str, Any] = {
        "scope": Scope(**found.pop("scope")),
        "resource": Resource(**found.pop("resource")),
        "flags": tuple(found.pop("flags", ())),
    }
    if item.signal == "logs":
        return Decoded(logs=[LogRecord(**found, **shared)])
    events = [SpanEvent(**event) for event in found.pop("events")]
    links = [Link(**link) for link in found.pop("links")]
    return Decoded(spans=[Span(**found, events=events, links=links, **shared)])
