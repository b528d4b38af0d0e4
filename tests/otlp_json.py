"""OTLP/JSON of a protobuf request, as a sender would write it."""

from __future__ import annotations

import base64
import json
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

_IDS = {"traceId", "spanId", "parentSpanId"}


def as_json(message: Message) -> bytes:
    """Return *message* in OTLP/JSON: as protobuf's JSON, but with hexadecimal ids and enum numbers."""
    return json.dumps(_hex(MessageToDict(message, use_integers_for_enums=True))).encode()


def _hex(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _hex(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_hex(item, key) for item in value]
    return base64.b64decode(value).hex() if key in _IDS else value
